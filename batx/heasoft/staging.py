"""The private folder of a call: copies of its inputs, names for its outputs."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batx.errors import FileFormatError, MissingFileError, ParameterError, ToolError, WriteError
from batx.heasoft.copies import copy_file, copy_folder
from batx.heasoft.specs import Task

__all__ = ["Plan", "is_plain", "plan_files", "publish", "stage"]

#: what stands in place of a file's name
_WORD = re.compile(r"\s*(none|-|infile|default|indef|auto|caldb.*|remote.*|append.*|https?://.*|)\s*", re.I)
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")
#: a full name that every tool can read
_PLAIN = re.compile(r"[A-Za-z0-9._/-]{1,150}")
#: letters of a name in the private folder: the whole of it fits into a keyword of FITS, or nearly so
_LONGEST = 40
_SUFFIX = re.compile(r"(\+\d+)?(\[.*\])?|:[A-Za-z_]\w*(:\w+)?", re.DOTALL)


@dataclass
class Plan:
    """Which files a call reads and writes, settled before anything is made.

    Attributes
    ----------
    texts
        Parameters that are given as they are.
    inputs
        Parameter to its files, each with the suffix that chooses a part of it (``[EVENTS]``).
    lists
        Which of them are given as a list.
    edits
        Parameter to the file that is copied and changed.
    targets
        Parameter or product to the file or folder that is to be made.
    into
        Folder for products under names that the tool chooses.
    """

    texts: dict[str, str] = field(default_factory=dict)
    inputs: dict[str, list[tuple[Path, str]]] = field(default_factory=dict)
    lists: set[str] = field(default_factory=set)
    edits: dict[str, tuple[Path, str]] = field(default_factory=dict)
    targets: dict[str, Path] = field(default_factory=dict)
    into: Path | None = None

    @property
    def sources(self) -> dict[str, list[Path]]:
        """Parameter to the files that are read or copied."""
        found = {name: [path for path, _ in files] for name, files in self.inputs.items()}
        return found | {name: [path] for name, (path, _) in self.edits.items()}

    def home(self) -> Path | None:
        """Folder of the first output; `None` if there is none."""
        for target in self.targets.values():
            return target.parent
        return self.into


def plan_files(
    task: Task,
    given: Mapping[str, Any],
    outputs: Mapping[str, str | os.PathLike[str]] | None = None,
    into: str | os.PathLike[str] | None = None,
) -> Plan:
    """Sort what is given into files read, edited and written, and the rest.

    Parameters
    ----------
    task
        The tool.
    given
        Parameters under the tool's own names, file names relative to the working directory.
    outputs
        Where the changed copies of edited files are to be.
    into
        Folder for products under names that the tool chooses.

    Raises
    ------
    MissingFileError
        If an input, or the folder of an output, is not there.
    ParameterError
        If an edited file has no output, or an output is given for something else.
    WriteError
        If an output is also an input.

    Examples
    --------
    >>> plan_files(Task("fdump", outputs={"outfile": "text"}), {"outfile": "a.txt"}).targets["outfile"].name
    'a.txt'
    """
    plan = Plan(into=_folder(into, "into") if into is not None else None)
    edited = dict(outputs or {})
    for name, value in given.items():
        plain = name in task.unless and given.get(task.unless[name]) not in (None, "", "NONE", "INFILE")
        if name in task.edits and not plain and not _is_word(value):
            plan.edits[name] = _source(task, name, value)
            plan.targets[name] = _edited(task, name, edited)
        elif name in task.copies:
            plan.edits[name] = _source(task, name, value)
            if name in edited:
                plan.targets[name] = _edited(task, name, edited)
        elif name in task.outputs:
            _plan_output(task, plan, name, value)
        elif plain or name in (*task.inputs, *task.either):
            _plan_input(task, plan, name, value)
        else:
            plan.texts[name] = value
    if edited:
        raise ParameterError(
            f"{task.name} does not change {', '.join(edited)} in place; outputs= is for "
            f"{', '.join((*task.edits, *task.copies)) or 'tools that edit their input'}, others are "
            "parameters of the tool"
        )
    if plan.into is not None and not any("/" not in one for one in _patterns(task)):
        raise ParameterError(f"{task.name} names none of its files itself, so that into= has no meaning")
    if task.products and plan.into is None and any("/" not in one for one in _patterns(task)):
        raise ParameterError(
            f"{task.name} writes files under names of its own choice: give the folder for them, into="
        )
    _refuse_inputs(task, plan)
    return plan


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and _WORD.fullmatch(value) is not None and not Path(value).exists()


def _patterns(task: Task) -> list[str]:
    return [pattern for patterns in task.products.values() for pattern in patterns]


def _edited(task: Task, name: str, outputs: dict[str, Any]) -> Path:
    if name not in outputs:
        raise ParameterError(
            f"{task.name} changes the file {name} in place, and inputs are never changed: say where the "
            f'changed copy is to be, outputs={{"{name}": "new.fits"}}'
        )
    return _target(outputs.pop(name), name)


def _target(value: str | os.PathLike[str], name: str) -> Path:
    text = os.fspath(value).removeprefix("!")
    if not text or any(ord(letter) < 32 for letter in text):
        raise ParameterError(f"found {text!r} for {name}, expected the name of a file to be written")
    target = Path(text).expanduser().absolute()
    _folder(target.parent, name)
    return target


def _folder(value: str | os.PathLike[str], name: str) -> Path:
    folder = Path(value).expanduser().absolute()
    if not folder.is_dir():
        raise MissingFileError(f"cannot write {name}: there is no folder {folder}; create it first")
    return folder


def _plan_output(task: Task, plan: Plan, name: str, value: Any) -> None:
    text = os.fspath(value) if isinstance(value, os.PathLike) else str(value)
    words = {word.lower() for word in task.special}
    if _WORD.fullmatch(text) or text.lower() in words:
        plan.texts[name] = text
    else:
        plan.targets[name] = _target(text, name)


def _plan_input(task: Task, plan: Plan, name: str, value: Any) -> None:
    either = name in task.either
    listed = isinstance(value, (list, tuple)) and not either
    if not listed and str(value).startswith("@") and not either:
        value, listed = _listed(task, str(value)[1:]), True
    if listed:
        if name not in task.lists and len(value) > 1:
            raise ParameterError(f"{task.name} takes one file for {name}, found {len(value)}")
        if not value:
            raise ParameterError(f"{task.name} was given no file for {name}")
        plan.inputs[name] = [_source(task, name, one) for one in value]
        if len(value) > 1:
            plan.lists.add(name)
        return
    text = os.fspath(value) if isinstance(value, os.PathLike) else str(value)
    found = _split(text)
    if found:
        plan.inputs[name] = [_ordinary(task, name, found)]
    elif either:
        plan.texts[name] = value
    elif _WORD.fullmatch(text):
        plan.texts[name] = text
    else:
        plan.inputs[name] = [_source(task, name, value)]


def _listed(task: Task, path: str) -> list[str]:
    """Return the names in a list of files (``@list``)."""
    try:
        lines = Path(path).expanduser().read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise MissingFileError(f"{task.name}: there is no list of files {path}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise FileFormatError(f"{task.name}: cannot read the list of files {path}: {error}") from error
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def _split(text: str) -> tuple[Path, str] | None:
    """Split a name into an existing file and the suffix that chooses a part of it; `None` without a file."""
    if not text.strip():
        return None
    path = Path(text).expanduser()
    if path.exists():
        return path.absolute(), ""
    # brackets and signs may be in the name, too: the longest name that exists is meant
    for place in sorted((found.start() for found in re.finditer(r"[\[+:]", text)), reverse=True):
        path = Path(text[:place]).expanduser()
        if _SUFFIX.fullmatch(text[place:]) and path.exists():
            return path.absolute(), text[place:]
    return None


def _source(task: Task, name: str, value: Any) -> tuple[Path, str]:
    text = os.fspath(value) if isinstance(value, os.PathLike) else str(value)
    found = _split(text)
    if found is None:
        raise MissingFileError(f"{task.name}: there is no file {text!r} for {name}")
    return _ordinary(task, name, found)


def _ordinary(task: Task, name: str, found: tuple[Path, str]) -> tuple[Path, str]:
    """Return a file or folder; refuse pipes and devices, which would be waited for without end."""
    if not (found[0].is_file() or found[0].is_dir()):
        raise FileFormatError(f"{task.name}: {found[0]} for {name} is neither a file nor a folder")
    return found


def _refuse_inputs(task: Task, plan: Plan) -> None:
    sources = {path.resolve() for paths in plan.sources.values() for path in paths}
    seen: dict[Path, str] = {}
    for name, target in plan.targets.items():
        if target.resolve() in sources:
            raise WriteError(
                f"{task.name}: refused to write {name} to {target}: it is an input; inputs are never changed"
            )
        if target in seen:
            raise ParameterError(f"{task.name}: {name} and {seen[target]} are both to be written to {target}")
        seen[target] = name


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
        copy_folder(path, place, plan.targets.values())
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


def publish(moves: list[tuple[Path, Path]], replaceable: set[Path]) -> None:
    """Move finished outputs to their places, each at once.

    Parameters
    ----------
    moves
        What was made, and where it belongs.
    replaceable
        Targets that may be replaced.

    Raises
    ------
    WriteError
        If a target has come to exist meanwhile, or cannot be written.
    """
    for made, target in moves:
        try:
            if target.is_dir() and not target.is_symlink() and target in replaceable:
                aside = target.with_name(f".{target.name}.{secrets.token_hex(4)}.old")
                os.rename(target, aside)
                _move(made, target)
                shutil.rmtree(aside, ignore_errors=True)
            elif target in replaceable or not os.path.lexists(target):
                _move(made, target)
            else:
                raise WriteError(f"{target} came to exist while the tool ran; it was not replaced")
        except OSError as error:
            if isinstance(error, WriteError):
                raise
            raise WriteError(f"cannot write {target}: {error.strerror or error}") from error


def _move(made: Path, target: Path) -> None:
    try:
        os.replace(made, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        # another file system: copy beside the target, then rename
        near = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
        try:
            if made.is_dir():
                shutil.copytree(made, near)
            else:
                shutil.copyfile(made, near)
            os.replace(near, target)
        finally:
            if near.is_dir():
                shutil.rmtree(near, ignore_errors=True)
            else:
                near.unlink(missing_ok=True)
