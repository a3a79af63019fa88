"""The simulated observation on disk: layout, forms of the files, same bytes for the same seed."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from batx import simulate
from batx.errors import ValueRangeError, WriteError
from batx.simulate import Background, Fred, Slew, Source

T0 = 6e8
OBS = "00054321007"
GTI = [(T0, T0 + 11.5), (T0 + 13.0, T0 + 30.0)]


def make(folder: Path, **options) -> Path:
    settings = {
        "obs_id": OBS,
        "duration": 30.0,
        "trigger": 10.0,
        "gti": GTI,
        "slews": [Slew(18.0, 24.0, 152.0, 31.0, 41.0)],
        "survey": 10.0,
        "seed": 7,
    }
    source = Source(1.0, ra=151.0, dec=30.5, light_curve=Fred(8.0, 1.0, 4.0), name="burst")
    return simulate.observation(folder, source, Background(0.05), **{**settings, **options})


@pytest.fixture(scope="module")
def observation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("archive"))


def test_layout(observation: Path) -> None:
    files = sorted(str(path.relative_to(observation)) for path in observation.rglob("*") if path.is_file())
    assert files == [
        f"auxil/sw{OBS}sao.fits",
        f"auxil/sw{OBS}sat.fits",
        f"auxil/sw{OBS}sen.hk",
        f"bat/event/sw{OBS}bevshsp_uf.evt",
        f"bat/hk/sw{OBS}bdecb.hk",
        f"bat/hk/sw{OBS}bdqcb.hk",
        f"bat/hk/sw{OBS}ben.hk",
        f"bat/hk/sw{OBS}bgocb.hk",
        f"bat/rate/sw{OBS}brt1s.lc",
        f"bat/rate/sw{OBS}brtms.lc",
        f"bat/survey/sw{OBS}bsvpb000g0000.dph",
        "caldb/aperture.fits",
        "caldb/fltpulser.fits",
        "caldb/pulser.fits",
        "caldb/resid.fits",
        "caldb/teldef.fits",
    ]
    assert [path.name for path in observation.parent.iterdir() if path.is_file()] == [f"{OBS}_truth.json"]


def test_every_file_is_valid_fits(observation: Path) -> None:
    for path in observation.rglob("*.*"):
        if path.is_file():
            with fits.open(path) as hdus:
                hdus.verify("exception")
                assert hdus[0].header["TELESCOP"] == "SWIFT"


def test_event_file(observation: Path) -> None:
    with fits.open(observation / "bat" / "event" / f"sw{OBS}bevshsp_uf.evt") as hdus:
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "EVENTS", "STDGTI"]
        table = hdus["EVENTS"]
        assert list(zip(table.columns.names, table.columns.formats, strict=True)) == [
            ("TIME", "D"),
            ("DET_ID", "I"),
            ("EVENT_FLAGS", "B"),
            ("PHA", "I"),
            ("DETX", "I"),
            ("DETY", "I"),
            ("MASK_WEIGHT", "E"),
            ("PI", "I"),
            ("ENERGY", "E"),
            ("SIMLABEL", "B"),
        ]
        header = table.header
        for key, value in {
            "OBS_ID": OBS,
            "TARG_ID": 54321,
            "SEG_NUM": 7,
            "TRIGTIME": T0 + 10,
            "TSTART": T0,
            "TSTOP": T0 + 30,
            "RA_OBJ": 151.0,
            "DEC_OBJ": 30.5,
            "UTCFINIT": -22.5,
            "GAINAPP": True,
            "TIMEDEL": 1e-4,
            "TIMEPIXR": 0.5,
            "MJDREFI": 51910,
            "EXPOSURE": 28.5,
            "DATE-OBS": "2020-01-06T10:39:37",
        }.items():
            assert header[key] == value
        assert {"OBS_ID", "TSTART", "UTCFINIT", "TRIGTIME"} <= set(hdus["STDGTI"].header)
        assert header["RA_PNT"] == pytest.approx(150.0, abs=0.01)
        good = hdus["STDGTI"].data
        assert list(zip(good["START"], good["STOP"], strict=True)) == GTI
        time = table.data["TIME"]
        assert (np.diff(time) >= 0).all()
        assert ((time < GTI[0][1]) | (time >= GTI[1][0])).all()


def test_truth_tells_what_is_in_the_file(observation: Path) -> None:
    truth = json.loads((observation.parent / f"{OBS}_truth.json").read_text())
    label = fits.getdata(observation / "bat" / "event" / f"sw{OBS}bevshsp_uf.evt")["SIMLABEL"]
    assert truth["truth"]["sources"][0]["recorded"] == (label == 1).sum()
    assert truth["truth"]["background"]["recorded"] == (label == 0).sum()
    assert truth["seed"] == 7
    assert len(truth["detectors"]["hot"]) == 40


def test_detector_files(observation: Path) -> None:
    hk = observation / "bat" / "hk"
    with fits.open(hk / f"sw{OBS}bdecb.hk") as hdus:
        assert hdus["BAT_FLAGS"].columns["FLAG"].dim == "(286,173)"
        off = hdus["BAT_FLAGS"].data["FLAG"][0]
    bad = fits.getdata(hk / f"sw{OBS}bdqcb.hk")
    assert off.shape == bad.shape == (173, 286)
    assert (off == 0).sum() == 32768 - 500
    assert (bad == 0).sum() == 32768 - 580
    assert (bad[off == 1] == 1).all()
    events = fits.getdata(observation / "bat" / "event" / f"sw{OBS}bevshsp_uf.evt")
    assert (off[events["DETY"], events["DETX"]] == 0).all()
    with fits.open(hk / f"sw{OBS}bgocb.hk") as hdus:
        gain = hdus["GAIN_OFFSET_MAP"]
        assert gain.data["GAIN"].shape == (1, 173, 286)
        assert gain.data["GAIN"].mean() == pytest.approx(0.47, abs=0.05)  # gaps are 1
        assert {"OFFPULSE", "GAININD", "OFFINDEX"} <= set(gain.header)


def test_attitude_files(observation: Path) -> None:
    with fits.open(observation / "auxil" / f"sw{OBS}sat.fits") as hdus:
        rows, flags = hdus["ATTITUDE"].data, hdus["ACS_DATA"].data
        assert hdus["ACS_DATA"].columns["FLAGS"].format == "8X"
        time = rows["TIME"] - T0
        assert rows["POINTING"][0] == pytest.approx([150, 30, 40], abs=0.01)
        assert rows["POINTING"][-1] == pytest.approx([152, 31, 41], abs=0.01)
        assert np.linalg.norm(rows["QPARAM"], axis=1) == pytest.approx(1)
        settled = flags["FLAGS"][:, 1]
        assert np.array_equal(settled, (time < 18) | (time >= 34))
    with fits.open(observation / "auxil" / f"sw{OBS}sao.fits") as hdus:
        orbit = hdus["PREFILTER"].data
        radius = np.linalg.norm(orbit["POSITION"], axis=1)
        assert radius == pytest.approx(6950, rel=1e-6)
        speed = np.linalg.norm(np.gradient(orbit["POSITION"].astype(float), orbit["TIME"], axis=0), axis=1)
        assert speed[1:-1] == pytest.approx(np.linalg.norm(orbit["VELOCITY"], axis=1)[1:-1], rel=1e-3)
        assert (orbit["ELV"] > 60).all()
        assert np.abs(orbit["EARTH_DEC"]).max() < 20.7


def test_sun_and_moon_are_where_astropy_puts_them() -> None:
    import astropy.units as u
    from astropy.coordinates import SkyCoord, get_body, get_sun
    from astropy.time import Time
    from astropy.utils import iers

    from batx.simulate.orbit import prefilter

    attitude = simulate.attitude(T0, 60.0)
    orbit = prefilter(attitude, step=60.0)
    time = Time("2020-01-06T10:40:00")
    with iers.conf.set_temp("auto_download", False):
        for name, body in (("SUN", get_sun(time)), ("MOON", get_body("moon", time))):
            place = SkyCoord(orbit[f"{name}_RA"][0], orbit[f"{name}_DEC"][0], unit="deg")
            seen = body.cartesian.xyz.to_value("km") - orbit["POSITION"][0]
            true = SkyCoord(*seen, representation_type="cartesian").represent_as("unitspherical")
            assert place.separation(SkyCoord(true.lon, true.lat)) < 0.02 * u.deg


def test_rates_are_those_of_the_events(observation: Path) -> None:
    events = fits.getdata(observation / "bat" / "event" / f"sw{OBS}bevshsp_uf.evt")
    with fits.open(observation / "bat" / "rate" / f"sw{OBS}brtms.lc") as hdus:
        column = hdus["RATE"].columns["COUNTS"]
        assert (column.format, column.bzero) == ("4I", 32768)
        assert hdus["RATE"].header["TIMEDEL"] == 0.064
        fine = hdus["RATE"].data
        start, counts = fine["TIME"], fine["COUNTS"]
    for row in (0, 100, len(start) - 1):
        inside = (events["TIME"] >= start[row]) & (events["TIME"] < start[row] + 0.064)
        energy = events["PI"][inside] / 10
        assert counts[row].tolist() == np.histogram(energy, [15, 25, 50, 100, 349.99])[0].tolist()
    assert not ((start > T0 + 11.45) & (start < T0 + 12.99)).any()
    coarse = fits.getdata(observation / "bat" / "rate" / f"sw{OBS}brt1s.lc")
    assert len(coarse) == 28
    inside = (events["TIME"] < T0 + 11) & (events["PI"] >= 150) & (events["PI"] < 3500)
    assert coarse["COUNTS"][:11].sum() == inside.sum()


def test_survey_histograms(observation: Path) -> None:
    events = fits.getdata(observation / "bat" / "event" / f"sw{OBS}bevshsp_uf.evt")
    with fits.open(observation / "bat" / "survey" / f"sw{OBS}bsvpb000g0000.dph") as hdus:
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "BAT_DPH", "EBOUNDS", "STDGTI"]
        histograms = hdus["BAT_DPH"]
        assert histograms.columns["DPH_COUNTS"].dim == "(80,286,173)"
        assert histograms.data["EXPOSURE"].tolist() == [10.0, 8.5, 10.0]
        good = np.isin(events["EVENT_FLAGS"], (0, 16))
        assert histograms.data["DPH_COUNTS"].sum() == good.sum()
        bounds = hdus["EBOUNDS"].data
        assert (bounds["E_MIN"][1:] == bounds["E_MAX"][:-1]).all()
        second = good & (events["TIME"] >= T0 + 10) & (events["TIME"] < T0 + 20)
        x, y, height = (events[name][second] for name in ("DETX", "DETY", "PHA"))
        maps = fits.getdata(observation / "bat" / "hk" / f"sw{OBS}bgocb.hk")[0]
        # energies on board are those of the linear scale
        gain, offset = (maps[name][y, x].astype(float) for name in ("GAIN", "OFFSET"))
        energy = np.floor(gain * (offset - height) / 0.1) / 10 + 0.01
        counts = histograms.data["DPH_COUNTS"][1]
        low, high = (round(float(bounds[name][20]), 1) for name in ("E_MIN", "E_MAX"))
        assert counts[..., 20].sum() == ((energy >= low) & (energy < high)).sum()
        assert counts[10].sum() == (y == 10).sum()
        assert counts[:, 7].sum() == (x == 7).sum()


def test_calibration_files(observation: Path) -> None:
    with fits.open(observation / "caldb" / "aperture.fits") as hdus:
        mask = simulate.aperture(seed=7)
        assert (hdus[0].data == mask["mask"].values).all()
        header = hdus[0].header
        assert (header["CRPIX1"], header["CRVAL1"], header["CRVAL2"]) == (0.5, -121.75, -60.75)
        assert (header["MASKBATZ"], header["MASKOFFX"], header["DETBATZ"]) == (100.1, 0.05, 0.35)
    header = fits.getheader(observation / "caldb" / "teldef.fits")
    matrix = np.array([[header[f"ALIGNM{i}{j}"] for j in (1, 2, 3)] for i in (1, 2, 3)])
    assert (matrix == simulate.alignment()["matrix_file"].values).all()
    assert np.allclose(matrix @ matrix.T, np.eye(3), atol=5e-9)


def test_same_seed_same_bytes(observation: Path, tmp_path: Path) -> None:
    again = make(tmp_path)
    for path in observation.rglob("*"):
        if path.is_file():
            assert (again / path.relative_to(observation)).read_bytes() == path.read_bytes()
    truth = f"{OBS}_truth.json"
    assert (tmp_path / truth).read_bytes() == (observation.parent / truth).read_bytes()


def test_compressed_files_hold_the_same_and_have_no_date(observation: Path, tmp_path: Path) -> None:
    packed = [make(tmp_path / name, compress=True) for name in ("a", "b")]
    name = Path("bat") / "event" / f"sw{OBS}bevshsp_uf.evt"
    both = [(folder / name).with_name(name.name + ".gz").read_bytes() for folder in packed]
    assert both[0] == both[1]
    assert gzip.decompress(both[0]) == (observation / name).read_bytes()
    assert len(list((packed[0] / "bat" / "survey").glob("*.dph.gz"))) == 1


def test_flight_mask_and_ideal_alignment(tmp_path: Path) -> None:
    folder = make(tmp_path, mask="flight", misalignment=(0, 0, 0), survey=None, labels=False)
    header = fits.getheader(folder / "caldb" / "aperture.fits")
    assert (header["NAXIS1"], header["NAXIS2"], header["CRVAL1"], header["MASKBATZ"]) == (
        497,
        253,
        -124.25,
        100.3,
    )
    assert fits.getheader(folder / "caldb" / "teldef.fits")["ALIGNM12"] == 1
    assert fits.getheader(folder / "bat" / "event" / f"sw{OBS}bevshsp_uf.evt", 1)["NAXIS1"] == 27
    assert not (folder / "bat" / "survey").exists()


def test_nothing_is_replaced_unless_asked(observation: Path, tmp_path: Path) -> None:
    make(tmp_path, survey=None)
    with pytest.raises(WriteError, match="overwrite"):
        make(tmp_path, survey=None)
    make(tmp_path, survey=None, overwrite=True)


def test_batx_opens_and_analyses_it(observation: Path) -> None:
    """From the directory to the weighted light curve of the source that was put in."""
    import batx

    obs = batx.open_observation(observation)
    assert obs.attrs["missing"] == ""
    assert batx.check(obs) == []
    assert int(obs["detector_mask/good"].sum()) == 32768 - 580
    for name, maker in (("aperture", simulate.aperture(seed=7)), ("alignment", simulate.alignment())):
        for variable in maker.data_vars:
            assert np.array_equal(obs[name][variable].values, maker[variable].values)
    events = obs.bat.mask_weight(151.0, 30.5)
    curve = events.bat.lightcurve(dt=1.0, energy=[10, 500], detector_mask=obs["detector_mask"].to_dataset())
    rate = curve["rate"].values[:, 0]
    when = curve["time"].values - T0
    error = curve["rate_err"].values[:, 0]
    assert (np.abs(rate[when < 8]) < 4 * error[when < 8]).all()
    profile = Fred(8.0, 1.0, 4.0)
    grid = np.linspace(0, 30, 30001)
    for row in np.flatnonzero((when > 8) & (curve["fracexp"].values == 1)):
        inside = np.abs(grid - when[row]) <= 0.5
        expected = profile(grid[inside]).mean()
        assert abs(rate[row] - expected) < 4 * error[row] + 0.03 * expected


def test_bad_observation_id(tmp_path: Path) -> None:
    with pytest.raises(ValueRangeError, match="eleven digits"):
        make(tmp_path, obs_id="12345")
    assert list(tmp_path.iterdir()) == []


def test_benchmark_file_has_an_exact_number_of_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import batx
    from batx.simulate import benchmark

    whole = simulate.event_file(tmp_path / "whole.evt", 200_000, seed=1)
    monkeypatch.setattr(benchmark, "_AT_ONCE", 60_000)
    parts = simulate.event_file(tmp_path / "parts.evt", 200_000, seed=1)
    for path in (whole, parts):
        with fits.open(path) as hdus:
            hdus.verify("exception")
            table = hdus["EVENTS"]
            assert table.header["NAXIS1"] == 27
            assert table.header["NAXIS2"] == 200_000
            assert table.columns.formats == ["D", "I", "B", "I", "I", "I", "E", "I", "E"]
            time = table.data["TIME"]
            assert (np.diff(time) >= 0).all()
            good = hdus["STDGTI"].data
            assert good["START"][0] == table.header["TSTART"] <= time[0]
            assert good["STOP"][0] == table.header["TSTOP"] > time[-1]
            assert 0.95 * 1000 < good["STOP"][0] - good["START"][0] <= 1000
            assert np.histogram(time, 20)[0].std() < 3 * np.sqrt(10_000)
        stored = batx.open_dataset(path)
        made = stored.bat.mask_weight(0.25, 0.10, frame="tangent", aperture=simulate.aperture(seed=1))
        flagged = ~np.isin(made["event_flags"].values, (0, 16))
        assert not flagged.any()
        assert np.allclose(made["mask_weight"].values, stored["mask_weight"].values, rtol=1e-4, atol=1e-9)


def test_messages_are_written_and_say_what_was_asked_for(tmp_path: Path) -> None:
    import batx

    messages = simulate.Messages(
        bat=(151.0, 30.5),
        xrt=(151.01, 30.51),
        foreground=(-0.1, 0.4),
        background=(-8.0, -2.0),
        criterion=10003,
    )
    made = make(tmp_path, messages=messages, near=(0.1, 1.0), survey=None)
    assert sorted(path.name for path in (made / "tdrss").iterdir()) == [
        f"sw{OBS}{name}_rw.fits" for name in ("msbal", "msbce", "msbsm", "msxce")
    ]
    centroid = fits.getheader(made / "tdrss" / f"sw{OBS}msbce_rw.fits")
    assert (centroid["BRA_OBJ"], centroid["TRIGSATF"], centroid["FOREEXPO"]) == (151.0, 10003, 0.5)
    assert centroid["TRIGTIME"] == T0 + 10.0 and "TRIGSTOP" not in centroid
    image = batx.scaled_map(made / "tdrss" / f"sw{OBS}msbsm_rw.fits")
    assert image["time_bnds"].values.tolist() == pytest.approx([T0 + 9.9, T0 + 10.4], abs=2e-5)
    assert image["energy_bnds"].values.tolist() == [15.0, 50.0]
    # the burst is in it, the background is not
    assert 2000 < float(image["counts"].sum()) < 30000
    with fits.open(made / "bat" / "hk" / f"sw{OBS}ben.hk") as hdus:
        assert hdus["hk161x001"].data["INVDIST"].tolist() == [0.0, 0.1]
    again = make(tmp_path / "again", messages=messages, near=(0.1, 1.0), survey=None)
    for path in sorted((made / "tdrss").iterdir()):
        assert path.read_bytes() == (again / "tdrss" / path.name).read_bytes()
    with pytest.raises(ValueRangeError, match="no trigger"):
        make(tmp_path / "none", messages=messages, trigger=None)
    with pytest.raises(ValueRangeError, match="RA and Dec"):
        simulate.Messages(bat=(1.0, 95.0))
    with pytest.raises(ValueRangeError, match="start and stop"):
        simulate.Messages(foreground=(2.0, 1.0))
