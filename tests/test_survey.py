"""Survey results: catalogues, pointings, rates, means, spectra, tables, mosaics."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure
from survey_inputs import (
    BOUNDS,
    DAY,
    EDGES,
    NOISE,
    POINTING,
    STANDARD,
    START,
    UTCF,
    Pointing,
    energy_flux,
    folded,
    months,
    write_results,
)

import batx
from batx.errors import (
    BatxWarning,
    EmptySelectionError,
    KindError,
    MissingFileError,
    MissingVariableError,
    PositionError,
    RebinError,
    ValueRangeError,
)
from batx.met import to_met
from batx.schema import build, check
from batx.sky_coords import image_cards
from batx.survey_folders import STATUS_CODES

mpl.use("Agg")


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    """Two observations: seven good pointings from December to February, two that failed."""
    root = tmp_path_factory.mktemp("survey")
    pointings = months(7)
    failed = [Pointing(START - 29 * DAY, "expo_small"), Pointing(START - 28 * DAY, "ndets_low")]
    write_results(root / "a", "00012345001", [*pointings[:3], *failed], images=True)
    write_results(root / "b", "00012345002", pointings[3:], images=True)
    return root


@pytest.fixture(scope="module")
def tree(results: Path) -> xr.DataTree:
    return batx.open_survey(results)


@pytest.fixture(scope="module")
def rates(tree: xr.DataTree) -> xr.Dataset:
    return batx.survey_rates(tree)


# --- catalogues of one's own ---


def test_own_sources_are_added_to_a_catalogue(tmp_path):
    base = batx.survey_catalog(["Crab", "Vela X-1"], [83.63, 135.53], [22.01, -40.55], always_clean=True)
    made = batx.survey_catalog(["NGC 2992", "FRB 1"], [146.4, 20.0], [-14.3, 89.0], base)
    assert check(made) == []
    assert made.catnum.values.tolist() == [32767, 32766, 32765, 32764]
    assert made.always_clean.values.tolist() == [True, True, False, False]
    path = made.bat.to_fits(tmp_path / "own.cat")
    from astropy.io import fits

    with fits.open(path) as file:
        table = file[1]
        columns = {column.name: column.format for column in table.columns}
        assert list(table.data["CATNUM"]) == made.catnum.values.tolist()
        assert [name.strip() for name in table.data["NAME"]][2] == "NGC 2992"
        assert list(table.data["ALWAYS_CLEAN"]) == [True, True, False, False]
    wanted = {"CATNUM", "NAME", "RA_OBJ", "DEC_OBJ", "GLON_OBJ", "GLAT_OBJ", "ALWAYS_CLEAN"}
    assert set(columns) == wanted
    assert (columns["RA_OBJ"], columns["ALWAYS_CLEAN"], columns["CATNUM"]) == ("D", "L", "J")
    # galactic pole and centre
    pole = batx.survey_catalog(["pole", "centre"], [192.8595, 266.405], [27.1283, -28.936])
    np.testing.assert_allclose(pole.glat_obj, [90, 0], atol=0.02)
    again = batx.survey_catalog("X", 10.0, 10.0, path)
    assert again.sizes["source"] == 5 and again.catnum.values[-1] == 32763


@pytest.mark.parametrize(
    ("names", "ra", "dec", "error", "words"),
    [
        (["crab "], [200.0], [0.0], ValueRangeError, "'crab' twice"),
        (["A", "a"], [1.0, 9.0], [0.0, 0.0], ValueRangeError, "twice"),
        (["PSR B0531"], [83.64], [22.0], ValueRangeError, "from 'Crab'"),
        (["A", "B"], [359.99, 0.0], [0.0, 0.0], ValueRangeError, "0.010 degrees"),
        ([""], [1.0], [0.0], ValueRangeError, "1 to 30 ASCII"),
        (["x" * 31], [1.0], [0.0], ValueRangeError, "1 to 30 ASCII"),
        (["α Cen"], [1.0], [0.0], ValueRangeError, "1 to 30 ASCII"),
        ([], [], [], ValueRangeError, "expected"),
        (["A"], [1.0, 2.0], [0.0, 0.0], PositionError, "2 ra"),
        (["A"], [1.0], [91.0], PositionError, "dec 91"),
        (["A"], [np.nan], [0.0], PositionError, "nan"),
        (["A"], [1.0], None, PositionError, "no dec"),
    ],
)
def test_bad_sources_are_refused(names, ra, dec, error, words):
    base = batx.survey_catalog("Crab", 83.63, 22.01)
    with pytest.raises(error, match=words):
        batx.survey_catalog(names, ra, dec, base)


def test_bad_catalogues_are_refused():
    with pytest.raises(KindError):
        batx.survey_catalog("A", 1.0, 1.0, build("gti", {"start": [0.0], "stop": [1.0]}))
    nameless = build("catalog", {"ra": [1.0], "dec": [2.0]})
    with pytest.raises(MissingVariableError, match="no names"):
        batx.survey_catalog("A", 10.0, 1.0, nameless)


def test_catalogue_of_the_survey(shared, tmp_path):
    from astropy.coordinates import SkyCoord

    base = batx.open_dataset(shared / "data/survey/survey6b_2.cat").load()
    with pytest.raises(ValueRangeError, match="the other is 'FRB180916'"):
        batx.survey_catalog(["FRB 180916"], SkyCoord(29.5031, 65.7168, unit="deg"), None, base)
    made = batx.survey_catalog(["Nothing 1"], SkyCoord(29.5, 75.7, unit="deg"), None, base)
    assert made.sizes["source"] == 1277
    for name in ("catnum", "ra", "dec", "always_clean"):
        np.testing.assert_array_equal(made[name][:-1], base[name])
    for name in ("glon_obj", "glat_obj"):  # the last two were added by hand: none, and rounded
        np.testing.assert_allclose(made[name][:-3], base[name][:-2], atol=0.01)


# --- what batsurvey left ---


def test_pointings_that_failed_are_named(tree):
    table = tree["pointings"].to_dataset()
    assert check(tree) == []
    assert (np.diff(table.tstart) > 0).all() and table.sizes["row"] == 9
    lines = tree.attrs["failed"].splitlines()
    assert [line.split(": ")[1] for line in lines] == ["expo_small", "ndets_low"]
    assert "too few detectors" in lines[1] and lines[0].startswith("00012345001 point_2019")
    good = table.image_status.values
    assert (table.reason.values[good] == "").all() and (table.code.values[good] == "ok").all()
    assert all(Path(path).name.endswith("_2.cat") for path in table.catalog.values[good])
    assert (table.catalog.values[~good] == "").all()
    assert tree["observations"].sizes["row"] == 2 and tree["gti"].sizes["gti"] == 9


def test_reference_results(shared):
    folder = shared / "reference/survey/batsurvey/golden_dph"
    tree = batx.open_survey(folder)
    assert tree["pointings"].code.values.tolist() == ["ok", "ok", "ok", "dpi1_failed"]
    assert "point_20200061055: dpi1_failed: no histogram" in tree.attrs["failed"]
    rates = batx.survey_rates(tree)
    for number, name in enumerate(sorted(folder.glob("*_1.cat"))):
        raw = batx.open_dataset(name)
        pairs = {"rate": "rate", "rate_err": "rate_err", "noise": "bkg_var", "centre_rate": "cent_rate"}
        for own, column in pairs.items():
            np.testing.assert_array_equal(rates[own][:, number], raw[column])
        np.testing.assert_array_equal(rates.snr[:, number], raw["vectsnr"])
    # histogram by histogram or as one snapshot: the same source
    whole = batx.survey_rates(shared / "reference/survey/batsurvey/golden")
    mean = batx.average_times(rates, "month")
    np.testing.assert_allclose(mean.rate[:2], whole.rate[:2], rtol=0.05, atol=1e-5)
    assert float(mean.source_exposure[0, 0]) == pytest.approx(float(whole.exposure[0]))
    np.testing.assert_allclose(rates.pcode, 1, atol=0.002)  # the file has 1.0156 and 0.9844
    assert float(rates.pcode_file.max()) > 1.015


def test_codes_are_those_of_the_tool():
    codes = "pntgti0_failed dpi1_failed aspect_failed pointcheck_failed dpi2_failed dpi_check expo_small "
    codes += "zero_counts batdetmask_failed batclean1_failed batfftimage_failed batoccultmap_failed "
    codes += (
        "cheezi_failed cheese_failed batcelldetect_failed modcat_failed maskedge_failed1 maskedge_failed2 "
    )
    codes += "eff_area_failed1 bright_template_failed2 cleancat_failed sigmamask1_failed sigmamask2_failed "
    codes += "ndets_low pre_batclean_fudge_failed post_batclean_fudge_failed batclean3_failed"
    assert set(STATUS_CODES) == {*codes.split(), "ok"}


def test_folders_that_are_none(results, tmp_path):
    with pytest.raises(MissingFileError, match="no such folder"):
        batx.open_survey(tmp_path / "nothing")
    with pytest.raises(MissingFileError, match=r"no stats_point\.fits"):
        batx.open_survey(tmp_path)
    write_results(tmp_path / "again", "00012345001", months(1))
    with pytest.raises(ValueRangeError, match="00012345001 twice"):
        batx.open_survey(results, tmp_path / "again")
    (tmp_path / "bad").mkdir()
    batx.to_fits(build("table", {"a": (("row",), [1.0])}), tmp_path / "bad" / "stats_point.fits")
    with pytest.raises(MissingFileError, match="no column obs_id"):
        batx.open_survey(tmp_path / "bad")


def test_files_of_another_pointing_are_not_taken(tmp_path):
    """Two pointings that begin in the same minute have one folder: the second replaced the first's files."""
    first = Pointing(START - 55.0, exposure=20.0, sources=STANDARD)
    second = Pointing(START - 10.0, exposure=400.0, sources=STANDARD)
    assert first.image_id == second.image_id
    write_results(tmp_path / "a", "00012345001", [first], images=False)
    folder = write_results(tmp_path / "b", "00012345002", [first, second][1:])
    other = write_results(tmp_path / "c", "00012345002", [first, second][:1])
    from astropy.io import fits

    with fits.open(folder / "stats_point.fits") as one, fits.open(other / "stats_point.fits") as two:
        rows = np.concatenate([two[1].data, one[1].data])
        header = one[1].header
    fits.BinTableHDU(rows, header).writeto(folder / "stats_point.fits", overwrite=True)
    with pytest.warns(BatxWarning, match="same minute"):
        tree = batx.open_survey(folder)
    assert (tree["pointings"].catalog.values != "").tolist() == [False, True]
    assert batx.survey_rates(tree).sizes["time"] == 1
    (folder / second.image_id / f"{second.image_id}_2.cat").unlink()
    (folder / second.image_id / f"{second.image_id}_1.cat").unlink()
    with pytest.warns(BatxWarning, match="no catalogue"):
        empty = batx.open_survey(folder)
    with pytest.raises(EmptySelectionError, match="none of 2"):
        batx.survey_rates(empty)


# --- rates ---


def test_rates_of_sources(rates, tree):
    assert check(rates) == []
    assert rates.rate.dims == ("source", "time", "energy") and dict(rates.sizes)["time"] == 7
    np.testing.assert_allclose(rates.energy_bnds, BOUNDS)
    raw = batx.open_dataset(str(tree["pointings"].catalog.values[0]))
    np.testing.assert_array_equal(rates.rate[:, 0], raw.rate)
    np.testing.assert_array_equal(rates.centre_rate[:, 0], raw.cent_rate)
    nearest = batx.survey_rates(tree, compat="batanalysis")
    np.testing.assert_array_equal(nearest.rate, rates.centre_rate)
    with pytest.raises(ValueRangeError, match="compat: found 'peer'"):
        batx.survey_rates(tree, compat="peer")
    np.testing.assert_array_equal(rates.noise[:, 0], raw.bkg_var)
    assert rates.attrs["utcf"] == UTCF and float(rates.exposure[0]) == 900.0
    pull = (rates.rate.values[0] - folded(2.0, 6.0, 0.05, 0.02)) / NOISE
    assert abs(pull.mean()) < 0.5 and 0.7 < pull.std() < 1.3
    only = batx.survey_rates(tree, " faint  x-2")
    assert only.name.values.tolist() == ["Faint X-2"]
    xr.testing.assert_identical(only.rate[0].drop_vars(["name", "ra", "dec", "catnum"]).variable * 1,
                                rates.rate[1].variable * 1)  # fmt: skip


def test_sources_come_and_go(tmp_path):
    one, two = ({name: STANDARD[name]} for name in STANDARD)
    pointings = [Pointing(START, sources=one), Pointing(START + 5000, sources=STANDARD)]
    pointings.append(Pointing(START + 10000, sources=two))
    rates = batx.survey_rates(write_results(tmp_path / "a", "00012345001", pointings))
    seen = np.isfinite(rates.rate.values).all(axis=2)
    assert seen.tolist() == [[True, True, False], [False, True, True]]
    mean = batx.average_times(rates, "month")
    assert mean.n_pointings.values[:, 0].tolist() == [2, 2]
    assert mean.source_exposure.values[:, 0].tolist() == [1800.0, 1800.0]
    assert mean.exposure.values.tolist() == [2700.0]
    alone = batx.average_times(rates.isel(source=0), "month")
    assert alone.rate.dims == ("time", "energy") and float(alone.exposure[0]) == 1800.0
    np.testing.assert_array_equal(alone.rate, mean.rate[0])
    spectra = rates.bat.survey_spectrum(source="Faint X-2")
    assert spectra.sizes["time"] == 2 and check(spectra) == []


def test_cuts_leave_pointings_out(tmp_path):
    pointings = months(3)
    pointings[1].chi2 = 1.4
    tree = batx.open_survey(write_results(tmp_path / "a", "00012345001", pointings))
    cuts = batx.pointing_cuts(tree["pointings"].to_dataset())
    assert cuts.good.values.tolist() == [True, False, True]
    kept = batx.survey_rates(tree, cuts=cuts)
    assert kept.sizes["time"] == 2
    with pytest.raises(ValueRangeError, match="each of 3 pointings"):
        batx.survey_rates(tree, cuts=np.array([True]))
    with pytest.raises(EmptySelectionError):
        batx.survey_rates(tree, cuts=np.zeros(3, bool))
    with pytest.raises(MissingVariableError):
        batx.survey_rates(tree, cuts=xr.Dataset())


def test_histograms_that_were_cut_short(tmp_path):
    pointings = months(2)
    pointings[1].empty_from = 3
    folder = write_results(tmp_path / "a", "00012345001", pointings)
    with pytest.warns(BatxWarning, match="35-50, 50-75, 75-100, 100-150, 150-195 keV: their histograms"):
        rates = batx.survey_rates(folder)
    assert np.isfinite(rates.rate.values[0]).sum(axis=1).tolist() == [8, 3]
    mean = batx.average_times(rates, "month", energy=[(14, 195), (14, 35)])
    assert mean.n_pointings.values[0, 0] == 2
    np.testing.assert_allclose(mean.rate[0, 0, 0], rates.rate[0, 0].sum())
    spectra = rates.bat.survey_spectrum(source=0)
    assert spectra.quality.values[1].tolist() == [0, 0, 0, 1, 1, 1, 1, 1]
    fits = spectra.bat.fit_series("powerlaw", flux=(14, 35))
    assert fits.converged.values.all() and fits.dof.values.tolist() == [6, 1]


def test_bad_catalogues_of_pointings(rates, tree, results):
    path = str(tree["pointings"].catalog.values[0])
    with pytest.raises(ValueRangeError, match=r"'Bright X-1' in the pointing .* twice"):
        batx.survey_rates([path, path])
    with pytest.raises(ValueRangeError, match="'Cyg X-1', which none of 7"):
        batx.survey_rates(tree, ["Bright X-1", "Cyg X-1"])
    ds = batx.open_dataset(path).load()
    with pytest.raises(ValueRangeError, match="'Bright X-1' twice"):
        batx.survey_rates([xr.concat([ds, ds], "source", data_vars="minimal")])
    with pytest.raises(MissingVariableError, match="no columns bkg_var"):
        batx.survey_rates([ds.drop_vars("bkg_var")])
    with pytest.raises(ValueRangeError, match="8 bands, expected 2"):
        batx.survey_rates([ds], energy=[14, 50, 195])
    with pytest.raises(EmptySelectionError, match="none of 1 catalogue"):
        batx.survey_rates([ds.isel(source=[])])
    with pytest.raises(KindError):
        batx.survey_rates(5)
    with pytest.raises(KindError, match="no pointings"):
        batx.survey_rates(xr.DataTree())
    with pytest.raises(MissingFileError):
        batx.survey_rates(results / "nothing")


def test_tables_of_sources_give_the_same_as_catalogues_of_pointings(rates, tree):
    """The tool's own merge writes a table for each source, a row for each pointing."""
    paths = [path for path in tree["pointings"].catalog.values if path]
    catalogs = [batx.open_dataset(path).load() for path in paths]
    tables = [
        xr.concat([one.isel(source=[n]) for one in catalogs[::-1]], "source", data_vars="minimal")
        for n in range(2)
    ]
    merged = batx.survey_rates(tables)
    for name in ("rate", "noise", "pcode", "exposure", "time_bnds"):
        np.testing.assert_array_equal(merged[name], rates[name])


# --- means ---


def simulated(count: int = 300, seed: int = 0, **attrs) -> xr.Dataset:
    """Pointings of two bands with noise that varies, over two years from 2019-11."""
    rng = np.random.default_rng(seed)
    start = np.sort(to_met("2019-11-10", {"utcf": UTCF}) + rng.uniform(0, 730, count) * DAY)
    bounds = np.stack([start, start + 600.0], axis=1)
    noise = rng.uniform(0.5, 2.0, (count, 2)) * 1e-4
    rate = 1e-3 + noise * rng.standard_normal((count, 2))
    return build(
        "lightcurve",
        {
            "time": bounds.mean(axis=1), "time_bnds": bounds, "energy": [17.0, 22.0],
            "energy_bnds": [[14.0, 20.0], [20.0, 24.0]], "exposure": np.full(count, 500.0),
            "fracexp": np.full(count, 500 / 600),
            "rate": (("time", "energy"), rate),
            "rate_err": (("time", "energy"), 1.15 * noise),
            "noise": (("time", "energy"), noise, {"units": "count/s"}),
        },
        {"statistic": "gaussian", "weighting": "mask", "telescope": "SWIFT", "instrument": "BAT"}
        | {"utcf": UTCF, "mjdref_int": 51910, "mjdref_frac": 7.4287037e-4} | attrs,
    )  # fmt: skip


def slow_means(rates: xr.Dataset, inside: np.ndarray) -> tuple[np.ndarray, ...]:
    """Weighted mean, its noise and error, pointing by pointing."""
    up, down, errors = np.zeros(2), np.zeros(2), np.zeros(2)
    for number in np.flatnonzero(inside):
        for band in range(2):
            weight = 1 / float(rates.noise[number, band]) ** 2
            up[band] += weight * float(rates.rate[number, band])
            down[band] += weight
            errors[band] += (weight * float(rates.rate_err[number, band])) ** 2
    return up / down, down**-0.5, np.sqrt(errors) / down


def test_months_of_two_years():
    """December exists; a month is that of UTC."""
    rates = simulated(150)
    mean = batx.average_times(rates, "month")
    assert mean.group.values[[0, 1, 2]].tolist() == ["2019-11", "2019-12", "2020-01"]
    assert "2020-12" in mean.group.values and int(mean.n_pointings.sum()) == 150
    start = rates.time_bnds.values[:, 0]
    for name in ("2019-12", "2020-12", "2021-02"):
        number = mean.group.values.tolist().index(name)
        low, high = mean.time_bnds.values[number]
        year, month = map(int, name.split("-"))
        following = f"{year + month // 12}-{month % 12 + 1:02d}-01"
        assert low == to_met(f"{name}-01", rates.attrs) and high == to_met(following, rates.attrs)
        inside = (start >= low) & (start < high)
        for found, wanted in zip(("rate", "noise", "rate_err"), slow_means(rates, inside), strict=True):
            np.testing.assert_allclose(mean[found][number], wanted, rtol=1e-12)
        assert float(mean.exposure[number]) == 500.0 * inside.sum()
    np.testing.assert_allclose(mean.snr, mean.rate / mean.noise)
    assert check(mean) == []


def test_groups_of_any_kind():
    rates = simulated()
    start = rates.time_bnds.values[:, 0]
    years = batx.average_times(rates, "year")
    assert years.group.values.tolist() == ["2019", "2020", "2021"]
    weeks = batx.average_times(rates, 7 * DAY)
    assert int(weeks.n_pointings.sum()) == 300 and np.allclose(np.diff(weeks.time_bnds), 7 * DAY)
    edges = to_met([f"20{20 + n // 6:02d}-{1 + 2 * (n % 6):02d}-01" for n in range(8)], rates.attrs)
    two_months = batx.average_times(rates, edges)
    assert two_months.sizes["time"] == 7
    union = {
        "odd": [[edges[0], edges[1]], [edges[2], edges[3]]],
        "both": [[edges[0], edges[2]], [edges[1], edges[2]]],
    }
    made = batx.average_times(rates, union)
    assert made.group.values.tolist() == ["odd", "both"]
    inside = ((start >= edges[0]) & (start < edges[1])) | ((start >= edges[2]) & (start < edges[3]))
    np.testing.assert_allclose(made.rate[0], slow_means(rates, inside)[0], rtol=1e-12)
    assert int(made.n_pointings[1]) == ((start >= edges[0]) & (start < edges[2])).sum()  # once each
    with pytest.raises(EmptySelectionError, match="starts in any"):
        batx.average_times(rates, [0.0, 10.0])
    with pytest.raises(ValueRangeError, match="decade"):
        batx.average_times(rates, "decade")


def test_sums_of_bands():
    rates = simulated(20)
    total = batx.average_times(rates, energy=[14, 24])
    np.testing.assert_allclose(total.rate[:, 0], rates.rate.sum("energy"))
    for name in ("noise", "rate_err"):
        np.testing.assert_allclose(total[name][:, 0], np.sqrt((rates[name] ** 2).sum("energy")))
    np.testing.assert_allclose(
        total.snr[:, 0], rates.rate.sum("energy") / np.sqrt((rates.noise**2).sum("energy"))
    )
    np.testing.assert_array_equal(batx.average_times(rates).rate, rates.rate)
    for bad in ([14, 22], [14, 30], [(20, 14)]):
        with pytest.raises((RebinError, ValueRangeError)):
            batx.average_times(rates, energy=bad)
    with pytest.raises(KindError, match="counts"):
        batx.average_times(rates.assign_attrs(statistic="poisson"))
    with pytest.raises(KindError):
        batx.average_times(build("gti", {"start": [0.0], "stop": [1.0]}))
    with pytest.raises(MissingVariableError, match="rate_err"):
        batx.average_times(rates.drop_vars("rate_err"))
    with pytest.raises(EmptySelectionError):
        batx.average_times(rates.isel(time=[]))


def test_means_scatter_as_their_noise_says():
    pulls = []
    for seed in range(60):
        mean = batx.average_times(simulated(60, seed), "month")
        pulls.append(((mean.rate - 1e-3) / mean.noise).values.ravel())
    pulls = np.concatenate(pulls)
    pulls = pulls[np.isfinite(pulls)]
    assert abs(pulls.mean()) < 4 / np.sqrt(pulls.size) and abs(pulls.std() - 1) < 4 / np.sqrt(2 * pulls.size)


# --- spectra ---


def exact(places: list[tuple[float, float]], weights: list[float]) -> xr.Dataset:
    """Rates without noise of a source that is at several places, index 1.7."""
    rate = np.array([folded(1.7, 3.0, *place) for place in places])
    noise = NOISE * np.array(weights)[:, None]
    start = START + 5000.0 * np.arange(len(places))
    imx, imy = np.array(places).T
    return build(
        "lightcurve",
        {
            "time": start + 300, "time_bnds": np.stack([start, start + 600], axis=1),
            "energy": BOUNDS.mean(axis=1), "energy_bnds": BOUNDS,
            "exposure": np.full(len(places), 600.0),
            "fracexp": np.ones(len(places)), "rate": (("time", "energy"), rate),
            "rate_err": (("time", "energy"), noise),
            "noise": (("time", "energy"), noise, {"units": "count/s"}),
            "imx": ("time", imx), "imy": ("time", imy),
        },
        {"statistic": "gaussian", "weighting": "mask", "telescope": "SWIFT", "instrument": "BAT"}
        | {"utcf": UTCF, "mjdref_int": 51910, "mjdref_frac": 7.4287037e-4, "ratesof": "pointings"},
    )  # fmt: skip


def test_the_response_of_a_group_is_that_of_its_mean():
    rates = exact([(0.0, 0.0), (0.7, 0.3), (-0.5, 0.1)], [1.0, 3.0, 0.7])
    spectrum, response = (make(rates, "month") for make in (batx.survey_spectrum, batx.survey_response))
    assert check(spectrum) == [] and check(response) == []
    low, high = response.energy_in_bnds.values.T
    photons = 3.0 * (high**-0.7 - low**-0.7) / -0.7
    np.testing.assert_allclose(photons @ response.matrix.values[0], spectrum.rate.values[0], rtol=2e-3)
    fit = batx.fit_series(spectrum, "powerlaw", response=response, flux=(14, 195))
    assert float(fit.sel(parameter="index").value[0]) == pytest.approx(1.7, abs=0.005)
    assert float(fit.flux[0]) == pytest.approx(energy_flux(1.7, 3.0), rel=3e-3)
    # without a response: the mean along the way of the source, by exposure, which is nearly the same
    alone = batx.fit_series(spectrum, "powerlaw", flux=(14, 195))
    assert float(alone.flux[0]) == pytest.approx(energy_flux(1.7, 3.0), rel=0.1)
    each = batx.fit_series(batx.survey_spectrum(rates), "powerlaw", flux=(14, 195))
    np.testing.assert_allclose(each.flux, energy_flux(1.7, 3.0), rtol=5e-3)


def test_groups_that_overlap_need_their_response():
    rates = exact([(0.0, 0.0), (0.7, 0.3)], [1.0, 1.0])
    bins = {"one": [[START, START + 9e3]], "two": [[START, START + 1e3], [START + 4e3, START + 9e3]]}
    spectrum = batx.survey_spectrum(rates, bins)
    assert "trace_time" not in spectrum
    with pytest.raises(batx.BatxError):
        batx.fit(spectrum.isel(time=0), "powerlaw")
    made = batx.fit_series(spectrum, "powerlaw", response=batx.survey_response(rates, bins), flux=(14, 195))
    np.testing.assert_allclose(made.flux, energy_flux(1.7, 3.0), rtol=5e-3)


def test_bad_spectra(rates):
    with pytest.raises(ValueRangeError, match="found 2 sources"):
        rates.bat.survey_spectrum()
    with pytest.raises(ValueRangeError, match="source 5"):
        rates.bat.survey_spectrum(source=5)
    with pytest.raises(ValueRangeError, match="8 bands"):
        rates.bat.survey_spectrum(source=0, systematics=[-0.1] * 8)
    with pytest.raises(MissingVariableError, match="imx"):
        rates.drop_vars("imx").bat.survey_response(source=0)
    nothing = rates.assign(rate=rates.rate * np.nan)
    for make in (batx.survey_spectrum, batx.survey_response):
        with pytest.raises(EmptySelectionError, match=r"'?Bright X-1'? is in none"):
            make(nothing, source=0)


# --- tables and pictures ---


def test_tables(rates):
    mean = batx.average_times(rates, "month", energy=[14, 195])
    table = batx.survey_table(mean)
    assert len(table) == 6 and table["source"].unique().tolist() == ["Bright X-1", "Faint X-2"]
    assert table[table.source == "Bright X-1"]["detected"].all()
    assert not table[table.source == "Faint X-2"]["detected"].any()
    np.testing.assert_allclose(table["snr"], table["rate"] / table["noise"])
    assert table["start_mjd"].iloc[0] == pytest.approx(58818.0, abs=1e-6)  # 2019-12-01
    one = mean.isel(source=0)
    spectrum = rates.bat.survey_spectrum("month", source=0)
    response = rates.bat.survey_response("month", source=0)
    fit = spectrum.bat.fit_series("powerlaw", response=response, flux=(14, 195))
    held = batx.survey_table(one, fit)
    np.testing.assert_allclose(held["index"], fit.sel(parameter="index").value)
    np.testing.assert_allclose(held["flux"], fit.flux)
    assert (abs(held["flux"] / energy_flux(2.0, 6.0) - 1) < 4 * held["flux_err"] / held["flux"]).all()
    text = one.bat.survey_table(fit, format="text")
    assert text.splitlines()[0].startswith("source") and len(text.splitlines()) == 4
    latex = one.bat.survey_table(fit, format="latex")
    assert latex.count(r"\\") == 4 and r"\times 10^{-8}" in latex and latex.startswith(r"\begin{tabular}{ll")
    strict = batx.survey_table(one, fit, snr=1e6)
    assert strict["flux"].isna().all()
    with pytest.raises(ValueRangeError, match="found 8 bands"):
        batx.survey_table(rates)
    with pytest.raises(ValueRangeError, match="format"):
        batx.survey_table(mean, format="html")
    with pytest.raises(ValueRangeError, match="single sources"):
        batx.survey_table(mean, fit)
    with pytest.raises(ValueRangeError, match="one for each"):
        batx.survey_table([one, one], [fit])


@pytest.mark.parametrize("axis", ["met", "utc", "mjd", "relative"])
def test_pictures(rates, axis):
    mean = batx.average_times(rates.isel(source=0), energy=[14, 195])
    ax = mean.bat.plot(Figure(), time=axis, utc_axis=axis == "mjd")
    (points,) = ax.containers
    edges = mean.time_bnds.values
    if axis == "mjd":
        edges = batx.met.met_to_mjd(edges, attrs=mean.attrs)
        assert ax.get_xlabel() == "MJD (UTC)"
    if axis in ("met", "mjd"):
        np.testing.assert_allclose(points.lines[0].get_xdata(), edges.mean(axis=1), rtol=1e-12)
    # short pointings far apart are not shaded over, and no point lies on the frame
    assert ax.get_legend() is None
    low, high = ax.get_xlim()
    assert ((points.lines[0].get_xdata() > low) & (points.lines[0].get_xdata() < high)).all()
    steps = mean.bat.plot(Figure(), time=axis, points=False)
    assert steps.get_legend().get_texts()[0].get_text() == "no good time"
    ax.figure.canvas.draw()


def _drawn(panel) -> list[tuple[list[float], str]]:
    """Points of a panel and the colour inside them; limits have no markers of their own."""
    made = []
    for one in panel.containers:
        line = one.lines[0]
        if line is not None:
            made.append((np.round(line.get_ydata(), 14).tolist(), str(line.get_markerfacecolor())))
    return made


@pytest.mark.parametrize("axis", ["met", "utc", "mjd", "relative"])
def test_a_picture_of_all_that_is_known(rates, axis):
    """Rates, significance, fluxes or limits, and indices, against time."""
    mean = batx.average_times(rates.isel(source=0), "month", energy=[14, 195])
    options = {"source": 0, "time_bins": "month"}
    spectrum, response = (getattr(rates.bat, f"survey_{one}")(**options) for one in ("spectrum", "response"))
    fit = spectrum.isel(time=[0, 1]).bat.fit_series(
        "powerlaw", response=response.isel(time=[0, 1]), flux=(14, 195)
    )
    third = {name: mean[name].isel(time=[2]).values for name in ("time", "time_bnds")}
    limit = build(
        "limit",
        {
            "flux_limit": ("time", [3e-9]),
            "time": ("time", third["time"]),
            "time_bnds": (("time", "bnds"), third["time_bnds"]),
        },
        {},
    ) if axis == "met" else None  # fmt: skip
    threshold = 0.5 * float(mean.snr[1, 0] + mean.snr[2, 0])  # the last month is shorter
    made = batx.plot_survey(mean, Figure(), fit=fit, limit=limit, snr=threshold, time=axis)
    rate, snr, flux, index = (_drawn(panel) for panel in made)
    assert rate == [
        (np.round(mean.rate.values[:2, 0], 14).tolist(), "#000000"),
        (np.round(mean.rate.values[2:, 0], 14).tolist(), "white"),
    ]
    assert snr[0][0] == np.round(mean.snr.values[:2, 0], 14).tolist()
    assert flux[0][0] == np.round(fit.flux.values.ravel(), 14).tolist()
    assert index[0][0] == np.round(fit.sel(parameter="index").value.values, 14).tolist()
    if limit is not None:
        arrows = made[2].containers[1].lines[1][0]
        np.testing.assert_allclose(arrows.get_ydata(), [0.85 * 3e-9])
    titles = [panel.get_ylabel().split("\n")[0] for panel in made]
    assert titles == ["Rate", "SNR", "Flux", "Photon index"]
    assert (
        made[0].get_title(loc="left") == "Bright X-1, SWIFT BAT"
        and made[0].get_title(loc="right") == "14-195 keV"
    )
    made[0].figure.canvas.draw()


def test_pictures_of_several_sources(rates):
    mean = batx.average_times(rates, 20 * DAY, energy=[14, 195])
    (panel,) = np.atleast_1d(batx.plot_survey(mean, Figure(), values=["rate"], title="two"))
    names = [text.get_text() for text in panel.get_legend().get_texts()]
    assert names == ["Bright X-1", "Faint X-2"] and panel.get_title(loc="left") == "two"
    with pytest.raises(ValueRangeError, match="'fluxes'"):
        batx.plot_survey(mean, Figure(), values=["fluxes"])
    with pytest.raises(ValueRangeError, match="time: found 'jd'"):
        batx.plot_survey(mean, Figure(), time="jd")
    with pytest.raises(EmptySelectionError, match="no source with a rate"):
        batx.plot_survey(mean.assign(rate=mean.rate * np.nan), Figure())


# --- mosaics ---


def test_sources_in_mosaics(tree, rates):
    images = batx.survey_images(tree)
    assert len(images) == 7 and images[0].bat.kind == "sky_image"
    np.testing.assert_allclose(images[0].noise.squeeze().values[:, 0, 0], NOISE, rtol=1e-6)
    mosaic = batx.mosaic(images, 1024, time_bins="month")
    places = build("catalog", {"name": rates.name, "ra": rates.ra, "dec": rates.dec})
    made = batx.mosaic_rates(mosaic, places)
    assert check(made) == [] and made.group.values.tolist() == ["2019-12", "2020-01", "2020-02"]
    assert made.source_exposure.values[0].tolist() == [2700.0, 2700.0, 900.0]
    true = folded(2.0, 6.0, 0.05, 0.02)
    # the peaks are Gaussian here, not of the mask's shape
    np.testing.assert_allclose(made.rate[0], np.tile(true, (3, 1)), rtol=0.05, atol=1.5e-4)
    pull = made.rate.values[1] / made.rate_err.values[1]
    assert abs(pull).max() < 4.5
    total = batx.mosaic_rates(mosaic["total"].to_dataset(), places.ra.values[:1], places.dec.values[:1])
    assert total.sizes["time"] == 1 and float(total.exposure[0]) == 6300.0
    spectra = made.bat.survey_spectrum(source="Bright X-1", systematics=None)
    assert "sys_err" not in spectra and spectra.group.values.tolist() == made.group.values.tolist()
    assert batx.fit_series(spectra, "powerlaw").converged.all()  # with the published response
    outside = batx.mosaic_rates(mosaic["total"].to_dataset(), 20.0, -70.0)
    assert not np.isfinite(outside.rate).any() and float(outside.exposure[0]) == 0
    with pytest.raises(PositionError, match="no dec"):
        batx.mosaic_rates(mosaic, 20.0)
    with pytest.raises(KindError):
        batx.mosaic_rates(images[0], 20.0, 10.0)
    with pytest.raises(MissingVariableError, match="sum_w"):
        batx.mosaic_rates(mosaic["total"].to_dataset().drop_vars("sum_w"), 20.0, 10.0)


def test_images_without_noise_are_left_out(tmp_path):
    folder = write_results(tmp_path / "a", "00012345001", months(2), images=True)
    next(folder.glob("*/*.var")).unlink()
    tree = batx.open_survey(folder)
    with pytest.warns(BatxWarning, match="1 of 2 pointing"):
        assert len(batx.survey_images(tree)) == 1
    assert batx.survey_images(tree, np.zeros(2, bool)) == []
    bad = next(folder.glob("*/*.var"))
    other = build("sky_image", {"imx": [0.0, 0.1], "imy": [0.0, 0.1], "rate": np.ones((2, 2)),
                                "wcs": ((), image_cards((1, 1), (0.1, 0.1), POINTING))})  # fmt: skip
    batx.to_fits(other, bad, overwrite=True)
    with pytest.raises(MissingVariableError, match="no map of the noise"):
        batx.survey_images(batx.open_survey(folder), tree["pointings"].variance.values != "")


def test_edges_of_the_bands():
    from batx.survey_spectra import SURVEY_EDGES

    assert list(SURVEY_EDGES) == EDGES.tolist()
