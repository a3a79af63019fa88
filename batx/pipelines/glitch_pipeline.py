"""The pipeline of glitches: from dates of GUANO dumps, or observations, to one catalogue."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from batx.archive.layouts import mirror_list
from batx.errors import BatxError, BatxWarning, EmptySelectionError, MissingFileError, ValueRangeError
from batx.events import join_events
from batx.glitch_catalogs import EventSource, glitch_catalog
from batx.io.listing import event_files
from batx.io.open import open_dataset
from batx.io.store import open_store
from batx.pipelines.frame import Pipeline, Step, Work
from batx.pipelines.records import without_nan
from batx.transfer import data_directory

__all__ = ["glitches"]

_ID = 11
_STORE = "glitches.zarr"
#: options of the search
_SEARCH = ("snr", "ratio", "min_score", "compat")
#: rows of the table of the report
_MOST = 50


def glitches(
    output: str | os.PathLike[str],
    *sources: str | int | os.PathLike[str],
    time: Sequence[Any] | None = None,
    data: str | os.PathLike[str] | None = None,
    mirrors: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
    offline: bool = False,
    snr: float | None = None,
    ratio: float = 3.0,
    min_score: float = 0.5,
    compat: str | None = None,
    workers: int | None = None,
) -> Pipeline:
    """Return the pipeline that searches many observations for glitches; nothing is done yet.

    Parameters
    ----------
    output
        Folder for the results.
    *sources
        Observation ids, event files, directories of observations, or directories of many of these.
    time
        First and last time of GUANO dumps whose observations are searched as well: dates, or MET.
    data, mirrors, offline
        Directory of data, places of the archive, whether to look for nothing but what is there, for
        observation ids (as for `batx.archive.fetch`). Of an observation its event files are fetched, when its
        turn comes.
    snr, ratio, min_score, compat
        As for `batx.glitches`.
    workers
        Number of observations searched at the same time, by default the number of processors.

    Returns
    -------
    Pipeline
        Call ``run()``. The steps are ``list`` (the observations, ``observations.json``), ``search`` (the
        catalogue, ``glitches.zarr``, kind ``glitches``), ``report`` (``result.json``, ``result.txt`` and a
        picture). A search that is interrupted goes on where it was, and with further sources only these are
        searched. For dates the service is asked once; ``run(since="list")`` asks it again.

    Raises
    ------
    ValueRangeError
        If there are neither sources nor times, or an argument makes no sense.
    MissingFileError
        If a source is neither there nor an observation id.

    Examples
    --------
    >>> import tempfile
    >>> from batx.simulate import Background, Glitch, observation
    >>> folder = tempfile.mkdtemp()
    >>> made = observation(
    ...     folder, background=Background(rate=0.1), duration=10.0, glitches=[Glitch(5.0, 500, reach=8)]
    ... )
    >>> pipeline = glitches(folder + "/results", made)
    >>> [status.state for status in pipeline.run("search")]
    ['done', 'done']
    >>> pipeline.status()[1].facts["glitches"]
    1
    """
    if not sources and time is None:
        raise ValueRangeError("found no sources and no time, expected observations, or the dates of dumps")
    if time is not None and len(list(time)) != 2:
        raise ValueRangeError(f"time: found {time!r}, expected first and last time")
    if compat not in (None, "batanalysis"):
        raise ValueRangeError(f"compat: found {compat!r}, expected None or 'batanalysis'")
    options = {
        "sources": [_source(source) for source in sources],
        "time": None if time is None else [one if isinstance(one, float | int) else str(one) for one in time],
        "data": str(data_directory(data).absolute()),
        "offline": bool(offline),
        "snr": snr,
        "ratio": float(ratio),
        "min_score": float(min_score),
        "compat": compat,
        "workers": workers,
    }
    steps = [
        Step("list", "list the observations", _list, options=["sources", "time", "data"], outside=_sizes),
        Step(
            "search",
            "search for glitches",
            # mirrors may have logins in them, which records must not hold
            partial(_search, mirrors=None if mirrors is None else mirror_list(mirrors)),
            needs=["list"],
            # where files come from changes nothing in a catalogue that is there; it is gone through again
            options=[*_SEARCH, "data", "offline", "workers"],
        ),
        Step("report", "table and picture", _report, needs=["list"], uses=["search"]),
    ]
    return Pipeline("glitches", steps, Path(output), options)


def _source(source: str | int | os.PathLike[str]) -> str:
    """Return an observation id, or the absolute path of a source."""
    text = f"{source:011d}" if isinstance(source, int) else str(source)
    path = Path(text).expanduser()
    if path.exists():
        return str(path.absolute())
    if len(text) == _ID and text.isdigit():
        return text
    raise MissingFileError(f"{path}: no such file or directory, and no observation id ({_ID} digits)")


def _is_id(source: str) -> bool:
    return len(source) == _ID and source.isdigit()


def _sizes(options: Mapping[str, Any]) -> dict[str, str]:
    """Return the sizes of the files in sources; their content is not read."""
    found: dict[str, str] = {}
    for source in options["sources"]:
        path = Path(source)
        if not _is_id(source):
            inner = sorted(path.rglob("*")) if path.is_dir() else [path]
            found |= {str(one): str(one.stat().st_size) for one in inner if one.is_file()}
    return found


def _list(work: Work) -> dict[str, Any]:
    """Write the observations: those given, those in folders, and those of dumps in a range of dates."""
    options = work.options
    rows: dict[tuple[str, str], None] = {}
    for source in options["sources"]:
        if _is_id(source):
            rows[source, ""] = None
        else:
            rows |= dict.fromkeys((obs_id, str(path)) for obs_id, path in event_files(source))
    if options["time"] is not None:
        from batx.archive import guano

        work.progress("asking for dumps")
        dumps = guano(options["time"])
        ids = [str(one) for one in dumps["obsid"].dropna() if _is_id(str(one))]
        if len(ids) < len(dumps):
            work.notes.append(f"{len(dumps) - len(ids)} of {len(dumps)} dumps have no data yet")
        rows |= {(one, ""): None for one in ids}
    if not rows:
        raise EmptySelectionError("found no observation with events in the sources, and no dump in the time")
    listed = [{"obs_id": obs_id, "file": file} for obs_id, file in rows]
    work.output("observations.json").write_text(json.dumps(listed, indent=1) + "\n", encoding="utf-8")
    return {"observations": len(listed)}


def _search(work: Work, mirrors: list[str] | None = None) -> dict[str, Any]:
    """Search what was listed; a catalogue that is there is added to if it was made in the same way."""
    listed = json.loads(work.path("list", "observations.json").read_text(encoding="utf-8"))
    store = work.scratch / _STORE
    search = {name: work.options[name] for name in _SEARCH}
    before = work.root / _STORE
    if not store.exists() and before.is_dir():
        shutil.rmtree(work.scratch / "copy", ignore_errors=True)
        Path(shutil.copytree(before, work.scratch / "copy")).rename(store)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", BatxWarning)
        try:
            made = _catalogue(work, listed, store, search, mirrors)
        except ValueRangeError:
            # made with other options, or of other observations
            shutil.rmtree(store)
            made = _catalogue(work, listed, store, search, mirrors)
        except EmptySelectionError as error:
            raise EmptySelectionError("; ".join([str(error), *_texts(caught)[:1]])) from error
        finally:
            failed = _texts(caught)
            work.notes.extend(failed)
    facts = {"searched": made.sizes["observation"], "glitches": made.sizes["glitch"], "warnings": len(failed)}
    made.close()
    shutil.move(store, work.folder / _STORE)
    return facts


def _texts(caught: list[warnings.WarningMessage]) -> list[str]:
    return [str(one.message) for one in caught if issubclass(one.category, BatxWarning)]


def _catalogue(
    work: Work,
    listed: list[dict[str, str]],
    store: Path,
    search: Mapping[str, Any],
    mirrors: list[str] | None,
) -> xr.Dataset:
    if store.exists():
        wanted = {row["obs_id"] for row in listed}
        with open_store(store) as held:
            if not set(np.unique(held["observation"].values).tolist()) <= wanted:
                raise ValueRangeError("the catalogue holds other observations")
    return glitch_catalog(
        _sources(work, listed, mirrors),
        store,
        workers=work.options["workers"],
        progress=work.progress,
        **{name: value for name, value in search.items() if value is not None},
    )


def _sources(work: Work, listed: list[dict[str, str]], mirrors: list[str] | None) -> Iterator[EventSource]:
    """Yield the events of what was listed; those of an observation id are fetched when they are opened."""
    for row in listed:
        if row["file"]:
            yield EventSource.of((row["obs_id"], row["file"]))
        else:
            yield EventSource(row["obs_id"], "", _Fetched(row["obs_id"], work.options, mirrors))


class _Fetched:
    """Opens the events of an observation, fetched into the directory of data."""

    def __init__(self, obs_id: str, options: Mapping[str, Any], mirrors: list[str] | None) -> None:
        self.obs_id = obs_id
        self.options = options
        self.mirrors = mirrors

    def __call__(self) -> Any:
        from batx.archive import fetch

        (folder,) = fetch(
            self.obs_id,
            instruments="bat",
            match=None if self.options["offline"] else "*bev*",
            data=self.options["data"],
            mirrors=self.mirrors,
            offline=self.options["offline"],
        )
        files = [path for _, path in event_files(folder)]
        if not files:
            raise MissingFileError(f"{folder}: found no event file")
        return files[0] if len(files) == 1 else join_events(*map(open_dataset, files))


def _report(work: Work) -> dict[str, Any]:
    """Write what was found as a table, and a picture of the most significant."""
    record = work.before["search"]
    facts: dict[str, Any] = {
        "observations": work.before["list"].facts["observations"],
        "steps": {name: {"state": one.state, "reason": one.reason} for name, one in work.before.items()},
        "notes": [*work.before["list"].notes, *record.notes],
    }
    lines = [f"{facts['observations']} observations"]
    if record.state == "done":
        with open_store(work.root / _STORE) as store:
            found = store.load()
        facts |= record.facts | {"exposure": float(found["exposure"].sum()), "rows": _rows(found)}
        hours = facts["exposure"] / 3600.0
        rate = f", {facts['glitches'] / hours:.3g} per hour" if hours else ""
        lines += [f"{facts['exposure']:.0f} s searched", f"{facts['glitches']} glitches{rate}", ""]
        lines += ["observation         start (MET)  length (s)      snr   score"]
        lines += [
            "{obs_id:<14} {start:>16.3f}  {length:>10.3f}  {snr:>7.1f}  {score:>6.2f}".format(**row)
            for row in facts["rows"]
        ]
        if found.sizes["glitch"]:
            _picture(work, found)
    else:
        lines.append(f"search {record.state}: {record.reason}")
    lines += ["", *facts["notes"]] if facts["notes"] else []
    work.output("result.json").write_text(json.dumps(without_nan(facts), indent=1) + "\n", encoding="utf-8")
    work.output("result.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {}


def _rows(found: xr.Dataset) -> list[dict[str, Any]]:
    """Return the most significant glitches."""
    order = np.argsort(-found["snr_low"].values, kind="stable")[:_MOST]
    start, stop = found["glitch_start"].values, found["glitch_stop"].values
    return [
        {
            "obs_id": str(found["obs_id"].values[row]),
            "start": float(start[row]),
            "length": float(stop[row] - start[row]),
            "snr": float(found["snr_low"].values[row]),
            "score": float(found["score"].values[row]),
        }
        for row in order
    ]


def _picture(work: Work, found: xr.Dataset) -> None:
    from batx.plots.page import save

    try:
        save(found, work.output("figures/glitches.png"))
    except BatxError as error:
        work.notes.append(f"no picture: {error}")
