"""Random coded masks with the outline of the BAT aperture, and the alignment of BAT to the spacecraft."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import xarray as xr

from batx.errors import ValueRangeError
from batx.instrument.mask import DEFAULT_GEOMETRY
from batx.schema import build
from batx.simulate.checks import stream

__all__ = ["FORMS", "alignment", "aperture"]

_CELL = DEFAULT_GEOMETRY["maskcelx"]


@dataclass(frozen=True)
class MaskForm:
    """Size and place of a mask: cells along X and Y, cells cut off the two lower corners, keywords (cm)."""

    nx: int
    ny: int
    chamfer: int
    geometry: dict[str, float] = field(default_factory=dict)

    def outline(self) -> np.ndarray:
        """Return which cells are inside: a rectangle whose lower corners are cut at 45 degrees."""
        row, column = np.arange(self.ny)[:, None], np.arange(self.nx)
        return (column >= self.chamfer - row) & (column <= self.nx - 1 - self.chamfer + row)


#: masks by name: that of the reference runs, and one of the size and place of the flight mask
FORMS = {
    "reference": MaskForm(
        487,
        243,
        110,
        {"maskbatz": 100.1, "maskoffx": 0.05, "maskoffy": 0.143, "maskoffz": -0.05},
    ),
    "flight": MaskForm(
        497,
        253,
        110,
        {"maskbatz": 100.3, "maskoffx": -0.145, "maskoffy": 0.114, "maskoffz": 0.05},
    ),
}


def aperture(form: str = "reference", *, open_fraction: float = 0.5, seed: int = 0) -> xr.Dataset:
    """Return a random D-shaped coded mask.

    Parameters
    ----------
    form
        ``"reference"`` (487×243 cells) or ``"flight"`` (497×253 cells, with the flight offsets).
    open_fraction
        Share of open cells, decided for each cell independently.
    seed
        Same seed, same mask.

    Returns
    -------
    xarray.Dataset
        Kind ``aperture``: ``mask(mask_y, mask_x)`` +1 open, −1 closed, 0 outside; geometry in cm as
        attributes.

    Raises
    ------
    ValueRangeError
        If the form is unknown or the share is not between 0 and 1.

    Examples
    --------
    >>> mask = aperture(seed=1)
    >>> mask["mask"].shape, int(mask["mask"][0, 0])
    ((243, 487), 0)
    """
    if form not in FORMS:
        raise ValueRangeError(f"mask form: found {form!r}, expected one of {', '.join(FORMS)}")
    if not 0 < open_fraction < 1:
        raise ValueRangeError(f"open_fraction: found {open_fraction}, expected a value between 0 and 1")
    shape = FORMS[form]
    is_open = stream(seed, f"mask {form}").random((shape.ny, shape.nx)) < open_fraction
    mask = np.where(shape.outline(), np.where(is_open, 1, -1), 0).astype(np.int16)
    geometry = {
        **DEFAULT_GEOMETRY,
        **shape.geometry,
        "maskcell0x": -0.5 * shape.nx * _CELL,
        "maskcell0y": -0.5 * shape.ny * _CELL,
    }
    x = geometry["maskcell0x"] + geometry["maskbatx"] + geometry["maskoffx"] + _CELL * np.arange(shape.nx + 1)
    y = geometry["maskcell0y"] + geometry["maskbaty"] + geometry["maskoffy"] + _CELL * np.arange(shape.ny + 1)
    return build(
        "aperture",
        {
            "mask": mask,
            "mask_x": 0.5 * (x[1:] + x[:-1]),
            "mask_y": 0.5 * (y[1:] + y[:-1]),
            "mask_x_bnds": np.stack([x[:-1], x[1:]], axis=1),
            "mask_y_bnds": np.stack([y[:-1], y[1:]], axis=1),
        },
        {"telescope": "SWIFT", "instrument": "BAT", "apertype": "FLUX", **geometry},
    )


#: BAT_X = SC_Y, BAT_Y = SC_Z, BAT_Z = SC_X
_IDEAL = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])


def alignment(misalignment: tuple[float, float, float] = (0.020, 0.675, 11.643)) -> xr.Dataset:
    """Return the rotation from spacecraft to BAT axes.

    Parameters
    ----------
    misalignment
        Rotation of BAT about its own X, Y and Z (boresight), arcmin. The default is about that of the
        reference runs; ``(0, 0, 0)`` is the ideal Swift.

    Returns
    -------
    xarray.Dataset
        Kind ``alignment``: ``matrix_file`` to the nine digits of a teldef file, and ``matrix`` normalised
        from it.

    Examples
    --------
    >>> alignment((0, 0, 0))["matrix"].values.round(12).tolist()
    [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """
    from scipy.spatial.transform import Rotation

    from batx.instrument.sky import normalised_alignment

    turn = np.asarray(misalignment, dtype=np.float64)
    if turn.shape != (3,) or not np.isfinite(turn).all():
        raise ValueRangeError(f"misalignment: found {misalignment!r}, expected three finite angles in arcmin")
    exact = Rotation.from_rotvec(turn / 60, degrees=True).as_matrix().T @ _IDEAL
    in_file = np.array([[float(f"{value:.9g}") for value in row] for row in exact])
    return build(
        "alignment",
        {"matrix": normalised_alignment(in_file), "matrix_file": in_file},
        {"telescope": "SWIFT", "instrument": "BAT"},
    )
