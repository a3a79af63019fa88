"""Mask weights of events and detectors for positions, and the ray tracing behind them."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
import xarray as xr

from batx.attitudes import AttitudePath, Coverage
from batx.calibration_inputs import records
from batx.distortions import named_distortion
from batx.engines import by_engine
from batx.errors import BatxWarning, EmptySelectionError, PositionError, ValueRangeError
from batx.instrument.detector import DETID
from batx.instrument.distortion import DistortionMap
from batx.instrument.mask import DEFAULT_CORRECTIONS, MASK_WEIGHT_GAIN, parse_corrections
from batx.met import to_met
from batx.positions import SourcePositions, source_positions
from batx.provenance import with_calibration
from batx.schema import build, require_bat, require_kind
from batx.schema.spec import TRACE_VARIABLES
from batx.tracing import Place, Trace, Weigher
from batx.weight_chunks import warn_misplaced, weigh_lazily
from batx.weight_inputs import (
    WeightInputs,
    check_compat,
    column_blocks,
    event_arrays,
    event_columns,
    make_weigher,
    trace_times,
)

__all__ = ["mask_weight", "mask_weight_image", "ray_trace"]

#: distance on the tangent plane after which the shadow is traced again
TOLERANCE = 0.0006

#: of each source, the times and traces that were made
Traces = list[list[tuple[float, Trace]]]


@by_engine
def mask_weight(
    obj: xr.Dataset | xr.DataTree,
    ra: Any,
    dec: Any = None,
    *,
    attitude: xr.Dataset | None = None,
    aperture: xr.Dataset | None = None,
    detector_mask: xr.Dataset | np.ndarray | None = None,
    alignment: Any = None,
    frame: str = "sky",
    distance: Any = None,
    origin: Any = 0.0,
    corrections: str | Iterable[str] = DEFAULT_CORRECTIONS,
    rebalance: bool = True,
    tolerance: float = TOLERANCE,
    times: Any = None,
    pcode_min: float = 0.0,
    gain: float = MASK_WEIGHT_GAIN,
    normalisation: str = "tool",
    distortion: xr.Dataset | DistortionMap | str | None = None,
    extrapolate: bool = False,
    compat: str | None = None,
) -> xr.Dataset:
    """Return the events with their mask weights for one or several positions.

    The place of a source in the field follows the attitude at the time of each event. The shadow of the
    mask is traced for the first event, and again at the first event at which the source has moved by more
    than `tolerance` since the last trace; flagged events count for this, but have weight 0 (flags 0 and 16
    are good). Weights are scaled so that their sum over the events of an interval is the
    background-subtracted number of counts per fully open detector; where only a fraction of the good
    detectors is coded, the sum is corrected for it (`pcode`).

    Formula: algorithms, section 2.1 (the tools batmaskwtevt and batmaskwtimg).

    Parameters
    ----------
    obj
        Dataset of kind `events`, or a DataTree with the node ``/events``, from which ``/attitude``,
        ``/aperture``, ``/detector_mask`` and ``/alignment`` are taken where they are not given.
    ra, dec
        The position: degrees or Quantity, or a ``SkyCoord`` as `ra`. Arrays (1-D) give weights with the
        dimensions ``(source, event)``. Other frames: `imx` and `imy`; `phi` and `theta` (degrees); BAT_X
        and BAT_Y (cm).
    attitude
        Dataset of kind `attitude`; needed in the frame sky.
    aperture
        Dataset of kind `aperture`: the mask and the geometry.
    detector_mask
        Dataset of kind `detector_mask` or a bool array ``(173, 286)``, true = good; all if not given.
    alignment
        Dataset of kind `alignment` or a matrix ``(3, 3)``. Alignment and aperture come from the calibration
        database (`batx.caldb`) if not given; without an alignment there, nominal axes with a warning.
    frame
        ``"sky"`` (ICRS), ``"tangent"``, ``"thetaphi"`` (flight software azimuth and off-axis angle) or
        ``"cartesian"``.
    distance
        BAT_Z of a near source, cm or Quantity; also use the correction ``nearfield`` in place of
        ``flatfield`` then.
    origin
        BAT_Z of the point that the direction of a near source is measured from, cm or Quantity; 0 is the
        origin of the instrument. The source is at BAT_X = tangent × (distance - origin).
    corrections
        Names, or one text separated by commas: flatfield, pcode, ndets, maskwt (together ``"default"``),
        nearfield, forward, unbalanced, cosine, rsquare; ``"none"``.
    rebalance
        Make the weights of the good, coded detectors sum to 0, so that a flat background cancels.
    tolerance
        Distance on the tangent plane, see above.
    times
        Trace at these times instead (MET, Quantity or Time, increasing); events take the last one not after
        them.
    pcode_min
        Traces with a smaller coded fraction give weight 0.
    gain
        Allowance for the technique in the weight normalisation ``"tool"``.
    normalisation
        What the correction maskwt divides by: ``"tool"`` an average over random masks, as the tools do and
        as the official responses are calibrated with, which recovers 0.95 to 1.01 of the counts depending
        on the place in the field; ``"geometry"`` what this mask makes of a source at this place on these
        detectors, which recovers the counts without bias.
    distortion
        Distortion map of the tangent plane, or ``"caldb"`` for that of the calibration database; the shadow
        is then traced at the apparent place.
    extrapolate
        Take the attitude as constant before its first and after its last row, instead of an error.
    compat
        ``"heasoft"``: extrapolate as the tool does, and trace again also while no detector is lit.
    engine
        ``"native"``; ``"heasoft"`` for the tool batmaskwtevt, or a `batx.heasoft.Engine`.

    Returns
    -------
    xarray.Dataset
        The events with the variable `mask_weight` (float32). For one position the attributes `pcodefr`,
        `mskwtsqf` and `ngoodpix` are those of the last trace, `bat_xobj`, `bat_yobj` and `bat_zobj` (cm)
        the place at the last event, `ra_obj` and `dec_obj` the position; for several, they are coordinates
        along `source`.

        The traces go with the events as `trace_time`, `trace_imx`, `trace_imy`, `trace_pcode` and
        `trace_norm` (trace), and from there with their spectra, whose responses follow from them.

        Columns that are dask arrays stay lazy and so does `mask_weight`; the attributes are then those at
        the end of the observation (`tstop`). Columns that are not loaded yet are read in blocks.

    Raises
    ------
    AttitudeError
        If the attitude is absent or does not cover the events (for dask arrays, on compute).
    PositionError
        If no position is coded by the mask at any time.
    KindError, MissingVariableError
        If an input is of another kind or lacks a column.

    Warns
    -----
    BatxWarning
        If good events are at places without a detector; they have weight 0.

    Examples
    --------
    >>> import batx
    >>> events = build("events", {"time": [0.0, 1.0], "detx": [3, 200], "dety": [3, 100]})
    >>> weighted = mask_weight(events, 0.1, 0.0, frame="tangent", aperture=batx.simulate.aperture())
    >>> weighted.mask_weight.dtype, weighted.attrs["pcodefr"]
    (dtype('float32'), 1.0)
    """
    inputs = WeightInputs.gather(obj, attitude, aperture, detector_mask, alignment)
    events = inputs.target
    require_bat(events, "events", operation="mask_weight")
    check_compat(compat)
    positions = source_positions(ra, dec, frame, distance, origin)
    inputs = inputs.completed(positions.moving)
    distorted = named_distortion(distortion, inputs.attrs.get("tstart"))
    inputs.require_all(positions.moving)
    requested = trace_times(times, events.attrs)
    chosen = parse_corrections(corrections)
    tracer = inputs.tracer(chosen, rebalance, gain, pcode_min, distorted, normalisation)
    weigher, path = make_weigher(tracer, inputs, positions, tolerance, requested, compat)
    extrapolate = extrapolate or compat is not None
    columns = event_columns(events)
    if any(variable.chunks is not None for variable in columns.values()):
        data = weigh_lazily(weigher, path, columns, extrapolate)
        traces, last_time = _expected_traces(weigher, path, events.attrs)
    else:
        data, traces, last_time = _weigh_now(weigher, path, columns, extrapolate)
    _require_coded(traces, positions, pcode_min)
    ends = [weigher.seen(source, weigher.place(source, last_time)) for source in range(len(weigher))]
    step = _step("mask_weight", positions, chosen, rebalance, normalisation)
    result = events.drop_dims("source", errors="ignore")
    attrs = {"units": "1", "long_name": "mask weight", "fits_name": "MASK_WEIGHT"}
    variable = ("source", "event") if positions.several else ("event",)
    result = result.assign(mask_weight=(variable, data if positions.several else data[0], attrs))
    result = result.drop_dims("trace", errors="ignore").assign(_carried(traces, positions.several))
    result.attrs = with_calibration(result.attrs, inputs.records | records(distortion=distorted))
    return _with_summary(result, positions, traces, ends, step)


@by_engine
def mask_weight_image(
    obj: xr.Dataset | xr.DataTree,
    ra: Any,
    dec: Any = None,
    *,
    attitude: xr.Dataset | None = None,
    aperture: xr.Dataset | None = None,
    detector_mask: xr.Dataset | np.ndarray | None = None,
    alignment: Any = None,
    frame: str = "sky",
    distance: Any = None,
    origin: Any = 0.0,
    time: Any = None,
    corrections: str | Iterable[str] = DEFAULT_CORRECTIONS,
    rebalance: bool = True,
    gain: float = MASK_WEIGHT_GAIN,
    normalisation: str = "tool",
    distortion: xr.Dataset | DistortionMap | str | None = None,
    extrapolate: bool = False,
    compat: str | None = None,
) -> xr.Dataset:
    """Return the mask weight of every detector for one or several positions.

    Formula: algorithms, section 2.1 (the tool batmaskwtimg).

    Parameters
    ----------
    obj
        What the image is for: events, a detector plane or any Dataset whose attributes `tstart` and `tstop`
        give the time; an attitude, aperture, alignment or detector mask, used as such; or a DataTree as for
        `mask_weight`.
    time
        MET, Quantity or Time at which the attitude is taken (frame sky); the middle of `tstart` and `tstop`
        if not given.
    ra, dec, attitude, aperture, detector_mask, alignment, frame, distance, origin, corrections, rebalance,
    gain, normalisation, distortion
        As for `mask_weight`. ``corrections="forward,unbalanced"`` with ``rebalance=False`` gives the lit
        fraction.
    extrapolate, compat
        As for `mask_weight`.
    engine
        ``"native"``; ``"heasoft"`` for the tool batmaskwtimg, or a `batx.heasoft.Engine`.

    Returns
    -------
    xarray.Dataset
        Kind `detector_plane` with `weight` (float64; 0 in gaps and for detectors that are not good); the
        attributes `pcodefr`, `ngoodpix`, `mskwtsqf`, `bat_xobj`, `bat_yobj`, `bat_zobj` of the trace for
        one position, coordinates along `source` for several.

    Raises
    ------
    AttitudeError, PositionError, KindError
        As for `mask_weight`.

    Examples
    --------
    >>> import batx
    >>> image = mask_weight_image(batx.simulate.aperture(), 0.1, 0.0, frame="tangent")
    >>> image.weight.shape, image.attrs["ngoodpix"]
    ((173, 286), 32768)
    """
    inputs = WeightInputs.gather(obj, attitude, aperture, detector_mask, alignment)
    inputs.require_origin("mask_weight_image")
    check_compat(compat)
    positions = source_positions(ra, dec, frame, distance, origin)
    inputs = inputs.completed(positions.moving)
    distorted = named_distortion(distortion, inputs.attrs.get("tstart"))
    inputs.require_all(positions.moving)
    chosen = parse_corrections(corrections)
    tracer = inputs.tracer(chosen, rebalance, gain, 0.0, distorted, normalisation)
    weigher, path = make_weigher(tracer, inputs, positions, TOLERANCE, None, compat)
    met = _image_time(time, inputs.attrs, needed=path is not None)
    if path is not None:
        path.require(path.coverage(np.array([met])), extrapolate or compat is not None, "times")
    made = [weigher.trace(source, weigher.place(source, met)) for source in range(len(weigher))]
    traces = [[(met, trace)] for _, trace in made]
    _require_coded(traces, positions, 0.0)
    weight = np.nan_to_num(np.stack([weights for weights, _ in made]), nan=0.0)
    dims = ("source", "dety", "detx") if positions.several else ("dety", "detx")
    image = build(
        "detector_plane",
        {"weight": (dims, weight if positions.several else weight[0]), "detid": DETID},
        {**_inherited(inputs.attrs), "tstart": met, "tstop": met}
        if np.isfinite(met)
        else _inherited(inputs.attrs),
    )
    image.attrs = with_calibration(image.attrs, inputs.records | records(distortion=distorted))
    step = _step("mask_weight_image", positions, chosen, rebalance, normalisation)
    return _with_summary(image, positions, traces, [trace.place for _, trace in made], step)


@by_engine
def ray_trace(
    obj: xr.Dataset | xr.DataTree,
    ra: Any,
    dec: Any = None,
    *,
    attitude: xr.Dataset | None = None,
    aperture: xr.Dataset | None = None,
    detector_mask: xr.Dataset | np.ndarray | None = None,
    alignment: Any = None,
    frame: str = "sky",
    distance: Any = None,
    origin: Any = 0.0,
    corrections: str | Iterable[str] = DEFAULT_CORRECTIONS,
    rebalance: bool = True,
    tolerance: float = TOLERANCE,
    times: Any = None,
    gain: float = MASK_WEIGHT_GAIN,
    normalisation: str = "tool",
    distortion: xr.Dataset | DistortionMap | str | None = None,
    extrapolate: bool = False,
    compat: str | None = None,
) -> xr.Dataset:
    """Return place, coding and weight normalisation of a source against time.

    Without `times` there is a row for each trace that `mask_weight` makes for the events (the auxiliary
    file of the tool batmaskwtevt); with `times`, or if `obj` is an attitude, a row for each time. For
    several positions the rows are those of all of them together. Formula: algorithms, section 2.1.

    Parameters
    ----------
    obj
        Dataset of kind `events` or `attitude`, any other if `times` is given, or a DataTree as for
        `mask_weight`. Of events only the times are read, in blocks (computed if they are dask arrays).
    times
        MET (s), Quantity or Time, 1-D.
    ra, dec, attitude, aperture, detector_mask, alignment, frame, distance, origin, tolerance, gain
        As for `mask_weight`.
    corrections, normalisation, rebalance
        As for `mask_weight`. They change `mask_weight_norm` where it holds the factor maskwt (`rebalance`
        only with ``normalisation="geometry"``).
    distortion, extrapolate, compat
        As for `mask_weight`.
    engine
        ``"native"``; ``"heasoft"`` for the tool batmaskwtevt, or a `batx.heasoft.Engine`.

    Returns
    -------
    xarray.Dataset
        Kind `ray_trace`: `imx`, `imy`, `x`, `y`, `z` (cm), `imx_app`, `imy_app`, `x_app`, `y_app`, `z_app`
        (apparent place), `pcode`, `n_good`, `mask_weight_norm` against `time`, in memory; `pcode` is 0 and
        `mask_weight_norm` NaN behind the instrument. `mask_weight_norm` (MSKWTSQF) is the product of the
        normalising factors that `corrections` leaves out, times the factor of flatfield (nearfield, cosine,
        rsquare) at the centre of the plane.

    Raises
    ------
    AttitudeError, KindError
        As for `mask_weight`. A position that is never coded is no error here.

    Examples
    --------
    >>> import batx
    >>> attitude = build("attitude", {"time": [0.0, 1.0], "quaternion": [[0, 0, 0, 1.0], [0, 0, 0.5, 0.8]]})
    >>> inputs = {"aperture": batx.simulate.aperture(), "alignment": batx.simulate.alignment()}
    >>> table = ray_trace(attitude, 20.0, 0.0, **inputs)
    >>> table.pcode.values.round(2).tolist()
    [1.0, 0.66]
    """
    inputs = WeightInputs.gather(obj, attitude, aperture, detector_mask, alignment)
    inputs.require_origin("ray_trace")
    check_compat(compat)
    positions = source_positions(ra, dec, frame, distance, origin)
    inputs = inputs.completed(positions.moving)
    distorted = named_distortion(distortion, inputs.attrs.get("tstart"))
    inputs.require_all(positions.moving)
    tracer = inputs.tracer(parse_corrections(corrections), rebalance, gain, 0.0, distorted, normalisation)
    weigher, path = make_weigher(tracer, inputs, positions, tolerance, None, compat)
    extrapolate = extrapolate or compat is not None
    attrs = with_calibration(_inherited(inputs.attrs), inputs.records | records(distortion=distorted))
    if times is None and inputs.kind == "attitude":
        times = inputs.target["time"].values
    if times is None:
        met, attrs["tstart"], attrs["tstop"] = _event_trace_times(weigher, path, inputs, extrapolate)
    else:
        met = np.atleast_1d(to_met(times, inputs.attrs, name="times"))
        if path is not None:
            path.require(path.coverage(met), extrapolate, "times")
    return _trace_table(weigher, met, positions, attrs)


def _weigh_now(
    weigher: Weigher, path: AttitudePath | None, columns: dict[str, xr.Variable], extrapolate: bool
) -> tuple[np.ndarray, Traces, float]:
    """Return the weights, the traces of each source, and the time of the last event."""
    count = columns["time"].shape[0]
    weight = np.empty((len(weigher), count), np.float32)
    traces: Traces = [[] for _ in range(len(weigher))]
    places: list[Place] | None = None
    coverage, last_time, misplaced = Coverage(), 0.0, 0
    for rows, columns_of_block in column_blocks(columns):
        times, detx, dety, flags = event_arrays(columns_of_block)
        if path is not None:
            coverage += path.coverage(times)
        block = weigher.weigh(places, times, detx, dety, flags)
        weight[:, rows] = block.weight
        misplaced += block.misplaced
        for made, new in zip(traces, block.traces, strict=True):
            made.extend(new)
        places, last_time = block.places, float(times[-1])
    if path is not None:
        path.require(coverage, extrapolate)
    warn_misplaced(misplaced, count)
    return weight, traces, last_time


def _expected_traces(
    weigher: Weigher, path: AttitudePath | None, attrs: dict[str, Any]
) -> tuple[Traces, float]:
    """Return the traces between `tstart` and `tstop` of an observation, judged by the attitude alone."""
    if path is None:
        times = np.zeros(1)
    elif "tstart" in attrs and "tstop" in attrs:
        start, stop = float(attrs["tstart"]), float(attrs["tstop"])
        if stop < path.times[0] or start > path.times[-1]:
            path.require(path.coverage(np.array([start, stop])), what="ends of the observation")
        rows = path.times[(path.times > start) & (path.times < stop)]
        times = np.array([start, *rows, stop])
    else:
        return [[] for _ in range(len(weigher))], float(path.times[-1])
    made = weigher.advance(None, times)[1]
    return [weigher.traces_at(source, made[source]) for source in range(len(weigher))], float(times[-1])


def _require_coded(traces: Traces, positions: SourcePositions, pcode_min: float) -> None:
    """Raise `PositionError` if no source is ever coded; warn of some, or if below `pcode_min`."""
    best = [max((trace.pcode for _, trace in made), default=None) for made in traces]
    never = [source for source, pcode in enumerate(best) if pcode == 0.0]
    if never and len(never) == len(positions):
        time, trace = traces[never[0]][0]
        imx, imy, front = trace.place
        where = f"imx={imx:.5g} imy={imy:.5g}" if front else "behind the instrument"
        raise PositionError(
            f"position {positions.describe(never[0])}: outside the coded field of view at all times; found "
            f"{where} at t={time:.3f} s, expected a place where the mask covers some good detector; check "
            "the position, its frame and that the attitude belongs to these data"
        )
    low = [source for source, pcode in enumerate(best) if pcode is not None and pcode < pcode_min]
    if never or low:
        warnings.warn(
            f"positions: {len(never)} of {len(positions)} are never coded by the mask"
            + (f" and {len(low)} never reach pcode_min={pcode_min}" if low else "")
            + "; their weights are 0",
            BatxWarning,
            stacklevel=3,
        )


def _step(
    verb: str, positions: SourcePositions, corrections: frozenset[str], rebalance: bool, normalisation: str
) -> str:
    """Return the line of the history for a call."""
    source = f"{len(positions)} positions" if positions.several else positions.describe()
    names = ",".join(sorted(corrections)) or "none"
    return (
        f"batx {verb} {source} frame={positions.frame} corrections={names} rebalance={int(rebalance)} "
        f"normalisation={normalisation}"
    )


def _carried(traces: Traces, several: bool) -> dict[str, tuple]:
    """Return the way of the sources as variables that go with the events; shorter ways end in NaN."""
    longest = max(len(made) for made in traces)
    values = np.full((5, len(traces), longest), np.nan)
    for source, made in enumerate(traces):
        rows = [(time, *trace.place[:2], trace.pcode, trace.norm) for time, trace in made]
        values[:, source, : len(rows)] = np.array(rows).reshape(-1, 5).T
    dims = ("source", "trace") if several else ("trace",)
    return {
        spec.name: (dims, value if several else value[0], {"units": spec.units, "long_name": spec.doc})
        for spec, value in zip(TRACE_VARIABLES, values, strict=True)
    }


def _with_summary(
    ds: xr.Dataset, positions: SourcePositions, traces: Traces, ends: list[Place], step: str
) -> xr.Dataset:
    """Return the Dataset with position, coding and history, as attributes or (several) coordinates."""
    heights = positions.height
    summary: dict[str, tuple[str, str, list]] = {
        "bat_xobj": ("x", "cm", [float(place[0] * z) for place, z in zip(ends, heights, strict=True)]),
        "bat_yobj": ("y", "cm", [float(place[1] * z) for place, z in zip(ends, heights, strict=True)]),
        "bat_zobj": ("z", "cm", [float(z) for z in heights]),
    }
    if all(traces):
        last = [made[-1][1] for made in traces]
        summary["pcodefr"] = ("pcode", "1", [trace.pcode for trace in last])
        summary["ngoodpix"] = ("n_good", "1", [trace.n_good for trace in last])
        summary["mskwtsqf"] = ("mask_weight_norm", "1", [trace.norm for trace in last])
    if positions.frame == "sky":
        summary["ra_obj"] = ("ra", "deg", positions.first.tolist())
        summary["dec_obj"] = ("dec", "deg", positions.second.tolist())
    history = f"{ds.attrs.get('history', '')}\n{step}".strip()
    if not positions.several:
        return ds.assign_attrs({key: values[0] for key, (_, _, values) in summary.items()}, history=history)
    coords = {name: ("source", values, {"units": units}) for name, units, values in summary.values()}
    return ds.assign_coords(coords).assign_attrs(history=history)


def _image_time(time: Any, attrs: dict[str, Any], needed: bool) -> float:
    """Return the time of a weight image, NaN if there is none and none is needed."""
    if time is not None:
        met = to_met(time, attrs, name="time")
        if np.size(met) != 1:
            raise ValueRangeError(f"time: found {np.size(met)} times, expected one; make an image for each")
        return float(np.reshape(met, ()))
    if "tstart" in attrs and "tstop" in attrs:
        return (float(attrs["tstart"]) + float(attrs["tstop"])) / 2
    if needed:
        raise ValueRangeError(
            "time: found none, and no attributes tstart and tstop; "
            "give the time at which the attitude is taken"
        )
    return float("nan")


def _inherited(attrs: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes that a product takes over from what it is made of."""
    return {
        key: value for key, value in attrs.items() if key not in ("batx_kind", "Conventions", "batx_schema")
    }


def _range_of(times: np.ndarray) -> Coverage:
    return Coverage(times.size, first=float(times.min()), last=float(times.max()))


def _event_trace_times(
    weigher: Weigher, path: AttitudePath | None, inputs: WeightInputs, extrapolate: bool
) -> tuple[np.ndarray, float, float]:
    """Return the times at which events need traces, for all sources together, and the range of the events."""
    require_kind(inputs.target, "events", "attitude", operation="ray_trace without times")
    column = {"time": inputs.target["time"].variable}
    places: list[Place] | None = None
    coverage = Coverage()
    found: set[float] = set()
    for _, block in column_blocks(column):
        times = np.ascontiguousarray(block["time"], dtype=np.float64)
        coverage += _range_of(times) if path is None else path.coverage(times)
        places, made = weigher.advance(places, times)
        found.update(*made)
    if not coverage.count:
        raise EmptySelectionError("events: found none; nothing to trace (give times=)")
    if path is not None:
        path.require(coverage, extrapolate)
    return np.array(sorted(found)), coverage.first, coverage.last


def _trace_table(
    weigher: Weigher, times: np.ndarray, positions: SourcePositions, attrs: dict[str, Any]
) -> xr.Dataset:
    """Return the Dataset of kind `ray_trace` at times."""
    table = [weigher.traces_at(source, times.tolist()) for source in range(len(weigher))]
    rows = [[trace for _, trace in made] for made in table]

    def column(pick: Any) -> np.ndarray:
        values = np.array([[pick(trace) for trace in made] for made in rows], dtype=np.float64)
        return values.reshape(len(weigher), len(times))

    z = np.broadcast_to(positions.height[:, None], (len(weigher), len(times)))
    imx, imy = column(lambda trace: trace.place[0]), column(lambda trace: trace.place[1])
    imx_app, imy_app = column(lambda trace: trace.apparent[0]), column(lambda trace: trace.apparent[1])
    dims = ("source", "time") if positions.several else ("time",)

    def variable(values: np.ndarray, **described: str) -> tuple:
        return dims, np.array(values if positions.several else values[0]), described

    result = build(
        "ray_trace",
        {
            "time": times,
            "imx": variable(imx),
            "imy": variable(imy),
            "x": variable(imx * z),
            "y": variable(imy * z),
            "z": variable(z),
            "imx_app": variable(imx_app, units="1", long_name="apparent position X/Z", fits_name="IMX_APP"),
            "imy_app": variable(imy_app, units="1", long_name="apparent position Y/Z", fits_name="IMY_APP"),
            "x_app": variable(imx_app * z, units="cm", long_name="apparent position X", fits_name="BAT_XAPP"),
            "y_app": variable(imy_app * z, units="cm", long_name="apparent position Y", fits_name="BAT_YAPP"),
            "z_app": variable(z, units="cm", long_name="apparent position Z", fits_name="BAT_ZAPP"),
            "pcode": variable(column(lambda trace: trace.pcode)),
            "n_good": variable(column(lambda trace: trace.n_good).astype(np.int32)),
            "mask_weight_norm": variable(column(lambda trace: trace.norm)),
        },
        attrs,
    )
    if positions.several and positions.frame == "sky":
        result = result.assign_coords(
            ra=("source", positions.first, {"units": "deg"}),
            dec=("source", positions.second, {"units": "deg"}),
        )
    return result
