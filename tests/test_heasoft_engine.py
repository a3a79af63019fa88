"""``engine="heasoft"``: the same kinds from the tools as from batx itself, and the same numbers."""

from __future__ import annotations

import inspect
import threading
from pathlib import Path

import energy_inputs
import numpy as np
import pytest
import test_barycentre as barycentre
import xarray as xr
from astropy.io import fits
from native_tools import NativeTools
from reference_events import (
    BANDS,
    MET0,
    REFERENCE_CHANNELS,
    folder_mask,
    packed_arrays,
    packed_events,
    unpacked_mask,
)

import batx
from batx.errors import BatxError, KindError, ToolError, ToolMissingError, ValueRangeError, WriteError
from batx.heasoft import Engine, Recording, Replay
from batx.heasoft.engine import _VERBS

REFERENCE = Path(__file__).parent / "reference"


def replayed(task: str, parameters: dict[str, str] | None = None, **outputs: Path) -> Engine:
    """Return an engine that gives what the real tool made."""
    return Engine(Replay([Recording(task, parameters or {}, outputs, version="HEASoft 6.20")]))


def same(one: xr.Dataset, other: xr.Dataset, *names: str, rtol: float = 1e-6) -> None:
    assert batx.identify(one) == batx.identify(other)
    for name in names:
        assert one[name].dims == other[name].dims, name
        np.testing.assert_allclose(one[name].values, other[name].values, rtol=rtol, atol=1e-7)


@pytest.fixture(scope="module")
def events() -> xr.Dataset:
    return packed_events(packed_arrays())


@pytest.fixture(scope="module")
def mask() -> np.ndarray:
    return unpacked_mask(packed_arrays()["detector_mask"])


@pytest.fixture(scope="module")
def engine() -> Engine:
    """The runs of the real tools that are kept with the tests."""
    return Engine(Replay(REFERENCE / "recorded"))


@pytest.mark.parametrize("verb", sorted(_VERBS))
def test_every_function_offers_its_engine(verb: str):
    function = getattr(batx, verb)
    assert inspect.signature(function).parameters["engine"].default == "native"
    assert '``"heasoft"`` for the tool' in inspect.getdoc(function)
    assert callable(getattr(Engine(), verb))


def test_engines_that_are_not_there(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("HEADAS", raising=False)
    events = batx.build("events", {"time": [0.5], "gti_start": [0.0], "gti_stop": [1.0]})
    with pytest.raises(ValueRangeError, match="expected one of 'native', 'heasoft'"):
        batx.lightcurve(events, dt=1.0, engine="heasofd")
    with pytest.raises(ToolMissingError, match=r"headas-init\.sh.*engine=\"native\""):
        batx.lightcurve(full(), dt=1.0, weighting="none", engine="heasoft")
    with pytest.raises(TypeError, match="unexpected keyword"):
        batx.lightcurve(events, dtt=1.0, engine="heasoft")


def full() -> xr.Dataset:
    """Return events with all that a file of events needs."""
    return batx.build(
        "events",
        {
            "time": [0.25, 0.5],
            "energy": ("event", np.float32([20, 30]), {"units": "keV"}),
            "pi": ("event", np.int16([200, 300])),
            "detx": ("event", np.int16([3, 4])),
            "dety": ("event", np.int16([3, 4])),
            "event_flags": ("event", np.uint8([0, 0])),
            "gti_start": [0.0],
            "gti_stop": [1.0],
        },
        {"telescope": "SWIFT", "tstart": 0.0, "tstop": 1.0},
    )


@pytest.mark.parametrize(
    ("verb", "options", "words"),
    [
        ("lightcurve", {"dt": 1.0, "weighting": "perhaps"}, "weighting"),
        ("lightcurve", {"dt": 1.0, "time": [0, 1]}, "expected one of them"),
        ("lightcurve", {"dt": 1.0, "energy_column": "pha"}, "energy_column"),
        ("spectrum", {"quantity": "flux"}, "quantity"),
        ("mask_weight", {"ra": [1.0, 2.0], "dec": [1.0, 2.0]}, "one position"),
        ("mask_weight", {"ra": 1.0, "dec": 1.0, "normalisation": "geometry"}, '"tool" only'),
        ("mask_weight", {"ra": 1.0, "dec": 1.0, "times": [0.5]}, "nothing for times"),
        ("duration", {"method": "bootstrap"}, '"tool" only'),
        ("bayesian_blocks", {"false_rate": 0.01}, "nothing for false_rate"),
        ("hot_pixels", {}, "detector_plane"),
        ("calibrate_energy", {}, "gain map"),
        ("response", {}, "spectrum"),
    ],
)
def test_what_the_tools_cannot_do_is_refused(verb: str, options: dict, words: str):
    with pytest.raises(BatxError, match=words):
        getattr(batx, verb)(full(), **options, engine=Engine(Replay([])))


def test_nothing_recorded():
    with pytest.raises(ToolError, match="no recording of batbinevt"):
        batx.lightcurve(full(), dt=1.0, weighting="none", engine=Engine(Replay([])))


def test_sources_near_the_instrument():
    events = full()
    options = {
        "frame": "tangent",
        "aperture": batx.simulate.aperture(),
        "distance": 1100.0,
        "origin": 100.0,
        "corrections": "nearfield,pcode,ndets,maskwt",
    }
    tools = NativeTools()
    made = batx.mask_weight(events, 0.1, 0.05, **options, engine=Engine(tools))
    ((_, asked),) = tools.calls
    assert (float(asked["bat_z"]), float(asked["origin_z"])) == (1100.0, 100.0)
    native = batx.mask_weight(events, 0.1, 0.05, **options)
    assert made.attrs["bat_xobj"] == pytest.approx(native.attrs["bat_xobj"]) == pytest.approx(100.0)
    trace = batx.ray_trace(events, 0.1, 0.05, **options, engine=Engine(tools))
    same(trace, batx.ray_trace(events, 0.1, 0.05, **options), "x", "imx", "pcode")


def test_light_curves(engine: Engine, events: xr.Dataset, mask: np.ndarray, tmp_path: Path):
    options = {"dt": 1.0, "energy": BANDS, "detector_mask": mask}
    native = batx.lightcurve(events, **options)
    made = batx.lightcurve(events, **options, engine=engine)
    same(made, native, "rate", "rate_err", "time_bnds", "energy_bnds", "fracexp", rtol=1e-12)
    assert "batbinevt outtype=LC" in made.attrs["history"] and "(HEASoft 6.20)" in made.attrs["history"]
    assert "source" not in made.encoding
    made.bat.to_fits(tmp_path / "again.lc")
    assert events.bat.lightcurve(**options, engine=engine).identical(made)
    with pytest.raises(ToolError, match=r"nearest: timedel=2"):
        batx.lightcurve(events, **{**options, "dt": 2.0}, engine=engine)


def test_spectra(engine: Engine, events: xr.Dataset, mask: np.ndarray):
    options = {"detector_mask": mask, "energy": REFERENCE_CHANNELS}
    native = batx.spectrum(events, MET0 + 45, MET0 + 85, **options)
    made = batx.spectrum(events, MET0 + 45, MET0 + 85, **options, engine=engine)
    same(made, native, "rate", "stat_err", "energy_bnds", rtol=1e-9)


def test_detector_images_and_masks(engine: Engine, events: xr.Dataset, mask: np.ndarray):
    native = batx.detector_plane(events, compat="heasoft")
    made = batx.detector_plane(events, engine=engine)
    same(made, native, "counts")
    native = batx.hot_pixels(made, mask)
    found = batx.hot_pixels(made, mask, engine=engine)
    assert batx.identify(found) == "detector_mask"
    assert (found["good"].values == native["good"].values).all()


def test_blocks_and_durations(engine: Engine):
    curve = batx.open_dataset(REFERENCE / "recorded/curve_of_blocks/lc_w_1b_10.lc.gz")
    options = {"background": True, "errors": "fracvar"}
    made = batx.duration(curve, **options, engine=engine)
    native = batx.duration(curve, **options, compat="heasoft")
    for name in made.variables:
        assert float(made[name]) == pytest.approx(float(native[name]), rel=1e-9), name
    assert float(made["t90"]) == 57.0 and float(made["t90_err"]) == 1.0
    blocks = batx.bayesian_blocks(curve, engine=engine)
    same(blocks, batx.bayesian_blocks(curve, compat="heasoft"), "rate", "rate_err", "time_bnds")


@pytest.mark.filterwarnings("ignore:FITS keyword")
def test_responses():
    folder = REFERENCE / "batdrmgen"
    spectrum = batx.open_dataset(folder / "off.pha.gz")
    engine = replayed("batdrmgen", {"method": "MEAN", "escale": "FILE"}, outfile=folder / "off.rsp.gz")
    files = {
        "parameters": folder / "cal_v4.fits.gz",
        "depth": folder / "depth.fits.gz",
        "energy_in": folder / "einc.fits.gz",
    }
    made = batx.response(spectrum, **files, engine=engine)
    native = batx.response(spectrum, **files, compat="heasoft")
    same(made, native, "matrix", "energy_in_bnds", rtol=2e-4)


@pytest.mark.parametrize(
    ("case", "asked", "command"),
    [
        ("xrt_min20", {"min_counts": 20}, "group min 20 & exit"),
        ("target_min1", {"min_counts": 1}, "group min 1 & exit"),
        ("xrt_fixed", {"size": 10, "energy": (30.0, 1000.0)}, "group 30 999 10 & exit"),
    ],
)
def test_groups(tmp_path: Path, case: str, asked: dict, command: str):
    with np.load(REFERENCE / "groups.npz") as stored:
        counts, grouping, quality = (stored[f"{case}/{name}"] for name in ("counts", "grouping", "quality"))
    channel = np.arange(counts.size)
    spectrum = batx.build(
        "spectrum",
        {
            "channel": channel,
            "energy": channel + 0.5,
            "energy_bnds": np.stack([channel, channel + 1.0], axis=1),
            "counts": counts,
            "exposure": ((), 1000.0),
        },
        {"statistic": "poisson", "weighting": "none"},
    )
    # what grppha 3.0.1 wrote, in a file again
    columns = {
        "grouping": ("channel", grouping.astype(np.int16), {"units": "1", "fits_name": "GROUPING"}),
        "quality": ("channel", quality.astype(np.int16), {"units": "1", "fits_name": "QUALITY"}),
    }
    tape = batx.to_fits(spectrum.assign(columns), tmp_path / "out.pha")
    engine = replayed("grppha", {"comm": command}, outfile=tape)
    made = batx.group(spectrum, **asked, engine=engine)
    same(made, batx.group(spectrum, **asked), "grouping", "quality", "counts", rtol=0)
    with pytest.raises(ValueRangeError, match="takes energy with size only"):
        batx.group(spectrum, min_counts=20, energy=(1, 5), engine=engine)
    with pytest.raises(ValueRangeError, match="one of min_counts"):
        batx.group(spectrum, min_counts=20, min_snr=3, engine=engine)
    with pytest.raises(ToolError, match="no recording of ftgrouppha"):
        batx.group(spectrum, min_snr=3, engine=engine)


def test_weights(heasoft: Path, events: xr.Dataset):
    inputs = {
        "attitude": batx.open_dataset(heasoft / "inputs/attitude.fits.gz"),
        "aperture": batx.open_dataset(heasoft / "inputs/aperture.fits.gz"),
        "alignment": batx.open_dataset(heasoft / "inputs/teldef.fits.gz"),
        "detector_mask": folder_mask(heasoft),
    }
    place = (165.76360901, 24.39815269)
    asked = {"ra": "165.76360901", "dec": "24.39815269", "coord_type": "sky"}
    engine = replayed(
        "batmaskwtevt",
        asked,
        infile=heasoft / "mwevt/mask_weight.fits.gz",
        auxfile=heasoft / "mwevt/aux.fits.gz",
    )
    plain = events.drop_vars("mask_weight")
    native = batx.mask_weight(plain, *place, **inputs)
    made = batx.mask_weight(plain, *place, **inputs, engine=engine)
    np.testing.assert_allclose(made["mask_weight"].values, native["mask_weight"].values, rtol=0, atol=2e-5)
    for name in ("pcodefr", "mskwtsqf", "ngoodpix", "bat_xobj", "bat_yobj", "bat_zobj", "ra_obj"):
        assert made.attrs[name] == pytest.approx(native.attrs[name], rel=1e-6), name
    assert set(made.variables) == set(native.variables)
    trace = batx.ray_trace(plain, *place, **inputs, engine=engine)
    same(trace, batx.ray_trace(plain, *place, **inputs), "imx", "imy", "pcode", "mask_weight_norm", rtol=1e-5)
    image = replayed(
        "batmaskwtimg",
        {"coord_type": "tanxy", "ra": "0.25", "dec": "0.1"},
        outfile=heasoft / "mwimg_src/mw_default.fits.gz",
    )
    where = {"frame": "tangent", "aperture": inputs["aperture"], "detector_mask": inputs["detector_mask"]}
    native = batx.mask_weight_image(plain, 0.25, 0.10, **where)
    made = batx.mask_weight_image(plain, 0.25, 0.10, **where, engine=image)
    np.testing.assert_allclose(made["weight"].values, native["weight"].values, atol=2e-5)


def test_cleaned_and_sky_images(heasoft: Path):
    plane = batx.open_dataset(heasoft / "dpi/burst_1b.dpi.gz")
    aperture = batx.open_dataset(heasoft / "inputs/aperture.fits.gz")
    mask = batx.open_dataset(heasoft / "hotpix/hot_default.mask.gz")
    common = {"aperture": aperture, "detector_mask": mask}
    engine = replayed("batclean", {"srcclean": "NO"}, outfile=heasoft / "clean/clean_bkg.dpi.gz")
    made = batx.clean(plane, **common, engine=engine)
    native = batx.clean(plane, **common)
    assert made["counts"].dims == native["counts"].dims
    np.testing.assert_allclose(made["counts"].values, native["counts"].values, atol=2e-4)
    # the tool fitted and then balanced: what it balanced is what it had cleaned
    asked = {"srcclean": "NO", "bkgmodel": "none", "balance": "ShortEdges,LongEdges"}
    engine = replayed("batclean", asked, outfile=heasoft / "clean/clean_balshort.dpi.gz")
    made = batx.balance(made, "Edges", detector_mask=mask, engine=engine)
    native = batx.balance(native, "Edges", detector_mask=mask)
    assert made["counts"].dims == native["counts"].dims
    np.testing.assert_allclose(made["counts"].values, native["counts"].values, atol=2e-4)
    with pytest.raises(ValueRangeError, match="balance: found 'short_edges', expected some of all"):
        batx.clean(plane, **common, balance="short_edges", engine=engine)
    recordings = [
        Recording(
            "batfftimage",
            {"keepbits": "ALL"},
            {"outfile": heasoft / "img/burst_allbits.img.gz"},
        ),
        Recording(
            "batfftimage", {"keepbits": "ALL", "pcodemap": "YES"}, {"outfile": heasoft / "img/burst.pcode.gz"}
        ),
    ]
    engine = Engine(Replay(recordings))
    with pytest.raises(ToolError, match="bkgvarmap"):
        batx.sky_image(plane, **common, engine=engine)
    made = batx.sky_image(plane, **common, engine=engine, noise=False)
    native = batx.sky_image(plane, **common, noise=False, compat="heasoft")
    seconds = float(plane["exposure"].values[0])
    assert batx.identify(made) == "sky_image" and made["rate"].dims == native["counts"].dims
    well = native["pcode"].values > 0.1
    rate, counts = made["rate"].squeeze().values, native["counts"].squeeze().values
    np.testing.assert_allclose(rate[well] * seconds, counts[well], atol=2e-3)
    np.testing.assert_allclose(made["pcode"].values[well], native["pcode"].values[well], rtol=2e-4)


def test_sources(heasoft: Path):
    image = batx.open_dataset(heasoft / "img/burst_allbits.img.gz").load()
    pcode = batx.open_dataset(heasoft / "img/burst.pcode.gz").load()
    image = image.assign(
        pcode=(("imy", "imx"), pcode["pcode"].values.reshape(image["imy"].size, -1), {"units": "1"})
    )
    asked = {"snrthresh": "4.5", "vectorflux": "NO", "distfile": "NONE"}
    engine = replayed("batcelldetect", asked, outfile=heasoft / "det/cat_allbits.fits.gz")
    made = batx.detect(image, snr=4.5, engine=engine)
    native = batx.detect(image, snr=4.5, compat="heasoft")
    assert batx.identify(made) == batx.identify(native) == "catalog"
    assert made.sizes["source"] == native.sizes["source"]
    np.testing.assert_allclose(made["ra"].values, native["ra"].values, atol=2e-3)
    for name in ("rate", "rate_err", "snr", "noise", "background", "centre_snr", "imx_pixel", "pcode"):
        np.testing.assert_allclose(made[name].values.ravel(), native[name].values.ravel(), rtol=2e-3)
        assert made[name].attrs["units"] == native[name].attrs["units"], name


@pytest.mark.filterwarnings("ignore:FITS keyword")
def test_errors_and_positions(shared: Path):
    survey = shared / "reference" / "survey"
    path = survey / "batphasyserr" / "off.pha"
    spectrum = batx.open_dataset(path)
    engine = replayed("batphasyserr", infile=path)
    bare = spectrum.drop_vars("sys_err")
    made = batx.add_systematics(bare, survey / "batphasyserr" / "syserr.fits", engine=engine)
    assert (made["sys_err"].values == spectrum["sys_err"].values).all() and made["sys_err"].values.any()
    path = survey / "batupdatephakw" / "type2.pha"
    given = batx.open_dataset(path)
    trace = batx.open_dataset(survey / "batupdatephakw" / "aux.fits")
    names = ["bat_xobj", "bat_yobj", "bat_zobj", "pcodefr", "ngoodpix", "mskwtsqf"]
    bare = given.drop_vars([name for name in names if name in given.variables])
    made = batx.add_position(bare, trace, engine=replayed("batupdatephakw", infile=path))
    native = batx.add_position(bare, trace)
    for name in names:
        np.testing.assert_allclose(made[name].values, native[name].values, rtol=1e-6)
    with pytest.raises(KindError, match="works on kind ray_trace"):
        batx.add_position(bare, bare, engine=replayed("batupdatephakw", infile=path))


def test_local_background(heasoft: Path):
    image = batx.open_dataset(heasoft / "img/burst_allbits.img.gz").load()
    pcode = batx.open_dataset(heasoft / "img/burst.pcode.gz").load()
    image = image.assign(pcode=pcode["pcode"].squeeze(["time", "energy"], drop=True))
    files = {"bkgmap": "bkg", "bkgvarmap": "var", "signifmap": "snr"}
    outputs = {name: heasoft / f"det/cat_allbits.{end}.gz" for name, end in files.items()}
    engine = replayed(
        "batcelldetect", {"snrthresh": "4.5"}, outfile=heasoft / "det/cat_allbits.fits.gz", **outputs
    )
    made = batx.background_maps(image, snr=4.5, engine=engine)
    native = batx.background_maps(image, snr=4.5, compat="heasoft")
    assert made["noise"].dims == native["noise"].dims and made["noise"].attrs["units"] == "count/s"
    well = native["pcode"].values > 0.1
    scale = float(np.median(native["noise"].values[..., well]))
    for name, limit in (("background", 1e-3), ("noise", 1e-3)):
        difference = made[name].values[..., well] - native[name].values[..., well]
        assert np.abs(difference).max() < limit * scale, name
    difference = made["snr"].values[..., well] - native["snr"].values[..., well]
    assert np.abs(difference).max() < 2e-3


def test_photometry(heasoft: Path):
    image = batx.open_dataset(heasoft / "img/burst_allbits.img.gz").load()
    pcode = batx.open_dataset(heasoft / "img/burst.pcode.gz").load()
    image = image.assign(pcode=pcode["pcode"].squeeze(["time", "energy"], drop=True))
    asked = {"srcdetect": "NO", "posfit": "NO", "niter": "1", "distfile": "NONE"}
    engine = replayed("batcelldetect", asked, outfile=heasoft / "det/cat_forced.fits.gz")
    catalog = batx.open_dataset(heasoft / "det/incat.fits.gz")
    made = batx.photometry(image, catalog, passes=1, engine=engine)
    native = batx.photometry(image, catalog, passes=1, compat="heasoft")
    assert made.sizes["source"] == native.sizes["source"]
    limit = 1e-4 * float(np.abs(native["rate"]).max())
    for name in ("rate", "noise", "background"):
        np.testing.assert_allclose(made[name].values.ravel(), native[name].values.ravel(), atol=limit, rtol=0)
    asked = {"niter": "1", "incatalog": "in/1/catalog.fits"}
    engine = replayed("batcelldetect", asked, outfile=heasoft / "det/cat_forced.fits.gz")
    assert batx.photometry(image, [1.0, 2.0], [3.0, 4.0], passes=1, engine=engine).sizes["source"] == 3


def test_energies(heasoft: Path):
    folder = heasoft / "econv"
    events = batx.open_dataset(folder / "events_noenergy.fits.gz")
    engine = replayed("bateconvert", {"calmode": "FIXEDDAC"}, infile=folder / "energy.fits.gz")
    maps = {
        name: folder / f"{file}.fits.gz"
        for name, file in (
            ("pulser", "pulser"),
            ("flight_pulser", "fltpulser"),
            ("gain_offset", "gain_offset"),
        )
    }
    maps["residual"] = energy_inputs.reference_maps()["residual"]
    made = batx.calibrate_energy(events, **maps, method="fixeddac", engine=engine)
    native = batx.calibrate_energy(events, **maps, method="fixeddac")
    assert batx.identify(made) == "events" and made["pi"].dims == native["pi"].dims
    difference = made["pi"].values.astype(int) - native["pi"].values
    assert (difference == 0).mean() >= 0.999 and np.abs(difference).max() <= 1
    same_channel = (difference == 0) & (native["pi"].values >= 0)
    assert np.array_equal(made["energy"].values[same_channel], native["energy"].values[same_channel])


def test_what_hides_a_source(shared: Path):
    folder = shared / "reference" / "survey" / "batoccultgti"
    engine = replayed("batoccultgti", {"ra": "185", "dec": "10"}, outfile=folder / "unocc.gti")
    options = {"orbit": folder / "sao.fits", "constraints": "earth,moon,sun"}
    made = batx.visibility_gti(185.0, 10.0, **options, engine=engine)
    native = batx.visibility_gti(185.0, 10.0, **options)
    same(made, native, "start", "stop", rtol=0)
    folder = shared / "reference" / "survey" / "batoccultmap"
    for algorithm, limit in (("image", 3e-8), ("contour", 5e-8)):
        asked = {"method": "POSITION", "timesegtol": "5", "constraints": "EARTH", "occultation": "fraction"}
        asked["algorithm"] = algorithm.upper()
        engine = replayed("batoccultmap", asked, outfile=folder / f"{algorithm}_pos.occ")
        image = batx.open_dataset(folder / "sky.img")
        options = {"constraints": "earth", "method": "position", "tolerance": 5, "algorithm": algorithm}
        made = batx.occultation(image, folder / "sao.fits", **options, engine=engine)
        native = batx.occultation(image, folder / "sao.fits", **options)
        assert made.dims == native.dims and made.name == native.name
        shown = np.isfinite(made.values)
        assert shown.mean() > 0.9
        np.testing.assert_allclose(made.values[shown], native.values[shown], atol=limit)
    folder = shared / "reference" / "survey" / "maketime"
    hk = batx.open_dataset(folder / "in.fits")
    engine = replayed("maketime", {"prefr": "0", "postfr": "1"}, outfile=folder / "g_0_1.gti")
    name = next(str(one) for one in hk.data_vars if hk[one].dims == ("time",))
    made = batx.gti_from_housekeeping(hk, (name, "==", 1), 0.0, 1.0, engine=engine)
    native = batx.gti_from_housekeeping(hk, (name, "==", 1), 0.0, 1.0)
    same(made, native, "start", "stop", rtol=0)


def test_times_at_the_barycentre(tmp_path: Path):
    """No run of barycorr is recorded: the tool gives what is native, and every time must find its place."""
    orbit = barycentre.orbit()
    start = barycentre.T0 + np.array([10.0, 11.0, 30.0])
    good = {"gti_start": ("gti", [start[0]], {"units": "s"}), "gti_stop": ("gti", [start[2] + 1.0])}
    good["gti_stop"] = (*good["gti_stop"], {"units": "s"})
    ends = {"tstart": float(start[0]), "tstop": 900000000.0}
    curve = barycentre.counts_curve(np.ones(3), start, 1.0).assign(good)
    curve = curve.assign_attrs({**barycentre.ATTRS, **ends})
    unique = np.unique(np.concatenate([start, start + 0.5, start + 1.0]))
    given = batx.build("events", {"time": unique}, barycentre.ATTRS)
    turned = batx.barycenter(given, 83.6, 22.0, orbit=orbit)["time"].values
    columns = [fits.Column("TIME", "D", array=unique), fits.Column("BARYTIME", "D", array=turned)]
    fits.BinTableHDU.from_columns(columns, name="EVENTS").writeto(tmp_path / "turned.fits")
    asked = {"ra": "83.6", "dec": "22.0", "refframe": "ICRS", "barytime": "yes", "clockfile": "CALDB"}
    engine = replayed("barycorr", asked, outfile=tmp_path / "turned.fits")
    made = batx.barycenter(curve, 83.6, 22.0, orbit=orbit, engine=engine)
    native = batx.barycenter(curve, 83.6, 22.0, orbit=orbit)
    same(made, native, "time", "time_bnds", "gti_start", "gti_stop", "counts", rtol=0)
    assert made.attrs["tstart"] == native.attrs["tstart"] and "tstop" not in made.attrs
    assert made.attrs["timeref"] == "SOLARSYSTEM" and made.attrs["plephem"] == "JPL-DE405"
    assert "barycorr" in made.attrs["history"] and "utcf" not in made.attrs
    for words, more in (
        ("path of a clock file", {"utcf": -25.0}),
        ("needs the orbit", {"orbit": "geocenter"}),
        ("nearest: ra=84", {"ra": 84.0}),
    ):
        with pytest.raises(BatxError, match=words):
            batx.barycenter(curve, **{"ra": 83.6, "dec": 22.0, "orbit": orbit, **more}, engine=engine)
    with pytest.raises(ToolError, match="gave 8 times for 4"):
        batx.barycenter(curve.isel(time=[0]), 83.6, 22.0, orbit=orbit, engine=engine)


def test_calls_in_one_folder_wait_for_each_other(tmp_path: Path):
    engine, entered = Engine(folder=tmp_path / "kept"), threading.Event()

    def other() -> None:
        with engine.bench("clean") as bench:
            assert not bench.path("events.fits").exists()
            entered.set()

    with engine.bench("clean") as bench:
        thread = threading.Thread(target=other)
        thread.start()
        bench.path("events.fits").touch()
        assert not entered.wait(0.2)
        bench.path("events.fits").unlink()
    thread.join(10)
    assert entered.is_set() and [path.name for path in (tmp_path / "kept").iterdir()] == ["clean"]
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match="cannot make"), Engine(folder=tmp_path / "file").bench("clean"):
        pass
