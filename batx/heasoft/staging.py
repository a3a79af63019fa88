"""The private folder of a call: copies of its inputs, names for its outputs."""

from __future__ import annotations

import errno
import re
from pathlib import Path

from batx.errors import ToolError
from batx.heasoft.copies import copy_file, copy_folder
from batx.heasoft.planning import Plan
from batx.heasoft.specs import Task

__all__ = ["is_plain", "stage"]

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")
#: a full name that every tool can read
_PLAIN = re.compile(r"[A-Za-z0-9._/-]{1,150}")
#: letters of a name in the private folder: the whole of it fits into a keyword of FITS, or nearly so
_LONGEST = 40


def stage(task: Task, plan: Plan, folder: Path) -> tuple[dict[str, str], dict[str, str], dict[str, Path]]:
    """Fill the private folder of a call.

    Parameters
    ----------
    task, plan
        The tool, and its files.
    folder
        An empty folder.

    Returns
    -------
    parameters, outputs, originals
        All parameters as the tool will see them; output to its name in the folder; and name of an input in
        the folder to the file or folder itself. The tool sees copies (clones where the file system can), so
        that it cannot change the files themselves.

    Raises
    ------
    FileFormatError
        If a folder cannot be copied whole.
    ToolError
        If a copy cannot be made.
    """
    parameters = dict(plan.texts)
    originals: dict[str, Path] = {}
    try:
        for name in ("pfiles", "tmp"):
            (folder / name).mkdir(mode=0o700)
        for name, files in plan.inputs.items():
            names = []
            for path, suffix in files:
                place = f"in/{len(originals)}/{_safe_name(path.name) or 'input'}"
                (folder / place).parent.mkdir(parents=True)
                _copy(path, folder / place, plan)
                originals[place] = path
                names.append(_seen(task, folder, place) + suffix)
            parameters[name] = names[0] if name not in plan.lists else _list_of(task, folder, name, names)
        outputs: dict[str, str] = {}
        for name, target in plan.targets.items():
            outputs[name] = _free_name(target.name, set(outputs.values()))
        for name, (path, suffix) in plan.edits.items():
            # what is not kept has a name in the folder all the same
            shown = outputs.get(name) or _free_name(path.name, set(outputs.values()))
            _copy(path, folder / shown, plan)
            parameters[name] = _seen(task, folder, shown) + suffix
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise ToolError(
            f"cannot prepare a folder for {task.name} in {folder}: {error.strerror or error} "
            f"({error.filename2 or error.filename or folder})"
            + ("; give records= a folder where there is room for copies of the inputs" if full else "")
        ) from error
    for name in plan.targets:
        parameters.setdefault(name, _seen(task, folder, outputs[name]))
    return parameters, outputs, originals


def _seen(task: Task, folder: Path, name: str) -> str:
    return str(folder / name) if task.absolute else name


def _copy(path: Path, place: Path, plan: Plan) -> None:
    if path.is_dir():
        copy_folder(path, place, plan.own)
    else:
        copy_file(path, place)


def _safe_name(name: str) -> str:
    """Return a name that every tool can read: no blanks, brackets, commas or signs, and not too long."""
    safe = _UNSAFE.sub("_", name).lstrip("-.")
    if len(safe) <= _LONGEST:
        return safe
    end = re.search(r"(\.\w{1,8}){0,2}$", safe)
    kept = end.group() if end else ""
    return safe[: _LONGEST - len(kept)] + kept


def _free_name(name: str, taken: set[str]) -> str:
    """Return a name that every tool can write and that nothing else in the folder has."""
    safe = _safe_name(name) or "output"
    place, number = safe, 0
    while place in taken | {"in", "pfiles", "tmp", "log"}:
        number += 1
        place = f"{number}_{safe}"
    return place


def is_plain(path: Path) -> bool:
    """Whether every tool can read the name of a file: no letters with a meaning of their own, not too long.

    Examples
    --------
    >>> is_plain(Path("/data/a.fits")), is_plain(Path("/my data/a.fits"))
    (True, False)
    """
    return _PLAIN.fullmatch(str(path)) is not None


def _list_of(task: Task, folder: Path, name: str, names: list[str]) -> str:
    if task.suite == "sas":
        return " ".join(names)
    place = f"in/{name}.lis"
    (folder / place).write_text("".join(f"{one}\n" for one in names))
    return "@" + _seen(task, folder, place)
