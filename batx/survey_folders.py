"""What the survey processing left on disk, as one tree: pointings good and bad, observations, good time."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from batx.errors import BatxError, KindError, MissingFileError, MissingVariableError, ValueRangeError
from batx.grids import warn
from batx.io.open import open_dataset
from batx.schema import build, require_kind
from batx.schema.attributes import CLOCK, kept_attrs

__all__ = ["STATUS_CODES", "good_rows", "open_survey", "survey_images"]

#: what batsurvey says of a pointing -> what that means
STATUS_CODES = {
    "ok": "good",
    "pntgti0_failed": "its good time could not be written",
    "dpi1_failed": "no histogram lies well enough inside its good time to make a first detector image",
    "aspect_failed": "the attitude during it could not be averaged",
    "pointcheck_failed": "the time on target could not be found from the attitude",
    "dpi2_failed": "no histogram lies well enough inside the time on target",
    "dpi_check": "the detector image is not as expected",
    "expo_small": "the exposure is below the least that is asked for (150 s by default)",
    "zero_counts": "the detector image is empty",
    "batdetmask_failed": "the map of good detectors could not be made",
    "batclean1_failed": "the first fit of the background failed",
    "batfftimage_failed": "the image of the sky could not be made",
    "batoccultmap_failed": "the map of what the Earth hides could not be made",
    "cheezi_failed": "the image could not be corrected for what the Earth hides",
    "cheese_failed": "pixels of cleaned sources could not be copied back",
    "batcelldetect_failed": "sources could not be measured",
    "modcat_failed": "the catalogue could not be changed",
    "maskedge_failed1": "shadows of the mask's edge could not be computed",
    "maskedge_failed2": "detectors in shadows of the mask's edge could not be masked",
    "eff_area_failed1": "illumination by a bright source could not be computed",
    "bright_template_failed2": "the template of a bright source could not be made",
    "cleancat_failed": "the sources to be cleaned could not be chosen",
    "sigmamask1_failed": "detectors that stand out could not be found",
    "sigmamask2_failed": "detectors that stand out could not be masked",
    "ndets_low": "too few detectors are left",
    "pre_batclean_fudge_failed": "the pattern map could not be taken off",
    "post_batclean_fudge_failed": "the pattern map could not be put back",
    "batclean3_failed": "the fit of background and sources failed",
}
#: column -> suffix of the files of each iteration
_FILES = (("catalog", "cat"), ("image", "img"), ("variance", "var"), ("detector_mask", "detmask"))
_STATUS = re.compile(r'(\w+)="([^"]*)"')


def open_survey(*folders: str | os.PathLike[str], errors: str = "raise") -> xr.DataTree:
    """Open the results of ``batsurvey`` for one or many observations.

    Parameters
    ----------
    *folders
        Results of an observation (the folder with ``stats_point.fits``), or folders of these.
    errors
        What is done about an observation whose tables cannot be read: ``"raise"``, or ``"warn"``, and leave
        it out.

    Returns
    -------
    xarray.DataTree
        ``/pointings`` (kind ``table``, a row for each, good or not): what ``stats_point.fits`` says, as
        `batx.pointing_cuts` takes it, with ``code``, ``reason`` (what it means, or why a good pointing has no
        catalogue; else empty), and the paths ``catalog``, ``image``, ``variance``, ``detector_mask``,
        ``attitude`` (of the last iteration, empty if there is none), and ``utcf`` (s), the correction of the
        clock. ``/observations`` (kind ``table``): rows
        of ``stats_obs.fits``, as far as there are.
        ``/gti``: master good time of all. ``attrs["failed"]`` names the pointings that failed, and
        ``attrs["unreadable"]`` the observations that were left out, one a line.

    Raises
    ------
    MissingFileError
        If there is no such folder, or none with ``stats_point.fits``.
    ValueRangeError
        If an observation is there twice, or `errors` is unknown.
    KindError, FileFormatError
        If a table cannot be read, or with ``"warn"`` none can.

    Warns
    -----
    BatxWarning
        If a good pointing has no catalogue that can be read, or that of another one that began in the same
        minute (batsurvey names folders by the minute); and if an observation is left out.

    Examples
    --------
    >>> import tempfile
    >>> from batx.io.write import to_fits
    >>> folder = tempfile.mkdtemp()
    >>> table = build("table", {"obs_id": (("row",), ["00012345001"]), "tstart": (("row",), [6e8]),
    ...     "image_id": (("row",), ["point_20200061040"]), "tstop": (("row",), [6.00001e8]),
    ...     "exposure": (("row",), [0.0]), "image_status": (("row",), [False]),
    ...     "image_descr": (("row",), ["expo_small"])})
    >>> _ = to_fits(table, f"{folder}/stats_point.fits")
    >>> print(open_survey(folder).attrs["failed"][:72])
    00012345001 point_20200061040: expo_small: the exposure is below the lea
    """
    found, unreadable = _tables(_result_folders(folders), errors)
    _require_once(found)
    pointings = _rows([tables["pointings"] for tables in found])
    nodes = {"pointings": pointings}
    observations = [tables["observations"] for tables in found if "observations" in tables]
    if observations:
        nodes["observations"] = _rows(observations)
    good = [tables["gti"] for tables in found if "gti" in tables]
    if good:
        nodes["gti"] = _joined_gti(good)
    tree = xr.DataTree.from_dict({f"/{name}": ds for name, ds in nodes.items()})
    bad = ~pointings["image_status"].values
    lines = [
        f"{obs} {image}: {code}: {why}" if code else f"{obs} {image}: {why}"
        for obs, image, code, why in zip(
            *(pointings[name].values[bad] for name in ("obs_id", "image_id", "code", "reason")), strict=True
        )
    ]
    tree.attrs = {"failed": "\n".join(lines), "unreadable": "\n".join(unreadable)}
    return tree


def survey_images(survey: xr.DataTree, cuts: Any = None, *, errors: str = "raise") -> list[xr.Dataset]:
    """Return the sky images of survey pointings with their noise, as `batx.mosaic` takes them.

    Parameters
    ----------
    survey
        Tree of `open_survey`.
    cuts
        Which pointings are wanted: bool for each row, or the result of `batx.pointing_cuts`; by default all
        good ones.
    errors
        What is done about an image that cannot be read: ``"raise"``, or ``"warn"``, and leave it out.

    Returns
    -------
    list of xarray.Dataset
        Kind ``sky_image``, lazy: ``rate``, ``noise`` (the standard deviation around each pixel, from the file
        ``.var``) and ``pcode`` as the file has it (times the projection factor); in order of time. Pointings
        without both files are left out.

    Raises
    ------
    KindError, MissingVariableError, FileFormatError
        If the tree has no pointings, or a file is no sky image or cannot be read.
    ValueRangeError
        If `cuts` are not one for each pointing, or `errors` is unknown.

    Warns
    -----
    BatxWarning
        If pointings are left out.

    Examples
    --------
    >>> import batx
    >>> table = build("table", {name: (("row",), [""]) for name in ("image", "variance")}
    ...     | {"image_status": (("row",), [False])})
    >>> survey_images(xr.DataTree.from_dict({"/pointings": table}))
    []
    """
    if "pointings" not in survey.children:
        raise KindError("survey_images: the tree has no pointings; expected one of batx.open_survey")
    table = survey["pointings"].to_dataset()
    used = table["image_status"].values.astype(bool)
    if cuts is not None:
        used = used & good_rows(cuts, used.size)
    there = (table["image"].values != "") & (table["variance"].values != "")
    if missing := int((used & ~there).sum()):
        warn(
            f"survey_images: {missing} of {int(used.sum())} pointing(s) have no image or no map of its noise "
            "(batsurvey keeps them with keep_sky_images=LAST) and are left out"
        )
    _require_known(errors)
    images = []
    files = zip(table["image"].values[used & there], table["variance"].values[used & there], strict=True)
    for image, variance in files:
        try:
            images.append(_with_noise(str(image), str(variance)))
        except BatxError as error:
            if errors == "raise":
                raise
            warn(f"survey_images: an image is left out: {error}")
    return images


def _require_known(errors: str) -> None:
    if errors not in ("raise", "warn"):
        raise ValueRangeError(f"errors: found {errors!r}, expected 'raise' or 'warn'")


def _with_noise(image: str, variance: str) -> xr.Dataset:
    ds, other = open_dataset(image), open_dataset(variance)
    require_kind(ds, "sky_image", operation=f"survey_images: {image}")
    name = next((name for name in ("noise", "rate", "counts") if name in other.variables), None)
    if name is None or other[name].sizes != ds["rate"].sizes:
        raise MissingVariableError(
            f"{variance}: found no map of the noise of each image of {Path(image).name}"
        )
    noise = other[name].variable.copy(deep=False)
    noise.attrs = {"units": "count/s"}
    return ds.assign(noise=noise)


def good_rows(cuts: Any, size: int) -> np.ndarray:
    """Return which rows of a table of pointings are good.

    Raises
    ------
    MissingVariableError, ValueRangeError
        If `cuts` do not say it, or not for each row.
    """
    if isinstance(cuts, xr.Dataset):
        if "good" not in cuts:
            raise MissingVariableError("cuts: found a Dataset without 'good'; expected batx.pointing_cuts")
        cuts = cuts["good"].values
    good = np.asarray(cuts)
    if good.dtype != bool or good.shape != (size,):
        raise ValueRangeError(
            f"cuts: found {good.dtype} of shape {good.shape}, expected bool for each of {size} pointings"
        )
    return good


def _result_folders(folders: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Return the folders that hold a table of pointings."""
    found: dict[Path, None] = {}
    for given in folders:
        top = Path(given).expanduser()
        if not top.is_dir():
            raise MissingFileError(f"{top}: no such folder; give the results of batsurvey")
        tables = sorted(path for path in top.rglob("stats_point.fits*") if path.suffix in (".fits", ".gz"))
        if not tables:
            raise MissingFileError(
                f"{top}: found no stats_point.fits in it; batsurvey writes it when it has finished with an "
                "observation"
            )
        found |= dict.fromkeys(path.parent for path in tables)
    return list(found)


def _file(folder: Path, name: str) -> Path | None:
    """Return a file of a folder, plain or gzipped."""
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    return None


def _tables(folders: list[Path], errors: str) -> tuple[list[dict[str, xr.Dataset]], list[str]]:
    """Return the tables of each observation, and a line for each whose tables cannot be read."""
    _require_known(errors)
    found, unreadable = [], []
    for folder in folders:
        try:
            found.append(_one(folder))
        except BatxError as error:
            if errors == "raise" or (folder == folders[-1] and not found):
                raise
            unreadable.append(f"{folder.name}: {error}")
            warn(f"open_survey: an observation is left out: {error}")
    return found, unreadable


def _one(folder: Path) -> dict[str, xr.Dataset]:
    """Return the tables of one observation."""
    path = _file(folder, "stats_point.fits")
    assert path is not None  # or this would not be one of the folders
    table = open_dataset(path).load()
    require_kind(table, "table", operation=f"open_survey: {path}")
    needed = ("obs_id", "image_id", "tstart", "tstop", "exposure", "image_status")
    missing = [name for name in needed if name not in table.variables]
    if missing:
        raise MissingFileError(f"{path}: found no column {', '.join(missing)}; is it of batsurvey?")
    made = {"pointings": _with_files(table, folder)}
    for name, file in (("observations", "stats_obs.fits"), ("gti", "gti/master.gti"), ("gti", "master.gti")):
        path = _file(folder, file)
        if path is not None and name not in made:
            made[name] = open_dataset(path).load()
    return made


def _with_files(table: xr.Dataset, folder: Path) -> xr.Dataset:
    """Return the table of pointings with what their status means, and the files of each."""
    size = table.sizes["row"]
    images = [str(name).strip() for name in table["image_id"].values]
    columns = {
        name: np.full(size, "", dtype=object)
        for name in ("code", "reason", "catalog", "image", "variance", "detector_mask", "attitude")
    }
    for row, image in enumerate(images):
        good = bool(table["image_status"].values[row])
        code, reason = _status(table, row, folder, image)
        columns["code"][row], columns["reason"][row] = code, "" if good else reason
        if not good:
            continue
        for name, suffix in _FILES:
            columns[name][row] = _last(folder, image, suffix)
        columns["attitude"][row] = os.fspath(_of_pointing(folder, image, ".att") or "")
        span = float(table["tstart"].values[row]), float(table["tstop"].values[row])
        if fault := _fault(columns["catalog"][row], *span):
            columns["reason"][row] = fault
            warn(f"open_survey: {folder.name}/{image} is good, but left out: {fault}")
            for name in (*(name for name, _ in _FILES), "attitude"):
                columns[name][row] = ""
    text = {name: (("row",), values.astype(str)) for name, values in columns.items()}
    ids = {
        name: (("row",), np.char.strip(table[name].values.astype(str)), table[name].attrs)
        for name in ("obs_id", "image_id")
    }
    # clocks drift, by a second a year: each observation has its own correction
    clock = {"utcf": (("row",), np.full(size, float(table.attrs.get("utcf", np.nan))), {"units": "s"})}
    return table.drop_vars(["obs_id", "image_id"]).assign(ids | text | clock)


def _status(table: xr.Dataset, row: int, folder: Path, image: str) -> tuple[str, str]:
    """Return the code of a pointing, and what it means."""
    path = _of_pointing(folder, image, "_status.txt")
    said = dict(_STATUS.findall(path.read_text(errors="replace"))) if path is not None else {}
    code = said.get("code", "")
    if "image_descr" in table.variables:
        code = str(table["image_descr"].values[row]).strip() or code
    own = said.get("reason", "")
    meaning = STATUS_CODES.get(code, "")
    return code, meaning or own or "no reason given"


def _of_pointing(folder: Path, image: str, ending: str) -> Path | None:
    return _file(folder / image, image + ending) or _file(folder, image + ending)


def _last(folder: Path, image: str, suffix: str) -> str:
    """Return the file of the last iteration, ``<image>_<n>.<suffix>``."""
    pattern = re.compile(rf"{re.escape(image)}_(\d+)\.{suffix}(\.gz)?")
    found = [
        (int(match[1]), path)
        for place in (folder / image, folder)
        if place.is_dir()
        for path in place.iterdir()
        if (match := pattern.fullmatch(path.name))
    ]
    return os.fspath(max(found)[1]) if found else ""


def _fault(path: str, start: float, stop: float) -> str:
    """Return why a catalogue cannot be used for a pointing, empty if it can.

    One without rows can: no source was in the field. Others say by their times whose they are.
    """
    if not path:
        return "it has no catalogue (.cat)"
    try:
        catalog = open_dataset(path)
        require_kind(catalog, "catalog", operation="open_survey")
    except BatxError as error:
        return f"its catalogue cannot be read: {error}"
    if "time" not in catalog.variables or not catalog.sizes.get("source"):
        return ""
    middle = float(catalog["time"].values[0])
    if "time_stop" in catalog.variables:
        middle = 0.5 * (middle + float(catalog["time_stop"].values[0]))
    if start <= middle < stop:
        return ""
    return "its files are those of another pointing that began in the same minute"


def _require_once(found: list[dict[str, xr.Dataset]]) -> None:
    seen: dict[str, str] = {}
    for tables in found:
        table = tables["pointings"]
        source = str(table.encoding.get("source", ""))
        for obs_id in sorted(set(table["obs_id"].values.tolist())):
            if obs_id in seen:
                raise ValueRangeError(
                    f"open_survey: found observation {obs_id} twice, in {seen[obs_id]} and {source}; give "
                    "one of the two"
                )
            seen[obs_id] = source


def _rows(tables: list[xr.Dataset]) -> xr.Dataset:
    """Return tables with the same columns as one, in order of time."""
    common = set.intersection(*(set(map(str, table.variables)) for table in tables))
    sizes = {name: {table[name].shape[1:] for table in tables} for name in common}
    kept = [str(name) for name in tables[0].variables if name in common and len(sizes[str(name)]) == 1]
    together = {
        name: (
            tables[0][name].dims,
            np.concatenate([table[name].values for table in tables]),
            tables[0][name].attrs,
        )
        for name in kept
    }
    attrs = kept_attrs(tables[0].attrs, "telescope", *CLOCK)
    if "tstart" in kept:
        first = int(np.argmin([float(table["tstart"].min()) for table in tables]))
        attrs |= kept_attrs(tables[first].attrs, "utcf")
        attrs["tstart"] = float(np.min(together["tstart"][1]))
        order = np.argsort(together["tstart"][1], kind="stable")
        together = {name: (dims, values[order], own) for name, (dims, values, own) in together.items()}
    return build("table", together, attrs)


def _joined_gti(parts: list[xr.Dataset]) -> xr.Dataset:
    start, stop = (np.concatenate([part[name].values for part in parts]) for name in ("start", "stop"))
    order = np.argsort(start, kind="stable")
    attrs = kept_attrs(parts[0].attrs, "telescope", *CLOCK)
    return build("gti", {"start": start[order], "stop": stop[order]}, attrs)
