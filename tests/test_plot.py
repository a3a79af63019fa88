"""Pictures: what is drawn is what is in the data, labelled with its units, and nothing global changes."""

from __future__ import annotations

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from makers import make
from matplotlib.figure import Figure

import batx
from batx.errors import BatxWarning, EmptySelectionError, KindError, MissingVariableError, ValueRangeError
from batx.plots.lightcurve import gaps

T0 = 600000000.0
BANDS = np.array([[15.0, 25.0], [25.0, 50.0], [50.0, 100.0], [100.0, 350.0]])
ATTRS = {
    "object": "SIMGRB",
    "obs_id": "00012345000",
    "trigger_time": T0 + 10.0,
    "utcf": -22.5,
    "statistic": "gaussian",
    "weighting": "mask",
}
PICTURES = (
    "lightcurve",
    "spectrum",
    "detector_plane",
    "detector_mask",
    "attitude",
    "ray_trace",
    "gti",
    "aperture",
)


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def light_curve(n: int = 40, gap: tuple[float, float] | None = (20.0, 25.0), **attrs) -> xr.Dataset:
    """One-second bins; those inside `gap` have no exposure and hold NaN."""
    edges = T0 + np.arange(n + 1.0)
    bounds = np.column_stack([edges[:-1], edges[1:]])
    rng = np.random.default_rng(3)
    rate = rng.normal(0.1, 0.02, (n, 4))
    good = np.array([[T0, T0 + n]] if gap is None else [[T0, T0 + gap[0]], [T0 + gap[1], T0 + n]])
    exposure = np.ones(n)
    if gap is not None:
        dead = (bounds[:, 0] >= T0 + gap[0]) & (bounds[:, 1] <= T0 + gap[1])
        exposure[dead] = 0.0
        rate[dead] = np.nan
    return batx.build(
        "lightcurve",
        {
            "time": bounds.mean(axis=1),
            "time_bnds": bounds,
            "energy": BANDS.mean(axis=1),
            "energy_bnds": BANDS,
            "rate": (("time", "energy"), rate, {"per": "detector"}),
            "rate_err": (("time", "energy"), np.full((n, 4), 0.02), {"per": "detector"}),
            "exposure": exposure,
            "fracexp": exposure,
            "gti_start": good[:, 0],
            "gti_stop": good[:, 1],
        },
        {**ATTRS, **attrs},
    )


def spectrum(n_times: int = 0) -> xr.Dataset:
    edges = np.concatenate([[0.0], np.linspace(10.0, 194.9, 79), [6553.6]])
    bounds = np.column_stack([edges[:-1], edges[1:]])
    shape = (n_times, 80) if n_times else (80,)
    dims = ("time", "channel")[-len(shape) :]
    values = {
        "channel": np.arange(80),
        "energy": bounds.mean(axis=1),
        "energy_bnds": bounds,
        "rate": (dims, np.full(shape, 0.02), {"per": "detector"}),
        "stat_err": (dims, np.full(shape, 0.005), {"units": "count/s", "per": "detector"}),
        "exposure": np.full(shape[:-1], 10.0),
    }
    if n_times:
        start = T0 + 10.0 * np.arange(n_times)
        values |= {"time": start + 5.0, "time_bnds": np.column_stack([start, start + 10.0])}
    return batx.build("spectrum", values, ATTRS)


def detector_plane(*outer: int) -> tuple[xr.Dataset, np.ndarray]:
    from batx.instrument.detector import DETECTOR, DETID

    counts = np.random.default_rng(4).poisson(8.0, (*outer, 173, 286)) * DETECTOR
    counts[..., 40, 40] = 100_000
    variables = {"detid": DETID, "counts": (("time", "energy", "dety", "detx")[-counts.ndim :], counts)}
    if len(outer) == 2:
        start = T0 + 10.0 * np.arange(outer[0])
        variables |= {"time": start + 5.0, "time_bnds": np.column_stack([start, start + 10.0])}
    if outer:
        bands = BANDS[: outer[-1]]
        variables |= {"energy": bands.mean(axis=1), "energy_bnds": bands}
    return batx.build("detector_plane", variables, ATTRS), DETECTOR


def steps(ax) -> list:
    from matplotlib.patches import StepPatch

    return [patch for patch in ax.patches if isinstance(patch, StepPatch)]


# --- all kinds ---


@pytest.mark.parametrize("kind", PICTURES)
def test_every_kind_draws_in_a_figure_without_touching_pyplot_or_settings(kind):
    settings, figures = dict(mpl.rcParams), plt.get_fignums()
    figure = Figure(layout="constrained")
    axes = np.atleast_1d(make(kind).bat.plot(figure)).ravel()
    figure.canvas.draw()
    assert all(ax.figure is figure for ax in axes)
    assert all(ax.get_xlabel() or ax is not axes[-1] for ax in axes)
    assert plt.get_fignums() == figures
    assert dict(mpl.rcParams) == settings


@pytest.mark.parametrize("kind", PICTURES)
def test_every_kind_leaves_its_input_alone(kind):
    ds = make(kind)
    before = ds.copy(deep=True)
    ds.bat.plot(Figure())
    xr.testing.assert_identical(ds, before)


@pytest.mark.parametrize("kind", PICTURES)
def test_lazy_and_loaded_give_the_same_picture(kind):
    def image(ds):
        figure = Figure(layout="constrained", dpi=40)
        ds.bat.plot(figure)
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())

    ds = make(kind)
    np.testing.assert_array_equal(image(ds.chunk()), image(ds))


def test_without_axes_a_pyplot_figure_is_made_and_not_shown():
    light_curve().bat.plot()
    assert len(plt.get_fignums()) == 1


def test_dispatch_is_the_function_of_the_package_however_it_is_reached():
    import batx.plots.dispatch

    assert batx.plot is batx.plots.dispatch.plot


# --- light curves ---


def test_light_curve_has_a_labelled_panel_for_each_band():
    axes = light_curve().bat.plot()
    assert axes.shape == (4,)
    assert [ax.texts[0].get_text() for ax in axes] == ["15-25 keV", "25-50 keV", "50-100 keV", "100-350 keV"]
    assert all("(count/s per detector)" in ax.get_ylabel() for ax in axes)
    assert axes[0].get_title(loc="left") == "SIMGRB, obs 00012345000"
    assert axes[0].get_shared_x_axes().joined(axes[0], axes[3])


def test_light_curve_draws_every_bin_as_it_is():
    ds = light_curve(gap=None)
    for band, ax in enumerate(ds.bat.plot()):
        (drawn,) = steps(ax)
        np.testing.assert_array_equal(drawn.get_data().values, ds["rate"].values[:, band])
        np.testing.assert_allclose(drawn.get_data().edges, np.arange(41.0) - 10.0)
        (bars,) = ax.containers
        segments = np.array(bars[2][0].get_segments())
        np.testing.assert_allclose(np.diff(segments[:, :, 1])[:, 0], 0.04)


def test_bins_without_exposure_break_the_line_and_are_shaded():
    ax = light_curve().bat.plot()[0]
    (drawn,) = steps(ax)
    assert np.isnan(drawn.get_data().values).nonzero()[0].tolist() == [20, 21, 22, 23, 24]
    assert len(ax.containers[0][2][0].get_segments()) == 35
    shades = [c for c in ax.collections if c.get_label() == "no good time"]
    assert [path.get_extents().intervalx.tolist() for path in shades[0].get_paths()] == [[10.0, 15.0]]


def test_bins_that_do_not_touch_break_the_line():
    ds = light_curve(gap=None).isel(time=np.r_[0:10, 15:40]).drop_vars(["gti_start", "gti_stop"])
    np.testing.assert_array_equal(gaps(ds), [[T0 + 10.0, T0 + 15.0]])
    (drawn,) = steps(ds.bat.plot()[0])
    assert np.isnan(drawn.get_data().values).nonzero()[0].tolist() == [10]
    np.testing.assert_allclose(drawn.get_data().edges[10:12], [0.0, 5.0])


def test_good_time_inside_a_bin_is_shaded_exactly():
    ds = light_curve(gap=(20.25, 20.5))
    np.testing.assert_array_equal(gaps(ds), [[T0 + 20.25, T0 + 20.5]])


def test_overlapping_good_time_gives_no_gap():
    ds = light_curve(gap=None).drop_dims("gti")
    ds["gti_start"] = ("gti", T0 + np.array([0.0, 5.0, 30.0]))
    ds["gti_stop"] = ("gti", T0 + np.array([30.0, 10.0, 40.0]))
    assert gaps(ds).shape == (0, 2)


@pytest.mark.parametrize(
    ("mode", "label", "first"),
    [
        ("relative", "Time since trigger (s)", -10.0),
        ("met", "Mission elapsed time (s)", T0),
        ("utc", "UTC", None),
    ],
)
def test_time_axes(mode, label, first):
    ax = light_curve(gap=None).bat.plot(time=mode)[-1]
    assert ax.get_xlabel().startswith(label)
    start = steps(ax)[0].get_data().edges[0]
    if first is None:
        expected = batx.met.met_to_time(T0, utcf=-22.5).utc.plot_date
        assert start == pytest.approx(expected, abs=1e-9)
    else:
        assert start == first


def test_relative_axis_states_the_reference_in_both_scales():
    label = light_curve(gap=None).bat.plot()[-1].get_xlabel()
    utc = str(batx.met.met_to_utc(T0 + 10.0, utcf=-22.5)).replace("T", " ")
    assert f"{utc} UTC" in label
    assert "MET 600000010.000" in label


def test_reference_can_be_chosen_and_defaults_to_the_start():
    ds = light_curve(gap=None)
    assert steps(ds.bat.plot(t0=T0 + 40.0)[0])[0].get_data().edges[-1] == 0.0
    del ds.attrs["trigger_time"]
    axes = ds.bat.plot()
    assert axes[-1].get_xlabel().startswith("Time since start of data (s)")
    assert steps(axes[0])[0].get_data().edges[0] == 0.0


def test_met_ticks_have_no_offset():
    figure = Figure(layout="constrained")
    axes = light_curve(gap=None).bat.plot(figure, time="met")
    figure.canvas.draw()
    assert not axes[-1].xaxis.get_offset_text().get_text()
    assert all(tick.get_text().startswith("6000000") for tick in axes[-1].get_xticklabels())


def test_utc_on_the_upper_edge_agrees_with_the_conversion():
    ax = light_curve(gap=None).bat.plot(utc_axis=True)[0]
    (top,) = ax.child_axes
    ax.figure.canvas.draw()
    expected = batx.met.met_to_time(T0 + np.array([0.0, 40.0]), utcf=-22.5).utc.plot_date
    np.testing.assert_allclose(top.get_xlim(), expected, rtol=0, atol=1e-10)
    assert top.get_xlabel() == "UTC"


def test_utc_without_utcf_warns():
    ds = light_curve(gap=None)
    del ds.attrs["utcf"]
    with pytest.warns(BatxWarning, match="UTCF"):
        ds.bat.plot(time="utc")


def test_all_bands_in_one_axes_get_a_legend():
    _, ax = plt.subplots()
    assert light_curve(gap=None).bat.plot(ax) is ax
    assert [text.get_text() for text in ax.get_legend().get_texts()][:2] == ["15-25 keV", "25-50 keV"]
    assert len(steps(ax)) == 4


def test_counts_have_square_root_errors():
    ds = light_curve(gap=None, statistic="poisson", weighting="none").drop_vars(["rate", "rate_err"])
    ds["counts"] = (("time", "energy"), np.full((40, 4), 25), {"units": "count"})
    ax = ds.bat.plot()[0]
    assert ax.get_ylabel() == "Counts per bin"
    segments = np.array(ax.containers[0][2][0].get_segments())
    np.testing.assert_allclose(segments[:, :, 1], np.tile([20.0, 30.0], (40, 1)))


def test_several_positions_are_drawn_together():
    ds = light_curve(gap=None)
    two = ds.assign({v: ds[v].expand_dims(source=2) for v in ("rate", "rate_err")})
    axes = two.bat.plot()
    assert [len(steps(ax)) for ax in axes] == [2, 2, 2, 2]
    assert [text.get_text() for text in axes[0].get_legend().get_texts()] == ["position 1", "position 2"]


def test_light_curve_bad_input():
    ds = light_curve(gap=None)
    with pytest.raises(EmptySelectionError, match="no finite value"):
        ds.assign(rate=ds["rate"] * np.nan).bat.plot()
    with pytest.raises(ValueRangeError, match="'tdb'"):
        ds.bat.plot(time="tdb")
    with pytest.raises(ValueRangeError, match="expected 4 matplotlib Axes"):
        ds.bat.plot(plt.subplots(3)[1])
    with pytest.raises(ValueRangeError, match="not in increasing order"):
        ds.isel(time=slice(None, None, -1)).bat.plot()


# --- spectra ---


def test_spectrum_is_logarithmic_and_per_kev():
    ds = spectrum()
    ax = ds.bat.plot()
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert ax.get_xlabel() == "Energy (keV)"
    assert ax.get_ylabel() == "Rate (count/s/keV per detector)"
    (drawn,) = steps(ax)
    assert drawn.get_data().values.size == 78  # the two open-ended channels are left out
    np.testing.assert_allclose(drawn.get_data().values, 0.02 / np.diff(ds["energy_bnds"].values[1:-1])[:, 0])
    assert ax.get_xlim() == pytest.approx((10.0, 194.9))
    assert len(ax.containers[0][2][0].get_segments()) == 78


def test_spectrum_range_and_counts_per_channel():
    ax = spectrum().bat.plot(per_kev=False, energy=(15, 150))
    assert ax.get_ylabel() == "Rate (count/s per detector)"
    np.testing.assert_array_equal(steps(ax)[0].get_data().values, 0.02)
    assert ax.get_xlim()[0] < 15 < 17.3 < 150 < ax.get_xlim()[1]


def test_systematic_errors_add_in_quadrature():
    ds = spectrum()
    ds["sys_err"] = ("channel", np.full(80, 0.6), {"units": "1"})
    ax = ds.bat.plot(per_kev=False, systematic=True)
    segments = np.array(ax.containers[0][2][0].get_segments())
    np.testing.assert_allclose(np.diff(segments[:, :, 1])[:, 0], 2 * np.hypot(0.005, 0.012))


def test_negative_channels_break_the_line_and_keep_their_error_bar():
    ds = spectrum()
    ds["rate"][30] = -0.001
    ax = ds.bat.plot()
    assert np.isnan(steps(ax)[0].get_data().values).nonzero()[0].tolist() == [29]
    assert len(ax.containers[0][2][0].get_segments()) == 78
    assert ax.get_ylim()[0] > 0


def test_bad_channels_are_not_drawn():
    ds = spectrum()
    ds["quality"] = ("channel", (np.arange(80) == 5).astype(int), {"units": "1"})
    assert np.isnan(steps(ds.bat.plot())[0].get_data().values).nonzero()[0].tolist() == [4]


@pytest.mark.parametrize("n_times", [3, 12])
def test_family_of_spectra(n_times):
    ax = spectrum(n_times).bat.plot()
    assert len(steps(ax)) == n_times
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels[:2] == ["-10 to 0 s", "0 to 10 s"]
    assert len(set(map(str, (patch.get_edgecolor() for patch in steps(ax))))) == n_times


def test_spectrum_bad_input():
    ds = spectrum()
    with pytest.raises(EmptySelectionError, match="no positive value"):
        ds.assign(rate=-ds["rate"]).bat.plot()
    bare = ds.drop_vars(["energy", "energy_bnds"])
    with pytest.raises(MissingVariableError, match="energy_bnds"):
        bare.bat.plot(energy=(15, 150))
    assert bare.bat.plot().get_xlabel() == "Channel"


# --- detector plane ---


def test_detector_plane_tells_gaps_masked_and_good_apart():
    ds, active = detector_plane()
    mask = batx.build("detector_mask", {"good": active & (np.arange(286) > 100)})
    ax = ds.bat.plot(detector_mask=mask)
    background, values = (image.get_array() for image in ax.images)
    np.testing.assert_array_equal(background, active)
    np.testing.assert_array_equal(np.ma.getmaskarray(values), ~mask["good"].values)
    np.testing.assert_array_equal(values.compressed(), ds["counts"].values[mask["good"].values])
    gap, masked = (ax.images[0].cmap(i) for i in (0, 1))
    assert gap != masked
    n_masked = int((active & ~mask["good"].values).sum())
    assert ax.get_legend().get_texts()[0].get_text() == f"masked ({n_masked} of 32768)"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("DETX", "DETY")
    assert ax.figure.axes[-1].get_ylabel() == "Counts per detector"


def test_a_hot_pixel_does_not_set_the_scale():
    ds, _ = detector_plane()
    low, high = ds.bat.plot().images[-1].get_clim()
    assert 0 < low < 8 < high < 25
    assert ds.bat.plot(limits=(0, 50)).images[-1].get_clim() == (0, 50)


def test_images_on_a_grid_share_one_scale():
    ds, _ = detector_plane(2, 3)
    axes = ds.bat.plot()
    assert axes.shape == (2, 3)
    assert len({ax.images[-1].get_clim() for ax in axes.flat}) == 1
    assert axes[1, 2].get_title(loc="left") == "50-100 keV, 0 to 10 s"
    np.testing.assert_array_equal(
        axes[1, 2].images[-1].get_array().compressed(), ds["counts"].values[1, 2][ds["detid"].values >= 0]
    )


def test_weights_are_drawn_symmetrically_about_zero():
    _, active = detector_plane()
    weights = xr.Dataset({"weight": (("dety", "detx"), np.where(active, np.linspace(-1, 3, 286), 0.0))})
    weights["weight"].attrs["units"] = "1"
    low, high = weights.bat.plot().images[-1].get_clim()
    assert low == -high


def test_detector_mask_has_three_states():
    _, active = detector_plane()
    good = active & (np.arange(173) > 20)[:, np.newaxis]
    ax = batx.build("detector_mask", {"good": good}, ATTRS).bat.plot()
    np.testing.assert_array_equal(ax.images[0].get_array(), active.astype(int) + good)
    assert ax.get_legend().get_texts()[0].get_text() == f"good ({good.sum()})"


def test_detector_plane_bad_input():
    ds, active = detector_plane()
    with pytest.raises(EmptySelectionError, match="0 good of 32768"):
        ds.bat.plot(detector_mask=batx.build("detector_mask", {"good": np.zeros_like(active)}))
    with pytest.raises(EmptySelectionError, match="no finite value"):
        ds.assign(counts=ds["counts"] * np.nan).bat.plot()
    with pytest.raises(ValueRangeError, match="true = good"):
        ds.bat.plot(detector_mask=xr.DataArray(active.astype(int)))
    many = detector_plane(30, 1)[0]
    with pytest.raises(ValueRangeError, match="30 images"):
        many.bat.plot()


# --- the others ---


def test_right_ascension_runs_on_through_zero():
    time = T0 + np.arange(5.0)
    ds = batx.build(
        "attitude",
        {
            "time": time,
            "quaternion": np.tile([0.0, 0.0, 0.0, 1.0], (5, 1)),
            "ra": np.array([358.0, 359.0, 0.0, 1.0, 2.0]),
            "dec": np.zeros(5),
            "roll": np.zeros(5),
            "settled": np.array([True, True, False, True, True]),
        },
        ATTRS,
    )
    axes = ds.bat.plot()
    assert [ax.get_ylabel() for ax in axes[:3]] == ["RA (deg)", "Dec (deg)", "Roll (deg)"]
    np.testing.assert_array_equal(axes[0].lines[0].get_ydata(), [358, 359, 360, 361, 362])
    assert axes[0].yaxis.get_major_formatter()(361.0, 0) == "1"
    spans = [path.get_extents().intervalx.tolist() for path in axes[3].collections[0].get_paths()]
    assert spans == [[-10.0, -8.0], [-7.0, -6.0]]


def test_attitude_is_not_drawn_across_gaps_or_jumps():
    time = T0 + np.r_[0:50.0, 500:550.0]
    ra = np.linspace(0.0, 1000.0, 100) % 360.0
    quaternion = np.tile([0.0, 0.0, 0.0, 1.0], (100, 1))
    ds = batx.build("attitude", {"time": time, "quaternion": quaternion, "ra": ra, "dec": ra / 10}, ATTRS)
    axes = ds.bat.plot()
    drawn = axes[0].lines[0].get_ydata()
    assert np.isnan(drawn).sum() == 3  # two turns and the gap
    assert np.nanmax(drawn) <= 360
    assert np.isnan(axes[1].lines[0].get_ydata()).sum() == 1


def test_the_last_trace_holds_until_the_end():
    trace = make("ray_trace")
    trace.attrs["tstop"] = float(trace.time[-1]) + 30.0
    x, y = trace.bat.plot(Figure(), time="met")[0].lines[0].get_data()
    assert y[-1] == y[-2] == float(trace.imx[-1])
    assert x[-1] - x[-2] == pytest.approx(30.0)


def test_ray_trace_panels():
    axes = make("ray_trace").bat.plot()
    assert [ax.get_ylabel() for ax in axes] == ["IMX", "IMY", "Partial coding"]
    bare = make("ray_trace").drop_vars("pcode")
    assert [ax.get_ylabel() for ax in bare.bat.plot()] == ["IMX", "IMY"]


def test_good_time_can_be_laid_under_a_light_curve():
    ds = batx.build("gti", {"start": [T0], "stop": [T0 + 5.0]}, ATTRS)
    ax = light_curve().bat.plot()[0]
    assert ds.bat.plot(ax) is ax
    (spans,) = (c for c in ax.collections if c.get_label() == "good time")
    assert spans.get_paths()[0].get_extents().intervalx.tolist() == [-10.0, -5.0]
    with pytest.raises(EmptySelectionError):
        ds.isel(gti=slice(0)).bat.plot()


def test_image_of_no_other_kind():
    image = batx.build("image", {"image": (("y", "x"), np.arange(12.0).reshape(3, 4), {"units": "s"})}, ATTRS)
    ax = image.bat.plot()
    assert ax.images[0].get_extent() == [-0.5, 3.5, -0.5, 2.5]
    assert ax.figure.axes[-1].get_ylabel() == "image (s)"
    with pytest.raises(MissingVariableError, match="'flux'"):
        image.bat.plot(variable="flux")
    with pytest.raises(EmptySelectionError):
        image.assign(image=image["image"] * np.nan).bat.plot()


def test_kinds_without_a_picture_say_what_to_do():
    with pytest.raises(KindError, match="bin them first"):
        make("events").bat.plot()
    with pytest.raises(KindError, match="no known kind"):
        batx.plot(xr.Dataset({"a": 1}))
    with pytest.raises(KindError, match="DataTree"):
        batx.plot(xr.DataTree())
