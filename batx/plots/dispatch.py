"""One verb for all pictures: the kind of the object says which."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import xarray as xr

from batx.errors import KindError
from batx.schema import KINDS, identify
from batx.schema.axes import with_axes

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes

__all__ = ["plot"]

#: kind -> function that draws it
_PICTURES = {
    "lightcurve": "batx.plots.lightcurve:plot_lightcurve",
    "spectrum": "batx.plots.spectrum:plot_spectrum",
    "detector_plane": "batx.plots.detector_plane:plot_detector_plane",
    "detector_mask": "batx.plots.detector_plane:plot_detector_mask",
    "attitude": "batx.plots.attitude:plot_attitude",
    "ray_trace": "batx.plots.attitude:plot_ray_trace",
    "glitches": "batx.plots.glitches:plot_glitches",
    "gti": "batx.plots.attitude:plot_gti",
    "aperture": "batx.plots.image:plot_aperture",
    "sky_image": "batx.plots.sky_image:plot_sky_image",
    "mosaic": "batx.plots.mosaic:plot_mosaic",
    "mosaic_image": "batx.plots.mosaic:plot_mosaic_image",
    "image": "batx.plots.image:plot_image",
    "fit": "batx.plots.fit:plot_fit",
    "periodogram": "batx.plots.periodogram:plot_periodogram",
    "pulse_profile": "batx.plots.periodogram:plot_pulse_profile",
}
_REMEDY = {"events": "; bin them first, for example ds.bat.lightcurve(dt=1.0).bat.plot()"}


def plot(ds: xr.Dataset, ax: Any = None, **options: Any) -> Axes | np.ndarray:
    """Draw an object in the way that fits its kind; nothing is rebinned, shown or saved.

    Parameters
    ----------
    ds
        Dataset of kind lightcurve, spectrum, detector_plane, detector_mask, attitude, ray_trace, glitches,
        gti, aperture, sky_image, mosaic, mosaic_image, image, fit, periodogram or pulse_profile. Lazy values
        are computed.
    ax
        `None` for a new pyplot figure; matplotlib Axes, or an array of them, to draw in; or a Figure or
        SubFigure to lay the panels out in, which leaves pyplot alone.
    **options
        Those of the function for the kind: `batx.plots.lightcurve.plot_lightcurve` and so on.

    Returns
    -------
    matplotlib.axes.Axes or numpy.ndarray of Axes
        What was drawn on, for further changes and for ``.figure.savefig``.

    Raises
    ------
    KindError
        If the object is of a kind that has no picture.
    EmptySelectionError
        If there is nothing to draw: all values are not a number, or all detectors are masked.

    Examples
    --------
    >>> import batx
    >>> from matplotlib.figure import Figure
    >>> gti = batx.build("gti", {"start": [0.0, 20.0], "stop": [10.0, 30.0]})
    >>> plot(gti, Figure()).get_title(loc="left")
    '2 interval(s), 20 s'
    """
    kind = identify(ds) if isinstance(ds, xr.Dataset) else None
    if kind not in _PICTURES:
        found = f"kind '{kind}'" if kind else f"a {type(ds).__name__} of no known kind"
        raise KindError(
            f"plot: found {found}, expected one of {', '.join(_PICTURES)}{_REMEDY.get(kind or '', '')}"
        )
    module, _, function = _PICTURES[kind].partition(":")
    return getattr(import_module(module), function)(with_axes(ds, KINDS[str(kind)]), ax, **options)
