"""Which files a call of a tool reads, edits and writes: settled before anything is made."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batx.errors import FileFormatError, MissingFileError, ParameterError, WriteError
from batx.heasoft.specs import Task

__all__ = ["Plan", "plan_files"]

#: what stands in place of a file's name
_WORD = re.compile(r"\s*(none|-|infile|default|indef|auto|caldb.*|remote.*|append.*|https?://.*|)\s*", re.I)
_SUFFIX = re.compile(r"(\+\d+)?(\[.*\])?|:[A-Za-z_]\w*(:\w+)?", re.DOTALL)
#: bytes of a name that file systems hold
_NAME_MAX = 255


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
    records
        Folder of the records of the call.
    """

    texts: dict[str, str] = field(default_factory=dict)
    inputs: dict[str, list[tuple[Path, str]]] = field(default_factory=dict)
    lists: set[str] = field(default_factory=set)
    edits: dict[str, tuple[Path, str]] = field(default_factory=dict)
    targets: dict[str, Path] = field(default_factory=dict)
    into: Path | None = None
    records: Path | None = None

    @property
    def own(self) -> list[Path]:
        """What the call itself makes: no input, where it lies in a folder that is one."""
        return [*self.targets.values(), *filter(None, [self.records])]

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
    return isinstance(value, str) and _WORD.fullmatch(value) is not None and not os.path.exists(value)


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
    text = _text(value).removeprefix("!")
    target = Path(text).expanduser().absolute()
    if not text or any(ord(letter) < 32 for letter in text) or len(os.fsencode(target.name)) > _NAME_MAX:
        raise ParameterError(f"found {text!r} for {name}, expected the name of a file to be written")
    _folder(target.parent, name)
    if os.path.exists(target) and not (target.is_file() or target.is_dir()):
        raise WriteError(f"refused to write {name} to {target}: it is neither a file nor a folder")
    return target


def _folder(value: str | os.PathLike[str], name: str) -> Path:
    folder = Path(_text(value)).expanduser().absolute()
    if not os.path.isdir(folder):
        raise MissingFileError(f"cannot write {name}: there is no folder {folder}; create it first")
    return folder


def _text(value: Any) -> str:
    """Return a name as text, whatever it is."""
    return os.fsdecode(value) if isinstance(value, (bytes, os.PathLike)) else str(value)


def _plan_output(task: Task, plan: Plan, name: str, value: Any) -> None:
    text = _text(value)
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
    text = _text(value)
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
    if os.path.exists(path):
        return path.absolute(), ""
    # brackets and signs may be in the name, too: the longest name that exists is meant
    for place in sorted((found.start() for found in re.finditer(r"[\[+:]", text)), reverse=True):
        path = Path(text[:place]).expanduser()
        if _SUFFIX.fullmatch(text[place:]) and os.path.exists(path):
            return path.absolute(), text[place:]
    return None


def _source(task: Task, name: str, value: Any) -> tuple[Path, str]:
    text = _text(value)
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
