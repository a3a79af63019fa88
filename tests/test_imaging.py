"""Regions, images, light curves, flares and pile-up of the event lists of X-ray telescopes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.io import fits
from matplotlib.figure import Figure
from mission_inputs import DEC, RA, event_list

import batx
from batx.errors import (
    EmptySelectionError,
    FileFormatError,
    KindError,
    MissingFileError,
    MissingKeywordError,
    MissingVariableError,
    PositionError,
    UnitsError,
    ValueRangeError,
    WriteError,
)
from batx.imaging_telescopes import sky_of
from batx.pile_up import PatternFractions, excise_core, is_piled_up, pattern_fractions
from batx.pipelines.missions.sas import choose_exposures, in_time, shape_expression
from batx.pipelines.missions.xmm_events import threshold_of
from batx.regions import Region, annulus, circle, in_pixels, inside, parse_regions, pixel_area, region_text

XRT = {"telescope": "SWIFT", "instrument": "XRT", "utcf": -6.0}


@pytest.fixture(scope="module")
def events():
    return event_list(XRT, 1, start=3e8)


# --- regions -----------------------------------------------------------------------------------------------


def test_forms_of_ds9():
    text = """# Region file format: DS9 version 4.1
global color=green dashlist=8 3 width=1
fk5
circle(17:08:59.148,+21:53:08.00,47") # color=white text={source {a}
annulus(257.2464,21.8855,2',4') # text={background}
-circle(257.3d, 21.9d, 0.005)
icrs; ellipse(257.2,21.9,10",20",30); box(257.2,21.9,10",20")
physical
circle(500.5 500.5 20);polygon(1,1,5,1,5,5,1,5)
galactic
circle(45.1,31.2,1d)
"""
    found = parse_regions(text)
    assert [one.shape for one in found] == [
        "circle",
        "annulus",
        "circle",
        "ellipse",
        "box",
        "circle",
        "polygon",
        "circle",
    ]
    assert [one.frame for one in found] == ["fk5"] * 3 + ["icrs"] * 2 + ["physical"] * 2 + ["galactic"]
    np.testing.assert_allclose(found[0].values, (257.24645, 21.885556, 47 / 3600), atol=1e-6)
    np.testing.assert_allclose(found[1].values[2:], (1 / 30, 1 / 15))
    assert [one.include for one in found[:3]] == [True, True, False]
    assert found[1].text == "background" and found[4].values[-1] == 0.0
    again = parse_regions(region_text(found))
    assert [(a.shape, a.frame, a.include) for a in again] == [(a.shape, a.frame, a.include) for a in found]
    for one, other in zip(found, again, strict=True):
        np.testing.assert_allclose(one.values, other.values, rtol=0, atol=2e-8)


def test_negative_declination_and_hours():
    (one,) = parse_regions("fk5\ncircle(0h30m00s,-00:30:00,1')")
    np.testing.assert_allclose(one.values, (7.5, -0.5, 1 / 60))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fk5\ncircle(1,2)", "line 2.*found 2 numbers in circle"),
        ("fk5\ncircle(1,2,x)", "expected a number"),
        ("fk5\nvector(1,2,3,4)", "shape 'vector'"),
        ("fk5\ncircle(1,95,3)", "no position on the sky"),
        ('physical\ncircle(1,2,3")', "an angle, in physical"),
        ("fk5\ncircle(1,2,-3)", "not\\s+negative"),
        ('fk5\nannulus(1,2,3",2")', "holds nothing"),
        ("fk5\ncircle(nan,2,3)", "expected"),
        ("fk5\ncircle(1,2,3) and more", "expected for example"),
        ("fk4\ncircle(1,2,3)", "expected one of icrs, fk5"),
        ("", "holds no region"),
        ("\x00\x01", "expected for example"),
    ],
)
def test_region_files_that_are_none(text, words, tmp_path):
    path = tmp_path / "a.reg"
    path.write_text(text)
    with pytest.raises(FileFormatError, match=words):
        batx.regions.read_regions(path)


def test_region_files_that_are_not_there(tmp_path):
    with pytest.raises(MissingFileError):
        batx.regions.read_regions(tmp_path / "a.reg")
    (tmp_path / "b.reg").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FileFormatError, match="which is text"):
        batx.regions.read_regions(tmp_path / "b.reg")


def test_regions_are_written(tmp_path):
    source = circle(SkyCoord(RA, DEC, unit="deg"), radius=47 * units.arcsec, text="source")
    path = batx.to_region(source, tmp_path / "a.reg")
    np.testing.assert_allclose(batx.regions.read_regions(path)[0].values, source[0].values, atol=1e-8)
    with pytest.raises(WriteError):
        batx.to_region(source, path)


def test_regions_that_make_no_sense():
    with pytest.raises(ValueRangeError):
        circle(1.0, 2.0)
    with pytest.raises(UnitsError):
        circle(1.0, 2.0, 3 * units.s)
    with pytest.raises(ValueRangeError):
        Region("circle", (1.0, 2.0, 3.0), "fk4")


def test_shapes_on_pixels(events):
    sky = sky_of(events)
    (one,) = in_pixels(circle(RA, DEC, 23.57 / 3600), sky)
    np.testing.assert_allclose(one.values, (500.5, 500.5, 10.0), atol=1e-6)
    (other,) = in_pixels(circle(RA, DEC, 23.57 / 3600, frame="icrs"), sky)
    assert 1e-3 < np.hypot(*np.subtract(one.values, other.values)[:2]) * 2.357 < 0.03
    (turned,) = in_pixels([Region("box", (RA, DEC, 0.01, 0.02, 30.0), "fk5")], sky)
    assert turned.values[-1] == pytest.approx(30.0, abs=0.01)
    (image,) = in_pixels([Region("circle", (10.0, 20.0, 3.0), "image")], sky, physical=(0.5, 2.0))
    assert image.values == (16.0, 36.0, 6.0)
    with pytest.raises(PositionError, match="without coordinates of the sky"):
        in_pixels(circle(RA, DEC, 0.01), None)


def test_areas_and_insides():
    ring = annulus(0, 0, 3, 5, frame="physical")
    hole = [*ring, Region("circle", (4.0, 0.0, 0.5), "physical", include=False)]
    assert pixel_area(ring) == pytest.approx(16 * np.pi)
    assert pixel_area(hole) == pytest.approx(16 * np.pi - 0.25 * np.pi, rel=2e-3)
    square = [Region("polygon", (0.0, 0.0, 2.0, 0.0, 2.0, 2.0, 0.0, 2.0), "physical")]
    assert pixel_area(square) == pytest.approx(4.0, rel=2e-3)
    x = np.array([4.0, 3.5, 0.0, np.nan])
    assert inside(hole, x, np.zeros(4)).tolist() == [False, False, False, False]
    assert inside(ring, x, np.zeros(4)).tolist() == [True, True, False, False]


# --- images ------------------------------------------------------------------------------------------------


def test_image_equals_that_of_the_extractor(shared):
    events = batx.open_dataset(shared / "data/xrt/sw00040990001xpcw3po_cl.evt.gz")
    theirs = batx.open_dataset(shared / "data/xrt/sw00040990001xpc_sk.img.gz")
    ours = batx.count_image(events, center=(257.0867, 21.8944), size=1000)
    np.testing.assert_array_equal(ours.image, theirs.image)
    assert ours.attrs["exposure"] == pytest.approx(theirs.attrs["exposure"], rel=1e-8)
    for place in ((0.0, 0.0), (999.0, 500.0)):
        one, other = (sky_of(image).pixel_to_world(*place) for image in (ours, theirs))
        assert one.separation(other).arcsec < 1e-3
    binned = batx.count_image(events, bin=4, center=(257.0867, 21.8944), size=250)
    np.testing.assert_array_equal(binned.image, theirs.image.values.reshape(250, 4, 250, 4).sum(axis=(1, 3)))


def test_image_is_written_with_its_sky(events, tmp_path):
    image = batx.count_image(events, bin=3, energy=(0.3, 2.0), center=(RA, DEC), size=101)
    back = batx.open_dataset(batx.to_fits(image, tmp_path / "a.img"))
    np.testing.assert_array_equal(back.image, image.image)
    assert (
        sky_of(back).pixel_to_world(50, 50).separation(SkyCoord(RA, DEC, unit="deg", frame="fk5")).arcsec < 4
    )
    assert back.attrs["exposure"] == pytest.approx(1800.0)
    lost = batx.open_dataset(batx.to_fits(events, tmp_path / "a.evt"))
    assert sky_of(lost).wcs.compare(sky_of(events).wcs, tolerance=1e-12)


def test_centre_in_any_form(events):
    one, other, third = (
        batx.count_image(events, center=center, size=20)
        for center in ((RA, DEC), [RA * units.deg, DEC * units.deg], SkyCoord(RA, DEC, unit="deg"))
    )
    assert one.identical(other) and one.identical(third)


def test_images_that_cannot_be(events):
    with pytest.raises(ValueRangeError, match="bin"):
        batx.count_image(events, bin=0)
    with pytest.raises(ValueRangeError, match="larger bin"):
        batx.count_image(events, bin=1e-3)
    with pytest.raises(ValueRangeError, match="size"):
        batx.count_image(events, center=(RA, DEC))
    with pytest.raises(EmptySelectionError):
        batx.count_image(events, channels=(5000, 6000))
    for wrong in (
        {"channels": 5},
        {"channels": (9, 3)},
        {"energy": [1, 2, 3]},
        {"energy": (1, 2), "channels": (1, 2)},
    ):
        with pytest.raises(ValueRangeError, match="count_image"):
            batx.count_image(events, **wrong)
    with pytest.raises(MissingVariableError):
        batx.count_image(events.drop_vars("x"))
    with pytest.raises(KindError):
        batx.count_image(batx.count_image(events))
    with pytest.raises(KindError, match="expected one of"):
        batx.count_image(events.assign_attrs(instrument="BAT"), energy=(1, 2))


# --- light curves ------------------------------------------------------------------------------------------


def test_curve_counts_what_is_in_the_region(events):
    source, back = circle(RA, DEC, 40 / 3600), annulus(RA, DEC, 100 / 3600, 300 / 3600)
    curve = batx.region_lightcurve(events, source, dt=100.0, energy=[0.3, 2.0, 10.0], min_fracexp=0)
    held = batx.in_region(events, source).values
    pi = events["pi"].values[held]
    assert curve.counts.sum("time").values.tolist() == [(pi < 200).sum(), ((pi >= 200) & (pi < 1000)).sum()]
    net = batx.region_lightcurve(events, source, back, time=[[3e8, 3e8 + 2000.0]], energy=(0.3, 10))
    behind = int(batx.in_region(events, back).sum())
    scale = 40**2 / (300**2 - 100**2)
    assert net.attrs["background_scale"] == pytest.approx(scale)
    assert net.rate.item() == pytest.approx((held.sum() - scale * behind) / 1800.0)
    assert net.rate_err.item() == pytest.approx(np.sqrt(held.sum() + scale**2 * behind) / 1800.0)
    by_channel = batx.region_lightcurve(events, source, dt=100.0, channels=[30, 200, 1000], min_fracexp=0)
    np.testing.assert_array_equal(by_channel.counts, curve.counts)
    gap = curve.time.values[curve.exposure.values == 0]
    assert gap.size == 2 and np.isfinite(curve.counts).all()


def test_rates_are_of_live_time(events, tmp_path):
    """NuSTAR counts in three quarters of the time at 300 count/s; files say so and come back the same."""
    source, back = circle(RA, DEC, 40 / 3600), annulus(RA, DEC, 100 / 3600, 300 / 3600)
    how = {"time": [[3e8, 3e8 + 2000.0]], "energy": (0.3, 10)}
    whole, part = (
        batx.region_lightcurve(events.assign_attrs(deadc=live), source, back, **how) for live in (1.0, 0.765)
    )
    assert part.exposure.item() == pytest.approx(0.765 * 1800.0)
    assert part.rate.item() == pytest.approx(whole.rate.item() / 0.765)
    assert part.rate_err.item() == pytest.approx(whole.rate_err.item() / 0.765)
    again = batx.open_dataset(batx.to_fits(part, tmp_path / "a.lc"))
    assert again.exposure.item() == pytest.approx(part.exposure.item())
    assert again.attrs["deadc"] == 0.765 and again.attrs["ontime"] == pytest.approx(1800.0)
    assert fits.getheader(tmp_path / "a.lc", 1)["DEADAPP"] in (True, 1)
    image = batx.count_image(events.assign_attrs(deadc=0.765), center=(RA, DEC), size=50)
    assert image.attrs["exposure"] == pytest.approx(0.765 * 1800.0)
    for wrong in (0.0, 1.7, "T"):
        with pytest.raises(ValueRangeError, match="DEADC"):
            batx.region_lightcurve(events.assign_attrs(deadc=wrong), source, **how)


def test_curves_that_cannot_be(events):
    source = circle(RA, DEC, 0.01)
    for wrong in (
        {},
        {"dt": 1.0, "time": [0, 1]},
        {"dt": 10.0, "channels": [1]},
        {"dt": 10.0, "channels": [1, 2], "energy": (1, 2)},
        {"dt": -1.0},
        {"dt": 10.0, "energy": (3, 1)},
        {"dt": 10.0, "energy": (20.0, 20.001)},
    ):
        with pytest.raises(ValueRangeError):
            batx.region_lightcurve(events, source, **wrong)
    with pytest.raises(ValueRangeError, match="scale"):
        batx.region_lightcurve(events, source, source, dt=10.0, scale=-1.0)
    for wrong in (["a list"], [], 3, None):
        with pytest.raises(ValueRangeError, match="region: found"):
            batx.in_region(events, wrong)


# --- flares ------------------------------------------------------------------------------------------------


def curve(rates, step=10.0, exposure=None):
    edges = step * np.arange(len(rates) + 1)
    seconds = np.full(len(rates), step) if exposure is None else np.asarray(exposure, float)
    return batx.build(
        "lightcurve",
        {
            "time": edges[:-1] + step / 2,
            "time_bnds": np.column_stack([edges[:-1], edges[1:]]),
            "energy": [11.0],
            "energy_bnds": [[10.0, 12.0]],
            "rate": (("time", "energy"), np.asarray(rates, float)[:, None]),
            "exposure": seconds,
            "fracexp": seconds / step,
        },
        {"statistic": "poisson", "weighting": "none", "telescope": "XMM"},
    )


def test_flares_are_left_out():
    found = batx.flare_gti(
        curve([0.1, 0.4, 0.41, 0.2, np.nan, 0.3, 0.1], exposure=[10, 10, 10, 10, 0, 10, 0]), 0.4
    )
    assert found.bat.kind == "gti"
    assert np.column_stack([found.start, found.stop]).tolist() == [[0.0, 20.0], [30.0, 40.0], [50.0, 60.0]]
    assert found.attrs["exposure"] == 40.0 and found.attrs["lost"] == 10.0
    some = curve([0.1, 0.1]).assign(gti_start=("gti", [5.0]), gti_stop=("gti", [12.0]))
    assert batx.flare_gti(some, 0.4 / units.s).attrs["exposure"] == 7.0


def test_flares_that_leave_nothing():
    with pytest.raises(EmptySelectionError, match="lowest rate is 1 count/s"):
        batx.flare_gti(curve([1.0, 2.0]), 0.4)
    with pytest.raises(EmptySelectionError, match="more than 100 s"):
        batx.flare_gti(curve([0.1, 2.0]), 0.4, min_exposure=100)
    for wrong in (0, -1, np.nan, "high"):
        with pytest.raises(ValueRangeError, match="threshold"):
            batx.flare_gti(curve([0.1]), wrong)
    with pytest.raises(UnitsError):
        batx.flare_gti(curve([0.1]), 3 * units.keV)
    with pytest.raises(KindError):
        batx.flare_gti(batx.gti_of([(0, 1)]), 0.4)


# --- pile-up -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fractions", "singles", "doubles"),
    [
        ((1.05, 0.02, 0.95, 0.02), False, False),
        ((1.0601, 0.02, 1.0, 0.02), True, False),
        ((1.0599, 0.02, 1.0, 0.02), False, False),
        ((1.0, 0.02, 0.9399, 0.02), True, False),
        ((0.85, 0.02, 1.3, 0.05), False, True),
        ((1.0, 0.02, 1.1501, 0.05), False, True),
    ],
)
def test_rules_of_pile_up(fractions, singles, doubles):
    held = PatternFractions(*fractions)
    assert is_piled_up(held, rule="singles") == singles
    assert is_piled_up(held, rule="doubles") == doubles
    assert is_piled_up(held) == (singles or doubles)


def test_core_is_excised_step_by_step():
    asked = []

    def measure(radius):
        asked.append(radius)
        return PatternFractions(1.0 if radius >= 4.2 else 1.2, 0.02, 1.0, 0.02)

    found = excise_core(measure)
    assert asked == [0.0, 3.0, 3.5, 4.0, 4.5] and found.radius == 4.5 and found.clean
    never = excise_core(lambda _: PatternFractions(1.5, 0.02, 1.0, 0.02), largest=4.0)
    assert (never.radius, never.clean, len(never.tried)) == (4.0, False, 4)
    with pytest.raises(ValueRangeError):
        excise_core(measure, first=0.0)


def test_fractions_that_make_no_sense(events):
    with pytest.raises(MissingKeywordError, match="run epatplot"):
        pattern_fractions(events)
    for wrong in ((1, 0, 1, 0.1), (np.nan, 0.1, 1, 0.1)):
        with pytest.raises(ValueRangeError):
            PatternFractions(*wrong)
    with pytest.raises(ValueRangeError, match="rule"):
        is_piled_up(PatternFractions(1, 0.1, 1, 0.1), rule="both")
    with pytest.raises(ValueRangeError, match="sigma"):
        is_piled_up(PatternFractions(1, 0.1, 1, 0.1), sigma=0)


# --- what SAS is asked -------------------------------------------------------------------------------------


def exposure(name, seconds, mode="IMAGING", filtered="Thin1", submode="FF"):
    return {"name": name, "exposure": seconds, "mode": mode, "filter": filtered, "submode": submode}


def test_choice_of_exposures():
    rows = [
        exposure("S003", 5e3),
        exposure("U002", 9e3),
        exposure("S004", 2e4, mode="TIMING"),
        exposure("S005", 5e4, filtered="CalClosed"),
        exposure("S006", 7e3, submode="SW"),
    ]
    assert [row["name"] for row in choose_exposures(rows)] == ["U002", "S003"]
    assert [row["name"] for row in choose_exposures(rows, merge=False)] == ["U002"]
    assert [row["name"] for row in choose_exposures(rows, min_exposure=6e3)] == ["U002"]
    with pytest.raises(EmptySelectionError, match="S004 TIMING"):
        choose_exposures(rows, min_exposure=1e5)


def test_expressions():
    ring = [
        *annulus(100.0, 200.0, 60.0, 800.0, frame="physical"),
        Region("circle", (3.0, 4.0, 5.0), "physical", False),
    ]
    assert shape_expression(ring) == "((X,Y) IN annulus(100,200,60,800)) && !((X,Y) IN circle(3,4,5))"
    with pytest.raises(ValueRangeError, match="physical pixels"):
        shape_expression(circle(1.0, 2.0, 0.1))
    with pytest.raises(ValueRangeError, match="cannot hold"):
        in_time("/data/my gti.fits")


def test_thresholds_by_product():
    limits = {"pn": 0.4, "pn.curve": None, "mos": 0.35, "mos1.curve": 0.5}
    assert threshold_of(limits, "pn", "spectrum") == 0.4
    assert threshold_of(limits, "pn", "curve") is None
    assert threshold_of(limits, "mos1", "curve") == 0.5
    assert threshold_of(limits, "mos2", "curve") == 0.35
    assert threshold_of({}, "pn", "image") is None


# --- pictures ----------------------------------------------------------------------------------------------


def test_grid_of_epochs(events):
    images = [
        batx.count_image(event_list(XRT, 1, start=3e8 + day * 86400), bin=2, center=(RA, DEC), size=200)
        for day in (0, 12, 40)
    ]
    source = circle(RA, DEC, 47 / 3600)
    page = Figure()
    panels = batx.plot_epochs(images, page, regions=[source], columns=2)
    titles = [panel.get_title(loc="left") for panel in panels]
    assert titles == ["day 0.0, 1.8 ks", "day 12.0, 1.8 ks", "day 40.0, 1.8 ks"]
    for panel in panels:
        (patch,) = panel.patches
        x, y = patch.center
        left, right = panel.get_xlim()
        assert (x, y) == pytest.approx((99.5, 99.5), abs=0.6)
        assert patch.radius == pytest.approx(47 / 4.714, rel=1e-3)
        assert left < x < right
    assert "SWIFT XRT, days since MJD" in page.get_suptitle() and "(UTC)" in page.get_suptitle()
    later = batx.plot_epochs(
        images[:1], Figure(), t0=float(batx.met.met_to_mjd(3e8 - 86400.0, attrs=XRT_TIME))
    )
    assert later[0].get_title(loc="left").startswith("day 1.0")


def test_physical_regions_on_an_epoch_that_is_not_square_on(events):
    """X and Y begin at pixels of their own: regions in both frames are drawn at the same place."""
    image = batx.count_image(event_list(XRT, 1, start=3e8), bin=2, center=(RA, DEC + 0.05), size=200)
    sky = circle(RA, DEC + 0.03, 47 / 3600)
    (panel,) = batx.plot_epochs([image], Figure(), regions=[sky, in_pixels(sky, sky_of(events))], radius=4)
    first, second = panel.patches
    assert second.center == pytest.approx(first.center, abs=0.05)
    assert second.radius == pytest.approx(first.radius, rel=1e-3)


def test_grid_says_target_and_band_and_tells_near_epochs_apart(tmp_path):
    """The band of an image is kept in its file; epochs of minutes have days with more decimals."""
    images = []
    for number in range(2):
        events = event_list(XRT | {"object": "X-1"}, 1, start=3e8 + number * 3000.0)
        image = batx.count_image(events, bin=2, energy=(0.3, 2.5), center=(RA, DEC), size=60)
        images.append(batx.open_dataset(batx.to_fits(image, tmp_path / f"{number}.img")))
    page = Figure()
    panels = batx.plot_epochs(images, page)
    assert page.get_suptitle().startswith("X-1, SWIFT XRT, 0.3-2.5 keV, days since MJD 5")
    assert panels[1].get_title(loc="left") == f"day {3000 / 86400:.4f}, 1.8 ks"


XRT_TIME = {"mjdref_int": 51910, "mjdref_frac": 0.00074287037, "utcf": -6.0, "telescope": "SWIFT"}


def test_grids_that_cannot_be(events):
    image = batx.count_image(events, bin=4, center=(RA, DEC), size=50)
    with pytest.raises(EmptySelectionError):
        batx.plot_epochs([])
    with pytest.raises(KindError, match="coordinates of the sky"):
        batx.plot_epochs([image.drop_vars("wcs")])
    with pytest.raises(ValueRangeError, match="37 images"):
        batx.plot_epochs([image] * 37)
    with pytest.raises(ValueRangeError, match="own_regions"):
        batx.plot_epochs([image], own_regions=[[], []])
    with pytest.raises(ValueRangeError, match="t0"):
        batx.plot_epochs([image], Figure(), t0="soon")


def test_selection(events):
    table = pd.DataFrame(
        {"obs_id": ["a", "b", "c"], "start_mjd": [5e4, 5e4 + 3, np.nan], "exposure": [2e3, 50.0, 1.0]}
    )
    panel = batx.plot_selection(table, Figure(), min_exposure=100)
    assert panel.get_title(loc="left") == "1 of 2 observations, 2.0 ks"
    rates = table.assign(
        stop_mjd=table.start_mjd + 1, rate=[1.0, 2.0, 3.0], rate_err=0.1, name=["A", "B", "A"]
    )
    assert len(batx.plot_rates(rates, Figure()).containers) == 2
    faint = rates.drop(columns="name").assign(upper_limit=[np.nan, 7.0, np.nan], object="X-1")
    panel = batx.plot_rates(faint, Figure())
    assert panel.get_title(loc="left") == "X-1"
    drawn = {tuple(line.get_ydata()) for line in panel.lines if line.get_marker() in ("o", 11)}
    assert drawn == {(1.0,), (7.0,)} and panel.get_yscale() == "linear"
    decay = rates[:2].assign(rate=[40.0, 1.0])
    assert batx.plot_rates(decay, Figure()).get_yscale() == "log"
    assert batx.plot_rates(decay.assign(rate=[40.0, -1.0]), Figure()).get_yscale() == "linear"
    with pytest.raises(ValueRangeError, match="exposure"):
        batx.plot_selection(table.drop(columns="exposure"), Figure())
    with pytest.raises(EmptySelectionError):
        batx.plot_selection(table[2:], Figure())
    with pytest.raises(EmptySelectionError):
        batx.plot_rates(rates[2:], Figure())
    for wrong, words in (
        (rates.drop(columns=["rate", "rate_err"]), "has no rate, rate_err"),
        (rates.assign(upper_limit="a"), "upper_limit .* no numbers"),
        (rates.assign(rate="a"), "rate .* no numbers"),
    ):
        with pytest.raises(ValueRangeError, match=words):
            batx.plot_rates(wrong, Figure())
    with pytest.raises(KindError, match="DataFrame"):
        batx.plot_rates([1, 2], Figure())
