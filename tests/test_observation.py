"""An archive directory opens as a tree: joined events, masks combined, calibration found, gaps named."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
import xarray as xr
from astropy.io import fits

import batx
from batx.errors import BatxWarning, MissingFileError

OBS = "00012345000"
KEYS = {
    "TELESCOP": "SWIFT",
    "INSTRUME": "BAT",
    "OBS_ID": OBS,
    "OBJECT": "TEST",
    "DATE-OBS": "2020-01-06T10:40:00",
}


def _write(path, *hdus, primary=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    fits.HDUList([primary or fits.PrimaryHDU(), *hdus]).writeto(path)


def _table(name, **columns):
    made = []
    for key, (form, array, *dim) in columns.items():
        made.append(fits.Column(key, form, array=np.asarray(array), dim=dim[0] if dim else None))
    table = fits.BinTableHDU.from_columns(made, name=name)
    table.header.update(KEYS)
    return table


def _events(path, start, stop, n=100):
    times = np.linspace(start, stop, n, endpoint=False)
    table = _table("EVENTS", TIME=("D", times), DET_ID=("I", np.arange(n)), PHA=("I", np.arange(n)))
    _write(path, table, _table("STDGTI", START=("D", [start]), STOP=("D", [stop])))


@pytest.fixture
def observation(tmp_path):
    """Write one observation with everything that a full analysis needs."""
    root = tmp_path / OBS
    _events(root / "bat/event" / f"sw{OBS}bevshsp_uf.evt", 0.0, 100.0)
    _events(root / "bat/event" / f"sw{OBS}bevshsl_uf.evt", 150.0, 200.0)
    zipped = root / "bat/event" / f"sw{OBS}bevshsl_uf.evt"
    zipped.with_suffix(".evt.gz").write_bytes(gzip.compress(zipped.read_bytes()))
    zipped.unlink()
    flags = np.zeros((1, 173, 286), np.int16)
    flags[0, 0, 0] = 1
    _write(
        root / "bat/hk/enable", _table("BAT_FLAGS", TIME=("D", [0.0]), FLAG=("49478I", flags, "(286,173)"))
    )
    quality = np.zeros((173, 286), np.int16)
    quality[1, 1] = 2
    header = fits.Header(KEYS | {"GOODVAL": 0})
    _write(root / "bat/hk" / f"sw{OBS}bdqcb.hk", primary=fits.PrimaryHDU(quality, header=header))
    gain = ("49478E", np.ones((1, 173, 286)), "(286,173)")
    _write(
        root / "bat/hk" / f"sw{OBS}bgocb.hk",
        _table("GAIN_OFFSET_MAP", TIME=("D", [0.0]), GAIN=gain, OFFSET=gain),
    )
    quaternions = np.tile([0.0, 0.0, 0.0, 1.0], (3, 1))
    sat = _table("ATTITUDE", TIME=("D", [0.0, 1.0, 2.0]), QPARAM=("4D", quaternions))
    _write(root / "auxil" / f"sw{OBS}sat.fits", sat)
    orbit = _table(
        "PREFILTER", TIME=("D", [0.0, 1.0]), QUATERNION=("4E", quaternions[:2]), ELV=("E", [3.0, 4.0])
    )
    _write(root / "auxil" / f"sw{OBS}sao.fits", orbit)
    rates = _table("RATE", TIME=("D", [0.0, 1.0]), COUNTS=("J", [4, 5]))
    rates.header["TIMEDEL"] = 1.0
    _write(root / "bat/rate" / f"sw{OBS}brt1s.lc", rates)
    image = fits.ImageHDU(np.ones((4, 4)), name="POSTAGE")
    _write(root / "tdrss" / f"sw{OBS}msbps.fits", image)
    (root / "xrt/event").mkdir(parents=True)
    (root / "xrt/event/broken.evt").write_bytes(b"SIMPLE  = nonsense")
    (root / "bat/hk/notes.txt").write_text("not FITS")
    aperture = fits.Header(KEYS | {"APERTYPE": "FLUX"})
    aperture.remove("OBS_ID")
    _write(root / "caldb/aperture.fits", primary=fits.PrimaryHDU(np.ones((9, 9), np.int16), header=aperture))
    matrix = {
        f"ALIGNM{i}{j}": float(m) for (i, j), m in zip(_pairs(), [0, 1, 0, 0, 0, 1, 1, 0, 0], strict=True)
    }
    _write(root / "caldb/teldef.fits", primary=fits.PrimaryHDU(header=fits.Header(KEYS | matrix)))
    return root


def _pairs():
    return [(i, j) for i in (1, 2, 3) for j in (1, 2, 3)]


def test_everything_is_found(observation):
    obs = batx.open_observation(observation)
    assert obs.attrs["obs_id"] == OBS
    assert obs.attrs["missing"] == ""
    assert {group.strip("/") for group in obs.groups} == {
        "", "events", "gti", "attitude", "detector_mask", "gain_offset", "alignment", "aperture",
        "rates", "rates/brt1s", "housekeeping", "housekeeping/sao", "tdrss", "tdrss/msbps",
    }  # fmt: skip
    assert batx.check(obs) == []
    assert obs["events"].sizes["event"] == 200
    np.testing.assert_array_equal(obs["gti/start"], [0, 150])
    np.testing.assert_array_equal(obs["events/gti_stop"], [100, 200])
    assert obs["events"].attrs["exposure"] == 150.0
    good = obs["detector_mask/good"].values
    assert not good[0, 0]
    assert not good[1, 1]
    assert good.sum() == 32768 - 2
    assert obs["attitude"].encoding["source"].endswith("sat.fits")
    assert "elv" in obs["housekeeping/sao"]


def test_chunked(observation):
    obs = batx.open_observation(observation, chunks={})
    assert obs["events/energy" if "energy" in obs["events"] else "events/pha"].chunks is not None


def test_what_is_missing_is_said(observation, tmp_path, monkeypatch):
    for name in (
        "caldb/aperture.fits",
        "caldb/teldef.fits",
        f"auxil/sw{OBS}sat.fits",
        f"auxil/sw{OBS}sao.fits",
    ):
        (observation / name).rename(tmp_path / name.replace("/", "_"))
    obs = batx.open_observation(observation)
    missing = obs.attrs["missing"].splitlines()
    assert [line.split(":")[0] for line in missing] == ["attitude", "alignment", "aperture"]
    found = batx.open_observation(observation, calibration=[tmp_path / "caldb_aperture.fits"])
    assert "aperture" in found
    assert "alignment" not in found
    folder = tmp_path / "caldb_all"
    (folder / "data/swift/bat/bcf").mkdir(parents=True)
    (tmp_path / "caldb_teldef.fits").rename(folder / "data/swift/bat/bcf/swb.teldef")
    monkeypatch.setenv("CALDB", str(folder))
    both = batx.open_observation(observation, calibration=tmp_path / "caldb_aperture.fits")
    assert {"aperture", "alignment"} <= set(both.children)
    with pytest.raises(MissingFileError, match="calibration"):
        batx.open_observation(observation, calibration=tmp_path / "nowhere")


def test_calibration_of_the_day(observation, tmp_path):
    """Of several alignments the last that was valid on the day of the observation."""
    folder = tmp_path / "several"
    for day, scale in (("2004-11-20", 1.0), ("2015-01-01", 2.0), ("2022-01-01", 3.0)):
        matrix = {f"ALIGNM{i}{j}": scale * (i == j) for i, j in _pairs()}
        header = fits.Header(KEYS | matrix | {"CVSD0001": day})
        _write(folder / f"{day}.teldef", primary=fits.PrimaryHDU(header=header))
    obs = batx.open_observation(observation, calibration=folder)
    assert float(obs["alignment/matrix_file"][0, 0]) == 2.0


def test_unreadable_file_is_left_out_with_a_warning(observation):
    path = observation / "bat/event" / f"sw{OBS}bevshsp_uf.evt"
    path.write_bytes(path.read_bytes()[:6000])
    with pytest.warns(BatxWarning, match="bevshsp_uf.evt.*cut short"):
        obs = batx.open_observation(observation)
    assert obs["events"].sizes["event"] == 100


def test_files_of_one_name_keep_a_node_each(observation):
    path = observation / "bat/rate" / f"sw{OBS}brt1s.lc"
    path.with_suffix(".lc.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert len(batx.open_observation(observation)["rates"].children) == 2


def test_no_observation(tmp_path):
    with pytest.raises(MissingFileError, match="no such directory"):
        batx.open_observation(tmp_path / "nothing")
    with pytest.raises(MissingFileError, match="no FITS files"):
        batx.open_observation(tmp_path)


def test_survey_observation(shared):
    folder = shared / "reference/survey/survey_obs"
    obs = batx.open_observation(folder / "00099999001", calibration=folder)
    assert obs.attrs["missing"].startswith("events:")
    assert "\n" not in obs.attrs["missing"]
    assert obs.attrs["obs_id"] == "00099999001"
    assert sorted(obs["survey"].children) == ["bsvpb000g0040", "bsvpb001g0041"]
    assert sorted(obs["housekeeping/sen"].children) == ["hk011x001", "hk014x001"]
    assert obs["aperture"].encoding["source"].endswith("aper_flux.fits")
    flags = fits.getdata(folder / "00099999001/bat/hk/sw00099999001bdecb.hk", 1)["FLAG"][0]
    assert not obs["detector_mask/good"].values[flags != 0].any()
    assert batx.check(obs) == []
    xr.testing.assert_identical(
        obs["survey/bsvpb000g0040"].to_dataset().drop_attrs().load(),
        batx.open_dataset(next((folder / "00099999001/bat/survey").glob("*g0040*"))).drop_attrs().load(),
    )


def test_hidden_folders_are_not_looked_into(tmp_path, recwarn):
    _events(tmp_path / "bat" / "event" / "shown.evt", 0.0, 1.0)
    (tmp_path / ".batx").mkdir()
    (tmp_path / ".batx" / "lock").touch()
    tree = batx.open_observation(tmp_path)
    assert "events" in tree.children and not [one for one in recwarn if issubclass(one.category, BatxWarning)]
