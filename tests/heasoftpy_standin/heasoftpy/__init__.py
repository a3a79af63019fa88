"""A stand-in for heasoftpy: it writes and reads the user's parameter file and runs the tool, as that does."""

import os
import re
import subprocess
import sys


class Config:
    allow_failure = False


class HSPTaskException(Exception):  # noqa: N818 (its name there)
    pass


class HSPResult:
    def __init__(self, returncode, stdout, params):
        self.returncode, self.stdout, self.stderr, self.params = returncode, stdout, None, params


class HSPTask:
    def __init__(self, name):
        self.name = name
        folders = re.split("[;:]", os.environ["PFILES"])
        if not any(os.path.exists(os.path.join(folder, f"{name}.par")) for folder in folders):
            raise HSPTaskException(f"No .par file found for task {name}")

    def __call__(self, args=None, **kwargs):
        given = {**(args or {}), **kwargs}
        if not given.pop("noprompt", False):
            while not input("a parameter, please > "):
                pass
        command = [
            os.path.join(os.environ["HEADAS"], "bin", self.name),
            *(f"{k}={v}" for k, v in given.items()),
        ]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=sys.stdin)
        if done.returncode and not Config.allow_failure:
            raise HSPTaskException(f"{self.name} failed")
        return HSPResult(done.returncode, done.stdout.decode(), given)
