"""``python -m batx``: the same as the command ``batx``."""

from batx.cli import main

if __name__ == "__main__":
    main(prog_name="batx")
