"""A pipeline: named steps that write products, each done once, and again when what it depends on changed."""

from __future__ import annotations

import fnmatch
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batx import __version__
from batx.errors import BatxError, BatxWarning, MissingFileError, ValueRangeError, WriteError
from batx.pipelines.lock import locked
from batx.pipelines.records import Record, Records, plain

__all__ = ["Pipeline", "SkippedError", "Status", "Step", "Work"]


class SkippedError(BatxError):
    """Raised by a step that has nothing to do here; its text says why."""


#: files, or names and texts
Outside = Iterable[str | os.PathLike[str]] | Mapping[str, str]


@dataclass(frozen=True)
class Step:
    """A step: a function from what earlier steps wrote to files.

    Attributes
    ----------
    name, text
        What it is called, and what it does, in a few words.
    make
        Function of a `Work`: reads through it, writes files (`Work.output`), returns what it found out
        (a mapping of JSON values) or nothing. A `BatxError` that it raises is noted as the reason why it
        failed, `SkippedError` why there is nothing to do; steps that do not need it go on. `WriteError` and
        all other errors end the run.
    needs
        Steps that must be done before.
    uses
        Steps before, whose products are used if they are done.
    options
        Names of the options that it depends on; it sees no others.
    outside
        Function of these options that returns the files it reads that are not products, or a mapping from
        names to texts that change when what it reads does (sizes of many large files, say); called when the
        step has finished, so files that the step fetches count.
    revision
        To be raised when the step comes to give something else.
    """

    name: str
    text: str
    make: Callable[[Work], Mapping[str, Any] | None]
    needs: Sequence[str] = ()
    uses: Sequence[str] = ()
    options: Sequence[str] = ()
    outside: Callable[[Mapping[str, Any]], Outside] | None = None
    revision: int = 1

    @property
    def before(self) -> tuple[str, ...]:
        """The steps that it reads from."""
        return *self.needs, *self.uses


@dataclass
class Work:
    """What a step is given.

    Attributes
    ----------
    folder
        Empty folder; the files that are in it at the end become the products of the step, under the same
        names below the folder of results, all at once.
    options
        The options that the step depends on.
    before
        Records of the steps that it needs or uses: their ``state``, ``facts``, ``notes`` and ``reason``.
    progress
        To be called with what is being done, a few words.
    notes
        Add sentences to it that the user should read: what was not done, and why.
    """

    folder: Path
    options: Mapping[str, Any]
    before: Mapping[str, Record]
    progress: Callable[[str], None]
    root: Path
    _scratch: Path
    notes: list[str] = field(default_factory=list)

    @property
    def scratch(self) -> Path:
        """Folder for partial results: kept if the step is interrupted or fails, removed once it is done."""
        self._scratch.mkdir(parents=True, exist_ok=True)
        return self._scratch

    def paths(self, step: str, pattern: str = "*") -> list[Path]:
        """Return the products of a step that match a pattern (of `fnmatch`), in the order of their names."""
        record = self.before[step]
        held = record.products if record.state == "done" else {}
        return [self.root / name for name in sorted(held) if fnmatch.fnmatchcase(name, pattern)]

    def path(self, step: str, pattern: str = "*") -> Path:
        """Return the one product of a step that matches a pattern.

        Raises
        ------
        MissingFileError
            If there is none, with the reason that the step gave.
        """
        found = self.paths(step, pattern)
        if len(found) == 1:
            return found[0]
        record = self.before[step]
        why = "; ".join(filter(None, [record.reason, *record.notes])) or f"found {len(found)} files"
        raise MissingFileError(f"needs {pattern} of the step {step!r}: {why}")

    def output(self, name: str) -> Path:
        """Return the path of a product to be written; its folder is made."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


@dataclass(frozen=True)
class Status:
    """Where a step stands.

    Attributes
    ----------
    name, text
        The step.
    state
        ``"done"``, ``"skipped"`` (nothing to do here), ``"failed"``, ``"blocked"`` (needs one that failed),
        ``"to do"``, or ``"running"``.
    reason
        Why it is not done, or what it is doing.
    products
        Files that it wrote.
    facts, notes
        What it found out, and what a person should know.
    """

    name: str
    text: str
    state: str
    reason: str = ""
    products: tuple[Path, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Pipeline:
    """Steps that turn inputs into a folder of products.

    Every step reads only files, and what it wrote is put in place at once, with a record of what was asked
    for. So a run may end anywhere, also by force, and the next one goes on with what is missing, with the
    same result. A step is done again if its options, the checksums of its inputs or the version of batx
    changed, or its products did. Products of a step that cannot be done, since one that it needs failed,
    stay: they are right again, and not made anew, once that one has its earlier result.

    Parameters
    ----------
    name
        Of the pipeline.
    steps
        In order; a step reads from steps before it.
    folder
        For the results; made when the pipeline is run.
    options
        All options of all steps; values that JSON can hold.

    Examples
    --------
    >>> import tempfile
    >>> def count(work):
    ...     words = Path(work.options["text"]).read_text().split()
    ...     work.output("count.txt").write_text(str(len(words)))
    ...     return {"words": len(words)}
    >>> def double(work):
    ...     number = int(work.path("count").read_text())
    ...     work.output("double.txt").write_text(str(2 * number))
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "a.txt").write_text("one two three")
    >>> steps = [
    ...     Step("count", "count the words", count, options=["text"], outside=lambda o: [Path(o["text"])]),
    ...     Step("double", "twice as many", double, needs=["count"]),
    ... ]
    >>> pipeline = Pipeline("words", steps, folder / "out", {"text": str(folder / "a.txt")})
    >>> [status.state for status in pipeline.run()]
    ['done', 'done']
    >>> (folder / "out" / "double.txt").read_text(), pipeline.status()[0].facts
    ('6', {'words': 3})
    """

    def __init__(
        self, name: str, steps: Iterable[Step], folder: Path, options: Mapping[str, Any] | None = None
    ) -> None:
        self.name = name
        self.steps = tuple(steps)
        self.folder = Path(folder).expanduser().absolute()
        self.options = {key: plain(value, key) for key, value in (options or {}).items()}
        self._records = Records(self.folder)
        known: set[str] = set()
        for step in self.steps:
            unknown = [*set(step.before) - known, *set(step.options) - set(self.options)]
            if unknown:
                raise ValueRangeError(
                    f"step {step.name!r}: found {', '.join(map(repr, unknown))}, expected names of earlier "
                    "steps and of options of the pipeline"
                )
            if step.name in known:
                raise ValueRangeError(f"step {step.name!r}: found twice, expected one step of each name")
            known.add(step.name)

    def __repr__(self) -> str:
        return f"<Pipeline {self.name}: {', '.join(step.name for step in self.steps)} in {self.folder}>"

    def status(self) -> list[Status]:
        """Return where each step stands; nothing is changed."""
        found: dict[str, Record] = {}
        return [self._status(step, *self._look(step, found)) for step in self.steps]

    def run(
        self,
        *names: str,
        since: str | None = None,
        redo: bool = False,
        progress: Callable[[Status], None] = lambda _: None,
    ) -> list[Status]:
        """Do what is to be done.

        Parameters
        ----------
        *names
            Steps; those that they need or use are done too if they are not up to date. By default all.
        since
            Do this step and all that come after it and read from it again, though nothing changed.
        redo
            Do the named steps again, though nothing changed.
        progress
            Called when a step begins (state ``"running"``), says what it does, and ends.

        Returns
        -------
        list of Status
            Of the steps that were asked for; what failed is among them, with the reason.

        Raises
        ------
        ValueRangeError
            If there is no such step.
        WriteError
            If another run is at work in the folder, it holds something else, or cannot be written.
        """
        self._require(*names, *([since] if since is not None else []))
        again = self._after(since) if since is not None else set()
        again |= (set(names) or {step.name for step in self.steps}) if redo else set()
        wanted = self._with_needs(set(names)) if names else {step.name for step in self.steps}
        self._records.prepare(self.name)
        found: dict[str, Record] = {}
        statuses = []
        with locked(self._records.home / "lock"):
            self._records.tidy()
            for step in self.steps:
                if step.name not in wanted:
                    continue
                record, reason = self._look(step, found)
                if record is None or record.state in ("failed", "blocked") or step.name in again:
                    found[step.name] = record = self._do(step, found, progress)
                    reason = record.reason
                statuses.append(self._status(step, record, reason))
                progress(statuses[-1])
        return statuses

    def _require(self, *names: str) -> None:
        known = [step.name for step in self.steps]
        for name in names:
            if name not in known:
                raise ValueRangeError(f"step: found {name!r}, expected one of {', '.join(known)}")

    def _with_needs(self, names: set[str]) -> set[str]:
        """Return steps and all that they read from."""
        for step in reversed(self.steps):
            if step.name in names:
                names = names | set(step.before)
        return names

    def _after(self, name: str) -> set[str]:
        """Return a step and all that read from it."""
        later = {name}
        for step in self.steps:
            if later & set(step.before):
                later.add(step.name)
        return later

    def _request(self, step: Step, found: Mapping[str, Record]) -> dict[str, Any]:
        """Return all that the result of a step depends on, but for files that are not products."""
        return {
            "version": __version__,
            "revision": step.revision,
            "options": {name: self.options[name] for name in step.options},
            "steps": {name: found[name].result for name in step.before},
        }

    def _outside(self, step: Step) -> dict[str, str | None]:
        if step.outside is None:
            return {}
        found = step.outside({key: self.options[key] for key in step.options})
        return {**found} if isinstance(found, Mapping) else self._records.checksums.of_all(found)

    def _look(self, step: Step, found: dict[str, Record]) -> tuple[Record | None, str]:
        """Return the record of a step if it is up to date, and add it to those found; or why it is not."""
        waiting = [name for name in step.before if name not in found]
        if waiting:
            return None, f"after {', '.join(waiting)}"
        record = self._records.read(step.name)
        if record is None or record.state == "placing":
            return None, "" if record is None else "was interrupted"
        now = self._request(step, found) | {"outside": self._outside(step)}
        reason = _difference(record.request, now) or self._records.intact(record)
        if reason:
            return None, reason
        found[step.name] = record
        return record, record.reason

    def _do(self, step: Step, found: Mapping[str, Record], progress: Callable[[Status], None]) -> Record:
        """Do a step, and put its products and its record in place."""
        request = self._request(step, found)
        record = Record(step.name, "done", request)
        folder = self._records.staging(step.name)
        blocked = [found[name] for name in step.needs if found[name].state != "done"]
        if blocked:
            record.state = "skipped" if all(one.state == "skipped" for one in blocked) else "blocked"
            record.reason = _cause(blocked[0])
            if record.state == "blocked" and self._records.made(step.name):
                self._records.clear(step.name, scratch=False)
                record.notes = ["what is there is of an earlier run"]
                return record
        else:
            work = Work(
                folder=folder,
                options=dict(request["options"]),
                before={name: found[name] for name in step.before},
                progress=lambda text: progress(Status(step.name, step.text, "running", text)),
                root=self.folder,
                _scratch=self._records.scratch(step.name, request),
            )
            work.progress(step.text)
            self._make(step, work, record)
        if record.state != "done":
            folder = self._records.staging(step.name)
        record.request["outside"] = self._outside(step)
        self._records.place(record, folder)
        self._records.clear(step.name, scratch=record.state == "done")
        return record

    def _make(self, step: Step, work: Work, record: Record) -> None:
        """Call the function of a step; take down what it says, and what it warns of."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", BatxWarning)
            try:
                record.facts = plain(dict(step.make(work) or {}), f"facts of the step {step.name}")
            except SkippedError as reason:
                record.state, record.reason = "skipped", str(reason)
            except WriteError:
                raise
            except BatxError as error:
                record.state, record.reason = "failed", f"{error}"
            except OSError as error:
                raise WriteError(f"step {step.name!r}: {error}; run it again to go on") from error
        for one in caught:
            if issubclass(one.category, BatxWarning):
                work.notes.append(f"warning: {one.message}")
            else:
                warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
        record.notes = list(dict.fromkeys(work.notes))

    def _status(self, step: Step, record: Record | None, reason: str) -> Status:
        if record is None:
            return Status(step.name, step.text, "to do", reason)
        return Status(
            step.name,
            step.text,
            record.state,
            reason,
            tuple(self.folder / name for name in record.products),
            record.facts,
            tuple(record.notes),
        )


def _cause(record: Record) -> str:
    """Return why a step that needs this one is not done; the first cause, not the way from it."""
    return record.reason if record.reason.startswith("needs ") else f"needs {record.step}: {record.reason}"


def _difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return what changed between two requests; empty if nothing did."""
    for part, names in (("options", "option"), ("outside", "file"), ("steps", "step")):
        held, wanted = before.get(part, {}), now[part]
        for name in sorted(held.keys() | wanted.keys()):
            if held.get(name) != wanted.get(name):
                return f"{names} {name} changed"
    for name in ("version", "revision"):
        if before.get(name) != now[name]:
            return f"{name} was {before.get(name)}, is {now[name]}"
    return ""
