"""Survey histograms on corrected energies: from the 80 channels on board to bands."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from batx.caldb.finding import single_time
from batx.energy_calibrations import CalibrationParts, gain_map_for, polynomial_table
from batx.engines import by_engine
from batx.errors import MissingVariableError, ValueRangeError
from batx.gain_maps import GainMap, map_arrays
from batx.grids import energy_bounds, warn
from batx.instrument.detector import DETECTOR, DETID, SHAPE
from batx.kernels import channels, gains
from batx.provenance import file_record, with_calibration
from batx.reduction import compat_of
from batx.schema import build
from batx.schema.attributes import ORIGIN, kept_attrs, with_history
from batx.survey_inputs import nodes_of, survey_histograms
from batx.survey_spectra import SURVEY_EDGES

__all__ = ["calibrate_histogram"]

_COEFFICIENTS = ("offset", "gain", "gain2", "gain3", "lin_offset", "lin_gain")
#: methods that the tool has
_SINGLE = ("quadratic", "cubic", "fixeddac")
#: a last channel that reaches above this energy, keV, is all that is too high for the others
_OVERFLOW = 1000.0
#: channels that are sent down of histograms that are cut short
_SENT = 20
#: bands may reach so far above the last channel, keV, without a word
_BEYOND = 1.0
_MEANINGS = "no_calibration_or_out_of_range lowest_energies_missing highest_energies_missing edges_moved_far"


@by_engine
def calibrate_histogram(
    histogram: Any,
    gain_offset: Any = None,
    *,
    energy: Any = None,
    pulser: Any = None,
    flight_pulser: Any = None,
    residual: Any = None,
    calibration: Any = None,
    method: str | None = None,
    time: Any = None,
    compat: str | None = None,
) -> xr.Dataset:
    """Return survey histograms in bands of corrected energies.

    The channels of each detector get the edges that the calibration gives them, and their counts are shared
    out to the bands in proportion.

    Parameters
    ----------
    histogram
        Kind ``detector_plane`` along time and energy, or a list of these; or the tree of an observation,
        whose nodes give what is not given here.
    gain_offset, pulser, flight_pulser, residual, calibration, method
        As for `batx.calibrate_energy`.
    energy
        Bands, keV: edges (band + 1,) or pairs; the eight bands of the survey from 14 to 195 keV if not given.
    time
        Of the calibration; the start of each Dataset of histograms if not given.
    compat
        ``"heasoft"`` as baterebin: energies are worked out in single precision; the first band has all
        channels that end below its upper edge, and the channel below the threshold if it starts where that
        does; the edge of the last channel stays where it is. Give it a band below the lowest one that is
        needed.
    engine
        ``"native"``; ``"heasoft"`` for the tool baterebin, or a `batx.heasoft.Engine`.

    Returns
    -------
    xarray.Dataset
        Kind ``detector_plane``: ``counts`` (time, energy, dety, detx), float32, in memory; ``exposure``,
        ``data_flags`` and good time as in the histograms; ``quality`` (dety, detx), a sum of bits, 0 for good
        detectors: 1 the lowest energies, up to 14 keV, are not measured; 2 nor the highest, from 151.9 keV
        (without `compat` not of histograms that are cut short below it, which would have it everywhere); 4
        the lowest edge is more than 50 keV off; 8 no detector, no calibration, or one out of range. Detectors
        with 4 or 8 have no counts. Of several Datasets it is the bits of all together. Attributes as
        `batx.calibrate_energy` sets them.

    Raises
    ------
    KindError, MissingVariableError, EmptySelectionError
        If there are no histograms, or a Dataset is of another kind.
    MissingFileError, MissingKeywordError
        If there is no gain map, or no calibration for the method asked for.
    ValueRangeError
        If energies were corrected already, Datasets have different channels, there is no such method, or all
        bands are out of the channels.

    Warns
    -----
    BatxWarning
        As `batx.calibrate_energy`, where calibration is missing; if that of no detector can be used, so that
        there are no counts; without `compat` if bands reach out of the channels, or of the first 20 if only
        these were sent down: bands that are all outside are empty.

    Notes
    -----
    The first channel from 0 keV (below the threshold) and a last one that reaches above 1000 keV belong to no
    energy, and are in no band. Source: definition of the tool ``baterebin`` (algorithms of the survey, 4.1);
    the tool's quality map is met exactly, its counts to 6e-5 with `compat`, to 3e-3 (2e-6 of all) without.

    Examples
    --------
    >>> import batx, tempfile
    >>> folder = batx.simulate.observation(tempfile.mkdtemp(), duration=40.0, survey=20.0)
    >>> bands = calibrate_histogram(batx.open_observation(folder))
    >>> dict(bands.counts.sizes)
    {'time': 2, 'energy': 8, 'dety': 173, 'detx': 286}
    """
    mode = compat_of(compat)
    nodes = nodes_of(histogram, "calibrate_histogram") if isinstance(histogram, xr.DataTree) else {}
    planes = survey_histograms(histogram, "calibrate_histogram")
    bands = energy_bounds(SURVEY_EDGES if energy is None else energy)
    given = {"pulser": pulser, "flight_pulser": flight_pulser, "residual": residual}
    made = []
    for plane in planes:
        _require_nominal(plane, planes[0])
        met = float(plane["time_bnds"].values[0, 0]) if time is None else single_time(time, plane.attrs)
        onboard = gain_map_for(gain_offset, calibration, nodes, met)
        parts = CalibrationParts(given, calibration, nodes, met)
        scale = _Scale(onboard, parts, parts.method() if method is None else _known(method))
        made.append(scale.applied(plane, bands, mode))
    return made[0] if len(made) == 1 else _joined(made)


def _known(method: str) -> str:
    name = str(method).lower()
    if name not in gains.METHODS:
        raise ValueRangeError(f"method: found {method!r}, expected one of {', '.join(gains.METHODS)}")
    return name


def _require_nominal(plane: xr.Dataset, first: xr.Dataset) -> None:
    """Raise an error unless it is counts on the scale on board, in the channels of the first Dataset."""
    if "counts" not in plane:
        raise MissingVariableError("calibrate_histogram: found rates, expected counts as in the files")
    named = str(plane.attrs.get("gainmeth", "FLIGHT")).strip().upper()
    if named != "FLIGHT":
        raise ValueRangeError(
            f"calibrate_histogram: found energies that were corrected already (GAINMETH {named}), expected "
            "those on board (FLIGHT)"
        )
    bounds = plane["energy_bnds"].values
    if bounds.shape != first["energy_bnds"].shape or not np.allclose(bounds, first["energy_bnds"].values):
        raise ValueRangeError(
            f"calibrate_histogram: found histograms of {len(bounds)} and {first.sizes['energy']} channels, "
            "or with other edges; calibrate them one after the other"
        )
    if not np.allclose(bounds[1:, 0], bounds[:-1, 1]):
        raise ValueRangeError("calibrate_histogram: found channels with gaps between them, expected none")


class _Scale:
    """The scale of energies of all detectors."""

    def __init__(self, onboard: GainMap, parts: CalibrationParts, method: str) -> None:
        self.onboard, self.method = onboard, method
        self.table, self.used = polynomial_table(method, onboard, parts)
        maps = map_arrays(onboard.maps, "gain", "offset", what="gain_offset")
        self.board = gains.Maps(maps["gain"], maps["offset"])
        self.pulsers = {
            name: gains.Maps(**map_arrays(self.used[name], "gain", "offset", what=name))
            for name in ("flight_pulser", "pulser")
            if name in self.used
        }
        self.residual = None
        if "residual" in self.used:
            names = [name for name in _COEFFICIENTS if name in self.used["residual"]]
            self.residual = map_arrays(self.used["residual"], *names, what="residual")

    def usable(self) -> np.ndarray:
        """Return which detectors have a calibration like that of a working one."""
        good = channels.in_range(self.method, self.board, tuple(self.pulsers.values()), self.residual)
        return good & DETECTOR.ravel()

    def edges(self, nominal: np.ndarray, single: bool) -> np.ndarray:
        """Return the energies of edges for each detector, in single precision if it is asked for."""
        heights = channels.edge_heights(*self.board, nominal)
        if not single or self.method not in _SINGLE or len(self.pulsers) < 2:
            return channels.corrected_edges(self.table, heights)
        return gains.single_energies(
            self.method,
            self.board,
            self.onboard.dac,
            self.pulsers["flight_pulser"],
            self.pulsers["pulser"],
            self.residual,
            heights,
        )

    def applied(
        self, plane: xr.Dataset, bands: tuple[np.ndarray, np.ndarray], mode: str | None
    ) -> xr.Dataset:
        """Return histograms in bands."""
        bounds = plane["energy_bnds"].values
        nominal = np.append(bounds[:, 0], bounds[-1, 1])
        edges = self.edges(nominal, single=bool(mode))
        below, above = bool(mode) or nominal[0] <= 0, bool(mode) or nominal[-1] > _OVERFLOW
        if above:
            edges[-1] = nominal[-1]
        good = self.usable() & channels.in_order(edges)
        quality = channels.edge_quality(
            edges[1 if below else 0], edges[-2 if above else -1], float(nominal[1 if below else 0]), good
        )
        counts = plane["counts"].transpose("time", "energy", "dety", "detx").values
        lower, upper = bands
        flat = counts.reshape(*counts.shape[:2], -1)
        taken = quality < channels.CHANGED
        if not taken.any():
            warn(
                "calibrate_histogram: no detector has a calibration like that of a working one "
                f"({', '.join(['gain_offset', *self.used])}), so nothing is counted; is it that of BAT?"
            )
        whole = (int(below), len(bounds) - int(above))
        shared = channels.share_counts(
            flat, edges, lower, upper, taken, channels=whole, fill_first=bool(mode)
        )
        if mode:
            _add_ends(shared, flat * taken, nominal, lower, upper)
        else:
            ordinary = nominal[int(below) : len(nominal) - int(above)]
            ends = ordinary[0], nominal[_SENT] if _cut_short(flat) else ordinary[-1]
            shared[:, _out_of_reach(ends, bands)] = 0
            if ends[1] < channels.HIGHEST:  # of no detector, so it tells them not apart
                quality &= np.uint8(~channels.HIGH_MISSING & 0xFF)
        return self._labelled(plane, bands, shared.reshape(*shared.shape[:2], *SHAPE), quality.reshape(SHAPE))

    def _labelled(
        self,
        plane: xr.Dataset,
        bands: tuple[np.ndarray, np.ndarray],
        counts: np.ndarray,
        quality: np.ndarray,
    ) -> xr.Dataset:
        kept = ("time", "time_bnds", "exposure", "data_flags", "livetime", "gti_start", "gti_stop")
        variables: dict[str, Any] = {name: plane[name].variable for name in kept if name in plane.variables}
        meanings = {"units": "1", "flag_masks": [8, 1, 2, 4], "flag_meanings": _MEANINGS}
        variables |= {
            "counts": (("time", "energy", "dety", "detx"), counts, {"units": "count"}),
            "energy": 0.5 * (bands[0] + bands[1]),
            "energy_bnds": np.stack(bands, axis=1),
            "detid": DETID,
            "quality": (("dety", "detx"), quality, meanings),
        }
        attrs = kept_attrs(plane.attrs, *ORIGIN, "tstart", "tstop", "history", "provenance")
        attrs |= {"gainapp": 1, "gainmeth": self.method.upper()}
        gap = self.onboard.gap
        if self.onboard.time is not None and gap is not None:
            attrs |= {"gain_offset_time": self.onboard.time, "gain_offset_gap": gap}
        told = "" if gap is None else f", gain map {gap:+.0f} s"
        attrs = with_history(attrs, f"batx.calibrate_histogram: {self.method}{told}")
        record = {"gain_offset": file_record(self.onboard.maps, time=self.onboard.time, gap=gap)}
        record |= {name: file_record(ds) for name, ds in self.used.items()}
        return build("detector_plane", variables, with_calibration(attrs, record))


def _cut_short(counts: np.ndarray) -> bool:
    """Whether histograms (time, channel, detector) hold nothing but in the first channels."""
    filled = np.asarray(counts.any(axis=(0, 2)))
    return bool(filled[:_SENT].any() and filled.size > _SENT and not filled[_SENT:].any())


def _out_of_reach(ends: tuple[float, float], bands: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Return which bands are outside of the channels, after a word on these and on those that reach out."""
    (low, high), (lower, upper) = ends, bands
    none = (lower >= high) | (upper <= low)
    part = (upper > high + _BEYOND) & ~none
    told = f"calibrate_histogram: the histograms reach from {low:g} to {high:g} keV"
    if none.all():
        raise ValueRangeError(f"{told}, and all bands are out of that")
    found = {"nothing is in": none, "the end is missing of": part}
    said = [f"{what} {_listed(lower[which], upper[which])}" for what, which in found.items() if which.any()]
    if said:
        warn(f"{told}: {', '.join(said)}")
    return none


def _listed(lower: np.ndarray, upper: np.ndarray) -> str:
    return " ".join(f"{low:g}-{high:g}" for low, high in zip(lower, upper, strict=True))


def _add_ends(
    shared: np.ndarray, counts: np.ndarray, nominal: np.ndarray, lower: np.ndarray, upper: np.ndarray
) -> None:
    """Add the first and last channels as baterebin does: whole, where the bands begin, and end, with them."""
    if np.any(lower[1:] != upper[:-1]):
        raise ValueRangeError("calibrate_histogram: compat='heasoft' needs bands without gaps between them")
    if lower[0] == nominal[0]:
        shared[:, 0] += np.maximum(counts[:, 0], 0)
    if upper.size == nominal.size - 1 and upper[-1] == nominal[-1]:
        shared[:, -1] += np.maximum(counts[:, -1], 0)


def _joined(parts: list[xr.Dataset]) -> xr.Dataset:
    """Return histograms of several files along time, with the quality bits of all."""
    quality = np.bitwise_or.reduce([part["quality"].values for part in parts])
    apart = [part.drop_vars(["quality", "gti_start", "gti_stop"], errors="ignore") for part in parts]
    made = xr.concat(apart, "time", data_vars="minimal", coords="minimal", compat="override", join="override",
                     combine_attrs="override")  # fmt: skip
    made["quality"] = parts[0]["quality"].copy(data=quality)
    if all("gti_start" in part for part in parts):
        for name in ("gti_start", "gti_stop"):
            values = np.concatenate([part[name].values for part in parts])
            made[name] = (("gti",), values, parts[0][name].attrs)
    made.attrs["tstop"] = float(made["time_bnds"].values.max())
    return made
