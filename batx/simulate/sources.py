"""Point sources seen through the mask, and glitches of the instrument."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from batx.errors import PositionError, ValueRangeError
from batx.instrument.detector import DETECTOR
from batx.instrument.mask import FAR, MaskGeometry, weight_map
from batx.instrument.sky import sky_to_tangent, slerp, tangent_to_sky
from batx.simulate.checks import finite, positive, stream
from batx.simulate.energies import Cutoff, Folded, as_spectrum
from batx.simulate.profiles import Constant

__all__ = ["Glitch", "Source", "Telescope", "stretches"]

#: most parts into which the time between two rows of an attitude is cut
_MAX_PARTS = 100


@dataclass(frozen=True)
class Source:
    """A point source far away.

    Attributes
    ----------
    rate
        Count/s at light-curve value 1, over all energies. With a `response` it may be left out: the rate is
        then that of the photon spectrum folded through it.
    ra, dec
        Sky position, degrees (or Quantity; or a SkyCoord as `ra`).
    imx, imy
        Instead of a sky position: a place on the tangent plane, fixed to the instrument.
    light_curve, spectrum
        Anything that `as_profile` and `as_spectrum` take. Without a response the spectrum is one of counts.
    response
        Dataset of kind ``response`` (cm**2 per detector); `spectrum` is then photon cm**-2 s**-1 keV**-1.
        ``"packaged"``: that of `batx.response` where most of the counts come from; `rate` is needed.
    per
        ``"detector"``: `rate` is that of a fully illuminated detector that faces the source, the unit of
        mask-weighted rates. ``"total"``: of all detectors together, where the source is best coded in the
        observation.
    name
        For the record of the simulation.
    """

    rate: float | None = None
    ra: Any = None
    dec: Any = None
    imx: float | None = None
    imy: float | None = None
    light_curve: Any = field(default_factory=Constant)
    spectrum: Any = field(default_factory=Cutoff)
    response: xr.Dataset | str | None = None
    per: str = "detector"
    name: str = "source"

    def __post_init__(self) -> None:
        if hasattr(self.ra, "icrs"):
            place = self.ra.icrs
            object.__setattr__(self, "ra", float(place.ra.deg))
            object.__setattr__(self, "dec", float(place.dec.deg))
        sky, plane = (self.ra, self.dec), (self.imx, self.imy)
        given = [all(value is not None for value in pair) for pair in (sky, plane)]
        if given.count(True) != 1 or any(value is not None for value in (plane if given[0] else sky)):
            raise PositionError(
                f"{self.name}: found ra, dec = {sky} and imx, imy = {plane}; expected exactly one pair"
            )
        if given[0]:
            object.__setattr__(self, "ra", finite(self.ra, "deg", "ra"))
            object.__setattr__(self, "dec", finite(self.dec, "deg", "dec"))
            if abs(self.dec) > 90:
                raise PositionError(f"{self.name}: found dec {self.dec} deg, expected -90 to 90")
        else:
            finite(self.imx, "1", "imx")
            finite(self.imy, "1", "imy")
        if self.per not in ("detector", "total"):
            raise ValueRangeError(f"{self.name}: found per={self.per!r}, expected 'detector' or 'total'")
        if isinstance(self.response, str) and self.response != "packaged":
            raise ValueRangeError(
                f"{self.name}: found response={self.response!r}, expected 'packaged' or a Dataset"
            )
        folded = as_spectrum(self.spectrum, None if isinstance(self.response, str) else self.response)
        if self.rate is None:
            if not isinstance(folded, Folded) or self.per == "total":
                raise ValueRangeError(
                    f"{self.name}: found no rate, expected one (or a response and per='detector')"
                )
            object.__setattr__(self, "rate", folded.rate())
        object.__setattr__(self, "rate", positive(self.rate, "count/s", f"{self.name} rate", zero=True))


@dataclass(frozen=True)
class Glitch:
    """A surge of noise in one column of modules, as heat pipes cause: short, soft, not a source.

    Attributes
    ----------
    time
        Start, s from the start of the observation.
    counts
        Expected number of events.
    column
        Column of modules, 0 to 15 (each 16 detectors wide).
    duration
        Seconds.
    rows
        First row of modules, 0 to 15, and the one behind the last.
    reach
        Detectors over which the surge falls by a factor e, from the outer edge of the column inwards, beyond
        the column too; 0 for the same in all of the column and nothing elsewhere.
    scatter
        Standard deviation of the logarithm of the detectors' shares: with 1.2 a few detectors give most of
        the counts, as in flight.
    seed
        Same seed, same detectors.
    """

    time: float
    counts: float = 120.0
    column: int = 0
    duration: float = 0.064
    rows: tuple[int, int] = (0, 16)
    reach: float = 0.0
    scatter: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        finite(self.time, "s", "glitch time")
        positive(self.counts, "count", "glitch counts", zero=True)
        positive(self.duration, "s", "glitch duration")
        if self.column not in range(16):
            raise ValueRangeError(f"glitch column: found {self.column}, expected 0 to 15")
        if not 0 <= self.rows[0] < self.rows[1] <= 16:
            raise ValueRangeError(f"glitch rows: found {self.rows}, expected first < last in 0 to 16")
        positive(self.reach, "1", "glitch reach", zero=True)
        positive(self.scatter, "1", "glitch scatter", zero=True)

    def pattern(self) -> np.ndarray:
        """Return the relative counts of the detectors, ``(173, 286)``."""
        x, y = np.arange(DETECTOR.shape[1]), np.arange(DETECTOR.shape[0])[:, None] // 11
        if self.reach:
            inwards = x - 18 * self.column if self.column < 8 else 18 * self.column + 15 - x
            share = np.where(inwards >= 0, np.exp(-np.abs(inwards) / self.reach), 0.0)
        else:
            share = (x // 18 == self.column).astype(np.float64)
        pattern = DETECTOR * share * ((y >= self.rows[0]) & (y < self.rows[1]))
        if self.scatter:
            noise = stream(self.seed, "glitch pattern").standard_normal(DETECTOR.shape)
            pattern = pattern * np.exp(self.scatter * noise)
        return pattern


@dataclass(frozen=True)
class Telescope:
    """What stands between a source and the detectors: mask, alignment and attitude."""

    aperture: xr.Dataset
    alignment: xr.Dataset
    attitude: xr.Dataset

    def illuminate(self, imx: float, imy: float) -> np.ndarray:
        """Return the relative counts of every detector, 1 for one that is fully lit and faces the source.

        Lit fraction times the projected area of the detector with its side walls (the flat-field factor of
        algorithms 2.1, steps 1 and 2). The layers of the mask are symmetric about the middle of the tiles, so
        that the shadow falls where that of a solid tile does.
        """
        mask = self.aperture["mask"].values
        corrections = ("forward", "unbalanced", "flatfield")
        source = (imx * FAR, imy * FAR, FAR)
        geometry = self._geometry()
        return weight_map(mask, geometry, source, corrections=corrections, rebalance=False, centred=True)[0]

    def field_radius(self) -> float:
        """Return the distance on the tangent plane beyond which a source lights no detector."""
        return self._geometry().field_radius()

    def _geometry(self) -> MaskGeometry:
        return MaskGeometry.from_attrs(self.aperture.attrs, self.aperture["mask"].values.shape)

    def place(self, source: Source, time: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return where a source is on the tangent plane at times (MET s), and whether it is in front."""
        if source.imx is not None:
            assert source.imy is not None
            return (
                np.full(len(time), source.imx),
                np.full(len(time), source.imy),
                np.ones(len(time), dtype=bool),
            )
        quaternion = slerp(time, self.attitude["time"].values, self.attitude["quaternion"].values)
        return sky_to_tangent(source.ra, source.dec, quaternion, self.alignment["matrix"].values)

    def sky(self, source: Source, time: float) -> tuple[float, float]:
        """Return right ascension and declination (degrees) of a source at a time (MET s)."""
        if source.ra is not None:
            return source.ra, source.dec
        quaternion = slerp(time, self.attitude["time"].values, self.attitude["quaternion"].values)
        ra, dec = tangent_to_sky(source.imx, source.imy, quaternion, self.alignment["matrix"].values)
        return float(ra), float(dec)


def stretches(
    telescope: Telescope, source: Source, start: float, stop: float, tolerance: float
) -> Iterator[tuple[float, float, float, float, bool]]:
    """Yield ``(begin, end, imx, imy, in_field)`` within which a source moves by at most `tolerance`.

    Parameters
    ----------
    start, stop
        MET s.
    tolerance
        Largest distance on the tangent plane between the place that is used and the true one.
    """
    if source.imx is not None:
        assert source.imy is not None
        yield start, stop, source.imx, source.imy, True
        return
    rows = telescope.attitude["time"].values
    edges = np.concatenate([[start], rows[(rows > start) & (rows < stop)], [stop]])
    imx, imy, _ = telescope.place(source, edges)
    moved = np.hypot(np.diff(imx), np.diff(imy)) / tolerance
    parts = np.clip(np.ceil(moved), 1, _MAX_PARTS).astype(int)
    fraction = np.concatenate([np.arange(n) / n for n in parts])
    edges = np.append(np.repeat(edges[:-1], parts) + fraction * np.repeat(np.diff(edges), parts), stop)
    imx, imy, front = telescope.place(source, 0.5 * (edges[1:] + edges[:-1]))
    in_field = front & (np.hypot(imx, imy) < telescope.field_radius())
    first, pieces = 0, []
    for k in range(1, len(imx) + 1):
        moved_on = k == len(imx) or np.hypot(imx[k] - imx[first], imy[k] - imy[first]) > tolerance
        if k < len(imx) and in_field[k] == in_field[first] and not (in_field[k] and moved_on):
            continue
        pieces.append((first, k))
        first = k
    firsts, lasts = np.array(pieces).T
    imx, imy, _ = telescope.place(source, 0.5 * (edges[firsts] + edges[lasts]))
    for (first, last), x, y in zip(pieces, imx, imy, strict=True):
        yield edges[first], edges[last], float(x), float(y), bool(in_field[first])
