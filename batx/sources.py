"""Sources in sky images: detection, photometry at known positions, upper limits.

Formulae: algorithms, section 2.4. A catalogue is a Dataset of kind ``catalog``; rates are per fully
illuminated detector. Everything here reads the image and returns arrays in memory; memory is about twelve
times that of one image with all its bands in float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from batx.engines import by_engine
from batx.errors import PositionError, ValueRangeError
from batx.instrument.distortion import DistortionMap
from batx.kernels.detect import WINDOWS
from batx.kernels.psf import SHAPES
from batx.provenance import calibration_of, with_calibration
from batx.reduction import compat_of
from batx.source_catalogs import catalog_of, joined, with_absent
from batx.source_fields import (
    Field,
    Targets,
    catalog_targets,
    image_fields,
    image_values,
    places_on,
    refuse_repeats,
    targets_of,
    without_repeats,
)
from batx.source_fits import Settings, background_of, measure
from batx.units import to_value
from batx.weight_inputs import distortion_map

__all__ = ["at", "background_maps", "detect", "photometry", "position_limit"]

#: full width at half maximum of a source in degrees, for shapes other than that of the mask
TOOL_FWHM = 0.37413
#: greatest width that can be asked for, degrees; the noise that pixels share is looked at that far away
_WIDEST = 5.0


@by_engine
def detect(
    image: xr.Dataset,
    *,
    snr: float = 6.0,
    catalog: xr.Dataset | None = None,
    pcode: Any = None,
    pcode_min: float = 0.01,
    bkg_pcode_min: float | None = None,
    fit_positions: bool | float | Any = False,
    psf: str | None = None,
    fwhm: Any = None,
    psf_top: Any = 0.04584,
    fit_width: bool = False,
    fit_background: bool = True,
    window: str = "circle",
    background_radius: int = 30,
    source_radius: int = 6,
    passes: int = 2,
    min_pixels: int | None = None,
    both_signs: bool = False,
    edges: bool = False,
    statistic: str = "gaussian",
    distortion: xr.Dataset | DistortionMap | None = None,
    oversampling: tuple[float, float] | None = None,
    compat: str | None = None,
) -> xr.Dataset:
    """Return the catalogue of the sources in a sky image, all bands at once.

    Pixels that stand out of the local background in any band are grouped; each group, and each source of
    `catalog` in the field, is fitted with the shape of a point source and a constant, together with its
    neighbours. Several bands share the position and have amplitudes of their own.

    Parameters
    ----------
    image
        Kind ``sky_image`` with `rate` or `counts` ([time,] [energy,] imy, imx) and `pcode`.
    snr
        Significance that a pixel must reach: (image - local mean) / local standard deviation.
    catalog
        Known sources: kind ``catalog`` with `ra`, `dec`, and `name`, `err_rad` if there are. Those in the
        field are fitted and come first, whether seen or not; they do not count for the background.
    pcode
        Partial coding if `image` has none: a Dataset with `pcode`, an array (imy, imx), or a number.
    pcode_min, bkg_pcode_min
        Least partial coding of pixels where sources may be, and where the background is measured (the same
        if not given).
    fit_positions
        Whether positions of known sources are fitted: within 3 times their `err_rad`, or within this angle,
        degrees or Quantity. Held by default.
    psf, fwhm, psf_top
        Shape of a point source: ``"mask"`` (default), what deconvolution makes of a point with the geometry
        of the image; ``"gaussian"`` (default with `compat`), ``"pyramid"`` or ``"truncated_cone"``; its full
        width at half maximum (that of the geometry, or 0.37413 for the last three) and the width of the flat
        top of the last two, degrees or Quantity.
    fit_width
        Fit the width too, between 0.6 and 1.4 times `fwhm`.
    fit_background
        Fit a constant under each source; otherwise the local mean is subtracted.
    window, background_radius, source_radius
        Window of the local background: ``"circle"``, ``"square"`` or ``"smooth_circle"``, pixels.
    passes
        Greatest number of times that the background is measured without the pixels found before.
    min_pixels
        Least number of pixels of a source, sharing sides: 1 if not given, 3 with `compat`.
    both_signs
        Take negative peaks as well.
    edges
        Keep sources that touch undefined pixels or the edge.
    statistic
        ``"gaussian"``, or ``"poisson"`` for images of counts without background subtraction.
    distortion
        Kind ``image`` or `DistortionMap`: positions reported are true ones, ``apparent + d(apparent)``.
    oversampling
        Pixels per detector along X and Y; from the header or the size of the pixels if not given. Used for
        the errors of ``compat="heasoft"``.
    compat
        ``"heasoft"`` as batcelldetect: background in units of flux, Gaussian sources, errors of independent
        pixels times the root of the oversampling, 0 for what was held, `ra_err` = `dec_err` cos(dec), and
        bands searched and fitted one after the other, the position being their mean.
    engine
        ``"native"``; ``"heasoft"`` for the tool batcelldetect, or a `batx.heasoft.Engine`.

    Returns
    -------
    xarray.Dataset
        Kind ``catalog``, in memory. By source: `name`, `ra`, `dec`, `ra_err`, `dec_err`, `err_rad` (longer
        half axis of the 1-sigma ellipse), `imx`, `imy` and errors, `imx_pixel`, `imy_pixel` (indices from
        0), `pcode`, `fwhm`, `n_pixels`, `n_background`, `flags`, `known`, and `separation` from the place in
        `catalog`, degrees; `time` and `exposure` if the image has them. By source and energy: `rate` and
        `rate_err`, `snr` (rate over the local standard deviation `noise`), `background` and error,
        `local_background`, `contamination` (constant and neighbours at the place of the source),
        `centre_rate`, `centre_snr` (of the nearest pixel), `chi2`, `dof`. Images in counts without exposure
        give `counts`, `counts_err` for `rate`, `rate_err`. New sources are ordered by significance. Without
        any source, the dimension `source` has length 0.

    Raises
    ------
    KindError
        If `image` is no sky image, or `catalog` no catalogue.
    MissingVariableError
        If there is no partial coding, or `catalog` has no positions.
    EmptySelectionError
        If no pixel is finite and coded enough.
    ValueRangeError
        If a parameter is out of range.

    Warns
    -----
    BatxWarning
        If `catalog` has a place twice; the first is kept.

    Notes
    -----
    Source: algorithms 2.4 (``batcelldetect``).

    Examples
    --------
    >>> import numpy as np
    >>> from batx.schema import build
    >>> y, x = np.mgrid[-60:61, -60:61] * 0.0021
    >>> noise = np.random.default_rng(1).normal(size=x.shape)
    >>> values = noise + 30 * np.exp(-0.5 * (x**2 + y**2) / 0.00278**2)
    >>> image = build(
    ...     "sky_image", {"imx": x[0], "imy": y[:, 0], "rate": (("imy", "imx"), values, {"units": "count/s"})}
    ... )
    >>> found = detect(image, pcode=1)
    >>> found.sizes["source"], bool(abs(found.imx[0]) < 5e-4), bool(found.snr[0] > 20)
    (1, True, True)
    """
    mode = compat_of(compat) is not None
    settings = _settings(
        snr, passes, min_pixels, window, background_radius, source_radius, psf, fwhm, psf_top, statistic,
        fit_positions=_window_of(fit_positions), both_signs=both_signs, edges=edges, fit_width=fit_width,
        fit_background=fit_background, oversampling=oversampling, tool=mode,
    )  # fmt: skip
    targets = _none() if catalog is None else without_repeats(catalog_targets(catalog, "detect"), "detect")
    fields = image_fields(image, pcode, pcode_min, bkg_pcode_min, "detect")
    lens = distortion_map(distortion)
    parts = [catalog_of(field, measure(field, targets, settings, lens)) for field in fields]
    return joined(parts, image, f"detect: snr {snr:g}")


@by_engine
def photometry(
    image: xr.Dataset,
    ra: Any,
    dec: Any = None,
    *,
    frame: str = "sky",
    outside: str | None = None,
    together: bool = True,
    pcode: Any = None,
    pcode_min: float = 0.01,
    bkg_pcode_min: float | None = None,
    snr: float = 6.0,
    psf: str | None = None,
    fwhm: Any = None,
    psf_top: Any = 0.04584,
    fit_background: bool = True,
    window: str = "circle",
    background_radius: int = 30,
    source_radius: int = 6,
    passes: int = 2,
    distortion: xr.Dataset | DistortionMap | None = None,
    oversampling: tuple[float, float] | None = None,
    compat: str | None = None,
) -> xr.Dataset:
    """Return the rates of point sources at given positions, seen or not.

    Parameters
    ----------
    image
        Kind ``sky_image``.
    ra, dec
        A catalogue (kind ``catalog``) or SkyCoord as `ra` alone, or degrees or Quantity; one position or
        several.
    frame
        ``"sky"``, or ``"tangent"``: `ra` and `dec` are IMX and IMY.
    outside
        What to do with positions that are not on a coded pixel: ``"raise"`` (default for positions),
        ``"drop"`` (default for catalogues) or ``"nan"``.
    together
        Fit positions that are near each other together, as sources that are all there; otherwise each for
        itself, as if there were no other.
    snr, passes
        Pixels that reach `snr` do not count for the background.
    pcode, pcode_min, bkg_pcode_min, psf, fwhm, psf_top, fit_background, window, background_radius
        As for `detect`.
    source_radius, distortion, oversampling, compat
        As for `detect`.
    engine
        ``"native"``; ``"heasoft"`` for the tool batcelldetect, or a `batx.heasoft.Engine`.

    Returns
    -------
    xarray.Dataset
        Kind ``catalog`` as of `detect`, in the order of the positions; image after image if there are
        several times.

    Raises
    ------
    PositionError
        If a position is malformed, there twice (unless each is fitted for itself), or outside the image and
        `outside` is ``"raise"``.
    KindError, MissingVariableError, EmptySelectionError, ValueRangeError
        As for `detect`.

    Notes
    -----
    Source: algorithms 2.4, with all positions held.

    Examples
    --------
    >>> import numpy as np
    >>> from batx.schema import build
    >>> y, x = np.mgrid[-60:61, -60:61] * 0.0021
    >>> noise = np.random.default_rng(1).normal(size=x.shape)
    >>> image = build(
    ...     "sky_image", {"imx": x[0], "imy": y[:, 0], "rate": (("imy", "imx"), noise, {"units": "count/s"})}
    ... )
    >>> bool(abs(photometry(image, 0.01, 0.02, frame="tangent", pcode=1).snr[0]) < 5)
    True
    """
    mode = compat_of(compat) is not None
    rule = outside or ("drop" if isinstance(ra, xr.Dataset) else "raise")
    if rule not in ("raise", "drop", "nan"):
        raise ValueRangeError(f"outside: found {outside!r}, expected 'raise', 'drop' or 'nan'")
    settings = _settings(
        snr, passes, 1, window, background_radius, source_radius, psf, fwhm, psf_top, "gaussian",
        fit_background=fit_background, oversampling=oversampling, tool=mode, find=False, together=together,
    )  # fmt: skip
    targets = targets_of(ra, dec, frame, "photometry")
    if together:
        refuse_repeats(targets)
    lens = distortion_map(distortion)
    parts = []
    for field in image_fields(image, pcode, pcode_min, bkg_pcode_min, "photometry"):
        columns = measure(field, targets, settings, lens)
        inside = columns["inside"]
        if rule == "raise" and not inside.all():
            raise PositionError(_outside_message(field, targets, inside, pcode_min))
        part = catalog_of(field, columns)
        parts.append(with_absent(part, targets, inside) if rule == "nan" else part)
    return joined(parts, image, f"photometry: {len(targets)} position(s)")


def at(
    image: xr.Dataset, ra: Any, dec: Any = None, *, sigma: float = 3.0, outside: str = "nan", **options: Any
) -> xr.Dataset:
    """Return what an image says of positions: rate, noise, significance, coding and upper limit.

    Parameters
    ----------
    image
        Kind ``sky_image``.
    ra, dec
        As for `photometry`: SkyCoord, catalogue, or degrees.
    sigma
        Of the upper limit, see `batx.upper_limit`.
    outside
        As for `photometry`; here positions outside the image have NaN unless told otherwise.
    **options
        Further keywords of `photometry`; each position is fitted for itself unless ``together=True``.

    Returns
    -------
    xarray.Dataset
        Kind ``catalog``: `rate`, `rate_err`, `noise`, `snr`, `background`, `upper_limit`, by source and
        energy if the image has bands; `ra`, `dec`, `imx`, `imy`, `pcode` by source.

    Raises
    ------
    PositionError, KindError, MissingVariableError, EmptySelectionError, ValueRangeError
        As for `photometry`.

    Examples
    --------
    >>> import numpy as np
    >>> from batx.schema import build
    >>> y, x = np.mgrid[-60:61, -60:61] * 0.0021
    >>> noise = np.random.default_rng(1).normal(size=x.shape)
    >>> image = build(
    ...     "sky_image", {"imx": x[0], "imy": y[:, 0], "rate": (("imy", "imx"), noise, {"units": "count/s"})}
    ... )
    >>> place = at(image, 0.01, 0.02, frame="tangent", pcode=1)
    >>> bool((place.upper_limit > place.rate).all())
    True
    """
    chosen: dict[str, Any] = {"outside": outside, "together": False, **options}
    catalog = photometry(image, ra, dec, **chosen)
    name = "rate" if "rate" in catalog else "counts"
    kept = [name, f"{name}_err", "noise", "snr", "background", "ra", "dec", "imx", "imy", "pcode", "exposure"]
    result = catalog[[variable for variable in kept if variable in catalog.variables]]
    result["upper_limit"] = _limit(catalog[name], catalog[f"{name}_err"], sigma)
    return result


def position_limit(
    image: xr.Dataset, ra: Any, dec: Any = None, *, sigma: float = 3.0, **options: Any
) -> xr.DataArray:
    """Return the rate that a source at a position does not exceed, at the confidence of one-sided `sigma`.

    With the fitted rate r and its error e, and every rate of at least 0 equally probable beforehand, the
    limit L has ``P(rate > L) = 1 - Phi(sigma)``:
    ``L = r - e Phi^-1((1 - Phi(sigma)) Phi(r / e))``. It is never below 0 and approaches ``r + sigma e`` for
    bright sources.

    Parameters
    ----------
    image
        Kind ``sky_image``.
    ra, dec
        As for `photometry`.
    sigma
        Confidence as that of a Gaussian, one-sided: 3 means 99.865 %.
    **options
        Further keywords of `photometry`; each position is fitted for itself unless ``together=True``.

    Returns
    -------
    xarray.DataArray
        (source) or (source, energy), in the unit of the image's rate.

    Raises
    ------
    PositionError
        If a position is outside the image.
    ValueRangeError
        If `sigma` is not positive.
    KindError, MissingVariableError, EmptySelectionError
        As for `photometry`.

    Examples
    --------
    >>> import numpy as np
    >>> from batx.schema import build
    >>> y, x = np.mgrid[-60:61, -60:61] * 0.0021
    >>> noise = np.random.default_rng(1).normal(size=x.shape)
    >>> image = build(
    ...     "sky_image", {"imx": x[0], "imy": y[:, 0], "rate": (("imy", "imx"), noise, {"units": "count/s"})}
    ... )
    >>> bool(0 < position_limit(image, 0.01, 0.02, frame="tangent", pcode=1)[0] < 8)
    True
    """
    chosen: dict[str, Any] = {"together": False, **options}
    catalog = photometry(image, ra, dec, **chosen)
    name = "rate" if "rate" in catalog else "counts"
    limit = _limit(catalog[name], catalog[f"{name}_err"], sigma)
    return limit.assign_attrs(with_calibration(limit.attrs, calibration_of(catalog)))


@by_engine
def background_maps(
    image: xr.Dataset,
    *,
    snr: float = 6.0,
    catalog: xr.Dataset | None = None,
    pcode: Any = None,
    pcode_min: float = 0.01,
    bkg_pcode_min: float | None = None,
    window: str = "circle",
    background_radius: int = 30,
    source_radius: int = 6,
    passes: int = 2,
    both_signs: bool = False,
    statistic: str = "gaussian",
    compat: str | None = None,
) -> xr.Dataset:
    """Return an image with the background, noise and significance measured around each pixel.

    Parameters
    ----------
    image
        Kind ``sky_image``; where it is in counts and has an exposure, the maps are rates all the same.
    snr, catalog, pcode, pcode_min, bkg_pcode_min, window, background_radius, source_radius, passes
        As for `detect`: pixels that reach `snr`, and circles around the sources of `catalog`, do not count.
    both_signs, statistic, compat
        As for `detect`.
    engine
        ``"native"``; ``"heasoft"`` for the tool batcelldetect, or a `batx.heasoft.Engine`.

    Returns
    -------
    xarray.Dataset
        The image with `background`, `noise` and `snr` (those that it had are replaced), of the dimensions of
        its flux; NaN where the coding is below `pcode_min`.

    Raises
    ------
    KindError, MissingVariableError, EmptySelectionError, ValueRangeError
        As for `detect`.

    Notes
    -----
    Source: algorithms 2.4 (``batcelldetect``, bkgmap, bkgvarmap, signifmap).

    Examples
    --------
    >>> import numpy as np
    >>> from batx.schema import build
    >>> noise = np.random.default_rng(1).normal(size=(80, 80))
    >>> axis = np.arange(80) * 0.0021
    >>> image = build(
    ...     "sky_image", {"imx": axis, "imy": axis, "rate": (("imy", "imx"), noise, {"units": "count/s"})}
    ... )
    >>> bool(abs(background_maps(image, pcode=1).noise.mean() - 1) < 0.05)
    True
    """
    settings = _settings(
        snr, passes, 1, window, background_radius, source_radius, None, None, 0, statistic,
        both_signs=both_signs, tool=compat_of(compat) is not None,
    )  # fmt: skip
    targets = _none() if catalog is None else catalog_targets(catalog, "background_maps")
    maps: dict[str, list[np.ndarray]] = {"background": [], "noise": [], "snr": []}
    for field in image_fields(image, pcode, pcode_min, bkg_pcode_min, "background_maps"):
        x, y = places_on(field.image, targets, None)
        inside = field.holds(x, y)
        result = background_of(field, settings, x[inside], y[inside])
        for name, values in (("background", result.mean), ("noise", result.std), ("snr", result.snr)):
            maps[name].append(np.where(field.usable, values, np.nan))
    flux = image_values(image, "background_maps")
    dims = [dim for dim in ("time", "energy") if dim in flux.dims]
    shape = [flux.sizes[dim] for dim in (*dims, "imy", "imx")]
    units = flux.attrs.get("units", "count/s")
    made = {
        name: ((*dims, "imy", "imx"), np.reshape(parts, shape), {"units": "1" if name == "snr" else units})
        for name, parts in maps.items()
    }
    return image.assign({str(flux.name): flux}).assign(made)


def _window_of(fit_positions: Any) -> bool | float:
    return fit_positions if isinstance(fit_positions, bool) else float(to_value(fit_positions, "deg"))


def _settings(
    snr: float,
    passes: int,
    min_pixels: int | None,
    window: str,
    background_radius: int,
    source_radius: int,
    psf: str | None,
    fwhm: Any,
    top: Any,
    statistic: str,
    **others: Any,
) -> Settings:
    """Return checked settings."""
    shape = psf or ("gaussian" if others.get("tool") else "mask")
    for name, value, known in (
        ("window", window, WINDOWS),
        ("psf", shape, SHAPES),
        ("statistic", statistic, ("gaussian", "poisson")),
    ):
        if value not in known:
            raise ValueRangeError(f"{name}: found {value!r}, expected one of {', '.join(known)}")
    if min_pixels is None:
        min_pixels = 3 if others.get("tool") else 1
    if not snr > 0 or passes < 1 or min_pixels < 1:
        raise ValueRangeError(
            f"found snr={snr}, passes={passes}, min_pixels={min_pixels}; "
            "expected snr above 0, others at least 1"
        )
    if not 0 < source_radius < background_radius:
        raise ValueRangeError(
            f"found source_radius={source_radius}, background_radius={background_radius}; expected the first "
            "to be above 0 and below the second"
        )
    width = None if fwhm is None else float(to_value(fwhm, "deg", "fwhm"))
    if width is None and shape != "mask":
        width = TOOL_FWHM
    flat = float(to_value(top, "deg", "psf_top"))
    if width is not None and not 0 <= flat < width <= _WIDEST:
        raise ValueRangeError(
            f"found fwhm={width}, psf_top={flat} deg; expected a flat top below the width, and at most "
            f"{_WIDEST:g} deg"
        )
    return Settings(
        snr=float(snr), passes=passes, min_pixels=min_pixels, window=window,
        background_radius=int(background_radius), source_radius=int(source_radius), psf=shape, fwhm=width,
        top=flat, poisson=statistic == "poisson", **others,
    )  # fmt: skip


def _none() -> Targets:
    empty = np.empty(0)
    return Targets(np.empty(0, dtype=object), empty, empty, empty, empty, empty)


def _limit(rate: xr.DataArray, error: xr.DataArray, sigma: float) -> xr.DataArray:
    from scipy.special import log_ndtr, ndtri_exp

    if not sigma > 0:
        raise ValueRangeError(f"sigma: found {sigma}, expected a positive number")
    beyond = log_ndtr(-float(sigma)) + log_ndtr(rate / error)
    limit = rate - error * xr.apply_ufunc(ndtri_exp, beyond)
    attrs = {"units": rate.attrs["units"], "long_name": f"upper limit, one-sided {sigma:g} sigma"}
    return limit.rename("upper_limit").assign_attrs(attrs)


def _outside_message(field: Field, targets: Targets, inside: np.ndarray, pcode_min: float) -> str:
    first = int(np.flatnonzero(~inside)[0])
    place = (
        f"ra={targets.ra[first]:g} dec={targets.dec[first]:g}"
        if np.isfinite(targets.ra[first])
        else f"imx={targets.imx[first]:g} imy={targets.imy[first]:g}"
    )
    imx, imy = field.image["imx"].values, field.image["imy"].values
    return (
        f"photometry: {int((~inside).sum())} of {len(targets)} position(s) are outside the image or coded "
        f"less than {pcode_min}, the first at {place}; the image covers "
        f"imx {imx.min():.3f} to {imx.max():.3f}, imy {imy.min():.3f} to {imy.max():.3f}. "
        "outside='drop' or 'nan' leaves them out"
    )
