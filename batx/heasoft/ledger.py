"""What a folder of records says of a call: its name, whether it was made, and what it may replace."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from batx.errors import WriteError
from batx.heasoft.backends import Request
from batx.heasoft.parfiles import ParFile
from batx.heasoft.planning import Plan
from batx.heasoft.records import Checksums, key_of, ours, read_record, unchanged
from batx.heasoft.results import Result

__all__ = ["Ledger"]


class Ledger:
    """One call in a folder of records.

    Attributes
    ----------
    home
        The folder.
    key, stem
        Checksum of what was asked, and the beginning of the names of its files.
    record
        What is recorded of the call; `None` if nothing is.
    """

    def __init__(
        self,
        call: Request,
        backend: str,
        version: str,
        par: ParFile | None,
        context: Mapping[str, str],
        plan: Plan,
        checksums: Checksums,
        home: Path,
    ) -> None:
        self.call, self.backend, self.version, self.par = call, backend, version, par
        self.context = context
        self.plan, self.checksums, self.home = plan, checksums, home
        self.key = self._key_of_call()
        self.stem = f"{call.task.name}-{self.key[:16]}"

    @property
    def record(self) -> dict[str, Any] | None:
        """What is recorded of the call now."""
        record = read_record(self.home / f"{self.stem}.json")
        return record if record is not None and record.get("key") == self.key else None

    def _key_of_call(self) -> str:
        """Return the name of the call: what was asked, of which content, from which tool."""
        made = self.plan.own
        sources = {
            name: [self.checksums.of(path, made) for path in paths]
            for name, paths in self.plan.sources.items()
        }
        suffixes = {name: [suffix for _, suffix in files] for name, files in self.plan.inputs.items()}
        targets = {
            name: os.path.relpath(target, self.home.parent) for name, target in self.plan.targets.items()
        }
        into = os.path.relpath(self.plan.into, self.home.parent) if self.plan.into else None
        texts = self.par.complete(self.plan.texts) if self.par else dict(self.plan.texts)
        files = {*sources, *targets}
        return key_of(
            {
                "task": self.call.task.name,
                "backend": self.backend,
                "version": self.version,
                "parameters": {name: text for name, text in texts.items() if name not in files},
                "options": self.call.options,
                "environment": {name: self._worth(value) for name, value in self.context.items()},
                "inputs": sources,
                "parts": suffixes,
                "outputs": targets,
                "into": into,
            }
        )

    def _worth(self, value: str) -> str:
        """Return what stands for a variable: the content of a file, indices of a calibration, or the text."""
        path = Path(value) if value.startswith("/") else None
        if path is not None and path.is_file():
            return self.checksums.of(path)
        indices = sorted(path.glob("data/*/*/caldb.indx")) if path is not None and path.is_dir() else []
        return key_of({"value": value, "indices": [self.checksums.of(index) for index in indices]})

    def known(self) -> Result | None:
        """Return the result that a record stands for, `None` if its outputs are not as they were."""
        record = self.record
        if record is None or record.get("state") != "done":
            return None
        found = unchanged(record, self.home, self.checksums)
        if found is None:
            return None
        log = self.home / f"{self.stem}.log"
        return Result(
            self.call.task.name,
            outputs={name: found[name][0] for name in self.plan.targets if name in found},
            products={name: paths for name, paths in found.items() if name not in self.plan.targets},
            command=tuple(record.get("command", ())),
            parameters=record.get("parameters", {}),
            values=record.get("values", {}),
            seconds=record.get("seconds", 0.0),
            version=self.version,
            backend=self.backend,
            log=log.read_text(encoding="utf-8", errors="replace") if log.is_file() else "",
            log_file=log if log.is_file() else None,
            cached=True,
        )

    def replaceable(self) -> set[Path]:
        """Return the targets that exist and may be replaced; complain of the others."""
        free: set[Path] = set()
        for name, target in self.plan.targets.items():
            if not os.path.lexists(target):
                continue
            own = target in ours(self.record, self.home, self.checksums)
            if target.is_dir() and not target.is_symlink():
                if not own and any(target.iterdir()) and not (self.call.overwrite and self._made(target)):
                    raise WriteError(
                        f"{self.call.task.name}: the folder {target} for {name} is there and not empty, "
                        "and no earlier call made it; choose another name"
                    )
            elif not own and not self.call.overwrite:
                raise WriteError(
                    f"{self.call.task.name}: {target} for {name} exists; give overwrite=True to replace it, "
                    "or choose another name"
                )
            free.add(target)
        return free

    def _made(self, folder: Path) -> bool:
        """Whether any call that is recorded here made a folder."""
        for path in self.home.glob("*.json"):
            for entries in (read_record(path) or {}).get("outputs", {}).values():
                for entry in entries:
                    if Path(os.path.normpath(self.home / entry["path"])) == folder:
                        return True
        return False
