"""Make one call: look it up, prepare it, run it, check what it made, publish and record it."""

from __future__ import annotations

import math
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any

from batx.errors import BatxError, ToolError, WriteError
from batx.heasoft.backends import Backend, Call, Request
from batx.heasoft.harvest import Harvest
from batx.heasoft.ledger import Ledger
from batx.heasoft.locks import FileLock, sweep
from batx.heasoft.parfiles import ParFile, read_par
from batx.heasoft.planning import Plan
from batx.heasoft.processes import Ending
from batx.heasoft.publishing import publish
from batx.heasoft.records import Checksums, described, state_of, write_private, write_record
from batx.heasoft.redact import redact
from batx.heasoft.results import Result
from batx.heasoft.staging import is_plain, stage

__all__ = ["Making"]

_RECORDS = Path(".batx") / "calls"
#: bytes below which a disk is full
_ROOM = 2**16
#: seconds that another call may take to sweep up after one that was killed
_SWEEP = 60.0


class Making:
    """One call on its way: looked up, staged, run, checked, published and recorded."""

    def __init__(
        self,
        call: Request,
        backend: Backend,
        par: ParFile | None,
        plan: Plan,
        checksums: Checksums,
        stop: Event | None = None,
    ) -> None:
        self.stop = stop
        self.call, self.backend, self.par, self.plan, self.checksums = call, backend, par, plan, checksums
        self.task = call.task
        self.version = backend.version(call.task)
        home = Path(call.records).expanduser().absolute() if call.records else None
        if home is None and (beside := plan.home()) is not None:
            home = beside / _RECORDS
        self.home = self.plan.records = home

    def result(self) -> Result:
        """Return the result of the call, from its record or by making it."""
        if self.home is None:
            # nothing is written that a record could stand for
            with tempfile.TemporaryDirectory(prefix="batx-") as folder:
                self.plan.records = Path(folder)
                return self._make(Path(folder), None, set())
        _make_private(self.home)
        context = getattr(self.backend, "context", dict)(self.call.environment)
        known = self.backend.name, self.version, self.par, context
        ledger = Ledger(self.call, *known, self.plan, self.checksums, self.home)
        with FileLock(self.home / f"{ledger.stem}.lock", timeout=self.call.timeout):
            if not self.call.again and (earlier := ledger.known()):
                return earlier
            replaceable = ledger.replaceable()
            work = self.home / "work"
            _make_private(work)
            sweep(work)
            with _workshop(work, short=bool(self.task.named)) as folder:
                return self._make(folder, ledger, replaceable)

    def _make(self, folder: Path, ledger: Ledger | None, replaceable: set[Path]) -> Result:
        before = self._state()
        parameters, outputs, originals = stage(self.task, self.plan, folder)
        # what a tool does to the copy of a folder is its own affair: some unpack or sort what they read
        copies = {folder / place: path for place, path in originals.items() if not path.is_dir()}
        staged = state_of(copies)
        if self.par is not None:
            parameters = {one: parameters[one] for one in self.par.parameters if one in parameters}
        call = Call(
            self.task,
            parameters,
            folder,
            folder / "log",
            self.call.options,
            self.call.environment,
            outputs,
            originals,
            0.0 if math.isinf(self.call.timeout) else self.call.timeout,
            self.call.log_limit,
            self.call.file_limit,
            self.stop,
        )
        ending = self.backend.execute(call)
        result = self._told(call, ending)
        fault = _changed(before, self._state()) or _changed(staged, state_of(copies), copies)
        fault = fault or self._ending_fault(ending)
        harvest = Harvest(call, self.plan)
        if fault := fault or harvest.fault():
            raise self._failure(fault, result, ledger, folder)
        if ledger is None:
            return result
        harvest.restore_names()
        return self._finish(result, harvest, ledger, replaceable)

    def _state(self) -> _State:
        """Return the state of everything that is read; outputs are left out where they lie in its folders."""
        sources = [path for paths in self.plan.sources.values() for path in paths]
        return state_of(sources, self.plan.own)

    def _told(self, call: Call, ending: Ending) -> Result:
        """Return what is known of a run before its outputs are looked at."""
        try:
            raw = call.log.read_text(encoding="utf-8", errors="replace")
        except OSError:
            raw = ""
        command = (self.task.name, *call.arguments)
        return Result(
            self.task.name,
            command=tuple(redact(word, self.call.environment) for word in command),
            parameters={
                name: redact(text, self.call.environment)
                for name, text in (
                    self.par.complete(call.parameters) if self.par else call.parameters
                ).items()
            },
            values=_left_values(call),
            code=ending.code,
            reason=ending.reason,
            seconds=ending.seconds,
            version=self.version,
            backend=self.backend.name,
            log=redact(raw, self.call.environment),
        )

    def _ending_fault(self, ending: Ending) -> str:
        """Return why the end of a run is no success, empty if it is one."""
        if ending.reason == "timeout":
            return f"did not end within {self.call.timeout:g} s and was ended"
        if ending.reason:
            return "was ended before its time"
        if ending.signal:
            return f"was ended by signal {ending.signal}"
        return f"ended with return code {ending.code}" if ending.code else ""

    def _failure(self, fault: str, result: Result, ledger: Ledger | None, folder: Path) -> ToolError:
        """Return the error of a failed run; its log is kept where records are."""
        if ledger is not None:
            path = ledger.home / f"{ledger.stem}.failed.log"
            # a full disk must not hide why the tool failed
            with suppress(WriteError):
                write_private(path, result.log)
                result = replace(result, log_file=path)
        last = "\n".join(result.log.strip().splitlines()[-8:])[-1500:]
        said = f"; it said last:\n{last}" if last else "; it said nothing"
        kept = f"\n(log: {result.log_file})" if result.log_file else ""
        full = "" if shutil.disk_usage(folder).free > _ROOM else f"; the disk of {folder} is full"
        return ToolError(f"{self.task.name} {fault}{full}{said}{kept}", result)

    def _finish(self, result: Result, harvest: Harvest, ledger: Ledger, replaceable: set[Path]) -> Result:
        """Publish the outputs, with a record before (of what is to come) and after (that it is done)."""
        record = self._record(result, harvest, ledger)
        path, log = ledger.home / f"{ledger.stem}.json", ledger.home / f"{ledger.stem}.log"
        write_private(log, result.log)
        write_record(path, record)
        if self.call.overwrite:
            replaceable = replaceable | {target for _, target in harvest.pairs if not target.is_dir()}
        publish(harvest.pairs, replaceable)
        write_record(path, {**record, "state": "done"})
        return replace(
            result,
            outputs={name: target for name, (_, target) in harvest.outputs.items()},
            products={name: [target for _, target in pairs] for name, pairs in harvest.products.items()},
            log_file=log,
        )

    def _record(self, result: Result, harvest: Harvest, ledger: Ledger) -> dict[str, Any]:
        """Return what is recorded of a run whose outputs are about to be moved."""
        home, made = ledger.home, self.plan.own

        def entry(path: Path, target: Path) -> dict[str, Any]:
            return {**described(path, self.checksums, home), "path": os.path.relpath(target, home)}

        return {
            "state": "moving",
            "key": ledger.key,
            "task": self.task.name,
            "backend": self.backend.name,
            "version": self.version,
            "command": result.command,
            "parameters": result.parameters,
            "values": result.values,
            "environment": sorted(self.call.environment),
            "inputs": {
                name: [described(path, self.checksums, home, made) for path in paths]
                for name, paths in self.plan.sources.items()
            },
            "outputs": {name: [entry(*pair) for pair in pairs] for name, pairs in harvest},
            "seconds": round(result.seconds, 3),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        }


_State = dict[Path, tuple[int, ...]]


def _changed(before: _State, after: _State, copies: Mapping[Path, Path] | None = None) -> str:
    """Return what is to be said of inputs (or of their copies) that a run changed, empty if it did not."""
    changed = [path for path in {**before, **after} if before.get(path) != after.get(path)]
    if not changed:
        return ""
    names = ", ".join(str(copies[path] if copies else path) for path in changed[:3])
    whole = "; only a copy of it was changed" if copies else ""
    return f"changed its input {names}, which batx does not permit{whole}"


def _left_values(call: Call) -> dict[str, str]:
    """Return the parameters as the tool left them in its private parameter file."""
    path = call.folder / "pfiles" / f"{call.task.name}.par"
    if not path.is_file():
        return {}
    try:
        return {
            name: redact(one.default or "", call.environment)
            for name, one in read_par(path).parameters.items()
        }
    except BatxError:
        return {}


def _make_private(folder: Path) -> None:
    try:
        if folder.parent.name == ".batx":
            folder.parent.mkdir(mode=0o700, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise WriteError(
            f"cannot keep records in {folder}: {error.strerror or error}; give records= another folder"
        ) from error


@contextmanager
def _workshop(home: Path, short: bool = False) -> Iterator[Path]:
    """Make a private working folder that is removed at the end, or by a later call if this one is killed.

    With `short` it is given under a name that leaves room for files in a keyword of FITS (68 letters).
    """
    name = f"work-{secrets.token_hex(8)}"
    folder = home / name
    # the name is new, but another call may hold the lock for a moment, to see whether it is left over
    with FileLock(home / f"{name}.lock", timeout=_SWEEP):
        _make_private(folder)
        try:
            if is_plain(folder) and not short:
                yield folder
                return
            # tools separate lists of folders by blanks and colons, and cut long names
            with tempfile.TemporaryDirectory(prefix="batx-") as place:
                seen = Path(place) / "w"
                seen.symlink_to(folder)
                yield seen
        finally:
            shutil.rmtree(folder, ignore_errors=True)
