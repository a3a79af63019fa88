"""Regions on images: exposed areas, the share of a point source, limits of counts, frames."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from mission_inputs import DEC, RA, event_list
from scipy import stats

import batx
from batx.errors import EmptySelectionError, KindError, PositionError, ValueRangeError
from batx.image_regions import exposed_area, on_image, seen_fraction
from batx.region_curves import count_limit
from batx.regions import Region, annulus, circle, in_fk5, in_pixels

XRT = {"telescope": "SWIFT", "instrument": "XRT"}
START = 3e8


@pytest.fixture(scope="module")
def events():
    return event_list(XRT, 1, start=START)


@pytest.fixture(scope="module")
def seen(events):
    """Exposure map of 1800 s without gaps."""
    image = batx.count_image(events, bin=2, center=(RA, DEC), size=400)
    return image.assign(image=image.image * 0.0 + 1800.0)


def test_exposed_areas_are_those_of_the_shapes(seen):
    source, ring = circle(RA, DEC, 47 / 3600), annulus(RA, DEC, 120 / 3600, 240 / 3600)
    pixel = 2 * 2.357
    assert exposed_area(seen, source) == pytest.approx(1800 * np.pi * (47 / pixel) ** 2, rel=4e-3)
    assert exposed_area(seen, source) / exposed_area(seen, ring) == pytest.approx(
        47**2 / (240**2 - 120**2), rel=4e-3
    )
    assert exposed_area(seen, circle(RA + 3, DEC, 0.01)) == 0.0


def test_share_of_a_point_source(seen):
    """King profile: 1 - (1 + (r/c)²)^(1-β) within r; half of it if half of the field is dark."""
    for radius in (10, 47, 120):
        share = 1 - (1 + (radius / 5.8) ** 2) ** -0.55
        assert seen_fraction(seen, circle(RA, DEC, radius / 3600), RA, DEC) == pytest.approx(share, rel=0.02)
    half = seen.image.values.copy()
    half[:200] = 0.0
    dark = seen.assign(image=(("y", "x"), half, {"units": "s"}))
    region = circle(RA, DEC, 47 / 3600)
    assert seen_fraction(dark, region, RA, DEC) == pytest.approx(
        seen_fraction(seen, region, RA, DEC) / 2, rel=0.05
    )
    ontime = seen.assign_attrs(ontime=3600.0)
    assert seen_fraction(ontime, region, RA, DEC) == pytest.approx(seen_fraction(seen, region, RA, DEC) / 2)
    with pytest.raises(KindError, match="not known"):
        seen_fraction(seen.assign_attrs(telescope="NuSTAR", instrument="FPMA"), region, RA, DEC)
    with pytest.raises(EmptySelectionError):
        seen_fraction(seen.assign(image=seen.image * 0.0), region, RA, DEC)
    with pytest.raises(PositionError, match="without coordinates of the sky"):
        seen_fraction(seen.drop_vars("wcs"), circle(50, 50, 9, frame="physical"), RA, DEC)
    with pytest.raises(ValueRangeError, match="negative"):
        exposed_area(seen.assign(image=seen.image - 2e3), region)


def test_regions_in_any_frame_are_at_one_place(events, seen):
    """On the sky, in the pixels of the events, and in those of the image that is binned by two."""
    from batx.imaging_telescopes import sky_of

    sky = circle(RA + 0.01, DEC, 30 / 3600)
    physical = in_pixels(sky, sky_of(events))
    on_sky, by_pixels = (on_image(seen, one)[0].values for one in (sky, physical))
    assert on_sky == pytest.approx(by_pixels, abs=1e-6)
    image = Region("circle", on_sky, "image")
    assert on_image(seen, image)[0].values == pytest.approx(on_sky)


def test_rates_follow_the_exposure_map(events, seen):
    """A background annulus half out of the field has twice the weight; a source outside is told."""
    source, ring = circle(RA, DEC, 47 / 3600), annulus(RA, DEC, 120 / 3600, 240 / 3600)
    how = {"time": [[START, START + 2000.0]], "exposure_map": seen}
    plain = batx.region_lightcurve(events, source, ring, time=how["time"])
    scaled = batx.region_lightcurve(events, source, ring, **how)
    assert scaled.rate.item() == pytest.approx(plain.rate.item(), rel=1e-3)
    whole = batx.region_lightcurve(events, source, ring, center=SkyCoord(RA, DEC, unit="deg"), **how)
    assert whole.rate.item() == pytest.approx(scaled.rate.item() / whole.attrs["seen_fraction"])
    assert whole.rate_err.item() == pytest.approx(scaled.rate_err.item() / whole.attrs["seen_fraction"])
    half = seen.image.values.copy()
    half[:180] = 0.0  # all of the source is seen, and a part of the annulus
    cut = how | {"exposure_map": seen.assign(image=(("y", "x"), half, {"units": "s"}))}
    ratio = batx.region_lightcurve(events, source, ring, **cut).attrs["background_scale"]
    assert 1.4 < ratio / plain.attrs["background_scale"] < 2.0
    away = circle(RA + 2, DEC, 47 / 3600)
    with pytest.raises(EmptySelectionError, match="outside of the field"):
        batx.region_lightcurve(events, away, ring, **how)
    with pytest.raises(ValueRangeError, match="exposure_map"):
        batx.region_lightcurve(events, source, ring, time=how["time"], center=(RA, DEC))
    with pytest.raises(ValueRangeError, match="center without background"):
        batx.region_lightcurve(events, source, center=(RA, DEC), **how)


@pytest.mark.parametrize(("counts", "background"), [(0, 0.0), (0, 3.0), (4, 3.2), (50, 20.0)])
def test_limits_of_counts_hold_the_posterior(counts, background):
    grid = np.linspace(0.0, 200.0, 200_001)
    held = np.cumsum(stats.poisson.pmf(counts, grid + background))
    wanted = grid[np.searchsorted(held / held[-1], stats.norm.cdf(3.0))]
    assert count_limit(counts, background) == pytest.approx(wanted, rel=1e-3)


@pytest.mark.parametrize(
    "wrong", [(-1, 0.0), (3, -1.0), (np.nan, 1.0), (np.inf, 1.0), (5, 1.0, 0), (5, 1.0, 9)]
)
def test_numbers_that_have_no_limit(wrong):
    with pytest.raises(ValueRangeError):
        count_limit(*wrong)


def test_galactic_regions_become_those_of_fk5(seen):
    """The same pixels are held, also by an ellipse that is turned with the poles."""
    from batx.imaging_telescopes import sky_of

    middle = SkyCoord(RA, DEC, unit="deg").galactic
    values = (middle.l.deg, middle.b.deg, 60 / 3600, 20 / 3600, 35.0)
    for shape, taken in (("ellipse", 5), ("circle", 3)):
        region = Region(shape, values[:taken], "galactic")
        turned = in_fk5([region])
        assert turned[0].frame == "fk5"
        ours, theirs = (np.array(in_pixels([one], sky_of(seen))[0].values) for one in (turned[0], region))
        np.testing.assert_allclose((ours - theirs + 180.0) % 360.0 - 180.0, 0.0, atol=2e-3)
