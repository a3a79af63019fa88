"""The inputs of weighting, from labelled objects to plain arrays: mask, geometry, motion, event columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from batx.attitudes import AttitudePath, attitude_path
from batx.calibration_inputs import alignment_for, aperture_for, records
from batx.distortions import distortion_map
from batx.errors import (
    AttitudeError,
    EmptySelectionError,
    KindError,
    MissingVariableError,
    PositionError,
    ValueRangeError,
)
from batx.instrument.detector import DETECTOR, N_DETECTORS, SHAPE, detid_to_xy
from batx.instrument.distortion import DistortionMap
from batx.instrument.mask import NORMALISATIONS, MaskGeometry
from batx.met import to_met
from batx.positions import SourcePositions
from batx.schema import identify, require_bat, require_kind
from batx.tracing import Tracer, Weigher, fixed_motion
from batx.units import to_value

__all__ = [
    "WeightInputs",
    "check_compat",
    "column_blocks",
    "event_arrays",
    "event_columns",
    "make_weigher",
    "trace_times",
]

#: events handled at a time where the columns are not in memory
_BLOCK = 1 << 20

#: kinds whose numbers are about the detectors of an instrument
_OF_DETECTORS = ("events", "detector_plane", "detector_mask", "detector_table", "aperture")

_WHENCE = {
    "aperture": "the coded mask (aperture=, the aperture file of the BAT calibration database)",
    "attitude": "the pointing of the spacecraft (attitude=, auxil/sw*sat.fits* or sw*pat.fits* of the "
    "observation)",
}

_COLUMNS = ("time", "detx", "dety", "event_flags")


@dataclass(frozen=True)
class WeightInputs:
    """The Datasets that a call works with, from its arguments or from the nodes of a tree."""

    target: xr.Dataset
    kind: str | None
    attitude: xr.Dataset | None
    aperture: xr.Dataset | None
    detector_mask: xr.Dataset | np.ndarray | None
    alignment: Any
    #: what the calibration database said of what it lacks
    advice: str = ""

    @classmethod
    def gather(
        cls, obj: Any, attitude: Any, aperture: Any, detector_mask: Any, alignment: Any
    ) -> WeightInputs:
        """Return the inputs; what is not given comes from the nodes of a tree, or is `obj` itself.

        Raises
        ------
        KindError
            If `obj` is no Dataset or a tree without events.
        """
        given = {
            "attitude": attitude,
            "aperture": aperture,
            "detector_mask": detector_mask,
            "alignment": alignment,
        }
        if isinstance(obj, xr.DataTree):
            nodes = {name: node.to_dataset() for name, node in obj.children.items() if node.has_data}
            if "events" not in nodes:
                raise KindError(f"tree: found the nodes {sorted(nodes) or 'none'}, expected one named events")
            given = {name: nodes.get(name) if value is None else value for name, value in given.items()}
            obj = nodes["events"]
        if not isinstance(obj, xr.Dataset):
            raise KindError(f"found {type(obj).__name__}, expected a Dataset or a DataTree")
        kind = identify(obj)
        if kind in given and given[kind] is None:
            given[kind] = obj
        return cls(obj, kind, **given)

    def completed(self, moving: bool) -> WeightInputs:
        """Return the inputs with what is missing from the calibration database, as far as it has it."""
        aperture, advice = self.aperture, self.advice
        if aperture is None:
            try:
                aperture = aperture_for(None, self.target, "mask")
            except KindError as error:
                advice = str(error.__cause__)
        if not moving:
            return replace(self, aperture=aperture, alignment=None, advice=advice)
        alignment = alignment_for(self.alignment, self.attitude, self.target)
        return replace(self, aperture=aperture, alignment=alignment, advice=advice)

    @property
    def records(self) -> dict[str, dict[str, Any]]:
        """Which files of calibration serve, for the provenance."""
        return records(aperture=self.aperture, alignment=self.alignment, detector_mask=self.detector_mask)

    @property
    def attrs(self) -> dict[str, Any]:
        """Attributes of what the product is made of."""
        return dict(self.target.attrs)

    def require_origin(self, operation: str) -> None:
        """Raise `KindError` if the target is of detectors other than those of BAT."""
        if self.kind in _OF_DETECTORS:
            require_bat(self.target, self.kind, operation=operation)

    def require_all(self, moving: bool) -> None:
        """Raise if the mask is missing, or the attitude where positions are `moving`, and tell the remedy.

        Raises
        ------
        AttitudeError
            If the attitude alone is missing.
        KindError
            If the aperture is.
        """
        needed = ("aperture", "attitude") if moving else ("aperture",)
        missing = [name for name in needed if getattr(self, name) is None]
        if not missing:
            return
        text = "; ".join(f"{name}: found none, expected {_WHENCE[name]}" for name in missing)
        text += (
            ". An observation has them as nodes: batx.open_observation(directory, calibration=folder), then "
            "obs.bat.mask_weight(...); or pass each as an argument, opened with batx.open_dataset(path)"
        )
        if self.advice:
            text += f". {self.advice}"
        if moving:
            text += '. Positions of frame="tangent" (instrument coordinates) need no attitude'
        raise (KindError if "aperture" in missing else AttitudeError)(text)

    def tracer(
        self,
        corrections: frozenset[str],
        rebalance: bool,
        gain: float,
        pcode_min: float,
        distortion: xr.Dataset | DistortionMap | None,
        normalisation: str,
    ) -> Tracer:
        """Return how shadows are traced; the other arguments are those of `batx.mask_weight`.

        Raises
        ------
        KindError
            If there is no aperture, or a mask is of another kind.
        EmptySelectionError
            If no detector is good.
        ValueRangeError
            If there is no such normalisation, or a number is out of range.
        """
        gain, pcode_min = float(to_value(gain, "", "gain")), float(to_value(pcode_min, "", "pcode_min"))
        if not (np.isfinite(gain) and gain > -1):
            raise ValueRangeError(f"gain: found {gain}, expected a number above -1")
        if not 0 <= pcode_min <= 1:
            raise ValueRangeError(f"pcode_min: found {pcode_min}, expected a fraction from 0 to 1")
        if normalisation not in NORMALISATIONS:
            raise ValueRangeError(f"normalisation: found {normalisation!r}, expected 'tool' or 'geometry'")
        require_kind(self.aperture, "aperture", operation="tracing the shadow of the mask (aperture=)")
        aperture = xr.Dataset() if self.aperture is None else self.aperture
        mask = np.ascontiguousarray(aperture["mask"].transpose("mask_y", "mask_x").values, dtype=np.int8)
        return Tracer(
            mask=mask,
            geometry=MaskGeometry.from_attrs(aperture.attrs, mask.shape),
            good=_good_detectors(self.detector_mask),
            corrections=corrections,
            rebalance=rebalance,
            gain=float(gain),
            pcode_min=float(pcode_min),
            distortion=distortion_map(distortion),
            normalisation=normalisation,
        )


def _good_detectors(detector_mask: xr.Dataset | np.ndarray | None) -> np.ndarray:
    """Return which detectors are good, ``(173, 286)``; the gaps are not."""
    if detector_mask is None:
        return np.array(DETECTOR)
    if isinstance(detector_mask, xr.Dataset):
        require_kind(detector_mask, "detector_mask", operation="reading a detector mask")
        detector_mask = detector_mask["good"].transpose(..., "dety", "detx").values
    good = np.asarray(detector_mask)
    if good.shape != SHAPE or good.dtype != bool:
        raise KindError(
            f"detector_mask: found {good.dtype} values of shape {good.shape}, expected bool {SHAPE}, "
            "true = good"
        )
    if not (good & DETECTOR).any():
        raise EmptySelectionError("detector_mask: found no good detector; nothing can be weighted")
    return good & DETECTOR


def make_weigher(
    tracer: Tracer,
    inputs: WeightInputs,
    positions: SourcePositions,
    tolerance: float,
    requested: np.ndarray | None,
    compat: str | None,
) -> tuple[Weigher, AttitudePath | None]:
    """Return what gives events their weights, and the path of the instrument if the positions need it.

    Raises
    ------
    PositionError
        If a source is not above the mask.
    AttitudeError
        If sky positions are given without attitude.
    """
    if not np.isfinite(tolerance) or tolerance < 0:
        raise ValueRangeError(f"tolerance: found {tolerance}, expected a number of at least 0")
    low = positions.height.min()
    if low <= tracer.geometry.mask_top:
        raise PositionError(
            f"distance: found BAT_Z = {low} cm, expected more than that of the mask, "
            f"{tracer.geometry.mask_top} cm"
        )
    path = attitude_path(inputs.attitude, inputs.alignment) if positions.moving else None
    margin = 0.0 if tracer.distortion is None else 2 * float(np.abs(tracer.distortion.shift).max())
    radii = np.array([tracer.geometry.field_radius(z) + margin for z in positions.height])
    weigher = Weigher(
        tracer=tracer,
        motion=fixed_motion() if path is None else path.motion,
        directions=np.ascontiguousarray(positions.directions()),
        heights=positions.height,
        tolerance=float(tolerance),
        field_radii=np.full(len(positions), np.inf) if compat else radii,
        requested=requested,
        parallax=positions.parallax if positions.origin else None,
    )
    return weigher, path


def check_compat(compat: str | None) -> None:
    """Raise `ValueRangeError` if `compat` is neither `None` nor ``"heasoft"``."""
    if compat not in (None, "heasoft"):
        raise ValueRangeError(f"compat: found {compat!r}, expected None or 'heasoft'")


def trace_times(times: Any, attrs: dict[str, Any]) -> np.ndarray | None:
    """Return requested trace times as MET; raise `ValueRangeError` if they do not increase."""
    if times is None:
        return None
    met = np.atleast_1d(to_met(times, attrs, name="times"))
    if not met.size or (np.diff(met) <= 0).any():
        raise ValueRangeError(f"times: found {met.size} values, expected at least one, increasing")
    return met


def event_columns(events: xr.Dataset) -> dict[str, xr.Variable]:
    """Return the columns that weighting needs; positions come from detector numbers if there are none."""
    missing = {"detx", "dety"} - set(events.variables)
    if missing and "detid" not in events:
        raise MissingVariableError(
            f"events: found no {' and no '.join(sorted(missing))}, expected detx and dety, or detid; "
            f"there are {sorted(map(str, events.variables))}"
        )
    names = [
        name for name in _COLUMNS if name in events.variables and not (missing and name.startswith("det"))
    ]
    names += ["detid"] if missing else []
    return {name: events[name].variable for name in names}


def column_blocks(columns: dict[str, xr.Variable]) -> Iterator[tuple[slice, dict[str, np.ndarray]]]:
    """Yield slices of the events and their columns as native arrays, reading one block at a time."""
    count = columns["time"].shape[0]
    for start in range(0, count, _BLOCK):
        rows = slice(start, min(start + _BLOCK, count))
        yield rows, {name: variable[rows].values for name, variable in columns.items()}


def event_arrays(columns: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return times, detx, dety and flags of a block in the form that kernels take."""
    times = np.ascontiguousarray(columns["time"], dtype=np.float64)
    if "detid" in columns:
        number = _integers(columns["detid"])
        known = (number >= 0) & (number < N_DETECTORS)
        detx, dety = detid_to_xy(np.where(known, number, 0))
        detx[~known] = -1
    else:
        detx, dety = _integers(columns["detx"]), _integers(columns["dety"])
    flags = columns.get("event_flags")
    return times, detx, dety, np.empty(0, np.uint8) if flags is None else _integers(flags)


def _integers(values: np.ndarray) -> np.ndarray:
    """Return native integers; -1 where a number is not finite."""
    if values.dtype.kind == "f":
        values = np.where(np.isfinite(values), values, -1).astype(np.int32)
    return np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))
