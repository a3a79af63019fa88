"""Recorded calls of tools: made once where the tools are, given again where they are not."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batx.errors import FileFormatError, MissingFileError, ToolError
from batx.heasoft.backends import Backend, Call
from batx.heasoft.checks import matching
from batx.heasoft.parfiles import ParFile, read_par
from batx.heasoft.processes import Ending
from batx.heasoft.redact import redact
from batx.heasoft.specs import Task

__all__ = ["Recorder", "Recording", "Replay"]


@dataclass(frozen=True)
class Recording:
    """One call that was made: what it was asked, and what it made.

    Attributes
    ----------
    task
        Name of the tool.
    parameters
        What a call must have asked to be given this; parameters that are not named here do not matter.
    outputs
        Output parameter to the file (a gzipped one is given inflated where the call's name has no ``.gz``).
    products
        Files that the tool named itself.
    inputs
        Parameter to the SHA-256 of its file; those named here must agree.
    values
        Parameters as the tool left them.
    log, code, version
        What it said, its return code, and the version.
    """

    task: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, Path] = field(default_factory=dict)
    products: tuple[Path, ...] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=dict)
    log: str = ""
    code: int = 0
    version: str = ""

    def difference(self, call: Call) -> list[str]:
        """Return in what a call differs from this one.

        Examples
        --------
        >>> call = Call(Task("x"), {"a": "2"}, Path(), Path())
        >>> Recording("x", {"a": "1"}).difference(call)
        ['a=2 (recorded: 1)']
        """
        wrong = []
        for name, recorded in self.parameters.items():
            asked = call.parameters.get(name)
            if asked is None or not _same(asked, recorded):
                wrong.append(f"{name}={asked} (recorded: {recorded})")
        for name, checksum in self.inputs.items():
            if _checksum_of(call, name) != checksum:
                wrong.append(f"content of {name}")
        return wrong


def _same(one: str, other: str) -> bool:
    if one.strip().lower() == other.strip().lower():
        return True
    try:
        return float(one) == float(other)
    except ValueError:
        return False


def _checksum_of(call: Call, name: str) -> str | None:
    """Return the checksum of the file that a call has for a parameter, `None` if it has none."""
    text = call.parameters.get(name, "").partition("[")[0]
    path = call.folder / text
    return hashlib.sha256(path.read_bytes()).hexdigest() if text and path.is_file() else None


class Replay:
    """Gives recorded results in place of running tools.

    Parameters
    ----------
    source
        A folder that `Recorder` filled (or one made by hand: ``NAME/call.json`` with the fields of
        `Recording`, files relative to it), or recordings.

    Raises
    ------
    MissingFileError
        If there is no such folder, or nothing in it.

    Examples
    --------
    >>> Replay([Recording("batbinevt")]).name
    'replay'
    """

    name = "replay"

    def __init__(self, source: str | os.PathLike[str] | Iterable[Recording]) -> None:
        self.folder = Path(source) if isinstance(source, (str, os.PathLike)) else None
        self.recordings: list[Recording]
        if isinstance(source, (str, os.PathLike)):
            self.recordings = _read_folder(Path(source))
        else:
            self.recordings = list(source)

    def parameters(self, task: Task) -> ParFile | None:
        """Return those of ``NAME.par`` in the folder, if it is there."""
        path = self.folder / f"{task.name}.par" if self.folder else None
        return read_par(path) if path is not None and path.is_file() else None

    def version(self, task: Task) -> str:
        """Return the version that was recorded."""
        versions = {one.version for one in self.recordings if one.task == task.name}
        return ", ".join(sorted(versions))

    def execute(self, call: Call) -> Ending:
        """Put what was recorded into the folder of a call; raise `ToolError` where there is no recording."""
        recording = self._find(call)
        for name, place in call.outputs.items():
            if name in recording.outputs:
                _give(recording.outputs[name], call.folder / place)
        for path in recording.products:
            shutil.copyfile(path, call.folder / path.name)
        call.log.write_text(recording.log, encoding="utf-8")
        if recording.values:
            lines = [f'{name},s,h,"{value}",,,""\n' for name, value in recording.values.items()]
            (call.folder / "pfiles" / f"{call.task.name}.par").write_text("".join(lines))
        return Ending(recording.code)

    def _find(self, call: Call) -> Recording:
        candidates = [one for one in self.recordings if one.task == call.task.name]
        if not candidates:
            raise ToolError(f"there is no recording of {call.task.name}")
        # the recording that says most of what fits is meant
        fitting = [one for one in candidates if not one.difference(call)]
        if fitting:
            return max(fitting, key=lambda one: len(one.parameters) + len(one.inputs))
        near = min((one.difference(call) for one in candidates), key=len)
        raise ToolError(f"there is no recording of this call of {call.task.name}; nearest: {', '.join(near)}")


def _give(source: Path, target: Path) -> None:
    try:
        if source.name.endswith(".gz") and not target.name.endswith(".gz"):
            with gzip.open(source) as packed, open(target, "wb") as plain:
                shutil.copyfileobj(packed, plain)
        else:
            shutil.copyfile(source, target)
    except FileNotFoundError as error:
        raise MissingFileError(f"a recording names {source}, which is not there") from error


def _read_folder(folder: Path) -> list[Recording]:
    recordings = []
    for path in sorted(folder.glob("*/call.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            recordings.append(_recording(record, path.parent))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise FileFormatError(f"{path} is no recording of a call: {error}") from error
    if not recordings:
        raise MissingFileError(f"there are no recordings (NAME/call.json) in {folder}")
    return recordings


def _recording(record: Mapping[str, Any], folder: Path) -> Recording:
    return Recording(
        record["task"],
        parameters=dict(record.get("parameters", {})),
        outputs={name: folder / place for name, place in record.get("outputs", {}).items()},
        products=tuple(folder / place for place in record.get("products", ())),
        inputs=dict(record.get("inputs", {})),
        values=dict(record.get("values", {})),
        log=str(record.get("log", "")),
        code=int(record.get("code", 0)),
        version=str(record.get("version", "")),
    )


class Recorder:
    """Runs tools with another backend, and keeps what they made for `Replay`.

    Parameters
    ----------
    backend
        What runs the tools.
    folder
        Where the recordings are kept, one folder a call; made if it is not there.

    Examples
    --------
    >>> import tempfile
    >>> Recorder(Replay([Recording("batbinevt")]), tempfile.mkdtemp()).name
    'replay'
    """

    def __init__(self, backend: Backend, folder: str | os.PathLike[str]) -> None:
        self.backend, self.folder, self.name = backend, Path(folder), backend.name

    def parameters(self, task: Task) -> ParFile | None:
        """Return those of the backend."""
        return self.backend.parameters(task)

    def version(self, task: Task) -> str:
        """Return that of the backend."""
        return self.backend.version(task)

    def execute(self, call: Call) -> Ending:
        """Run the tool, and keep what it made."""
        ending = self.backend.execute(call)
        files = {*call.outputs, *call.task.inputs, *call.task.edits, *call.task.copies}
        asked = {name: text for name, text in call.parameters.items() if name not in files}
        inputs = {name: _checksum_of(call, name) for name in (*call.task.inputs, *call.task.either)}
        key = hashlib.sha256(json.dumps([call.task.name, asked, inputs], sort_keys=True).encode()).hexdigest()
        place = self.folder / f"{call.task.name}-{key[:12]}"
        place.mkdir(parents=True, exist_ok=True)
        outputs = {name: out for name, out in call.outputs.items() if (call.folder / out).is_file()}
        for out in outputs.values():
            shutil.copyfile(call.folder / out, place / out)
        patterns = [one for several in call.task.products.values() for one in several if "/" not in one]
        products = matching(call.folder, tuple(patterns))
        for path in products:
            shutil.copyfile(path, place / path.name)
        log = call.log.read_text(encoding="utf-8", errors="replace") if call.log.is_file() else ""
        record = {
            "task": call.task.name,
            "parameters": {name: redact(text, call.environment) for name, text in asked.items()},
            "inputs": {name: checksum for name, checksum in inputs.items() if checksum},
            "outputs": outputs,
            "products": [path.name for path in products],
            "log": redact(log, call.environment),
            "code": ending.code,
            "version": self.version(call.task),
        }
        (place / "call.json").write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
        return ending
