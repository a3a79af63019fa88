"""The response of BAT to a source at a place in the field, or along its way through it during a slew."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from batx.caldb.finding import find
from batx.engines import by_engine
from batx.errors import MissingKeywordError, MissingVariableError, PositionError, ValueRangeError
from batx.grids import energy_bounds, warn
from batx.instrument.response_grid import GRID_FIELD, coding_efficiency, response_grid
from batx.kernels.redistribution import DepthTable, detector_response
from batx.provenance import calibration_of, with_calibration
from batx.reduction import compat_of
from batx.response_places import Places, places
from batx.schema import build

__all__ = ["response"]

#: how far in tangent units beyond the table a response is taken without a word
_MARGIN = 0.05
#: what the provenance calls the table that comes with batx
_PACKAGED = "packaged table of responses"
#: edges in keV closer to each other than this are the same
_SAME_EDGE = 0.011
#: how far in keV beyond the last edge that the table resolves (194.9) its cumulative response is continued,
#: so that the bands of the survey, which end at 195, have one
_BEYOND = 0.15


@by_engine
def response(
    spectrum: xr.Dataset | None = None,
    *,
    imx: Any = None,
    imy: Any = None,
    norm: Any = None,
    trace: xr.Dataset | None = None,
    weights: Any = "exposure",
    channels: Any = None,
    parameters: Any = None,
    depth: Any = None,
    energy_in: Any = None,
    compat: str | None = None,
) -> xr.Dataset:
    """Return the response of mask-weighted spectra to a source in the field, from the packaged table.

    Parameters
    ----------
    spectrum
        Kind ``spectrum``, or ``lightcurve`` for the response of its bands. Gives channels, times, place and
        normalisation. A spectrum made from weighted events knows the way of its source through the field:
        the response is then the mean along it, also during a slew.
    imx, imy
        Place in the field as tangents (BAT_X/BAT_Z, BAT_Y/BAT_Z); arrays give a dimension ``source``. They
        come before what `spectrum` knows.
    norm
        Factor of the mask weights that was not applied (MSKWTSQF); of `spectrum`, or the inverse of the
        coding efficiency of the place, which the weights have by default.
    trace
        Kind ``ray_trace`` (`batx.ray_trace`) for one source, in place of the way that `spectrum` knows: the
        response is the mean along it, over the good time of each time bin. A trace stands for the time from
        halfway since the one before it to halfway to the next; where the source is not coded the response
        is 0.
    weights
        Of the mean: ``"exposure"``; a light curve of the source in one band, for its counts; or numbers, one
        for each time of `trace`.
    channels
        Edges in keV (channel + 1,) or (lower, upper) pairs; of `spectrum`, or the 80 standard channels.
    parameters, depth
        Files of the calibration (paths, what `xarray.open_datatree` returns, or ``"caldb"`` for those of the
        calibration database, `batx.caldb`) with CCNM0001 MTFUNC_PARMS and DEPTH_DIST. With both, the response
        is computed as ``batdrmgen`` does (method MEAN) instead of taken from the table.
    energy_in
        Edges in keV of the incident energies of the computed response, or the path of a table with them;
        those of the packaged table by default.
    compat
        ``"heasoft"`` computes in tenths of the channels as they are and puts what is measured below the first
        edge into the first channel. By default channels are sums of the standard ones, cut where needed, and
        what is measured outside the channels is lost; for the standard channels both are the same.
    engine
        ``"native"``; ``"heasoft"`` for the tool batdrmgen, or a `batx.heasoft.Engine`.

    Returns
    -------
    xarray.Dataset
        Kind ``response``: ``matrix`` (cm**2 per detector) with dimensions
        ``([source | time,] energy_in, channel)``, float64, in memory.

    Raises
    ------
    KindError
        If `spectrum` or `trace` is of another kind, or weights light curve has several bands.
    MissingKeywordError, MissingVariableError
        If nothing says where the source is, or a calibration file lacks something.
    PositionError
        If the source is outside the field, or never coded along `trace`.
    ValueRangeError
        If edges or weights make no sense, or an edge lies inside the first or last channel of the table,
        whose width hides what happens within.

    Warns
    -----
    BatxWarning
        Beyond the table (IMX beyond ±1.5 or IMY beyond ±0.7), where it is extrapolated.

    Notes
    -----
    ln(response × ce) is interpolated between 11 places that ``batdrmgen`` was run for; ce is the coding
    efficiency. Without any one of them, the others give the response there to 1.3 % in each channel between
    15 and 150 keV (0.6 % of all counts) for power laws of index 1 to 2. Other channels than the standard ones
    are sums of these; an edge inside a channel cuts it by monotonic interpolation of the cumulative response,
    which adds up to 0.4 %. Formula: algorithms, section 3.

    Examples
    --------
    >>> on_axis = response(imx=0.0, imy=0.0)
    >>> dict(on_axis.matrix.sizes)
    {'energy_in': 204, 'channel': 80}
    >>> bands = response(imx=0.5, imy=-0.2, channels=[15, 25, 50, 100, 150])
    >>> bands.matrix.sel(energy_in=60, method="nearest").values.round(3)
    array([0.  , 0.02, 0.13, 0.  ])
    """
    compat = compat_of(compat)
    way = places(spectrum, imx, imy, norm, trace, weights)
    wanted = _channels(spectrum, channels)
    if (parameters is None) != (depth is None):
        raise ValueRangeError("response: parameters and depth go together, found only one of them")
    served: dict[str, Any] = {}
    if parameters is None:
        if energy_in is not None:
            raise ValueRangeError(
                "response: energy_in is of computed responses (parameters=, depth=); the table has its own"
            )
        edges_in, matrix, origin = _from_table(way, wanted)
    else:
        edges_in = _energies(energy_in)
        parameters, depth, served = _from_caldb(parameters, depth, spectrum)
        matrix, origin = _computed(way, wanted, edges_in, parameters, depth, compat)
    return _labelled(spectrum, way, wanted, edges_in, matrix, origin, served)


# --- matrices ----------------------------------------------------------------------------------------------


def _channels(spectrum: xr.Dataset | None, channels: Any) -> np.ndarray:
    """Return the edges of the channels, shape (channel, 2)."""
    if channels is not None:
        return np.stack(energy_bounds(channels), axis=-1)
    if spectrum is None:
        return response_grid().channel
    if "energy_bnds" not in spectrum.variables:
        raise MissingVariableError("response: the spectrum has no energy_bnds; give channels=, their edges")
    return spectrum["energy_bnds"].values.astype(np.float64)


def _from_table(way: Places, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray, str]:
    grid = response_grid()
    imx, imy = (way.place[:, :2] / way.place[:, 2:]).T
    if (np.abs(np.stack([imx, imy], axis=-1)) > np.add(GRID_FIELD, _MARGIN)).any():
        warn(
            f"response: a place beyond |imx| = {GRID_FIELD[0]}, |imy| = {GRID_FIELD[1]}; the packaged table "
            "is extrapolated there"
        )
    matrix = grid.mean(way.weights, imx, imy, way.norm)
    return grid.energy_in, _on_channels(matrix, grid.channel, wanted), grid.origin


def _on_channels(matrix: np.ndarray, own: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return (..., channel) on other channels: sums, with channels cut where an edge is inside one."""
    if np.array_equal(own, wanted):
        return matrix
    edges = np.append(own[:, 0], own[-1, 1])
    nearest = np.argmin(np.abs(wanted[..., None] - edges), axis=-1)
    on_edge = np.abs(wanted - edges[nearest]) < _SAME_EDGE
    inside = wanted[~on_edge & ((wanted < edges[1]) | (wanted > edges[-2] + _BEYOND))]
    if inside.size:
        raise ValueRangeError(
            f"response: found channel edges {inside.tolist()} keV, expected {edges[0]:g}, {edges[1]:g} to "
            f"{edges[-2]:g}, or {edges[-1]:g}: the table does not resolve its first and last channel; "
            "compute the response from calibration files (parameters=, depth=) for such bands"
        )
    before = np.concatenate([np.zeros((*matrix.shape[:-1], 1)), np.cumsum(matrix, axis=-1)], axis=-1)
    if on_edge.all():
        at = before[..., nearest]
    else:
        from scipy.interpolate import PchipInterpolator

        inner = slice(1, -1)
        at = PchipInterpolator(edges[inner], before[..., inner], axis=-1, extrapolate=True)(wanted)
        at = np.where(on_edge, before[..., nearest], at)
    return at[..., 1] - at[..., 0]


def _energies(energy_in: Any) -> np.ndarray:
    if energy_in is None:
        return response_grid().energy_in
    if isinstance(energy_in, (str, os.PathLike)):
        table = _with_name(energy_in, ("energ_lo", "energ_hi"), "energy_in")
        return np.stack([table["energ_lo"].values, table["energ_hi"].values], axis=-1).astype(np.float64)
    return np.stack(energy_bounds(energy_in), axis=-1)


def _from_caldb(parameters: Any, depth: Any, spectrum: xr.Dataset | None) -> tuple[Any, Any, dict[str, Any]]:
    """Return the paths of calibration that the database is asked for, and the records of the files."""
    made, served = [], {}
    for name, value in (("response_parameters", parameters), ("depth", depth)):
        if isinstance(value, str) and value.lower() == "caldb":
            file = find(name, None if spectrum is None else spectrum.attrs.get("tstart"))
            value, served[name] = file.path, file.record
        elif isinstance(value, (str, os.PathLike)):
            served[name] = {"file": os.path.basename(os.fspath(value)), "path": os.fspath(value)}
        made.append(value)
    return made[0], made[1], served


def _computed(
    way: Places, wanted: np.ndarray, edges_in: np.ndarray, parameters: Any, depth: Any, compat: str | None
) -> tuple[np.ndarray, str]:
    settings = _with_name(parameters, ("row_column",), "parameters")
    mobility = _with_name(parameters, ("mutau_e", "mutau_h", "fraction"), "parameters")
    table = _with_name(depth, ("energy", "photo", "esc_cd", "esc_te"), "depth")
    keywords = {name: float(value) for name, value in settings.attrs.items() if _is_number(value)}
    carriers = np.stack([mobility[name].values for name in ("mutau_e", "mutau_h", "fraction")])
    energy, tan_x, tan_y = (np.asarray(table[name].values, np.float64) for name in ("energy", "tanx", "tany"))
    series = np.stack([table[name].values for name in ("photo", "esc_cd", "esc_te")], axis=1)
    depths = DepthTable.from_rows(energy, tan_x, tan_y, series.astype(np.float64))
    _inside(depths, edges_in, way.place)
    norm = way.norm
    if norm is None:
        norm = 1 / coding_efficiency(*(way.place[:, :2] / way.place[:, 2:]).T)
    fine = wanted if compat else _refined(wanted)
    total = np.zeros((len(way.weights), len(edges_in), len(fine)))
    for place, factor, share in zip(way.place, norm, way.weights.T, strict=True):
        try:
            one = detector_response(edges_in, fine, tuple(place), keywords, carriers, depths, float(factor))
        except KeyError as error:
            raise MissingKeywordError(
                f"parameters: keyword {str(error.args[0]).upper()} is missing"
            ) from error
        total += share[:, None, None] * one
    return _on_channels(total, fine, wanted), "computed from the calibration's parameters"


def _refined(wanted: np.ndarray) -> np.ndarray:
    """Return the standard channels, cut at the edges that are wanted."""
    edges = np.union1d(response_grid().channel, wanted)
    return np.stack([edges[:-1], edges[1:]], axis=-1)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)


def _with_name(tree: Any, names: Sequence[str], what: str) -> xr.Dataset:
    """Return the table of a file that has all of some columns."""
    if isinstance(tree, (str, os.PathLike)):
        tree = xr.open_datatree(tree, engine="batx")
    nodes = [node.to_dataset() for node in tree.subtree] if isinstance(tree, xr.DataTree) else [tree]
    for node in nodes:
        if all(name in node.variables for name in names):
            return node
    raise MissingVariableError(
        f"{what}: found no table with the columns {', '.join(names).upper()}; expected a calibration file of "
        "the response"
    )


def _inside(depth: DepthTable, edges_in: np.ndarray, place: np.ndarray) -> None:
    middle = edges_in.mean(axis=1)
    low, high = depth.energy[[0, -1]]
    if middle.min() < low or middle.max() > high:
        raise ValueRangeError(
            f"energy_in: found {middle.min():g} to {middle.max():g} keV, the depth file has {low:g} to "
            f"{high:g}"
        )
    steepest = float(np.abs(place[:, :2] / place[:, 2:]).max())
    if steepest > depth.tangent[-1]:
        raise PositionError(
            f"response: found a tangent of {steepest:.3g}, the depth file ends at {depth.tangent[-1]:g}"
        )


# --- labels ------------------------------------------------------------------------------------------------


def _labelled(
    spectrum: xr.Dataset | None,
    way: Places,
    wanted: np.ndarray,
    edges_in: np.ndarray,
    matrix: np.ndarray,
    origin: str,
    served: dict[str, Any],
) -> xr.Dataset:
    if not way.dims:
        matrix = matrix[0]
    held = {} if spectrum is None else spectrum
    number = held["channel"].values if "channel" in held else np.arange(len(wanted))
    if len(number) != len(wanted):
        number = np.arange(len(wanted))
    variables = {
        **way.coords,
        "energy_in": edges_in.mean(axis=1),
        "energy_in_bnds": edges_in,
        "channel": number,
        "energy": wanted.mean(axis=1),
        "energy_bnds": wanted,
        "matrix": ((*way.dims, "energy_in", "channel"), matrix, {"units": "cm**2", "per": "detector"}),
    }
    kept = {} if spectrum is None else spectrum.attrs
    attrs: dict[str, Any] = {name: kept[name] for name in ("obs_id", "object") if name in kept}
    if not way.dims and len(way.place) == 1:
        attrs |= {f"bat_{axis}obj": float(value) for axis, value in zip("xyz", way.place[0], strict=True)}
    line = f"batx.response: {origin}, {len(way.place)} direction(s)"
    attrs = {"telescope": "SWIFT", "instrument": "BAT", "history": line} | attrs
    served = calibration_of(kept) | (served or {"response": {"file": _PACKAGED}})
    return build("response", variables, with_calibration(attrs, served))
