"""Pictures of the sky: values where they belong, lines where the coordinates say."""

from __future__ import annotations

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS
from matplotlib.figure import Figure

import batx
from batx.errors import (
    AttitudeError,
    EmptySelectionError,
    MissingVariableError,
    PositionError,
    ValueRangeError,
)
from batx.plots.celestial import circle, draw_graticule, span_of
from batx.plots.mosaic import _gnomonic, _mollweide
from batx.plots.sky_image import _plane
from batx.sky_coords import image_cards, sky_to_tangent

RA, DEC = 150.0, 30.0
T0 = 600000000.0
ATTRS = {
    "object": "SIMGRB",
    "telescope": "SWIFT",
    "instrument": "BAT",
    "obs_id": "00012345000",
    "trigger_time": T0,
    "utcf": -22.5,
}
BANDS = np.array([[15.0, 50.0], [50.0, 150.0]])


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def image(
    ra: float = RA, dec: float = DEC, roll: float = 20.0, times: int = 0, bands: int = 0, sky: bool = True
) -> xr.Dataset:
    """A field 80 by 40 degrees wide with a source of 30 sigma on its axis; columns run against IMX."""
    x, y = np.linspace(0.8, -0.8, 161), np.linspace(-0.4, 0.4, 81)
    coding = np.clip(1.2 - np.hypot(*np.meshgrid(x / 0.8, y / 0.4)), 0.0, 1.0)
    snr = np.where(coding > 0.01, np.random.default_rng(1).normal(size=coding.shape), np.nan)
    snr[40, 80] = 30.0
    shape = tuple(n for n in (times, bands) if n)
    dims = [name for name, n in (("time", times), ("energy", bands)) if n]
    cards = image_cards((81.0, 41.0), (-0.01, 0.01), (ra, dec, roll) if sky else None)
    variables = {
        "imx": x,
        "imy": y,
        "snr": ((*dims, "imy", "imx"), np.broadcast_to(snr, (*shape, *snr.shape))),
        "rate": ((*dims, "imy", "imx"), np.broadcast_to(0.1 * snr, (*shape, *snr.shape))),
        "noise": ((*dims, "imy", "imx"), np.broadcast_to(np.full(snr.shape, 0.1), (*shape, *snr.shape))),
        "pcode": (("imy", "imx"), coding),
        "exposure": (("time",), np.full(times, 10.0)) if times else 10.0,
        "wcs": (("time",), [cards] * times) if times else ((), cards),
    }
    if bands:
        variables |= {"energy": BANDS[:bands].mean(axis=1), "energy_bnds": BANDS[:bands]}
    if times:
        edges = T0 + 10.0 * np.arange(times + 1)
        bounds = np.stack([edges[:-1], edges[1:]], axis=1)
        variables |= {"time": bounds.mean(axis=1), "time_bnds": bounds}
    return batx.build("sky_image", variables, ATTRS | {"tstart": T0 + ra, "tstop": T0 + ra + 10})


def catalog(**more) -> xr.Dataset:
    return batx.build(
        "catalog",
        {"name": ["on axis", "far away"], "ra": [RA, RA + 180.0], "dec": [DEC, -DEC], "err_rad": [0.1, 0.1]}
        | more,
    )


def labels(ax) -> set[str]:
    """Degrees written along all four sides."""
    sides = [*ax.get_xticklabels(), *ax.get_yticklabels()]
    for child in ax.child_axes:
        sides += [*child.get_xticklabels(), *child.get_yticklabels()]
    return {label.get_text() for label in sides} - {""}


# --- sky images ---


def test_values_lie_where_their_coordinates_are():
    ds = image()
    ax = ds.bat.plot()
    picture = ax.images[0]
    left, right, bottom, top = picture.get_extent()
    values = picture.get_array().filled(np.nan)
    rows, columns = values.shape
    row, column = np.unravel_index(np.nanargmax(values), values.shape)
    x = left + (column + 0.5) * (right - left) / columns
    y = bottom + (row + 0.5) * (top - bottom) / rows
    np.testing.assert_allclose(sky_to_tangent(ds, RA, DEC)[:2], (x, y), atol=1e-6)
    assert left > right, "IMX increases to the left"
    assert ax.get_xlim() == (left, right)
    finite = np.isfinite(ds["snr"].values)
    assert values.shape == (finite.any(axis=1).sum(), finite.any(axis=0).sum()), "no empty margin"


def test_scale_is_symmetric_and_named():
    ax = image().bat.plot()
    assert ax.images[0].get_clim() == (-8.0, 8.0)
    assert ax.figure.axes[-1].get_ylabel() == "Significance (sigma)"
    ax = image().bat.plot(center=(RA, DEC), radius=4.0)
    assert ax.images[0].get_clim() == (-30.0, 30.0), "a zoom goes up to the peak"
    ax = image().bat.plot(variable="rate")
    assert ax.images[0].get_clim()[0] == -ax.images[0].get_clim()[1]
    assert ax.figure.axes[-1].get_ylabel() == "Rate (count/s)"
    ax = image().bat.plot(variable="pcode", limits=(0.2, 0.4), cmap="gray")
    assert ax.images[0].get_clim() == (0.2, 0.4)


@pytest.mark.parametrize("dec", [0.0, 30.0, 85.0, -88.0])
@pytest.mark.parametrize("roll", [0.0, 20.0, 45.0, 90.0, -130.0])
def test_lines_follow_the_coordinates(dec: float, roll: float):
    ds = image(dec=dec, roll=roll)
    ax = ds.bat.plot(coding=False)
    plane = _plane(ds)
    constant = 0
    for line in ax.lines:
        x, y = line.get_data()
        inside = np.isfinite(x) & (np.abs(x) < 0.8) & (np.abs(y) < 0.4)
        if inside.sum() < 3:
            continue
        lon, lat = plane.to_sky(x[inside], y[inside])
        turned = np.rad2deg(np.ptp(np.unwrap(np.deg2rad(lon))))
        assert min(turned, np.ptp(lat)) < 1e-6
        constant += 1
    assert constant >= 4
    assert len(labels(ax)) >= 4
    assert any(text.startswith(("+", "-")) for text in labels(ax)), "latitudes have signs"


def test_labels_are_those_of_the_lines():
    ax = image(dec=0.0, roll=0.0).bat.plot()
    assert ax.get_xlabel() == "Right ascension"
    assert ax.get_ylabel() == "Declination"
    places = dict(zip((t.get_text() for t in ax.get_xticklabels()), ax.get_xticks(), strict=True))
    expected = sky_to_tangent(image(dec=0.0, roll=0.0), 165.0, 0.0)[0]
    np.testing.assert_allclose(places["165°"], expected, atol=2e-3)
    assert places["135°"] < places["165°"], (
        "east is to the left: IMX grows with right ascension and to the left"
    )
    turned = image(dec=0.0, roll=90.0).bat.plot()
    assert turned.get_xlabel() == "Declination"


def test_coding_contours_and_their_labels():
    ax = image().bat.plot()
    (contours,) = (c for c in ax.collections if hasattr(c, "levels"))
    np.testing.assert_allclose(contours.levels, [0.05, 0.15, 0.5, 0.9])
    assert {"15 %", "50 %", "90 %"} <= {text.get_text() for text in ax.texts}
    assert not image().bat.plot(coding=False).collections


def test_sources_are_marked_where_they_are():
    ds = image()
    ax = ds.bat.plot(catalog=catalog())
    assert [
        text.get_text() for text in ax.texts if "axis" in text.get_text() or "far" in text.get_text()
    ] == ["on axis"]
    (marks,) = (line for line in ax.lines if line.get_label() == "detected")
    np.testing.assert_allclose(np.ravel(marks.get_data()), 0.0, atol=1e-9)
    both = catalog(known=("source", [True, False]), match_name=("source", ["Crab", ""]))
    ax = ds.bat.plot(catalog=both)
    assert "Crab" in [text.get_text() for text in ax.texts]
    assert [line.get_marker() for line in ax.lines if line.get_label() == "known"] == ["s"]


def test_zoom_shows_the_place_and_its_error():
    ds = image()
    ax = ds.bat.plot(center=SkyCoord(RA, DEC, unit="deg"), radius=3.0, catalog=catalog())
    left, right = ax.get_xlim()
    assert 0.1 < left - right < 0.13
    rings = [line.get_data() for line in ax.lines if len(line.get_xdata()) == 73]
    assert len(rings) == 1
    np.testing.assert_allclose(np.hypot(*rings[0]), np.tan(np.deg2rad(0.1)), rtol=1e-6)
    with pytest.raises(PositionError, match="not in the image"):
        ds.bat.plot(center=(RA + 180.0, -DEC))
    with pytest.raises(ValueRangeError, match="radius"):
        ds.bat.plot(center=(RA, DEC), radius=90.0)


def test_titles_name_target_band_and_time():
    ds = image(times=2, bands=2)
    panels = ds.bat.plot()
    assert panels.shape == (2, 2)
    head, trigger, own = panels[0, 0].get_title(loc="left").splitlines()
    assert head == "SIMGRB, SWIFT BAT, obs 00012345000"
    assert trigger == "trigger 2020-01-06 10:39:37 UTC, MET 600000000.0"
    assert own == "15-50 keV, 0 to 10 s from the trigger"
    assert panels[1, 1].get_title(loc="left") == "50-150 keV, 10 to 20 s from the trigger"
    assert span_of(image().drop_attrs().assign_attrs(tstart=T0, tstop=T0 + 5.0)) == "MET 600000000.0, 5 s"
    dated = image().assign_attrs(trigger_time=T0 - 1e6, tstart=T0, tstop=T0 + 5.0)
    assert span_of(dated) == "2020-01-06 10:39:37 UTC, 5 s"


def test_image_from_fits(tmp_path):
    """One image of one band: in the file everything, the coding too, has a time and a band."""
    path = batx.to_fits(image(times=1, bands=1), tmp_path / "one.img")
    ds = batx.open_dataset(path)
    assert ds["pcode"].dims == ("time", "energy", "imy", "imx")
    ax = ds.bat.plot(catalog=catalog())
    assert labels(ax) and len(ax.collections) > 0  # contours of coding


def test_sources_are_marked_in_the_image_of_their_time():
    ds = image(times=2, bands=1)
    found = batx.build(
        "catalog",
        {"name": ["first", "second", "other"], "ra": [RA] * 3, "dec": [DEC] * 3}
        | {"time": ("source", [*ds.time.values, 1.0])},
    )
    marked = [{text.get_text() for text in panel.texts} for panel in ds.bat.plot(catalog=found).flat]
    assert [names & {"first", "second", "other"} for names in marked] == [
        {"first", "other"},
        {"second", "other"},
    ]


def test_one_of_a_stack_keeps_its_sky():
    ax = image(times=3, bands=2).isel(time=1, energy=0).bat.plot()
    assert ax.get_title(loc="left").endswith("15-50 keV, 10 to 20 s from the trigger")
    assert labels(ax)


def test_image_without_attitude():
    ax = image(sky=False).bat.plot()
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("IMX", "IMY")
    with pytest.raises(AttitudeError):
        image(sky=False).bat.plot(catalog=catalog())


def test_lazy_image_and_given_axes():
    _, ax = plt.subplots()
    drawn = image(bands=2).chunk().isel(energy=0).bat.plot(ax)
    assert drawn is ax
    assert not Figure().axes
    assert image().bat.plot(Figure()).figure.axes


def test_refusals_of_sky_images():
    with pytest.raises(MissingVariableError, match="'flux'"):
        image().bat.plot(variable="flux")
    with pytest.raises(ValueRangeError, match="20 times"):
        image(times=20).bat.plot()
    empty = image()
    with pytest.raises(EmptySelectionError, match="no finite value"):
        empty.assign(snr=empty["snr"] * np.nan).bat.plot()


# --- mosaics ---


@pytest.fixture(scope="module")
def mosaic() -> xr.Dataset:
    return batx.mosaic([image(), image(ra=RA + 15.0)], nside=128).compute()


def test_projections_are_each_others_inverse():
    lon, lat = circle(40.0, 20.0, 35.0)
    for plane in (_mollweide(180.0, "icrs"), _mollweide(10.0, "galactic"), _gnomonic(50.0, 10.0, "icrs")):
        back = plane.to_sky(*plane.to_plane(lon, lat))
        np.testing.assert_allclose(back, (lon % 360.0, lat), atol=1e-7)
    x, y = _mollweide(0.0, "icrs").to_plane([90.0, 0.0, 0.0], [0.0, 90.0, -30.0])
    np.testing.assert_allclose(x, [-1.0, 0.0, 0.0], atol=1e-4)
    np.testing.assert_allclose(y, [0.0, 1.0, -0.4039728], atol=1e-6)
    assert np.isnan(_mollweide(0.0, "icrs").to_sky(1.9, 0.9)).all()


def test_whole_sky_shows_what_the_map_has(mosaic: xr.Dataset):
    ax = mosaic.bat.plot(catalog=catalog())
    values = ax.images[0].get_array().filled(np.nan)
    finite = np.isfinite(values)
    plane = _mollweide(180.0, "icrs")
    rows, columns = values.shape
    place = np.nanargmax(np.where(finite, values, -np.inf))
    row, column = np.unravel_index(place, values.shape)
    x, y = -2.0 + (column + 0.5) * 4.0 / columns, -1.0 + (row + 0.5) * 2.0 / rows
    lon, lat = plane.to_sky(x, y)
    assert min(np.hypot((lon - ra) * np.cos(np.deg2rad(DEC)), lat - DEC) for ra in (RA, RA + 15.0)) < 1.0
    snr = batx.finalize(mosaic)["snr"].values
    assert np.nanmax(values) == pytest.approx(np.nanmax(snr), rel=1e-6)
    # an equal-area map: the part of the ellipse is the part of the sphere
    part = np.isfinite(snr).sum() / (12 * 128**2)
    assert finite.sum() * 4.0 * 2.0 / values.size / (2.0 * np.pi) == pytest.approx(part, rel=0.03)
    assert "on axis" in [text.get_text() for text in ax.texts]
    assert ax.get_title(loc="left").endswith("2 images")


def test_whole_sky_may_be_turned(mosaic: xr.Dataset):
    turned = mosaic.bat.plot(center=(RA, DEC)).images[0].get_array().filled(np.nan)
    columns = np.flatnonzero(np.isfinite(turned).any(axis=0))
    assert abs(columns.mean() - turned.shape[1] / 2) < 0.1 * turned.shape[1]


def test_zoom_shows_the_cells(mosaic: xr.Dataset):
    import healpy

    ax = mosaic.bat.plot(center=(RA, DEC), radius=5.0)
    values = ax.images[0].get_array().filled(np.nan)
    snr = batx.finalize(mosaic)["snr"].values
    cell = healpy.ang2pix(128, RA, DEC, nest=True, lonlat=True)
    (index,) = np.flatnonzero(mosaic["cell_ids"].values == cell)
    half = values.shape[0] // 2
    assert snr[index] in values[half - 1 : half + 2, half - 1 : half + 2].astype(snr.dtype) or np.isclose(
        values[half, half], snr[index]
    )
    left, right, _, top = ax.images[0].get_extent()
    assert left == -right == top == pytest.approx(np.rad2deg(np.tan(np.deg2rad(5.0))))
    assert {"Right ascension", "Declination"} == {ax.get_xlabel(), ax.get_ylabel()}


def test_coverage(mosaic: xr.Dataset):
    ax = mosaic.bat.plot(variable="exposure")
    values = ax.images[0].get_array().filled(np.nan)
    assert set(np.unique(values[np.isfinite(values)])) == {10.0, 20.0}
    assert ax.images[0].get_clim() == (0.0, 20.0)
    assert ax.figure.axes[-1].get_ylabel() == "Exposure (s)"


def test_galactic_ring_maps_have_their_own_names():
    ds = batx.mosaic([image(bands=2)], nside=48, frame="galactic", order="ring").compute()
    panels = ds.bat.plot()
    assert len(panels) == 2
    assert panels[0].get_xlabel().startswith("Galactic")
    assert "15-50 keV" in panels[0].get_title(loc="left")
    zoom = ds.isel(energy=0).bat.plot(center=(RA, DEC), radius=5.0)
    assert "Galactic longitude" in {zoom.get_xlabel(), zoom.get_ylabel()}


def test_fits_grids(mosaic: xr.Dataset):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ["RA---TAN", "DEC--TAN"], [RA, DEC]
    wcs.wcs.crpix, wcs.wcs.cdelt = [60.0, 40.0], [-0.25, 0.25]
    wcs.array_shape = (80, 120)
    ds = batx.mosaic([image()], wcs=wcs).compute()
    ax = ds.bat.plot(catalog=catalog())
    (marks,) = (line for line in ax.lines if line.get_label() == "detected")
    np.testing.assert_allclose(np.ravel(marks.get_data()), [59.0, 39.0], atol=1e-6)
    assert labels(ax)
    with pytest.raises(ValueRangeError, match="facet"):
        batx.mosaic([image()], wcs=[wcs, wcs]).bat.plot()


def test_refusals_of_mosaics(mosaic: xr.Dataset):
    with pytest.raises(MissingVariableError, match="'rate'"):
        mosaic.bat.plot(variable="rate")
    with pytest.raises(ValueRangeError, match="center"):
        mosaic.bat.plot(radius=3.0)
    with pytest.raises(EmptySelectionError):
        mosaic.bat.plot(center=(RA + 180.0, -DEC), radius=3.0)


def test_graticule_around_a_pole_covers_all_longitudes():
    _, ax = plt.subplots()
    plane = _gnomonic(0.0, 90.0, "icrs")
    draw_graticule(ax, plane, (20.0, -20.0, -20.0, 20.0))
    x, y = np.concatenate([np.array(line.get_data()) for line in ax.lines], axis=1)
    angle = np.rad2deg(np.arctan2(y, x))
    assert np.ptp(angle) > 350.0
