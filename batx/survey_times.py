"""Good time of survey histograms: pointing, detectors, star trackers, rate and Earth as they should be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from batx.caldb.finding import served
from batx.engines import by_engine
from batx.errors import EmptySelectionError, ValueRangeError
from batx.grids import warn
from batx.intervals import gti_arrays
from batx.kernels import gti as kernel
from batx.provenance import file_record, with_calibration
from batx.reduction import compat_of
from batx.schema import build, require_kind
from batx.schema.attributes import ORIGIN, kept_attrs, with_history
from batx.survey_filters import FILTERS, MADE, PARTING, Inputs, Intervals, Rows
from batx.survey_inputs import nodes_of, number, survey_histograms
from batx.units import to_value

__all__ = ["survey_gti"]

_ALWAYS = ("histograms", "gti")
#: rows of the global good time up to this quality are good
_GLOBAL_QUALITY = 1


@by_engine
def survey_gti(
    observation: xr.DataTree,
    histograms: Any = None,
    *,
    each: str = "snapshot",
    leave_out: str | Iterable[str] = (),
    energy: Any = (14.0, 195.0),
    rate: tuple[float, float] = (3000.0, 12000.0),
    min_detectors: int = 22000,
    min_elevation: Any = 30.0,
    max_loss: float = 1e-9,
    global_gti: Any = None,
    gti: Any = None,
    max_gap: Any = 5.0,
    min_duration: Any = 30.0,
    compat: str | None = None,
) -> xr.Dataset:
    """Return the good time of the survey histograms of an observation, an interval for each snapshot.

    Parameters
    ----------
    observation
        Tree of `batx.open_observation`: attitude with flags, and housekeeping with ``bdihkngooddets``
        (``sw*ben.hk``), ``sac_modestat``, ``sac_aderr``, ``stast_lossfcn`` (``sw*sen.hk``) and ``elv``
        (``sw*sao.fits``).
    histograms
        Kind ``detector_plane`` along time and energy, or a list of these; those of the observation if not
        given. The rate is that of what is given, so it depends a little on whether energies were corrected
        (`batx.calibrate_histogram`).
    each
        ``"snapshot"``: histograms that follow each other are one interval; ``"histogram"``: each is its own.
    leave_out
        Filters that are not applied, as names or a text separated by commas: flags, midnight, global,
        pointing, detectors, tracker, tracker_loss, rate, elevation.
    energy
        Band of the rate, keV: channels that lie in it are summed.
    rate
        Limits of the count rate of all detectors, count/s; itself not good.
    min_detectors
        More detectors than this must be on.
    min_elevation
        Least angle of the target above the Earth's limb, degrees; itself not good.
    max_loss
        The loss function of the star tracker must be below.
    global_gti
        Kind ``gti`` with ``quality``, of which rows up to 1 are good: that of the calibration database if not
        given.
    gti
        Further good time, in any form: of a filter file (`batx.gti_from_housekeeping`), of when a source was
        visible (`batx.visibility_gti`).
    max_gap
        Snapshots that are at most this far apart are one, s.
    min_duration
        Intervals of this length or less are dropped, s.
    compat
        ``"heasoft"`` as batsurvey-gti: the global good time is applied even if left out, `max_loss` is not
        looked at, and histograms that follow each other are one without the filter of the rate.
    engine
        ``"native"``; ``"heasoft"`` for the tool batsurvey-gti, or a `batx.heasoft.Engine`.

    Returns
    -------
    xarray.Dataset
        Kind ``gti``: ``start`` and ``stop`` (gti). What each filter left is in ``filter`` (name),
        ``filter_start`` and ``filter_stop`` (interval). Attribute ``histogram_exposure``: seconds of all
        histograms, good or not.

    Raises
    ------
    KindError, ValueRangeError
        If arguments are of the wrong kind, or there is no such filter.
    MissingVariableError
        If there is no housekeeping for a filter; leave it out, or give the file.
    EmptySelectionError
        If there is no histogram, or a filter leaves no time: says which.

    Warns
    -----
    BatxWarning
        If no global good time is found: it is not applied then.

    Notes
    -----
    Reads the housekeeping, and of the histograms what the rate needs. With `each` ``"histogram"`` every
    interval is grown by 1 s on both sides at the end, as the tool does, so an edge that another filter set
    lies 1 s outside it. Source: definition of ``batsurvey-gti`` (algorithms of the survey, 1.3); the tool's
    own intervals are met exactly.

    Examples
    --------
    >>> import batx, tempfile
    >>> folder = batx.simulate.observation(tempfile.mkdtemp(), duration=100.0, survey=50.0)
    >>> tree = batx.open_observation(folder)
    >>> names = "detectors,tracker,tracker_loss,global"
    >>> good = survey_gti(tree, leave_out=names, rate=(0, 1e6), min_elevation=0)
    >>> good.sizes["gti"]
    1
    """
    mode = compat_of(compat)
    if each not in ("snapshot", "histogram"):
        raise ValueRangeError(f"each: found {each!r}, expected 'snapshot' or 'histogram'")
    left_out = _names(leave_out)
    if mode:
        left_out -= {"global"}
    nodes = nodes_of(observation, "survey_gti")
    planes = survey_histograms(observation if histograms is None else histograms, "survey_gti")
    inputs = Inputs(
        nodes=nodes,
        rows=Rows.of(planes, energy, "rate" not in left_out),
        apart=each == "histogram",
        parted=not (mode and "rate" in left_out),
        rate=_rate_limits(rate),
        least=number(min_detectors, "min_detectors"),
        elevation=float(to_value(min_elevation, "deg", "min_elevation")),
        loss=1e-9 if mode else number(max_loss, "max_loss"),
        flags="flags" not in left_out,
        midnight="midnight" not in left_out,
    )
    table = None if "global" in left_out else _global_table(global_gti, inputs.rows)
    lists: dict[str, Intervals] = {}
    for name in (name for name in FILTERS if name not in left_out):
        if name in MADE:
            lists[name] = MADE[name](inputs)
        elif name == "global" and table is not None:
            lists[name] = _global(table)
        elif name == "gti" and gti is not None:
            lists[name] = gti_arrays(gti, {str(key): value for key, value in observation.attrs.items()})
        else:
            continue
        _require(lists, name, inputs)
    start, stop = _common(lists)
    gap, least = (
        float(to_value(v, "s", n)) for v, n in ((max_gap, "max_gap"), (min_duration, "min_duration"))
    )
    if inputs.apart:
        start, stop = start - PARTING, stop + PARTING
    else:
        start, stop = kernel.union(start, stop, gap)
    kept = stop - start > least
    if not kept.any():
        raise EmptySelectionError(
            f"survey_gti: found {start.size} interval(s) of good time, none longer than {least:g} s; "
            f"the filters are {', '.join(lists)}"
        )
    return _labelled(start[kept], stop[kept], lists, inputs.rows, planes[0], table)


def _rate_limits(rate: Any) -> tuple[float, float]:
    if not isinstance(rate, (Sequence, np.ndarray)) or isinstance(rate, str) or len(rate) != 2:
        raise ValueRangeError(f"rate: found {rate!r}, expected the two limits, count/s")
    return number(rate[0], "rate"), number(rate[1], "rate")


def _names(leave_out: str | Iterable[str]) -> set[str]:
    if not isinstance(leave_out, Iterable):
        raise ValueRangeError(f"leave_out: found {leave_out!r}, expected names of filters")
    given = leave_out.split(",") if isinstance(leave_out, str) else list(leave_out)
    names = {str(name).strip().lower() for name in given} - {""}
    known = set(FILTERS) - set(_ALWAYS)
    if unknown := sorted(names - known):
        raise ValueRangeError(
            f"leave_out: found {unknown[0]!r}, expected some of {', '.join(n for n in FILTERS if n in known)}"
        )
    return names


def _global_table(given: Any, rows: Rows) -> Any:
    """Return the global good time that is given, or that of the calibration database; `None` without."""
    found = served("good_time", float(rows.start[0])) if given is None else given
    if found is None:
        warn(
            "survey_gti: found no global good time of the instrument in the calibration database, so none is "
            "applied; give global_gti=, or leave_out='global'"
        )
    elif isinstance(found, xr.Dataset):
        require_kind(found, "gti", operation="survey_gti (global_gti=)")
    return found


def _global(table: Any) -> Intervals:
    start, stop = gti_arrays(table)
    if not isinstance(table, xr.Dataset) or "quality" not in table:
        return start, stop
    good = table["quality"].values <= _GLOBAL_QUALITY
    return start[good], stop[good]


def _require(lists: dict[str, Intervals], name: str, inputs: Inputs) -> None:
    """Raise an error if a filter leaves nothing, or nothing in common with those before."""
    if name not in lists:
        return
    if not lists[name][0].size:
        rates = f"; {_told(inputs.rows.rate)}" if name == "rate" else ""
        raise EmptySelectionError(
            f"survey_gti: the filter {name!r} leaves no time: {FILTERS[name]}{rates}; leave_out={name!r} "
            "does without it"
        )
    if not _common(lists)[0].size:
        raise EmptySelectionError(
            f"survey_gti: no good time is left after the filter {name!r} ({FILTERS[name]}); before it were "
            f"{', '.join(other for other in lists if other != name)}"
        )


def _told(rate: np.ndarray) -> str:
    """Return words on the rates of histograms."""
    found = rate[np.isfinite(rate)]
    if not found.size:
        return "no histogram has any exposure"
    return f"rates are {found.min():.5g} to {found.max():.5g} count/s"


def _common(lists: dict[str, Intervals]) -> Intervals:
    first, *others = lists.values()
    common = kernel.union(*first)
    for other in others:
        common = kernel.intersection(common, other)
    return common


def _labelled(
    start: np.ndarray,
    stop: np.ndarray,
    lists: dict[str, Intervals],
    rows: Rows,
    plane: xr.Dataset,
    table: Any,
) -> xr.Dataset:
    names = np.repeat(list(lists), [len(pair[0]) for pair in lists.values()])
    ends = [np.concatenate([pair[end] for pair in lists.values()]) for end in range(2)]
    attrs = kept_attrs(plane.attrs, *ORIGIN)
    attrs |= {"tstart": float(start[0]), "tstop": float(stop[-1])}
    attrs["histogram_exposure"] = float(rows.exposure.sum())
    attrs = with_history(attrs, f"batx.survey_gti: {', '.join(lists)}")
    if isinstance(table, xr.Dataset):
        attrs = with_calibration(attrs, {"good_time": file_record(table)})
    seconds = {"units": "s"}
    variables = {
        "start": start,
        "stop": stop,
        "filter": (("interval",), names.astype(str)),
        "filter_start": (("interval",), ends[0], seconds),
        "filter_stop": (("interval",), ends[1], seconds),
    }
    return build("gti", variables, attrs)
