"""What is known of the steps that were done: JSON records, checksums, and files put in place all at once."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from batx.errors import ValueRangeError, WriteError
from batx.io.atomic import atomic_path

__all__ = ["Checksums", "Record", "Records", "digest", "plain", "without_nan"]

_CHUNK = 1 << 20


def plain(value: Any, name: str) -> Any:
    """Return a value as JSON gives it back.

    Raises
    ------
    ValueRangeError
        If it is nothing that JSON can hold.
    """
    try:
        return json.loads(json.dumps(value, allow_nan=True))
    except (TypeError, ValueError) as error:
        raise ValueRangeError(
            f"{name}: found {value!r}, expected numbers, texts, lists and mappings of these ({error})"
        ) from None


def without_nan(value: Any) -> Any:
    """Return values with `None` for what is no finite number, which JSON has no word for.

    Examples
    --------
    >>> without_nan({"a": [1.0, float("nan")]})
    {'a': [1.0, None]}
    """
    if isinstance(value, Mapping):
        return {key: without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def digest(value: Any) -> str:
    """Return a checksum of a value of JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


class Checksums:
    """SHA-256 of files, each read once as long as its size and date stay."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int, int], str] = {}

    def of(self, path: Path) -> str | None:
        """Return the checksum of a file; `None` if there is none."""
        try:
            status = path.stat()
            key = os.fspath(path), status.st_size, status.st_mtime_ns
            if key not in self._known:
                with path.open("rb") as file:
                    self._known[key] = hashlib.file_digest(file, "sha256").hexdigest()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        return self._known[key]

    def of_all(self, paths: Iterable[str | os.PathLike[str]]) -> dict[str, str | None]:
        """Return the checksums of files by their absolute path."""
        return {os.path.abspath(path): self.of(Path(path)) for path in paths}


@dataclass
class Record:
    """What came of a step.

    Attributes
    ----------
    step, state
        Name, and one of ``"done"``, ``"skipped"``, ``"failed"``, ``"blocked"``; ``"placing"`` while products
        are put in place.
    request
        What was asked for: version, options, checksums of the inputs.
    products
        Checksum of each file, by its path below the folder of results.
    facts
        What the step found out.
    notes
        What a person should know: what could not be done and why, warnings.
    reason
        Why the step is not done.
    """

    step: str
    state: str
    request: dict[str, Any]
    products: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    reason: str = ""

    @property
    def result(self) -> dict[str, Any]:
        """What steps that use this one depend on."""
        said = digest([self.facts, self.notes, self.reason])
        return {"state": self.state, "said": said, "products": self.products}


class Records:
    """The records of a folder, and the products that they speak of.

    Parameters
    ----------
    root
        Folder of the results; what is needed to go on is in its folder ``.batx``.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = root / ".batx"
        self.checksums = Checksums()

    def prepare(self, pipeline: str) -> None:
        """Make the folder.

        Raises
        ------
        WriteError
            If it holds something else, or cannot be made.
        """
        mark = self.home / "pipeline.json"
        if not self.home.is_dir() and self.root.is_dir() and any(self.root.iterdir()):
            raise WriteError(f"{self.root}: is not empty and holds no results of batx; give another folder")
        try:
            (self.home / "steps").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WriteError(f"cannot make the folder {self.root}: {error.strerror or error}") from error
        known = _read(mark)
        if known is None:
            _write(mark, {"pipeline": pipeline})
        elif known.get("pipeline") != pipeline:
            raise WriteError(
                f"{self.root}: holds results of the pipeline {known.get('pipeline')!r}, not of {pipeline!r}; "
                "give another folder"
            )

    def tidy(self) -> None:
        """Remove what a run that was killed left half written."""
        shutil.rmtree(self.home / "staging", ignore_errors=True)
        for left in self.home.rglob(".*.tmp"):
            if "scratch" not in left.relative_to(self.home).parts:
                left.unlink(missing_ok=True)

    def read(self, step: str) -> Record | None:
        """Return the record of a step; `None` if there is none that makes sense.

        Its products are removed when the step is done again, so their names have to stay in the folder.
        """
        held = _read(self._path(step))
        try:
            record = None if held is None else Record(**held)
        except TypeError:
            return None
        return record if record is not None and _is_sound(record, self.root) else None

    def made(self, step: str) -> bool:
        """Return whether there are products of a step."""
        record = self.read(step)
        return record is not None and record.state == "done" and bool(record.products)

    def write(self, record: Record) -> None:
        """Replace the record of a step."""
        _write(self._path(record.step), asdict(record))

    def staging(self, step: str) -> Path:
        """Return an empty folder for the products of a step."""
        folder = self.home / "staging" / step
        with _written(folder):
            if folder.exists():
                shutil.rmtree(folder)
            folder.mkdir(parents=True)
        return folder

    def scratch(self, step: str, request: Mapping[str, Any]) -> Path:
        """Return the folder of partial results of a step; those of other requests are removed."""
        folder = self.home / "scratch" / step / digest(request)
        for other in folder.parent.glob("*"):
            if other != folder:
                shutil.rmtree(other, ignore_errors=True)
        return folder

    def clear(self, step: str, scratch: bool) -> None:
        """Remove the working folders of a step."""
        shutil.rmtree(self.home / "staging" / step, ignore_errors=True)
        if scratch:
            shutil.rmtree(self.home / "scratch" / step, ignore_errors=True)

    def place(self, record: Record, staging: Path) -> Record:
        """Put the files of a folder in the place of the old products of a step, and note it.

        An interruption leaves a record ``"placing"`` that names all files, old and new; they are then removed
        or replaced by the next run.

        Raises
        ------
        WriteError
            If a file would replace one that this step did not make, or cannot be written.
        """
        made = {
            path.relative_to(staging).as_posix(): path
            for path in sorted(staging.rglob("*"))
            if path.is_file() or path.is_symlink()
        }
        before = self.read(record.step)
        old = set(before.products) if before is not None else set()
        self._require_own(record.step, set(made) - old)
        sums = {name: self.checksums.of(path) or "" for name, path in made.items()}
        placing = dict.fromkeys(sorted(old | set(made)), "")
        self.write(Record(record.step, "placing", {}, placing))
        for name in old - set(made):
            self._remove(name)
        for name, path in made.items():
            target = self.root / name
            with _written(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(path, target)
        record.products = sums
        self.write(record)
        return record

    def intact(self, record: Record) -> str:
        """Return which product of a step is missing or changed; empty if none is."""
        for name, checksum in record.products.items():
            found = self.checksums.of(self.root / name)
            if found != checksum:
                return f"{name} {'is missing' if found is None else 'was changed'}"
        return ""

    def _path(self, step: str) -> Path:
        return self.home / "steps" / f"{step}.json"

    def _require_own(self, step: str, names: set[str]) -> None:
        taken = sorted(name for name in names if (self.root / name).exists())
        if taken:
            raise WriteError(
                f"{self.root / taken[0]} exists and was not made by the step {step!r}; move it away, or give "
                "another folder for the results"
            )

    def _remove(self, name: str) -> None:
        path = self.root / name
        with _written(path):
            path.unlink(missing_ok=True)
        for folder in path.relative_to(self.root).parents:
            place = self.root / folder
            if place == self.root or not place.is_dir() or any(place.iterdir()):
                return
            place.rmdir()


@contextmanager
def _written(path: Path) -> Iterator[None]:
    """Say as `WriteError` what the system refuses."""
    try:
        yield
    except OSError as error:
        raise WriteError(f"cannot write {path}: {error.strerror or error}") from error


def _is_sound(record: Record, root: Path) -> bool:
    """Return whether a record is made of what it should be, and all its products are below the folder."""
    parts = (record.request, record.products, record.facts)
    if not all(isinstance(part, dict) for part in parts) or not isinstance(record.notes, list):
        return False
    place = root.resolve()
    return all(
        not Path(name).is_absolute() and (place / name).parent.resolve().is_relative_to(place)
        for name in record.products
    )


def _read(path: Path) -> dict[str, Any] | None:
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return held if isinstance(held, dict) else None


def _write(path: Path, value: dict[str, Any]) -> None:
    with atomic_path(path, overwrite=True) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
