"""Where the pixels of a sky image are: array indices, tangent plane and sky, each from the other.

A sky image holds its tangent-plane coordinates along `imx` and `imy`, and the FITS cards of both its
coordinate systems in the coordinate `wcs`. What is read from the cards is how the plane lies on the sky
(direction and roll of the axis), which no selection of pixels changes, and where pixels are comes from `imx`
and `imy`; so everything here holds after slicing. Sky positions are ICRS degrees, indices count from 0 at
the centre of the first pixel that the Dataset has. Formulae: algorithms, section 2.3 (coordinates).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import xarray as xr

from batx.errors import AttitudeError, MissingVariableError, ValueRangeError
from batx.instrument import sky

__all__ = [
    "axis_direction",
    "card_axes",
    "card_values",
    "has_sky",
    "image_cards",
    "pixel_to_sky",
    "pixel_to_tangent",
    "sky_rotation",
    "sky_to_pixel",
    "sky_to_tangent",
    "tangent_to_pixel",
    "tangent_to_sky",
    "wcs_of",
]

#: relative differences below this are rounding
_SAME = 1e-11

_IDENTITY = np.array([0.0, 0.0, 0.0, 1.0])


def has_sky(image: xr.Dataset) -> bool:
    """Return whether an image says where on the sky it lies, and not only on the tangent plane.

    Examples
    --------
    >>> has_sky(xr.Dataset(coords={"imx": [0.0, 1.0], "imy": [0.0, 1.0]}))
    False
    """
    return "wcs" in image.variables and all("RA---TAN" in text for text in _texts(image))


def sky_rotation(image: xr.Dataset) -> np.ndarray:
    """Return the rotation from the sky to the axes of the plane of an image.

    The rows are the directions of IMX, IMY and of the axis: a source with unit vector s has ``(X, Y, Z) =
    rotation @ s``, IMX = X / Z and IMY = Y / Z.

    Parameters
    ----------
    image
        Dataset of kind `sky_image`.

    Returns
    -------
    numpy.ndarray
        Shape ``(3, 3)``, or ``(time, 3, 3)`` if `wcs` runs along time.

    Raises
    ------
    AttitudeError
        If the image has tangent-plane coordinates only.

    Examples
    --------
    >>> cards = image_cards((1.0, 1.0), (0.5, 0.5), pointing=(0.0, 0.0, 90.0))
    >>> image = xr.Dataset(coords={"imx": [0.0, 0.5], "imy": [0.0, 0.5], "wcs": ((), cards)})
    >>> (sky_rotation(image).round(6) + 0.0).tolist()
    [[0.0, 0.0, 1.0], [0.0, -1.0, 0.0], [1.0, 0.0, 0.0]]
    """
    directions = np.array([_direction(text) for text in _texts(image)])
    ra, dec, roll = np.moveaxis(directions, -1, 0)
    axis = sky.radec_to_vector(ra, dec)
    east, north = _east_north(ra, dec)
    cosine, sine = np.cos(np.deg2rad(roll))[:, None], np.sin(np.deg2rad(roll))[:, None]
    rotation = np.stack([cosine * east + sine * north, cosine * north - sine * east, axis], axis=-2)
    return rotation if image["wcs"].ndim else rotation[0]


def axis_direction(rotation: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return RA, Dec and roll (degrees) of rotations from the sky to BAT axes; inverse of `sky_rotation`.

    The roll is CROTA2 of the image: ``atan2(-E . BAT_Y, E . BAT_X)`` with E the direction of East at the
    axis.

    Parameters
    ----------
    rotation
        Shape ``(..., 3, 3)``.

    Examples
    --------
    >>> [float(angle) for angle in axis_direction([[0, 0, 1], [0, -1, 0], [1, 0, 0]])]
    [0.0, 0.0, 90.0]
    """
    rotation = np.asarray(rotation, dtype=np.float64)
    ra, dec = sky.vector_to_radec(rotation[..., 2, :])
    east, _ = _east_north(ra, dec)
    x, y = (np.sum(east * rotation[..., row, :], axis=-1) for row in (0, 1))
    return ra, dec, np.rad2deg(np.arctan2(-y, x))


def tangent_to_sky(image: xr.Dataset, imx: Any, imy: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the sky positions of places on the tangent plane.

    Parameters
    ----------
    image
        Dataset of kind `sky_image`.
    imx, imy
        Any shapes that go together.

    Returns
    -------
    ra, dec : numpy.ndarray
        Degrees; with an axis for time in front if `wcs` runs along time.

    Raises
    ------
    AttitudeError
        If the image has tangent-plane coordinates only.

    Examples
    --------
    >>> cards = image_cards((1.0, 1.0), (0.5, 0.5), pointing=(10.0, 0.0, 0.0))
    >>> image = xr.Dataset(coords={"imx": [0.0, 0.5], "imy": [0.0, 0.5], "wcs": ((), cards)})
    >>> [float(angle.round(6)) for angle in tangent_to_sky(image, 1.0, 0.0)]
    [55.0, 0.0]
    """
    imx, imy = np.broadcast_arrays(np.asarray(imx, np.float64), np.asarray(imy, np.float64))
    return sky.tangent_to_sky(imx, imy, _IDENTITY, _spread(sky_rotation(image), imx.ndim))


def sky_to_tangent(image: xr.Dataset, ra: Any, dec: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return where on the tangent plane sky positions are; inverse of `tangent_to_sky`.

    Parameters
    ----------
    image
        Dataset of kind `sky_image`.
    ra, dec
        Degrees, any shapes that go together.

    Returns
    -------
    imx, imy : numpy.ndarray
        With an axis for time in front if `wcs` runs along time.
    front : numpy.ndarray of bool
        Whether the position is on the side that the instrument looks at; the others mean nothing where it
        is not.

    Examples
    --------
    >>> cards = image_cards((1.0, 1.0), (0.5, 0.5), pointing=(10.0, 0.0, 0.0))
    >>> image = xr.Dataset(coords={"imx": [0.0, 0.5], "imy": [0.0, 0.5], "wcs": ((), cards)})
    >>> imx, imy, front = sky_to_tangent(image, 55.0, 0.0)
    >>> float(imx.round(6)), float(abs(imy.round(6))), bool(front)
    (1.0, 0.0, True)
    """
    ra, dec = np.broadcast_arrays(np.asarray(ra, np.float64), np.asarray(dec, np.float64))
    return sky.sky_to_tangent(ra, dec, _IDENTITY, _spread(sky_rotation(image), ra.ndim))


def tangent_to_pixel(image: xr.Dataset, imx: Any, imy: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices, with fractions, of places on the tangent plane.

    Returns
    -------
    x, y : numpy.ndarray
        Column (along `imx`) and row (along `imy`); outside 0 to size - 1 where the place is outside.

    Raises
    ------
    MissingVariableError
        If the image has no coordinates.
    ValueRangeError
        If these are not evenly spaced.

    Examples
    --------
    >>> image = xr.Dataset(coords={"imx": [0.2, 0.0, -0.2], "imy": [0.0, 0.1]})
    >>> [float(index.round(6)) for index in tangent_to_pixel(image, -0.1, 0.1)]
    [1.5, 1.0]
    """
    (x0, dx), (y0, dy) = _grid(image, "imx"), _grid(image, "imy")
    return (np.asarray(imx, np.float64) - x0) / dx, (np.asarray(imy, np.float64) - y0) / dy


def pixel_to_tangent(image: xr.Dataset, x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the places on the tangent plane of indices, with fractions; inverse of `tangent_to_pixel`.

    Examples
    --------
    >>> image = xr.Dataset(coords={"imx": [0.2, 0.0, -0.2], "imy": [0.0, 0.1]})
    >>> [float(place.round(6)) for place in pixel_to_tangent(image, 1.5, 1.0)]
    [-0.1, 0.1]
    """
    (x0, dx), (y0, dy) = _grid(image, "imx"), _grid(image, "imy")
    return x0 + dx * np.asarray(x, np.float64), y0 + dy * np.asarray(y, np.float64)


def pixel_to_sky(image: xr.Dataset, x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the sky positions (degrees) of column and row indices, with fractions.

    Examples
    --------
    >>> cards = image_cards((1.0, 1.0), (0.5, 0.5), pointing=(10.0, 0.0, 0.0))
    >>> image = xr.Dataset(coords={"imx": [0.0, 0.5], "imy": [0.0, 0.5], "wcs": ((), cards)})
    >>> [float(angle.round(6)) for angle in pixel_to_sky(image.isel(imx=[1]), 0, 0)]
    [36.565051, 0.0]
    """
    return tangent_to_sky(image, *pixel_to_tangent(image, x, y))


def sky_to_pixel(image: xr.Dataset, ra: Any, dec: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return column and row indices, with fractions, of sky positions (degrees); NaN behind the instrument.

    Examples
    --------
    >>> cards = image_cards((1.0, 1.0), (0.5, 0.5), pointing=(10.0, 0.0, 0.0))
    >>> image = xr.Dataset(coords={"imx": [0.0, 0.5], "imy": [0.0, 0.5], "wcs": ((), cards)})
    >>> x, y = sky_to_pixel(image, 36.565051, 0.0)
    >>> float(x.round(6)), float(abs(y.round(6)))
    (1.0, 0.0)
    """
    imx, imy, front = sky_to_tangent(image, ra, dec)
    return tangent_to_pixel(image, np.where(front, imx, np.nan), np.where(front, imy, np.nan))


def wcs_of(image: xr.Dataset) -> Any:
    """Return the `astropy.wcs.WCS` of the pixels that a single image has now, also after slicing.

    Celestial if the image says where on the sky it lies, else that of the tangent plane.

    Raises
    ------
    ValueRangeError
        If `wcs` runs along time: select one image first.

    Examples
    --------
    >>> cards = image_cards((1.0, 1.0), (0.5, 0.5), pointing=(10.0, 0.0, 0.0))
    >>> image = xr.Dataset(coords={"imx": [0.0, 0.5], "imy": [0.0, 0.5], "wcs": ((), cards)})
    >>> wcs_of(image.isel(imx=[1])).wcs.crpix.tolist()
    [0.0, 1.0]
    """
    from astropy.wcs import WCS

    if "wcs" in image.variables and image["wcs"].ndim:
        raise ValueRangeError(
            f"wcs: found {image['wcs'].size} images with coordinates of their own; "
            "select one first: image.isel(time=0)"
        )
    return WCS(_current(image))


def card_values(image: xr.Dataset) -> dict[str, tuple[Any, str]]:
    """Return keyword to value and comment of the coordinates of a single image, for the pixels it has now.

    Examples
    --------
    >>> cards = image_cards((1.0, 1.0), (0.5, 0.5), pointing=(10.0, 0.0, 0.0))
    >>> image = xr.Dataset(coords={"imx": [0.0, 0.5], "imy": [0.0, 0.5], "wcs": ((), cards)})
    >>> card_values(image.isel(imx=[1]))["CRPIX1"][0]
    0.0
    """
    return {card.keyword: (card.value, card.comment) for card in _current(image).cards}


def _current(image: xr.Dataset) -> Any:
    """Return the header of an image: that which it has, moved and scaled to the pixels that there are."""
    from astropy.io.fits import Header

    (x0, dx), (y0, dy) = _grid(image, "imx"), _grid(image, "imy")
    pixel, step = (1 - x0 / dx, 1 - y0 / dy), (dx, dy)
    text = _texts(image)[0] if "wcs" in image.variables else ""
    header = Header.fromstring(text, sep="\n")
    plain = {"CDELT1T", "CDELT2T", "CDELT1", "CDELT2"} <= set(header) and not {"CD1_1", "PC1_1"} & set(header)
    if not plain:
        pointing = _direction(text) if text and has_sky(image) else None
        return Header.fromstring(image_cards(pixel, step, pointing), sep="\n")
    for axis, centre, width in zip((1, 2), pixel, step, strict=True):
        ratio = width / header[f"CDELT{axis}T"]
        if abs(ratio - 1) > _SAME:
            header[f"CDELT{axis}T"], header[f"CDELT{axis}"] = width, header[f"CDELT{axis}"] * ratio
        if abs(centre - header[f"CRPIX{axis}T"]) > _SAME * max(1.0, abs(centre)):
            header[f"CRPIX{axis}T"] = header[f"CRPIX{axis}"] = centre
    return header


def card_axes(cards: str, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return IMX of the columns and IMY of the rows of an image of (rows, columns), from its cards.

    Cards hold 15 to 16 digits, so this is what reading a file with them gives, to the last bit.

    Examples
    --------
    >>> [axis.tolist() for axis in card_axes(image_cards((2.0, 1.0), (-0.5, 0.5)), (1, 3))]
    [[0.5, 0.0, -0.5], [0.0]]
    """
    from astropy.io.fits import Header

    header = Header.fromstring(cards, sep="\n")
    imx, imy = (
        header[f"CRVAL{axis}T"] + (np.arange(1, size + 1) - header[f"CRPIX{axis}T"]) * header[f"CDELT{axis}T"]
        for axis, size in ((1, shape[1]), (2, shape[0]))
    )
    return imx, imy


@lru_cache(maxsize=16)
def image_cards(
    pixel: tuple[float, float],
    step: tuple[float, float],
    pointing: tuple[float, float, float] | None = None,
    arc_step: bool = False,
) -> str:
    """Return the FITS cards of an image on the tangent plane, one a line: the form of the coordinate `wcs`.

    The primary system is RA---TAN, DEC--TAN with CROTA2 (IMX, IMY without `pointing`), the alternate one, T,
    the tangent plane.

    Parameters
    ----------
    pixel
        FITS pixel (from 1) of the axis, in X and Y.
    step
        IMX from one column to the next, and IMY from one row to the next.
    pointing
        RA, Dec and roll (degrees) as of `axis_direction`.
    arc_step
        Write the celestial CDELT as ``atan(step)``, as batfftimage does, in place of `step` in degrees, with
        which both systems agree.

    Examples
    --------
    >>> print(image_cards((1.5, 1.0), (-0.25, 0.25)).splitlines()[0])
    CTYPE1  = 'IMX     '
    """
    from astropy.io.fits import Header

    header = Header()
    names = ("IMX", "IMY") if pointing is None else ("RA---TAN", "DEC--TAN")
    if pointing is not None:
        header["RADESYS"], header["EQUINOX"] = "ICRS", 2000.0
    for axis, (name, centre, width) in enumerate(zip(names, pixel, step, strict=True), 1):
        header[f"CTYPE{axis}"] = name
        if pointing is not None:
            header[f"CUNIT{axis}"] = "deg"
            width = np.rad2deg(np.arctan(width) if arc_step else width)
        header[f"CRPIX{axis}"] = float(centre)
        header[f"CDELT{axis}"] = float(width)
        header[f"CRVAL{axis}"] = 0.0 if pointing is None else float(pointing[axis - 1])
    if pointing is not None:
        header["CROTA2"] = float(pointing[2])
    header["WCSNAMET"] = "TANGENT_PLANE"
    for axis, (name, centre, width) in enumerate(zip(("IMX", "IMY"), pixel, step, strict=True), 1):
        header[f"CTYPE{axis}T"] = name
        header[f"CRPIX{axis}T"] = float(centre)
        header[f"CDELT{axis}T"] = float(width)
        header[f"CRVAL{axis}T"] = 0.0
    return "\n".join(card.image.rstrip() for card in header.cards)


def _texts(image: xr.Dataset) -> list[str]:
    if "wcs" not in image.variables:
        raise MissingVariableError(
            "sky image: found no coordinate 'wcs', which says where on the sky the image lies; "
            "it gets lost when variables are taken out of the Dataset"
        )
    return [str(text) for text in np.atleast_1d(image["wcs"].values)]


def _direction(text: str) -> tuple[float, float, float]:
    """Return RA and Dec of the axis and the roll of the plane (degrees) from the cards of an image."""
    from astropy.io.fits import Header

    cards = Header.fromstring(text, sep="\n")
    kinds = [str(cards.get(f"CTYPE{axis}", "")) for axis in (1, 2)]
    if kinds != ["RA---TAN", "DEC--TAN"]:
        raise AttitudeError(
            f"wcs: found axes {kinds}, expected RA---TAN and DEC--TAN; an image made without attitude= has "
            "places on the tangent plane only, not on the sky"
        )
    if "CD1_1" in cards or "PC1_1" in cards:
        scale = [float(cards.get(f"CDELT{axis}", 1.0)) for axis in (1, 2)]
        cd = [
            float(cards.get(f"CD{axis}_1", cards.get(f"PC{axis}_1", 0.0) * scale[axis - 1]))
            for axis in (1, 2)
        ]
        sign = np.sign(float(cards.get("CDELT1T", cd[0])))
        roll = float(np.rad2deg(np.arctan2(sign * cd[1], sign * cd[0])))
    else:
        roll = float(cards.get("CROTA2", 0.0))
    return float(cards["CRVAL1"]), float(cards["CRVAL2"]), roll


def _east_north(ra: Any, dec: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the directions of East and North at positions."""
    a, d = np.deg2rad(ra), np.deg2rad(dec)
    east = np.stack([-np.sin(a), np.cos(a), np.zeros_like(a)], axis=-1)
    north = np.stack([-np.cos(a) * np.sin(d), -np.sin(a) * np.sin(d), np.cos(d)], axis=-1)
    return east, north


def _spread(rotation: np.ndarray, ndim: int) -> np.ndarray:
    """Return rotations with an axis of one for each of the places, if there are several rotations."""
    return rotation.reshape(*rotation.shape[:-2], *([1] * ndim), 3, 3) if rotation.ndim > 2 else rotation


def _grid(image: xr.Dataset, name: str) -> tuple[float, float]:
    """Return first value and step of a tangent-plane coordinate."""
    if name not in image.variables:
        raise MissingVariableError(f"sky image: found no coordinate '{name}', expected kind sky_image")
    values = np.atleast_1d(image[name].values).astype(np.float64)
    if values.size == 1:
        return float(values[0]), _written_step(image, name)
    step = (values[-1] - values[0]) / (values.size - 1)
    if step == 0 or not np.allclose(np.diff(values), step, rtol=1e-6, atol=0):
        raise ValueRangeError(
            f"{name}: found values that are not evenly spaced, expected those of whole rows and columns "
            "(select pixels with slices)"
        )
    return float(values[0]), float(step)


def _written_step(image: xr.Dataset, name: str) -> float:
    """Return the step of an axis that has one pixel only, from the cards."""
    from astropy.io.fits import Header

    axis = 1 if name == "imx" else 2
    cards = Header.fromstring(_texts(image)[0], sep="\n")
    if f"CDELT{axis}T" in cards:
        return float(cards[f"CDELT{axis}T"])
    step = float(cards.get(f"CDELT{axis}", 1.0))
    return float(np.deg2rad(step)) if "TAN" in str(cards.get(f"CTYPE{axis}", "")) else step
