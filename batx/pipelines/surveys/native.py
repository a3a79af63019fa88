"""Survey observations processed by batx itself: the files that batsurvey would leave, without it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from batx.errors import ValueRangeError
from batx.io.observation import open_observation
from batx.io.open import open_dataset
from batx.io.write import to_fits
from batx.schema import build
from batx.schema.attributes import ORIGIN, kept_attrs
from batx.survey_folders import STATUS_CODES
from batx.survey_observations import survey_observation
from batx.survey_results import joined_rows

__all__ = ["native_settings", "process_observation"]

_NOTHING = ("", "NONE", "CALDB", "INDEF", "DEFAULT")
_CLEAN_ALWAYS = ("ALWAYS_CLEAN==T", "ALWAYS_CLEAN")

#: parameter of batsurvey -> keyword of `batx.survey_pointing` or `batx.survey_observation`, and its type
_OPTIONS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "ncleaniter": ("iterations", int),
    "snrthresh": ("snr", float),
    "cleansnr": ("clean_snr", float),
    "brightthresh": ("bright_rate", float),
    "pcodethresh": ("pcode_min", float),
    "bkgpcodethresh": ("bkg_pcode_min", float),
    "badpixthresh": ("max_residual", float),
    "detthresh2": ("min_detectors", int),
    "copy_cleaned_radius": ("copy_radius", float),
    "balance": ("balance", str),
    "expothresh": ("min_exposure", float),
}
#: parameter -> purpose of calibration
_FILES = {
    "aperture": "aperture",
    "mask_edge_aperture": "mask_edges",
    "pulserfile": "pulser",
    "fltpulserfile": "flight_pulser",
    "residfile": "residual",
}


def native_settings(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return keywords of `batx.survey_observation` for parameters of batsurvey.

    ``keep_sky_images`` becomes ``images``, whether the images of the sky are kept.

    Raises
    ------
    ValueRangeError
        If batx has nothing for a parameter, or its value.

    Examples
    --------
    >>> native_settings({"detthresh": 10000, "cleansnr": 6, "timesep": "DPH"})
    {'filters': {'min_detectors': 10000}, 'clean_snr': 6.0, 'each': 'histogram'}
    """
    made: dict[str, Any] = {}
    for name, value in parameters.items():
        key, text = str(name).lower(), str(value).strip()
        if key in _OPTIONS:
            keyword, kind = _OPTIONS[key]
            made[keyword] = _converted(kind, name, value)
        elif key in _FILES:
            if text.split(":")[0].upper() not in _NOTHING:
                made.setdefault("calibration", {})[_FILES[key]] = text
        elif key == "detthresh":
            made.setdefault("filters", {})["min_detectors"] = _converted(int, name, value)
        elif key == "gtifile":
            if text.upper() not in _NOTHING:
                made.setdefault("filters", {})["gti"] = open_dataset(text).load()
        elif key == "timesep":
            made["each"] = _one_of(name, text, {"SNAPSHOT": "snapshot", "DPH": "histogram"})
        elif key == "keep_sky_images":
            made["images"] = _one_of(name, text, {"LAST": True, "NONE": False})
        elif key == "energybins":
            made["energy"] = _bands(name, text)
        elif key == "cleanexpr" and text.replace(" ", "").upper() in (*_CLEAN_ALWAYS, *_NOTHING):
            made["clean_flagged"] = text.replace(" ", "").upper() in _CLEAN_ALWAYS
        elif text.upper() not in _NOTHING:
            raise ValueRangeError(
                f"parameters: found {name}={text}, for which batx itself has nothing; leave it out, or "
                "process with batsurvey (engine='heasoft')"
            )
    return made


def _converted(kind: Callable[[Any], Any], name: str, value: Any) -> Any:
    try:
        return kind(value)
    except ValueError as error:
        raise ValueRangeError(f"parameters: found {name}={value!r}, expected a number") from error


def _one_of(name: str, text: str, choices: Mapping[str, Any]) -> Any:
    if text.upper() not in choices:
        raise ValueRangeError(f"parameters: found {name}={text}, expected {' or '.join(choices)}")
    return choices[text.upper()]


def _bands(name: str, text: str) -> np.ndarray:
    try:
        pairs = [[float(edge) for edge in band.split("-")] for band in text.split(",")]
        return np.array(pairs).reshape(-1, 2)
    except ValueError as error:
        raise ValueRangeError(
            f"parameters: found {name}={text}, expected bands such as 14-20,20-24"
        ) from error


def process_observation(
    folder: str | os.PathLike[str],
    target: str | os.PathLike[str],
    catalog: str | os.PathLike[str] | xr.Dataset,
    parameters: Mapping[str, Any] | None = None,
    *,
    calibration: Mapping[str, Any] | None = None,
    compat: str | None = "heasoft",
    progress: Callable[[str], None] | None = None,
) -> Path:
    """Process an observation into a folder of files, as batsurvey does.

    Parameters
    ----------
    folder
        The observation, in the layout of the archive.
    target
        Folder for the results; it is there only when all is done, and replaces one that was there before.
    catalog
        Catalogue of known sources.
    parameters
        Parameters of batsurvey, as far as `native_settings` knows them.
    calibration
        As for `batx.survey_observation`.
    compat
        As for `batx.survey_observation`. By default the numbers are those of batsurvey, so that they go with
        others of the survey and with its response.
    progress
        Called with the name of every snapshot that is done.

    Returns
    -------
    pathlib.Path
        `target`, for `batx.open_survey`: ``stats_point.fits``, ``stats_obs.fits``, ``gti/master.gti``, and a
        folder for each snapshot with the catalogue (``.cat``), image (``.img``), its noise (``.var``), mask
        (``.detmask``), attitude (``.att``), good time (``_pnt.gti``) and ``_status.txt``.

    Raises
    ------
    BatxError
        As `batx.survey_observation`.
    """
    settings = native_settings(parameters or {})
    images, own = settings.pop("images", True), settings.pop("calibration", {})
    given = {**own, **(calibration or {})}
    known = catalog if isinstance(catalog, xr.Dataset) else open_dataset(catalog).load()
    tree = open_observation(folder)
    iterations = int(settings.get("iterations", 2))
    place = Path(target)
    place.parent.mkdir(parents=True, exist_ok=True)
    workshop = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
    try:
        rows, spans, exposure = [], [], 0.0
        for snapshot in survey_observation(
            tree, known, calibration=given, maps=images, compat=compat, **settings
        ):
            rows.append(snapshot["pointing"].to_dataset())
            spans.append(snapshot["gti"].to_dataset())
            exposure = float(snapshot.attrs["histogram_exposure"])
            _write_snapshot(snapshot, workshop, iterations, images)
            if progress is not None:
                progress(str(snapshot.attrs["image_id"]))
        _write_tables(rows, spans, exposure, workshop)
        if place.exists():
            shutil.rmtree(place)
        workshop.replace(place)
    finally:
        shutil.rmtree(workshop, ignore_errors=True)
    return place


def _write_snapshot(snapshot: xr.DataTree, folder: Path, iterations: int, images: bool) -> None:
    """Write the files of a snapshot."""
    name, code = str(snapshot.attrs["image_id"]), str(snapshot.attrs["code"])
    home = folder / name
    home.mkdir()
    row = snapshot["pointing"].to_dataset()
    said = {
        "status": "SUCCESS" if code == "ok" else "FAIL",
        "code": code,
        "reason": "success" if code == "ok" else STATUS_CODES.get(code, code),
        "obsid": str(row["obs_id"].values[0]),
        "point": name,
        "ndets": f"{row['nbatdets'].values[0]}",
        "exposure": f"{row['exposure'].values[0]:.15g}",
    }
    text = ";".join(f'{key}="{value}"' for key, value in said.items())
    (home / f"{name}_status.txt").write_text(text + "\n", encoding="utf-8")
    to_fits(snapshot["gti"].to_dataset(), home / f"{name}_pnt.gti")
    if code != "ok":
        return
    to_fits(snapshot["attitude"].to_dataset(), home / f"{name}.att")
    to_fits(snapshot["detector_mask"].to_dataset(), home / f"{name}_{iterations}.detmask")
    to_fits(snapshot["catalog"].to_dataset(), home / f"{name}_{iterations}.cat")
    if images:
        image = snapshot["image"].to_dataset()
        noise = image["noise"].assign_attrs(image["rate"].attrs)
        to_fits(image.drop_vars("noise"), home / f"{name}_{iterations}.img")
        to_fits(image.drop_vars(["noise", "pcode"]).assign(rate=noise), home / f"{name}_{iterations}.var")


def _write_tables(rows: list[xr.Dataset], spans: list[xr.Dataset], exposure: float, folder: Path) -> None:
    """Write good time, the table of snapshots, and the row of the observation."""
    (folder / "gti").mkdir()
    ends = {name: np.concatenate([span[name].values for span in spans]) for name in ("start", "stop")}
    attrs = kept_attrs(spans[0].attrs, *ORIGIN)
    to_fits(build("gti", ends, attrs), folder / "gti" / "master.gti")
    table = joined_rows(rows).assign_attrs(extname="STATS_POINT")
    to_fits(table, folder / "stats_point.fits")
    good = table["image_status"].values
    first = table.isel(row=[0])
    values: dict[str, Any] = {
        "tstart": table["tstart"].values[good].min() if good.any() else np.nan,
        "tstop": table["tstop"].values[good].max() if good.any() else np.nan,
        "raw_exposure": exposure,
        "exposure": table["exposure"].values[good].sum(),
        "n_raw_images": np.int32(len(rows)),
        "n_images": np.int32(good.sum()),
    }
    columns = {name: (("row",), np.array([value])) for name, value in values.items()}
    columns["obs_id"] = (("row",), first["obs_id"].values)
    to_fits(build("table", columns, {**attrs, "extname": "STATS_OBS"}), folder / "stats_obs.fits")
