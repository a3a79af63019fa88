"""A survey observation: from its histograms to the rates of every snapshot."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from batx.caldb.finding import served
from batx.errors import AttitudeError, EmptySelectionError, KindError, ValueRangeError
from batx.grids import energy_bounds
from batx.schema import require_kind
from batx.steady_attitudes import steady_attitude, steady_gti
from batx.survey_energies import calibrate_histogram
from batx.survey_inputs import nodes_of
from batx.survey_planes import survey_mask, survey_plane
from batx.survey_pointings import survey_pointing
from batx.survey_results import failed_row, snapshot_name
from batx.survey_spectra import SURVEY_EDGES
from batx.survey_times import survey_gti

__all__ = ["survey_observation"]

#: purposes of calibration that have a keyword of their own in what is called
_ENERGIES = ("gain_offset", "pulser", "flight_pulser", "residual")
_OTHERS = ("aperture", "alignment", "mask_edges", "distortion", "bad_pixels", "good_time")
#: overlaps with good time of the histograms that the pointing is found with
_FIRST_LOOK: dict[str, Any] = {"min_overlap": 0.75, "max_outside": 40.0}


def survey_observation(
    observation: xr.DataTree,
    catalog: xr.Dataset | None = None,
    *,
    each: str = "snapshot",
    energy: Any = None,
    calibration: Mapping[str, Any] | None = None,
    masks: Iterable[Any] = (),
    filters: Mapping[str, Any] | None = None,
    min_exposure: float = 150.0,
    max_unsteady: tuple[float, float] = (0.15, 35.0),
    compat: str | None = None,
    **options: Any,
) -> Iterator[xr.DataTree]:
    """Yield the snapshots of a survey observation, one after the other, as `batx.survey_pointing` makes them.

    Histograms are put on corrected energies and good time is found at once; a snapshot is then made when it
    is asked for, so that no more than one is in memory.

    Parameters
    ----------
    observation
        Tree of `batx.open_observation`, with histograms, attitude and housekeeping.
    catalog
        Known sources, kind ``catalog``.
    each
        ``"snapshot"`` or ``"histogram"``, as for `batx.survey_gti`.
    energy
        Bands, as for `batx.calibrate_histogram`.
    calibration
        What does not come from the observation or the calibration database, by purpose: Datasets or paths of
        gain_offset, pulser, flight_pulser, residual, aperture, alignment, mask_edges, distortion, bad_pixels,
        good_time. `None` as a value does without.
    masks
        Further detector masks.
    filters
        Further keywords of `batx.survey_gti`, such as ``leave_out`` or ``min_detectors``.
    min_exposure
        Snapshots of less exposure are left out, s.
    max_unsteady
        If the pointing is off the steady attitude for more than this part of the exposure, or for more
        seconds than the second number, only the time within counts.
    compat
        ``"heasoft"`` for all that is called.
    **options
        Further keywords of `batx.survey_pointing`.

    Yields
    ------
    xarray.DataTree
        For a good snapshot the tree of `batx.survey_pointing` with ``/attitude`` (`batx.steady_attitude`) and
        ``/gti`` (its interval of good time). For one that cannot be used ``/pointing`` alone, whose
        ``image_descr`` is the code of batsurvey for the reason: dpi1_failed and dpi2_failed (no histogram),
        aspect_failed, expo_small, zero_counts, batdetmask_failed, ndets_low. Attributes ``image_id``,
        ``code``, and ``histogram_exposure`` of the observation.

    Raises
    ------
    KindError, MissingVariableError, ValueRangeError, MissingFileError
        If something is missing or of the wrong kind.
    OrbitError
        If the orbit is that of another time.
    EmptySelectionError
        If the observation has no good time: the filter that leaves none is named.

    Notes
    -----
    Names of snapshots are those of batsurvey, to the minute; a second one that begins in the same minute has
    the seconds too. Source: algorithms of the survey, 1.2.

    Examples
    --------
    >>> import batx, tempfile
    >>> folder = batx.simulate.observation(tempfile.mkdtemp(), duration=40.0, survey=20.0)
    >>> names = "detectors,tracker,tracker_loss,global,rate,elevation"
    >>> tree = batx.open_observation(folder)
    >>> snapshots = survey_observation(tree, filters={"leave_out": names, "min_duration": 10})
    >>> [snapshot.attrs["code"] for snapshot in snapshots]
    ['expo_small']
    """
    nodes = nodes_of(observation, "survey_observation")
    if catalog is not None:
        require_kind(catalog, "catalog", operation="survey_observation (catalog=)")
    least, unsteady = _limits(min_exposure, max_unsteady)
    if filters is not None and not isinstance(filters, Mapping):
        raise ValueRangeError(f"filters: found {filters!r}, expected keywords of batx.survey_gti by name")
    tools = _Calibration.of(calibration, nodes)
    given = {name: tools.given[name] for name in _ENERGIES if name in tools.given}
    histograms = _in_bands(observation, energy, compat, given)
    met = float(histograms["time_bnds"].values[0, 0])
    known = {"global_gti": tools.get("good_time", met)}
    good = survey_gti(observation, histograms, each=each, compat=compat, **{**known, **dict(filters or {})})
    plan = _Plan(nodes, histograms, catalog, tools, tuple(masks), least, unsteady, compat, options)
    taken: set[str] = set()
    for row in range(good.sizes["gti"]):
        span = good.isel(gti=[row])[["start", "stop"]].assign_attrs(good.attrs)
        name = snapshot_name(float(span["start"][0]))
        if name in taken:
            name = snapshot_name(float(span["start"][0]), seconds=True)
        taken.add(name)
        made = plan.snapshot(span, name)
        made.attrs["histogram_exposure"] = good.attrs["histogram_exposure"]
        yield made


def _limits(min_exposure: Any, max_unsteady: Any) -> tuple[float, tuple[float, float]]:
    """Return both as numbers."""
    try:
        part, most = max_unsteady
        return float(min_exposure), (float(part), float(most))
    except (TypeError, ValueError):
        raise ValueRangeError(
            f"min_exposure, max_unsteady: found {min_exposure!r} and {max_unsteady!r}, expected seconds, and "
            "a pair of a part and seconds"
        ) from None


def _in_bands(observation: xr.DataTree, energy: Any, compat: str | None, given: dict[str, Any]) -> xr.Dataset:
    """Return the histograms in bands; the tool puts what is below the lowest band into a further one."""
    lower, upper = energy_bounds(SURVEY_EDGES if energy is None else energy)
    if not compat:
        return calibrate_histogram(observation, energy=np.stack([lower, upper], axis=1), **given)
    wide = np.stack([np.append(0.0, lower), np.append(lower[:1], upper)], axis=1)
    return calibrate_histogram(observation, energy=wide, compat=compat, **given).isel(energy=slice(1, None))


@dataclass(frozen=True)
class _Calibration:
    """Calibration that is given, of the observation, or of the calibration database, in this order."""

    given: dict[str, Any]
    nodes: dict[str, xr.Dataset]

    @classmethod
    def of(cls, given: Mapping[str, Any] | None, nodes: dict[str, xr.Dataset]) -> _Calibration:
        """Return it, after a look at the names."""
        places = dict(given or {})
        if unknown := sorted(set(places) - {*_ENERGIES, *_OTHERS}):
            raise ValueRangeError(
                f"calibration: found {unknown[0]!r}, expected some of {', '.join((*_ENERGIES, *_OTHERS))}"
            )
        return cls(places, nodes)

    def get(self, name: str, met: float) -> xr.Dataset | None:
        """Return what serves a purpose, `None` if nothing does."""
        if name in self.given:
            found = self.given[name]
            if found is None or isinstance(found, xr.Dataset):
                return found
            return xr.open_dataset(found, engine="batx")
        return self.nodes[name] if name in self.nodes else served(name, met)


@dataclass(frozen=True)
class _Plan:
    """All that the snapshots of an observation are made with."""

    nodes: dict[str, xr.Dataset]
    histograms: xr.Dataset
    catalog: xr.Dataset | None
    calibration: _Calibration
    masks: tuple[Any, ...]
    min_exposure: float
    max_unsteady: tuple[float, float]
    compat: str | None
    options: dict[str, Any]

    def snapshot(self, span: xr.Dataset, name: str) -> xr.DataTree:
        """Return a snapshot, or the row that says why there is none."""
        failed = _Failed(self.histograms, span, name)
        try:
            first = survey_plane(self.histograms, span, **_FIRST_LOOK)
        except EmptySelectionError:
            return failed.tree("dpi1_failed")
        try:
            steady, used = self._pointed(first, span)
        except AttitudeError:
            return failed.tree("aspect_failed")
        try:
            plane = survey_plane(self.histograms, used)
        except EmptySelectionError:
            return failed.tree("dpi2_failed", attitude=steady)
        exposure = float(plane["exposure"])
        if exposure < self.min_exposure:
            return failed.tree("expo_small", exposure, steady)
        if not plane["rate"].isel(energy=0).values.any():
            return failed.tree("zero_counts", exposure, steady)
        try:
            mask = survey_mask(plane, *self._masks(plane))
        except EmptySelectionError:
            return failed.tree("batdetmask_failed", exposure, steady)
        try:
            made = survey_pointing(plane, self.catalog, **self._inputs(plane, mask, steady, name))
        except EmptySelectionError:
            return failed.tree("ndets_low", exposure, steady)
        return _finished(made, span, steady)

    def _pointed(self, plane: xr.Dataset, span: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset]:
        """Return the steady attitude, and the good time: within it only if the pointing moved much."""
        if "attitude" not in self.nodes:
            raise KindError("survey_observation: found no attitude (auxil/sw*sat.fits) in the observation")
        attitude = self.nodes["attitude"]
        steady = steady_attitude(attitude, plane)
        held = steady_gti(attitude, steady, plane, compat=self.compat)
        part, most = self.max_unsteady
        total = float((plane["gti_stop"] - plane["gti_start"]).sum())
        away = held.attrs["bad_seconds"]
        return steady, held if away > part * total or away > most else span

    def _masks(self, plane: xr.Dataset) -> list[Any]:
        known = self.calibration.get("bad_pixels", float(plane["gti_start"].values[0]))
        masks = [self.nodes.get("detector_mask"), known, *self.masks]
        return [mask for mask in masks if mask is not None]

    def _inputs(self, plane: xr.Dataset, mask: xr.Dataset, steady: xr.Dataset, name: str) -> dict[str, Any]:
        met = float(plane["gti_start"].values[0])
        found = {
            purpose: self.calibration.get(purpose, met)
            for purpose in ("aperture", "alignment", "mask_edges", "distortion")
        }
        orbit = next((ds for ds in self.nodes.values() if {"sat_alt", "time"} <= set(ds.variables)), None)
        made = {"detector_mask": mask, "attitude": steady, "orbit": orbit, "image_id": name, **found}
        return {**made, "compat": self.compat, **self.options}


@dataclass(frozen=True)
class _Failed:
    """What is known of a snapshot that may turn out to be of no use."""

    histograms: xr.Dataset
    span: xr.Dataset
    name: str

    def tree(self, code: str, exposure: float = 0.0, attitude: xr.Dataset | None = None) -> xr.DataTree:
        """Return its row alone."""
        ends = float(self.span["start"][0]), float(self.span["stop"][-1])
        row = failed_row(
            self.histograms.attrs,
            self.name,
            ends,
            code,
            self.histograms.sizes["energy"],
            exposure=exposure,
            attitude=attitude,
        )
        tree = xr.DataTree.from_dict({"/pointing": row, "/gti": self.span})
        tree.attrs = {"image_id": self.name, "code": code}
        return tree


def _finished(made: xr.DataTree, span: xr.Dataset, steady: xr.Dataset) -> xr.DataTree:
    """Return the tree of a snapshot with its attitude and good time; the row says the latter."""
    row = made["pointing"].to_dataset()
    ends = (float(span["start"][0]), float(span["stop"][-1]))
    row = row.assign(
        {
            name: row[name].copy(data=np.array([value]))
            for name, value in zip(("tstart", "tstop"), ends, strict=True)
        }
    )
    made["pointing"] = xr.DataTree(row.assign_attrs(tstart=ends[0], tstop=ends[1]))
    made["attitude"], made["gti"] = xr.DataTree(steady), xr.DataTree(span)
    made.attrs["code"] = "ok"
    return made
