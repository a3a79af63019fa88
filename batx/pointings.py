"""Which survey pointings are good enough to be added up, and why others are not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from batx.errors import KindError, MissingVariableError
from batx.instrument.sky import radec_to_vector

__all__ = ["pointing_cuts"]

#: bright enough to widen the lowest band's distribution of residuals, degrees
_SCO_X1 = (245.10, -15.60)
_LEAST_EXPOSURE = 150.0

#: cut -> what it says of a pointing that fails it
_CUTS = {
    "image": "image flag not good",
    "detectors": "no live detector",
    "exposure": "no exposure in the table",
    "short": "image exposure below the least",
    "chi2_low_band": "reduced chi-square of the lowest band out of range",
    "chi2": "reduced chi-square of a higher band out of range",
    "sco_x1": "pointed at Sco X-1",
}


def pointing_cuts(table: Any, least_exposure: float = _LEAST_EXPOSURE) -> xr.Dataset:
    """Return which pointings of a survey statistics table are good, with the reason for each that is not.

    With n live detectors, χ²_e of band e, and s the separation from Sco X-1, a pointing is good if n > 0, its
    image flag is good, its exposure positive (and that of the image at least `least_exposure`), and::

        0.50 < χ²_0/n < 1.5 (1.15 + 0.35 / (1 + (s/30°)²))
        0.50 < χ²_e/n < 1.15        for every other band that has one (NaN: no counts)

    and if it is not one of the Sco X-1 pointings (245° < RA < 246°, -18° < Dec < -17°, 100° < PA < 110°).

    Parameters
    ----------
    table
        Rows of pointings: kind ``table`` (as read from ``stats_point.fits``), a DataFrame or a mapping, with
        `chi2(row, band)`, `nbatdets`, `ra_pnt`, `dec_pnt`, `pa_pnt`, `exposure`, in any case. If there,
        `image_status` or `img_good` must be true, and `image_exposure` (header of the image) is compared with
        `least_exposure`; else `exposure` is.
    least_exposure
        Seconds.

    Returns
    -------
    xarray.Dataset
        ``good(row)``, ``reason(row)`` (empty, or the names of all cuts that failed), and ``failed(cut, row)``
        with the description of each cut in ``doc(cut)``. It is taken by `batx.mosaic` as `cuts`.

    Raises
    ------
    KindError
        If `table` is none of these.
    MissingVariableError
        If a column is missing.

    Notes
    -----
    Source: algorithms 2.8. No cut is made on star trackers, occultation or the South Atlantic Anomaly: the
    survey processing has done that.

    Examples
    --------
    >>> rows = {"chi2": [[0.9e4] * 8, [2.0e4] * 8], "nbatdets": [10000, 10000], "exposure": [300, 300],
    ...         "ra_pnt": [10, 10], "dec_pnt": [60, 60], "pa_pnt": [0, 0]}
    >>> cuts = pointing_cuts(rows)
    >>> cuts.good.values.tolist(), str(cuts.reason.values[1])
    ([True, False], 'chi2_low_band chi2')
    """
    columns = _Columns(table)
    detectors, exposure = columns("nbatdets"), columns("exposure")
    chi2 = np.atleast_2d(columns("chi2"))
    ra, dec, angle = columns("ra_pnt", "ra"), columns("dec_pnt", "dec"), columns("pa_pnt", "pa")
    flag = columns.optional("image_status", "img_good", "image_good")
    image_exposure = columns.optional("image_exposure")
    with np.errstate(divide="ignore", invalid="ignore"):
        reduced = chi2 / detectors[:, None]
        highest = 1.5 * (1.15 + 0.35 / (1 + (_separation(ra, dec) / 30.0) ** 2))
        low_band = (reduced[:, 0] > 0.5) & (reduced[:, 0] < highest)
        higher = reduced[:, 1:]
        others = (
            ((higher > 0.5) & (higher < 1.15)) | (np.isnan(chi2[:, 1:]) & (detectors > 0)[:, None])
        ).all(axis=1)
    sco = (ra > 245) & (ra < 246) & (dec > -18) & (dec < -17) & (angle > 100) & (angle < 110)
    passed = {
        "image": np.ones(len(ra), bool) if flag is None else flag.astype(bool),
        "detectors": detectors > 0,
        "exposure": exposure > 0,
        "short": (exposure if image_exposure is None else image_exposure) >= least_exposure,
        "chi2_low_band": low_band,
        "chi2": others,
        "sco_x1": ~sco,
    }
    names = list(_CUTS)
    failed = np.array([~passed[name] for name in names])
    reasons = [" ".join(name for name, bad in zip(names, row, strict=True) if bad) for row in failed.T]
    return xr.Dataset(
        {
            "good": ("row", ~failed.any(axis=0)),
            "reason": ("row", np.array(reasons, dtype=object)),
            "failed": (("cut", "row"), failed),
        },
        {"cut": names, "doc": ("cut", list(_CUTS.values()))},
        {"least_exposure": float(least_exposure)},
    )


def _separation(ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """Return degrees from Sco X-1."""
    cosine = radec_to_vector(ra, dec) @ radec_to_vector(*_SCO_X1)
    return np.rad2deg(np.arccos(np.clip(cosine, -1, 1)))


class _Columns:
    """Columns of a table by name, whatever the case of the letters."""

    def __init__(self, table: Any) -> None:
        names: Iterable[Any]
        if isinstance(table, xr.Dataset):
            names = table.variables
        elif isinstance(table, Mapping) or hasattr(table, "columns"):
            names = table.keys()
        else:
            raise KindError(
                f"pointing_cuts: found {type(table).__name__}, expected a Dataset of kind table, a DataFrame "
                "or a mapping of columns"
            )
        self.table = table
        self.names = {str(name).lower(): name for name in names}

    def optional(self, *names: str) -> np.ndarray | None:
        """Return the first of these columns that is there."""
        for name in names:
            if name in self.names:
                return self._values(self.table[self.names[name]])
        return None

    def __call__(self, *names: str) -> np.ndarray:
        """Return the first of these columns that is there, as float64."""
        values = self.optional(*names)
        if values is None:
            raise MissingVariableError(
                f"pointing_cuts: the table has no column '{names[0]}'; it has {', '.join(sorted(self.names))}"
            )
        return values.astype(np.float64)

    @staticmethod
    def _values(column: Any) -> np.ndarray:
        values = np.asarray(getattr(column, "values", column))
        return np.stack(list(values)) if values.dtype == object and values.size else values
