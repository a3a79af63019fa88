"""One call of a tool through heasoftpy, in the interpreter that has it.

Run as ``heasoftpy_call.py NAME PARAMETERS``, the latter a JSON object of texts. What the tool says goes to
standard output, and its return code is that of this process.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import heasoftpy


def call(name: str, parameters: dict[str, str]) -> Any:
    """Return the result of heasoftpy; nothing is asked, and a failure is told by its return code."""
    if hasattr(heasoftpy, "Config"):
        heasoftpy.Config.allow_failure = True
    prompt = "py_noprompt" if "noprompt" in parameters else "noprompt"
    return heasoftpy.HSPTask(name)(dict(parameters, **{prompt: True}))


if __name__ == "__main__":
    result = call(sys.argv[1], json.loads(sys.argv[2]))
    sys.stdout.write(str(result.stdout or "") + str(result.stderr or ""))
    code = int(result.returncode)
    sys.exit(code if code >= 0 else 128 - code)
