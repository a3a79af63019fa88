"""Pixels, tangent plane and sky of sky images: agreement with the tool's files, slicing, files, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import batx
from batx import sky_coords
from batx.attitudes import field_position
from batx.schema import build

STEP = 0.0021
POINTING = (150.0095, 29.9924, -39.81)


def image(pointings=POINTING, nx=41, ny=31) -> xr.Dataset:
    """An image with the axis at column 20, row 15; several pointings make a stack over time."""
    imx, imy = -STEP * (np.arange(nx) - 20), STEP * (np.arange(ny) - 15)
    shape = (ny, nx)
    if isinstance(pointings, list):
        cards = ("time", np.array([sky_coords.image_cards((21, 16), (-STEP, STEP), p) for p in pointings]))
        variables = {"time": np.arange(len(pointings)) + 0.5}
        variables["time_bnds"] = np.stack([variables["time"] - 0.5, variables["time"] + 0.5], axis=1)
        values = ("time", "imy", "imx"), np.zeros((len(pointings), *shape))
    else:
        cards, variables = ((), sky_coords.image_cards((21, 16), (-STEP, STEP), pointings)), {}
        values = ("imy", "imx"), np.zeros(shape)
    return build("sky_image", {**variables, "imx": imx, "imy": imy, "wcs": cards, "rate": values})


def test_agrees_with_attitude_and_alignment_of_the_reference_run(heasoft):
    """The tool takes the attitude at the middle of the image; its cards hold 15 digits."""
    made = batx.open_dataset(heasoft / "img" / "burst.img.gz")
    attitude = batx.open_dataset(heasoft / "inputs" / "attitude.fits.gz")
    alignment = batx.open_dataset(heasoft / "inputs" / "teldef.fits.gz")
    place = field_position(attitude, 165.76360901, 24.39815269, [6.000000625e8], alignment=alignment)
    imx, imy, front = sky_coords.sky_to_tangent(made, 165.76360901, 24.39815269)
    assert front
    assert abs(imx - place.imx[0]) < 1e-13
    assert abs(imy - place.imy[0]) < 1e-13
    x, y = sky_coords.sky_to_pixel(made, 165.76360901, 24.39815269)
    crpix, cdelt = (868.476071070354, 464.605103405454), 0.00210737581535374
    assert abs(x - (crpix[0] - 1 - imx / cdelt)) < 1e-9
    assert abs(y - (crpix[1] - 1 + imy / cdelt)) < 1e-9


def test_there_and_back():
    made = image()
    x, y = np.meshgrid(np.linspace(-3, 45, 9), np.linspace(0, 30, 7))
    imx, imy = sky_coords.pixel_to_tangent(made, x, y)
    np.testing.assert_allclose(sky_coords.tangent_to_pixel(made, imx, imy), (x, y), atol=1e-10)
    ra, dec = sky_coords.pixel_to_sky(made, x, y)
    np.testing.assert_allclose(sky_coords.sky_to_pixel(made, ra, dec), (x, y), atol=1e-9)


def test_astropy_agrees():
    """Both systems of the cards say the same, and astropy reads them so."""
    made = image()
    x, y = np.array([0.0, 20.0, 40.0]), np.array([30.0, 15.0, 2.0])
    ra, dec = sky_coords.pixel_to_sky(made, x, y)
    wcs = sky_coords.wcs_of(made)
    np.testing.assert_allclose(wcs.wcs_pix2world(x, y, 0), (ra, dec), rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("rows", "columns"), [(slice(4, 20), slice(7, 30)), ([3], [5]), (slice(0, 30, 3), [9])]
)
def test_positions_of_pixels_survive_slicing(rows, columns):
    whole = image()
    part = whole.isel(imy=rows, imx=columns)
    row, column = np.arange(31)[rows], np.arange(41)[columns]
    expected = sky_coords.pixel_to_sky(whole, column[-1], row[-1])
    last = part.sizes["imx"] - 1, part.sizes["imy"] - 1
    np.testing.assert_allclose(sky_coords.pixel_to_sky(part, *last), expected, atol=1e-10)
    np.testing.assert_allclose(sky_coords.wcs_of(part).wcs_pix2world(*last, 0), expected, atol=1e-9)


@pytest.mark.parametrize("form", ["netcdf", "zarr"])
@pytest.mark.parametrize("pointings", [POINTING, [POINTING, (10.0, -80.0, 170.0)], None])
def test_coordinates_survive_files(tmp_path, form, pointings):
    made = image(pointings)
    path = tmp_path / f"image.{form}"
    getattr(made.bat, f"to_{form}")(path)
    again = batx.open_dataset(path)
    assert again["wcs"].values.tolist() == made["wcs"].values.tolist()
    assert sky_coords.has_sky(again) == (pointings is not None)
    if pointings is not None:
        np.testing.assert_array_equal(sky_coords.sky_rotation(again), sky_coords.sky_rotation(made))


def test_stack_over_time_has_a_direction_each():
    pointings = [POINTING, (10.0, -80.0, 170.0), (359.0, 60.0, 0.0)]
    made = image(pointings)
    ra, dec = sky_coords.tangent_to_sky(made, [0.0, 0.1], [0.0, 0.0])
    assert ra.shape == (3, 2)
    np.testing.assert_allclose(ra[:, 0], [p[0] for p in pointings], atol=1e-12)
    alone = sky_coords.tangent_to_sky(made.isel(time=1), 0.1, 0.0)
    np.testing.assert_array_equal(alone, (ra[1, 1], dec[1, 1]))
    imx, _, front = sky_coords.sky_to_tangent(made, ra[1, 1], dec[1, 1])
    assert abs(imx[1] - 0.1) < 1e-12
    assert front.tolist() == [False, True, False]
    assert np.isnan(sky_coords.sky_to_pixel(made, ra[1, 1], dec[1, 1])[0][0])
    with pytest.raises(batx.BatxError, match="isel"):
        sky_coords.wcs_of(made)


def test_axis_direction_is_the_inverse():
    made = image([POINTING, (0.0, 89.9999, 12.0), (200.0, -45.0, -179.0)])
    directions = np.stack(sky_coords.axis_direction(sky_coords.sky_rotation(made)), axis=-1)
    np.testing.assert_allclose(
        directions, [POINTING, (0.0, 89.9999, 12.0), (200.0, -45.0, -179.0)], atol=1e-9
    )


def test_matrix_cards_mean_the_same_as_a_roll():
    """Mosaics and other programs write CD or PC matrices."""
    made = image()
    wcs = sky_coords.wcs_of(made)
    cd = wcs.pixel_scale_matrix
    text = "\n".join(
        [
            *("CTYPE1  = 'RA---TAN'", "CTYPE2  = 'DEC--TAN'"),
            *(f"CRVAL{i + 1}  = {POINTING[i]}" for i in (0, 1)),
            *(f"CD{i + 1}_{j + 1}   = {cd[i, j]:.17e}" for i in (0, 1) for j in (0, 1)),
            f"CDELT1T = {-STEP}",
        ]
    )
    other = made.assign_coords(wcs=((), text))
    np.testing.assert_allclose(sky_coords.sky_rotation(other), sky_coords.sky_rotation(made), atol=1e-12)


def test_image_without_attitude_has_the_tangent_plane_only():
    made = image(None)
    assert not sky_coords.has_sky(made)
    assert sky_coords.wcs_of(made).wcs.ctype[0] == "IMX"
    np.testing.assert_allclose(sky_coords.pixel_to_tangent(made, 20, 15), 0.0, atol=1e-15)
    with pytest.raises(batx.BatxError, match="attitude="):
        sky_coords.pixel_to_sky(made, 1, 1)


def test_refusals():
    made = image()
    with pytest.raises(batx.BatxError, match="wcs"):
        sky_coords.tangent_to_sky(made.drop_vars("wcs"), 0.0, 0.0)
    with pytest.raises(batx.BatxError, match="evenly"):
        sky_coords.tangent_to_pixel(made.isel(imx=[0, 1, 5]), 0.0, 0.0)
    with pytest.raises(batx.BatxError, match="imx"):
        sky_coords.tangent_to_pixel(made.drop_vars("imx"), 0.0, 0.0)
