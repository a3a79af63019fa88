"""Steps of the pipeline of XMM-Newton, first part: observation data to event lists without flares."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import xarray as xr

from batx.errors import EmptySelectionError, FileFormatError, MissingFileError, ValueRangeError
from batx.flares import flare_gti
from batx.heasoft import Result, Sas
from batx.intervals import gti_union
from batx.io.file import FitsFile
from batx.io.open import open_dataset
from batx.io.write import to_fits
from batx.pipelines.frame import Work
from batx.pipelines.missions import sas
from batx.pipelines.missions.places import header_row
from batx.pipelines.missions.tasks import tool
from batx.pipelines.missions.toolbox import Toolbox, ToolSteps, each, place, put

__all__ = ["PRODUCTS", "Events", "archives", "environment", "threshold_of", "unpack"]

#: what a threshold may be given for
PRODUCTS = ("spectrum", "curve", "image")
_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".zip")
_CHAINS = {"pn": "epproc", "mos": "emproc"}
_DEPTH = 3


def archives(options: Mapping[str, Any]) -> list[Path]:
    """Return the archives that observations are given as."""
    return [path for path in map(Path, options["observations"]) if path.is_file()]


def unpack(work: Work, mirrors: Sequence[str]) -> dict[str, Any]:
    """Unpack, or download and unpack, what is no folder; find where the files of each observation are."""
    found: dict[str, str] = {}
    for name in work.options["observations"]:
        path = Path(name)
        if path.is_dir():
            folder = _odf_folder(path)
            _add(found, _obs_id(folder), str(folder))
            continue
        if not path.is_file():
            path = _download(work, name, mirrors)
        inside = place(work, f"unpacked/{path.name}")
        _unpack_all(path, inside)
        folder = _odf_folder(inside)
        obs_id = _obs_id(folder)
        _add(found, obs_id, f"odf/{obs_id}")
        for file in sorted(p for p in folder.iterdir() if p.is_file()):
            put(work, file, f"odf/{obs_id}/{file.name}")
    return {"folders": dict(sorted(found.items()))}


def _add(found: dict[str, str], obs_id: str, folder: str) -> None:
    if obs_id in found:
        raise ValueRangeError(f"observation {obs_id} is given twice; give it once")
    found[obs_id] = folder


def _download(work: Work, name: str, mirrors: Sequence[str]) -> Path:
    from batx.transfer import download

    obs_id = Path(name).name
    if not (obs_id.isdigit() and len(obs_id) == 10):
        raise MissingFileError(
            f"there is no {name}; expected a folder, an archive ({', '.join(_ARCHIVES)}), or an "
            "observation id of ten digits"
        )
    work.progress(f"download {obs_id}")
    urls = [mirror.format(obs_id=obs_id) for mirror in mirrors]
    return download(urls, place(work, "downloads") / f"{obs_id}.tar.gz", kind="tar")


def _unpack_all(path: Path, folder: Path, depth: int = 0) -> None:
    """Unpack an archive, and those that are in it (an observation's data are)."""
    from batx.transfer import unpack as unpack_one

    if depth > _DEPTH:
        raise FileFormatError(f"{path}: archives in archives in archives; unpack it yourself")
    for made in unpack_one(path, folder, overwrite=True):
        if made.name.lower().endswith(_ARCHIVES):
            _unpack_all(made, folder, depth + 1)
            made.unlink()


def _odf_folder(folder: Path) -> Path:
    """Return the folder that holds the observation data files: itself, or one below."""
    for one in (folder, folder / "ODF", folder / "odf", *sorted(p for p in folder.iterdir() if p.is_dir())):
        if one.is_dir() and any(_is_odf(path.name) for path in one.iterdir()):
            return one
    raise MissingFileError(
        f"{folder}: found no observation data files of XMM-Newton (*.SAS, *_OBX*.FIT, *_*.ASC)"
    )


def _is_odf(name: str) -> bool:
    stem = name.upper().split("_")
    return len(stem) >= 3 and stem[0].isdigit() and len(stem[1]) == 10 and stem[1].isdigit()


def _obs_id(folder: Path) -> str:
    return next(path.name.split("_")[1] for path in sorted(folder.iterdir()) if _is_odf(path.name))


def environment(work: Work, name: str) -> dict[str, str]:
    """Return the environment that tasks need for an observation."""
    files = work.before["calibrate"].facts["files"][name]
    return {"SAS_CCF": str(work.root / files["index"]), "SAS_ODF": str(work.root / files["summary"])}


class Events(ToolSteps):
    """The steps that call tasks."""

    def calibrate(self, work: Work) -> dict[str, Any]:
        """Run cifbuild and odfingest for each observation."""
        _require_calibration(self.toolbox)

        def one(name: str, folder: Path) -> dict[str, str]:
            index = self.toolbox.one(
                work,
                name,
                tool("cifbuild"),
                calindexset=place(work, name) / "ccf.cif",
                environment={"SAS_ODF": str(folder)},
            )["calindexset"]
            odf = self.toolbox.one(
                work,
                name,
                tool("odfingest"),
                odfdir=str(folder),
                into=place(work, f"{name}/odf"),
                environment={"SAS_ODF": str(folder), "SAS_CCF": str(index)},
            )
            made = odf.products["summary"][0]
            put(work, index, f"calibration/{name}/ccf.cif")
            put(work, made, f"calibration/{name}/{made.name}")
            return {"index": f"calibration/{name}/ccf.cif", "summary": f"calibration/{name}/{made.name}"}

        folders = {name: work.root / path for name, path in work.before["unpack"].facts["folders"].items()}
        jobs = {name: partial(one, name, folder) for name, folder in folders.items()}
        return {"files": self.toolbox.chains(work, jobs)}

    def events(self, work: Work) -> dict[str, Any]:
        """Run epproc (or epchain) and emproc for each observation; take down what each exposure is."""
        wanted = work.options["exposures"]
        calls = {
            f"{name}_{camera}{number}": self.toolbox.request(
                work,
                f"{name}_{camera}{number}",
                tool(chain),
                into=place(work, f"{name}_{camera}{number}/out"),
                environment=environment(work, name),
                **parameters,
            )
            for name in work.before["calibrate"].facts["files"]
            for camera in work.options["cameras"]
            for number, (chain, parameters) in enumerate(
                _chains(camera, work.options["chain"], wanted, _odf_names(work, name))
            )
        }
        found = []
        for key, result in self.toolbox.run(work, calls).items():
            name = key.partition("_")[0]
            for path in result.products["events"]:
                put(work, path, f"events/{name}/{path.name}")
                found.append(_exposure_row(path) | {"path": f"events/{name}/{path.name}", "obs_id": name})
        rows = [row for row in found if not wanted or row["name"] in wanted]
        if not rows:
            raise EmptySelectionError(
                f"exposures: found {'; '.join(map(_described, found))}, expected some of {', '.join(wanted)}"
            )
        return {"exposures": rows}

    def exposures(self, work: Work) -> dict[str, Any]:
        """Choose the exposures of each camera, and merge those that are alike."""
        groups: dict[str, list[dict[str, Any]]] = {}
        for row in work.before["events"].facts["exposures"]:
            groups.setdefault(f"{row['obs_id']}_{row['instrument']}", []).append(row)

        def one(key: str, rows: list[dict[str, Any]]) -> str:
            options = work.options
            chosen = sas.choose_exposures(rows, min_exposure=options["min_exposure"], merge=options["merge"])
            if left := [_described(row) for row in rows if row not in chosen]:
                work.notes.append(f"{key}: used {_described(chosen[0])}, not {'; '.join(left)}")
            chosen.sort(key=lambda row: row["start_mjd"])  # merge wants the earlier one first
            path = work.root / chosen[0]["path"]
            for number, row in enumerate(chosen[1:], 1):
                path = self.toolbox.one(
                    work,
                    key,
                    tool("merge"),
                    set1=path,
                    set2=work.root / row["path"],
                    outset=place(work, key) / f"merged_{number}.evt",
                    environment=environment(work, rows[0]["obs_id"]),
                )["outset"]
            if len(chosen) == 1:
                return str(chosen[0]["path"])
            put(work, path, f"events/{key}_merged.evt")
            work.notes.append(f"{key}: merged {', '.join(row['name'] for row in chosen)}")
            return f"events/{key}_merged.evt"

        return {"events": each(work, groups, one)}

    def flares(self, work: Work) -> dict[str, Any]:
        """Filter each event list by the rate above 10 keV: a list for each threshold asked for."""
        jobs = {
            key: partial(self._filtered, work, key, path)
            for key, path in work.before["exposures"].facts["events"].items()
        }
        return {"lists": self.toolbox.chains(work, jobs)}

    def _filtered(self, work: Work, key: str, path: str) -> dict[str, Any]:
        name, _, instrument = key.partition("_")
        limits = {
            product: threshold_of(work.options["thresholds"], instrument, product) for product in PRODUCTS
        }
        made: dict[Any, str] = {}
        facts: dict[str, Any] = {}
        curve = self._flare_curve(work, key, work.root / path, environment(work, name))
        to_fits(curve, work.output(f"flares/{key}.lc"))
        for limit in sorted(set(limits.values()), key=lambda value: value or 0.0):
            good_time, label = "", "all"
            if limit is not None:
                label = f"{limit:g}"
                gti = flare_gti(curve, limit)
                file = to_fits(gti, place(work, key) / f"good_{label}.gti", overwrite=True)
                good_time, good = sas.in_time(file), put(work, file, f"flares/{key}_{label}.gti")
                kept, lost = gti.attrs["exposure"], gti.attrs["lost"]
                facts[label] = {"kept": kept, "lost": lost, "gti": good.name}
                if kept < lost:
                    work.notes.append(
                        f"{key}: {kept / 1000:.1f} ks are below {label} count/s, {lost / 1000:.1f} ks are "
                        f"not; see figures/flares_{key}.png"
                    )
            result = self.toolbox.one(
                work,
                key,
                tool("evselect"),
                table=work.root / path,
                withfilteredset=True,
                destruct=True,
                keepfilteroutput=True,
                filteredset=place(work, key) / f"filtered_{label}.evt",
                expression=sas.expression(sas.flag_of(instrument, "list"), good_time),
                environment=environment(work, name),
            )
            made[limit] = f"events/{key}_{label}.evt"
            put(work, result["filteredset"], made[limit])
        return {"lists": {product: made[limit] for product, limit in limits.items()}, "thresholds": facts}

    def _flare_curve(self, work: Work, key: str, path: Path, env: Mapping[str, str]) -> xr.Dataset:
        instrument = key.partition("_")[2]
        result: Result = self.toolbox.one(
            work,
            key,
            tool("evselect"),
            table=path,
            withrateset=True,
            rateset=place(work, key) / "flares.lc",
            timebinsize=work.options["flare_dt"],
            maketimecolumn=True,
            makeratecolumn=True,
            expression=sas.flag_of(instrument, "flares"),
            environment=dict(env),
        )
        curve = _within_good_time(result.open("rateset").load(), path)
        return curve.assign_coords(
            energy=("energy", [11.0], {"units": "keV"}),
            energy_bnds=(("energy", "bnds"), [[10.0, 12.0]], {"units": "keV"}),
        )


def _within_good_time(curve: xr.Dataset, path: Path) -> xr.Dataset:
    """Return a light curve with the time in which any CCD of its event list was on as its good time.

    Without, the time between two exposures that are merged were taken for time without flares.
    """
    file = FitsFile(path)
    tables = [
        open_dataset(path, hdu=number)
        for number, (hdu, kind) in enumerate(zip(file.hdus, file.kinds, strict=True))
        if kind == "gti" and hdu.name.startswith(("STDGTI", "GTI")) and hdu.rows
    ]
    if not tables:
        return curve
    good = gti_union(*tables)
    bare = curve.drop_vars(["gti_start", "gti_stop"], errors="ignore")
    return bare.assign({f"gti_{end}": ("gti", good[end].values, {"units": "s"}) for end in ("start", "stop")})


def threshold_of(thresholds: Mapping[str, float | None], instrument: str, product: str) -> float | None:
    """Return the threshold of a product: of ``mos1.curve``, ``mos1``, ``mos.curve``, ``mos`` the first.

    Examples
    --------
    >>> threshold_of({"mos": 0.35, "mos.curve": None}, "mos2", "curve") is None
    True
    """
    camera = instrument.rstrip("12")
    for key in (f"{instrument}.{product}", instrument, f"{camera}.{product}", camera):
        if key in thresholds:
            return thresholds[key]
    return None


def _require_calibration(toolbox: Toolbox) -> None:
    """Raise unless SAS is told where the calibration files are: without, cifbuild makes an empty index.

    Raises
    ------
    MissingFileError
        If ``SAS_CCFPATH`` is not set, or names no folder.
    """
    if not (toolbox.backend in (None, "sas") or isinstance(toolbox.backend, Sas)):
        return
    own = toolbox.backend.environment if isinstance(toolbox.backend, Sas) else {}
    text = {**os.environ, **own, **toolbox.environment}.get("SAS_CCFPATH", "")
    if not any(Path(one).is_dir() for one in text.split(":") if one):
        raise MissingFileError(
            f"SAS_CCFPATH: found {text or 'nothing'}, expected the folder of the current calibration files "
            "(CCF) of XMM-Newton: fetch them as the installation of SAS says, and export SAS_CCFPATH"
        )


def _odf_names(work: Work, name: str) -> list[str]:
    """Return the names of the observation data files of an observation."""
    return [path.name for path in (work.root / work.before["unpack"].facts["folders"][name]).iterdir()]


def _chains(
    camera: str, chain: str, wanted: Sequence[str], files: Sequence[str]
) -> list[tuple[str, dict[str, Any]]]:
    """Return the tasks that make the event lists of a camera, with parameters: epchain takes one exposure.

    Examples
    --------
    >>> _chains("pn", "epchain", ["S003"], [])
    [('epchain', {'schedule': 'S', 'exposure': 3})]
    >>> _chains("pn", "epproc", ["S003"], ["2277_0693760101_PNS00301IME.FIT"])
    [('epproc', {'withinstexpids': True, 'instexpids': 'PNS003'})]
    """
    if camera != "pn" or chain == "epproc":
        named = sas.named_exposures(files, camera, wanted)
        return [(_CHAINS[camera], {"withinstexpids": True, "instexpids": named} if named else {})]
    several = wanted or sas.imaging_exposures(files)
    return [("epchain", {"schedule": one[0], "exposure": int(one[1:])}) for one in several] or [
        ("epchain", {})
    ]


def _described(row: Mapping[str, Any]) -> str:
    """Return what an exposure is in some words.

    Examples
    --------
    >>> _described({"name": "U002", "submode": "FastTiming", "filter": "Thin1", "exposure": 9e3})
    'U002 (FastTiming, Thin1, 9000 s)'
    """
    return f"{row['name']} ({row['submode'] or row['mode']}, {row['filter']}, {row['exposure']:.0f} s)"


def _exposure_row(path: Path) -> dict[str, Any]:
    """Return what an event list says of its exposure, some of it only in the primary header."""
    file = FitsFile(path)
    attrs = {**file.attrs(file.primary), **open_dataset(path).attrs}
    header = str(attrs.get("instrument", "")).upper()
    times = header_row(path)
    return {
        "name": str(attrs.get("expidstr", os.path.splitext(path.name)[0])),
        "instrument": sas.INSTRUMENTS.get(header, header.lower()),
        "mode": str(attrs.get("datamode", "")),
        "submode": str(attrs.get("submode", "")),
        "filter": str(attrs.get("filter", "")),
        "exposure": times["exposure"],
        "start_mjd": times["start_mjd"],
    }
