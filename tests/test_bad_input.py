"""What can be wrong with the input, from the file to a clear error, or to a warning with right numbers.

Each test spoils a copy of a good file of a small simulated observation, opens it and goes on to a product.
"""

from __future__ import annotations

import gzip
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
import pytest
import xarray as xr
from astropy.coordinates import SkyCoord
from astropy.io import fits
from click.testing import CliRunner

import batx
from batx import simulate
from batx.cli import main
from batx.errors import (
    AttitudeError,
    BatxError,
    BatxWarning,
    EmptySelectionError,
    FileFormatError,
    GtiError,
    KindError,
    MissingFileError,
    MissingKeywordError,
    MissingVariableError,
    PositionError,
    UnitsError,
    ValueRangeError,
)
from batx.instrument.detector import DETECTOR
from batx.met import met_to_time
from batx.simulate import Background, Source

T0 = 6e8
GTI = [(T0, T0 + 8.0), (T0 + 10.0, T0 + 20.0)]
RA, DEC = 151.0, 30.5
BAND = [15, 150]

Change = Callable[[fits.HDUList], Any]


@pytest.fixture(scope="module")
def observation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate.observation(
        tmp_path_factory.mktemp("bad") / "obs",
        Source(0.2, ra=RA, dec=DEC),
        Background(0.02),
        duration=20.0,
        gti=GTI,
        trigger=5.0,
        seed=3,
    )


@pytest.fixture(scope="module")
def event_file(observation: Path) -> Path:
    (path,) = (observation / "bat" / "event").iterdir()
    return path


@pytest.fixture(scope="module")
def good(observation: Path, event_file: Path) -> xr.Dataset:
    """The events as they are, weighted."""
    return batx.mask_weight(batx.open_dataset(event_file).load(), RA, DEC, **frame(observation))


@pytest.fixture
def spoil(event_file: Path, tmp_path: Path) -> Callable[[Change], Path]:
    """Write the event file with a change, return its path."""

    def write(change: Change) -> Path:
        with fits.open(event_file, memmap=False) as hdus:
            change(hdus)
            hdus.writeto(tmp_path / "spoilt.evt", overwrite=True)
        return tmp_path / "spoilt.evt"

    return write


def frame(observation: Path, *left_out: str) -> dict[str, xr.Dataset]:
    """Return attitude, aperture and alignment of the observation."""
    (attitude,) = (observation / "auxil").glob("*sat.fits")
    paths = {
        "attitude": attitude,
        "aperture": observation / "caldb" / "aperture.fits",
        "alignment": observation / "caldb" / "teldef.fits",
    }
    return {name: batx.open_dataset(path) for name, path in paths.items() if name not in left_out}


def set_column(name: str, rows: Any, values: Any) -> Change:
    def change(hdus: fits.HDUList) -> None:
        hdus["EVENTS"].data[name][rows] = values

    return change


def without_columns(*names: str) -> Change:
    def change(hdus: fits.HDUList) -> None:
        for name in names:
            hdus["EVENTS"].columns.del_col(name)

    return change


def with_rows(rows: Any) -> Change:
    def change(hdus: fits.HDUList) -> None:
        hdus["EVENTS"].data = hdus["EVENTS"].data[rows]

    return change


def with_gti(start: list[float], stop: list[float]) -> Change:
    def change(hdus: fits.HDUList) -> None:
        table = fits.BinTableHDU.from_columns(
            [
                fits.Column("START", "D", unit="s", array=np.array(start, dtype=float)),
                fits.Column("STOP", "D", unit="s", array=np.array(stop, dtype=float)),
            ],
            header=hdus["STDGTI"].header,
            name="STDGTI",
        )
        hdus["STDGTI"] = table

    return change


def with_cards(**cards: Any) -> Change:
    """Set keywords of all units, or remove those that are `None`."""

    def change(hdus: fits.HDUList) -> None:
        for hdu in hdus:
            for name, value in cards.items():
                if value is None:
                    hdu.header.remove(name, ignore_missing=True)
                elif name in hdu.header:
                    hdu.header[name] = value

    return change


def raw_counts(events: xr.Dataset, **options: Any) -> np.ndarray:
    return batx.lightcurve(events, dt=1.0, energy=BAND, weighting="none", **options)["counts"].values


def cli_error(*arguments: object) -> str:
    """Return the one line that the command line says of an error."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert "Traceback" not in result.output
    return lines[0]


def test_the_good_file_warns_of_nothing(observation: Path, event_file: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        events = batx.open_dataset(event_file)
        weighted = batx.mask_weight(events, RA, DEC, **frame(observation))
        assert float(batx.spectrum(weighted, energy=BAND)["rate"].sum()) == pytest.approx(0.2, rel=0.3)
        assert raw_counts(events).sum() > 1000


# --- files -------------------------------------------------------------------------------------------------


def _truncated(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _header_cut(data: bytes) -> bytes:
    return data[:1000]


def _corrupt_gzip(data: bytes) -> bytes:
    packed = bytearray(gzip.compress(data))
    packed[len(packed) // 2 : len(packed) // 2 + 200] = bytes(200)
    return bytes(packed)


def _short_gzip(data: bytes) -> bytes:
    return gzip.compress(data)[:-5000]


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (_truncated, "cut short"),
        (_header_cut, "END"),
        (_corrupt_gzip, "gzip"),
        (_short_gzip, "gzip"),
        (lambda _: b"time,counts\n1,2\n", "not FITS"),
        (lambda _: gzip.compress(b"time,counts\n1,2\n"), "not FITS"),
        (lambda _: b"", "empty"),
    ],
)
def test_unreadable_files(
    event_file: Path, tmp_path: Path, damage: Callable[[bytes], bytes], says: str
) -> None:
    path = tmp_path / "bad.evt"
    path.write_bytes(damage(event_file.read_bytes()))
    for reader in (batx.open_dataset, batx.open_datatree, batx.join_events):
        with pytest.raises(FileFormatError, match=says) as caught:
            reader(path)
        assert "bad.evt" in str(caught.value)
    assert says in cli_error("lightcurve", path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="no such file"):
        batx.open_dataset(tmp_path / "none.evt")
    with pytest.raises(MissingFileError, match="no such"):
        batx.open_observation(tmp_path / "none")


def test_an_observation_with_a_damaged_attitude(observation: Path, tmp_path: Path) -> None:
    copy = tmp_path / "obs"
    shutil.copytree(observation, copy)
    for path in (copy / "auxil").iterdir():
        path.write_bytes(_truncated(path.read_bytes()))
    with pytest.warns(BatxWarning, match="cut short"):
        tree = batx.open_observation(copy)
    assert "attitude" in str(tree.attrs["missing"])
    with pytest.raises(AttitudeError, match="attitude: found none"):
        tree.bat.mask_weight(RA, DEC)


def test_unknown_fits_files_open_as_what_they_are(tmp_path: Path) -> None:
    fits.PrimaryHDU(np.arange(12.0).reshape(3, 4)).writeto(tmp_path / "image.fits")
    columns = [fits.Column("A", "J", array=[1, 2]), fits.Column("B", "3E", array=np.ones((2, 3)))]
    fits.BinTableHDU.from_columns(columns).writeto(tmp_path / "table.fits")
    image, table = (batx.open_dataset(tmp_path / f"{kind}.fits") for kind in ("image", "table"))
    assert (image.bat.kind, table.bat.kind) == ("image", "table")
    assert not image.bat.check()
    assert not table.bat.check()
    np.testing.assert_array_equal(image["image"], np.arange(12.0).reshape(3, 4))
    np.testing.assert_array_equal(table["a"], [1, 2])
    for ds, kind in ((image, "image"), (table, "table")):
        with pytest.raises(KindError, match=f"kind events; found kind '{kind}'"):
            ds.bat.lightcurve(dt=1.0)
    fits.PrimaryHDU().writeto(tmp_path / "nothing.fits")
    with pytest.raises(FileFormatError, match="no HDU with data"):
        batx.open_dataset(tmp_path / "nothing.fits")


# --- the kind of data --------------------------------------------------------------------------------------

VERBS: dict[str, Callable[[xr.Dataset, xr.Dataset], Any]] = {
    "mask_weight": lambda ds, aperture: ds.bat.mask_weight(0.1, 0.0, frame="tangent", aperture=aperture),
    "mask_weight_image": lambda ds, aperture: ds.bat.mask_weight_image(
        0.1, 0.0, frame="tangent", aperture=aperture
    ),
    "ray_trace": lambda ds, aperture: ds.bat.ray_trace(0.1, 0.0, frame="tangent", aperture=aperture),
    "lightcurve": lambda ds, _: ds.bat.lightcurve(dt=1.0, energy_column="pi"),
    "spectrum": lambda ds, _: ds.bat.spectrum(energy_column="pi"),
    "detector_plane": lambda ds, _: ds.bat.detector_plane(energy_column="pi"),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("cards", [{"INSTRUME": "XRT"}, {"TELESCOP": "NuSTAR", "INSTRUME": "FPMA"}])
def test_events_of_another_instrument(
    observation: Path, spoil: Callable[[Change], Path], verb: str, cards: dict[str, str]
) -> None:
    events = batx.open_dataset(spoil(with_cards(**cards)))
    assert events.bat.kind == "events"
    with pytest.raises(KindError, match=rf"^{verb} works on data of Swift/BAT.*{cards['INSTRUME']}"):
        VERBS[verb](events, frame(observation)["aperture"])
    assert float(events.bat.exposure()) == 18.0
    assert len(events.bat.to_pandas()) == events.sizes["event"]


@pytest.mark.parametrize("verb", VERBS)
def test_a_real_event_file_of_another_instrument(observation: Path, shared: Path, verb: str) -> None:
    events = batx.open_dataset(shared / "data" / "xrt" / "sw00040990001xpcw3po_cl.evt.gz")
    with pytest.raises(KindError, match=rf"^{verb} works on data of Swift/BAT; .*SWIFT XRT"):
        VERBS[verb](events, frame(observation)["aperture"])


def test_another_instrument_elsewhere(
    good: xr.Dataset, spoil: Callable[[Change], Path], event_file: Path
) -> None:
    other = spoil(with_cards(INSTRUME="XRT"))
    assert "works on data of Swift/BAT" in cli_error("lightcurve", other)
    with pytest.raises(ValueRangeError, match="different instrument"):
        batx.join_events(event_file, other)
    plane = batx.detector_plane(good).assign_attrs(instrument="XRT")
    with pytest.raises(KindError, match="hot_pixels works on data of Swift/BAT"):
        plane.bat.hot_pixels()


def test_what_does_not_name_its_instrument_is_taken_as_it_is(
    good: xr.Dataset, spoil: Callable[[Change], Path]
) -> None:
    unnamed = batx.open_dataset(spoil(with_cards(INSTRUME=None, TELESCOP=None)))
    assert "instrument" not in unnamed.attrs
    np.testing.assert_array_equal(raw_counts(unnamed), raw_counts(good))


WRONG: dict[str, tuple[Callable[[xr.Dataset], Any], str]] = {
    "mask_weight": (lambda ds: ds.bat.mask_weight(RA, DEC), "aperture|events"),
    "lightcurve": (lambda ds: ds.bat.lightcurve(dt=1.0), "kind events; found kind 'gti'"),
    "spectrum": (lambda ds: ds.bat.spectrum(), "kind events; found kind 'gti'"),
    "detector_plane": (lambda ds: ds.bat.detector_plane(), "kind events; found kind 'gti'"),
    "hot_pixels": (lambda ds: ds.bat.hot_pixels(), "kind detector_plane; found kind 'gti'"),
    "rebin_time": (lambda ds: ds.bat.rebin_time(dt=2.0), "found kind 'gti'"),
    "rebin_energy": (lambda ds: ds.bat.rebin_energy([15, 50]), "found kind 'gti'"),
}


@pytest.mark.parametrize("verb", WRONG)
def test_wrong_kind_for_a_method(event_file: Path, verb: str) -> None:
    call, says = WRONG[verb]
    with pytest.raises(KindError, match=says):
        call(batx.open_dataset(event_file, hdu="STDGTI"))


def test_a_tree_or_an_array_for_a_dataset(observation: Path, good: xr.Dataset) -> None:
    tree = batx.open_observation(observation)
    with pytest.raises(KindError, match="DataTree; select a node"):
        batx.lightcurve(tree, dt=1.0)
    with pytest.raises(KindError, match="found DataArray"):
        batx.lightcurve(good["time"], dt=1.0)
    with pytest.raises(KindError, match="found DataArray"):
        batx.mask_weight(good["time"], RA, DEC)


# --- columns and keywords ----------------------------------------------------------------------------------


def test_missing_columns(observation: Path, good: xr.Dataset, spoil: Callable[[Change], Path]) -> None:
    events = batx.open_dataset(spoil(without_columns("ENERGY", "MASK_WEIGHT")))
    with pytest.raises(MissingVariableError, match=r"no 'energy'.*energy_column='pi'"):
        events.bat.lightcurve(dt=1.0)
    with pytest.raises(MissingVariableError, match=r"no 'mask_weight'.*mask_weight"):
        events.bat.lightcurve(dt=1.0, weighting="mask")
    by_pi = events.bat.lightcurve(dt=1.0, energy=BAND, energy_column="pi")
    expected = good.bat.lightcurve(dt=1.0, energy=BAND, energy_column="pi", weighting="none")
    np.testing.assert_array_equal(by_pi["counts"], expected["counts"])


def test_missing_positions(observation: Path, good: xr.Dataset, spoil: Callable[[Change], Path]) -> None:
    by_number = batx.open_dataset(spoil(without_columns("DETX", "DETY")))
    weighted = batx.mask_weight(by_number, RA, DEC, **frame(observation))
    np.testing.assert_array_equal(weighted["mask_weight"], good["mask_weight"])
    nowhere = batx.open_dataset(spoil(without_columns("DETX", "DETY", "DET_ID")))
    with pytest.raises(MissingVariableError, match=r"no detx and no dety.*expected detx and dety, or detid"):
        batx.mask_weight(nowhere, RA, DEC, **frame(observation))
    with pytest.raises(MissingVariableError, match="'detx'"):
        nowhere.bat.detector_plane()


def test_missing_time(spoil: Callable[[Change], Path]) -> None:
    ds = batx.open_dataset(spoil(without_columns("TIME")), hdu="EVENTS")
    with pytest.raises(KindError, match="kind events; found"):
        ds.bat.lightcurve(dt=1.0)


def test_missing_flags_mean_good_events(spoil: Callable[[Change], Path], good: xr.Dataset) -> None:
    events = batx.open_dataset(spoil(without_columns("EVENT_FLAGS")))
    np.testing.assert_array_equal(raw_counts(events), raw_counts(good.drop_vars("event_flags")))


def test_missing_keywords(good: xr.Dataset, spoil: Callable[[Change], Path]) -> None:
    events = batx.open_dataset(spoil(with_cards(TRIGTIME=None, UTCFINIT=None)))
    with pytest.raises(MissingKeywordError, match="trigger"):
        events.bat.lightcurve(dt=1.0, tstart=-1, tstop=1, t0="trigger")
    # a date, with the spacecraft clock taken as perfect: 5 leap seconds since 2001
    start = met_to_time(T0 + 30.0, good.attrs["utcf"])
    stop = met_to_time(T0 + 60.0, good.attrs["utcf"])
    with pytest.warns(BatxWarning, match="no UTCF is known"):
        curve = events.bat.lightcurve(dt=1.0, tstart=start, tstop=stop, weighting="none")
    first = T0 + 30.0 + good.attrs["utcf"] + 5.0
    assert float(curve["time_bnds"][0, 0]) == pytest.approx(first, abs=1e-5)


# --- values ------------------------------------------------------------------------------------------------


def test_nan_energies_are_in_no_band(good: xr.Dataset, spoil: Callable[[Change], Path]) -> None:
    rows = np.flatnonzero((good["event_flags"].values == 0) & (good["time"].values < T0 + 8))[:7]
    events = batx.open_dataset(spoil(set_column("ENERGY", rows, np.nan)))
    expected = raw_counts(good.drop_isel(event=rows))
    with pytest.warns(BatxWarning, match=r"^7 event\(s\) have no energy"):
        np.testing.assert_array_equal(raw_counts(events), expected)
    with pytest.warns(BatxWarning, match=r"^7 event\(s\) have no energy"):
        spectrum = batx.spectrum(events, energy=BAND, weighting="none")
    assert int(spectrum["counts"].sum()) == expected.sum()
    with pytest.warns(BatxWarning, match=r"^7 event\(s\) have no energy"):
        plane = batx.detector_plane(events, energy=BAND)
    assert int(plane["counts"].sum()) == expected.sum()


def test_zero_events(observation: Path, spoil: Callable[[Change], Path]) -> None:
    events = batx.open_dataset(spoil(with_rows(slice(0, 0))))
    assert events.sizes["event"] == 0
    with pytest.warns(BatxWarning, match="no events"):
        curve = batx.lightcurve(events, dt=1.0, energy=BAND, weighting="none")
    assert curve.sizes["time"] == 18
    assert not curve["counts"].any()
    assert float(curve["exposure"].sum()) == 18.0
    with pytest.warns(BatxWarning, match="no events"):
        assert not batx.spectrum(events, weighting="none")["counts"].any()
    with pytest.warns(BatxWarning, match="no events"):
        assert not batx.detector_plane(events)["counts"].any()
    weighted = batx.mask_weight(events, RA, DEC, **frame(observation))
    assert weighted["mask_weight"].shape == (0,)
    with pytest.warns(BatxWarning, match="no events"):
        assert not batx.lightcurve(weighted, dt=1.0)["rate"].any()


def test_events_outside_good_time_do_not_count(good: xr.Dataset, spoil: Callable[[Change], Path]) -> None:
    events = batx.open_dataset(spoil(with_gti([T0 + 2.0, T0 + 12.0], [T0 + 4.0, T0 + 15.0])))
    time = good["time"].values
    inside = ((time >= T0 + 2) & (time < T0 + 4)) | ((time >= T0 + 12) & (time < T0 + 15))
    spectrum = batx.spectrum(events, energy=BAND, weighting="none")
    whole = batx.spectrum(good.isel(event=inside), energy=BAND, weighting="none")
    assert int(spectrum["counts"].sum()) == int(whole["counts"].sum()) > 0
    assert float(spectrum["exposure"]) == 5.0


def test_unsorted_times_give_the_same_sums(
    observation: Path, good: xr.Dataset, spoil: Callable[[Change], Path]
) -> None:
    order = np.random.default_rng(1).permutation(good.sizes["event"])
    events = batx.open_dataset(spoil(with_rows(order)))
    with pytest.warns(BatxWarning, match="not in order of time"):
        np.testing.assert_array_equal(raw_counts(events), raw_counts(good))
    weighted = batx.mask_weight(events, RA, DEC, **frame(observation))
    with pytest.warns(BatxWarning, match="not in order of time"):
        rate = float(batx.spectrum(weighted, energy=BAND)["rate"].sum())
    expected = batx.spectrum(good, energy=BAND)
    # traces are made at other events of the same pointing, within the tolerance of them
    assert rate == pytest.approx(float(expected["rate"].sum()), abs=0.05 * float(expected["stat_err"].sum()))


def test_overlapping_good_time_counts_once(good: xr.Dataset, spoil: Callable[[Change], Path]) -> None:
    events = batx.open_dataset(spoil(with_gti([T0 + 5.0, T0, T0 + 10.0], [T0 + 8.0, T0 + 7.0, T0 + 20.0])))
    with pytest.warns(BatxWarning, match="overlap and are merged"):
        curve = batx.lightcurve(events, dt=1.0, energy=BAND, weighting="none")
    np.testing.assert_array_equal(curve["counts"], raw_counts(good))
    assert float(curve["exposure"].sum()) == 18.0


@pytest.mark.parametrize(
    ("start", "stop", "says"),
    [
        ([], [], "no time at all"),
        ([T0 + 5.0], [T0 + 5.0], "no time at all"),
        ([T0 + 5.0], [T0 + 1.0], "end before"),
        ([np.nan], [T0 + 1.0], "NaN"),
    ],
)
def test_empty_or_malformed_good_time(
    spoil: Callable[[Change], Path], start: list[float], stop: list[float], says: str
) -> None:
    events = batx.open_dataset(spoil(with_gti(start, stop)))
    for call in (
        lambda: batx.lightcurve(events, dt=1.0),
        lambda: batx.spectrum(events),
        lambda: batx.detector_plane(events),
    ):
        with pytest.raises(GtiError, match=says):
            call()


def test_no_good_time_at_all(good: xr.Dataset, spoil: Callable[[Change], Path]) -> None:
    path = spoil(lambda hdus: hdus.pop(2))
    with pytest.warns(BatxWarning, match="TSTART to TSTOP"):
        curve = batx.lightcurve(batx.open_dataset(path), dt=1.0, energy=BAND, weighting="none")
    assert int(curve["counts"].sum()) == raw_counts(good).sum()
    events = batx.open_dataset(path)
    del events.attrs["tstart"]
    with pytest.raises(GtiError, match="exposure is unknown"):
        batx.lightcurve(events, dt=1.0)


def test_positions_in_gaps_or_out_of_range(
    observation: Path, good: xr.Dataset, spoil: Callable[[Change], Path]
) -> None:
    taken = (good["event_flags"] == 0) & (good["energy"] > 20) & (good["energy"] < 140)
    rows = np.flatnonzero(taken.values)[:4]

    def change(hdus: fits.HDUList) -> None:
        hdus["EVENTS"].data["DETX"][rows] = [16, 286, -1, 0]
        hdus["EVENTS"].data["DETY"][rows] = [0, 0, 0, 173]

    events = batx.open_dataset(spoil(change)).load()
    says = r"^4 event\(s\) have a position outside"
    with pytest.warns(BatxWarning, match=says):
        plane = batx.detector_plane(events, energy=BAND)
    rest = good.drop_isel(event=rows)
    np.testing.assert_array_equal(plane["counts"], batx.detector_plane(rest, energy=BAND)["counts"])
    with pytest.warns(BatxWarning, match=says):
        curve = raw_counts(events, detector_mask=DETECTOR)
    np.testing.assert_array_equal(curve, raw_counts(rest, detector_mask=DETECTOR))
    with pytest.warns(BatxWarning, match=rf"4 good event\(s\) of {good.sizes['event']}"):
        weighted = batx.mask_weight(events, RA, DEC, **frame(observation))
    assert not weighted["mask_weight"].values[rows].any()
    np.testing.assert_array_equal(
        weighted["mask_weight"].values[np.delete(np.arange(good.sizes["event"]), rows)], rest["mask_weight"]
    )


# --- units and arguments -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("column", "unit"), [("TIME", "m"), ("TIME", "keV")])
def test_column_of_a_wrong_unit(spoil: Callable[[Change], Path], column: str, unit: str) -> None:
    def change(hdus: fits.HDUList) -> None:
        hdus["EVENTS"].columns[column].unit = unit

    with pytest.raises(UnitsError, match=f"{column} has unit '{unit}'"):
        batx.open_dataset(spoil(change))


def test_energies_in_another_unit(good: xr.Dataset, spoil: Callable[[Change], Path]) -> None:
    """Converted when read; a Dataset that was not is refused."""

    def change(hdus: fits.HDUList) -> None:
        hdus["EVENTS"].columns["ENERGY"].unit = "MeV"
        hdus["EVENTS"].data["ENERGY"] /= 1000

    events = batx.open_dataset(spoil(change))
    np.testing.assert_array_equal(raw_counts(events), raw_counts(good))
    events["energy"].attrs["units"] = "MeV"
    with pytest.raises(UnitsError, match="'energy' of the events is in 'MeV', expected 'keV'"):
        batx.lightcurve(events, dt=1.0)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda ds, inputs: ds.bat.lightcurve(dt=1.0 * u.keV), "dt"),
        (lambda ds, inputs: ds.bat.lightcurve(dt=1.0, energy=[15, 50] * u.s), "energy"),
        (lambda ds, inputs: ds.bat.spectrum(tstart=1 * u.m, tstop=2 * u.m), "tstart"),
        (lambda ds, inputs: ds.bat.mask_weight(RA * u.s, DEC, **inputs), "ra"),
        (lambda ds, inputs: ds.bat.mask_weight(RA, DEC, distance=5 * u.keV, **inputs), "distance"),
    ],
)
def test_arguments_of_wrong_units(observation: Path, good: xr.Dataset, call: Any, says: str) -> None:
    with pytest.raises(UnitsError, match=says):
        call(good, frame(observation))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda ds: ds.bat.lightcurve(dt=1.0, energy=[50, 15]), "increasing"),
        (lambda ds: ds.bat.lightcurve(dt=1.0, energy=[15, 15]), "increasing"),
        (lambda ds: ds.bat.lightcurve(time=[T0 + 2, T0 + 1]), "increasing"),
        (lambda ds: ds.bat.lightcurve(time=[[T0, T0 + 2], [T0 + 1, T0 + 3]]), "overlap"),
        (lambda ds: ds.bat.lightcurve(dt=-1.0), "positive"),
        (lambda ds: ds.bat.spectrum(energy=[15, np.nan, 50]), "keV from 0"),
        (lambda ds: ds.bat.spectrum(time=[T0, T0]), "increasing"),
        (lambda ds: ds.bat.detector_plane(energy=[100, 50]), "increasing"),
        (lambda ds: ds.bat.detector_plane(time=[T0 + 3, T0]), "increasing"),
        (lambda ds: ds.bat.lightcurve(dt=1.0, tstart=T0 + 5, tstop=T0), "tstart < tstop"),
    ],
)
def test_edges_that_do_not_increase(good: xr.Dataset, call: Any, says: str) -> None:
    with pytest.raises(ValueRangeError, match=says):
        call(good)


def test_nothing_selected(good: xr.Dataset) -> None:
    with pytest.raises(EmptySelectionError, match="no good time from"):
        good.bat.lightcurve(dt=1.0, tstart=T0 + 8.5, tstop=T0 + 9.5)


# --- positions and attitude --------------------------------------------------------------------------------


def test_position_outside_the_field(observation: Path, good: xr.Dataset, event_file: Path) -> None:
    inputs = frame(observation)
    with pytest.raises(PositionError, match=r"outside the coded field of view.*imx=.*check"):
        good.bat.mask_weight(RA + 85, DEC, **inputs)
    with pytest.raises(PositionError, match="behind the instrument"):
        good.bat.mask_weight(RA - 180, -DEC, **inputs)
    says = cli_error("lightcurve", observation, "--ra", RA - 180, "--dec", -DEC)
    assert "behind the instrument" in says


@pytest.mark.parametrize(
    ("position", "says"),
    [
        ((np.nan, 0.0), "finite"),
        ((RA, 95.0), "dec"),
        ((RA,), "dec"),
        (([RA, RA], [DEC, DEC, DEC]), r"shapes \(2,\) and \(3,\)"),
    ],
)
def test_malformed_positions(observation: Path, good: xr.Dataset, position: tuple, says: str) -> None:
    with pytest.raises(PositionError, match=says):
        good.bat.mask_weight(*position, **frame(observation))


def test_one_position_of_two_outside_the_field_is_a_warning(observation: Path, good: xr.Dataset) -> None:
    positions = SkyCoord([RA, RA - 180], [DEC, -DEC], unit="deg")
    with pytest.warns(BatxWarning, match="1 of 2 are never coded"):
        both = good.bat.mask_weight(positions, **frame(observation))
    np.testing.assert_array_equal(both["mask_weight"][0], good["mask_weight"])
    assert not both["mask_weight"][1].any()
    curve = both.bat.lightcurve(dt=1.0, energy=BAND)
    np.testing.assert_array_equal(
        curve["rate"].isel(source=0), good.bat.lightcurve(dt=1.0, energy=BAND)["rate"]
    )
    assert not curve["rate"].isel(source=1).any()


def test_attitude_that_does_not_cover_the_events(observation: Path, good: xr.Dataset) -> None:
    inputs = frame(observation)
    short = inputs["attitude"].load().sel(time=slice(None, T0 + 9.0))
    last = float(short["time"][-1])
    outside = int((good["time"] > last).sum())
    with pytest.raises(AttitudeError, match=rf"{outside} of {good.sizes['event']} events.*extrapolate"):
        good.bat.mask_weight(RA, DEC, **{**inputs, "attitude": short})
    lazy = good.chunk(event=2000).bat.mask_weight(RA, DEC, **{**inputs, "attitude": short})
    with pytest.raises(AttitudeError, match="events of a chunk"):
        lazy.bat.lightcurve(dt=1.0).compute()
    held = good.bat.mask_weight(RA, DEC, **{**inputs, "attitude": short}, extrapolate=True)
    assert held["mask_weight"].any()


def test_what_mask_weighting_misses_is_said(observation: Path, good: xr.Dataset) -> None:
    with pytest.raises(KindError) as caught:
        good.bat.mask_weight(RA, DEC)
    text = str(caught.value)
    for part in ("aperture=", "attitude=", "open_observation", "calibration=", "batx.open_dataset"):
        assert part in text
    with pytest.raises(KindError, match=r"^aperture: found none") as caught:
        good.bat.mask_weight(0.1, 0.0, frame="tangent")
    assert "attitude" not in str(caught.value)
    with pytest.raises(AttitudeError, match=r'attitude: found none.*frame="tangent"'):
        good.bat.mask_weight(RA, DEC, **frame(observation, "attitude"))
    for verb in ("mask_weight_image", "ray_trace"):
        with pytest.raises(KindError, match="aperture: found none"):
            getattr(good.bat, verb)(RA, DEC)
    with pytest.warns(BatxWarning, match="alignment: found none; the nominal axes.*teldef"):
        good.bat.mask_weight(RA, DEC, **frame(observation, "alignment"))


def test_an_observation_without_calibration(
    observation: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CALDB", raising=False)
    copy = tmp_path / "obs"
    shutil.copytree(observation, copy)
    (copy / "caldb").rename(tmp_path / "caldb")
    with pytest.raises(KindError, match=r"^aperture: found none.*calibration="):
        batx.open_observation(copy).bat.mask_weight(RA, DEC)
    whole = batx.open_observation(copy, calibration=tmp_path / "caldb")
    assert whole.bat.mask_weight(RA, DEC)["mask_weight"].any()


# --- weights -----------------------------------------------------------------------------------------------


def test_weights_that_nobody_has_filled_in(event_file: Path, good: xr.Dataset) -> None:
    """The column MASK_WEIGHT of a file as it is in the archive."""
    events = batx.open_dataset(event_file)
    assert not events["mask_weight"].any()
    says = r"mask_weight: found 0 for all \d+ event\(s\).*ds\.bat\.mask_weight.*weighting='none'"
    for call in (
        lambda ds: ds.bat.lightcurve(dt=1.0, energy=BAND),
        lambda ds: ds.bat.lightcurve(time=[T0, T0 + 1, T0 + 20], energy=BAND, weighting="mask"),
        lambda ds: ds.bat.lightcurve(snr=5, energy=BAND),
        lambda ds: ds.bat.lightcurve(snr=5, energy=BAND, compat="heasoft"),
        lambda ds: ds.bat.spectrum(),
        lambda ds: ds.bat.spectrum(quantity="counts", compat="heasoft"),
    ):
        with pytest.raises(EmptySelectionError, match=says):
            call(events)
    lazy = events.chunk(event=1000).bat.lightcurve(dt=1.0, energy=BAND)
    with pytest.raises(EmptySelectionError, match=says):
        lazy.compute()
    np.testing.assert_array_equal(raw_counts(events), raw_counts(good))


def test_some_weights_of_0_are_no_error(good: xr.Dataset) -> None:
    one = good.copy(deep=True)
    keep = int(np.flatnonzero((good["mask_weight"] != 0) & (good["energy"] > 20) & (good["energy"] < 100))[0])
    weight = float(one["mask_weight"][keep])
    one["mask_weight"][:] = 0
    one["mask_weight"][keep] = weight
    curve = one.bat.lightcurve(dt=1.0, energy=BAND)
    assert float(curve["rate"].sum()) == weight
    assert int(curve["totcounts"].sum()) == 1
    # no event of the band in good time: nothing that a weight could have kept away
    assert not good.bat.lightcurve(dt=1.0, energy=[50000, 60000])["rate"].any()


# --- arguments that make no sense --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"gain": np.nan}, ValueRangeError, "gain"),
        ({"gain": -1}, ValueRangeError, "gain"),
        ({"pcode_min": "a"}, UnitsError, "pcode_min"),
        ({"pcode_min": 1.5}, ValueRangeError, "pcode_min"),
        ({"corrections": None}, ValueRangeError, "corrections: found None"),
        ({"normalisation": "mean"}, ValueRangeError, "'tool' or 'geometry'"),
        ({"alignment": "teldef"}, UnitsError, "alignment"),
        ({"alignment": np.zeros((3, 3))}, AttitudeError, "rotation"),
        ({"attitude": "sat.fits"}, KindError, "found str; open the file with batx.open_dataset"),
        ({"aperture": "aperture.fits"}, KindError, "found str; open the file with batx.open_dataset"),
        ({"detector_mask": "mask.fits"}, KindError, "detector_mask"),
        ({"detector_mask": np.zeros((173, 286), bool)}, EmptySelectionError, "no good detector"),
    ],
)
def test_options_of_mask_weight(
    observation: Path, good: xr.Dataset, options: dict[str, Any], error: type[BatxError], says: str
) -> None:
    with pytest.raises(error, match=says):
        good.bat.mask_weight(RA, DEC, **{**frame(observation), **options})


@pytest.mark.parametrize("value", ["high", np.nan])
def test_geometry_of_an_aperture_that_is_no_number(observation: Path, good: xr.Dataset, value: Any) -> None:
    inputs = frame(observation)
    inputs["aperture"] = inputs["aperture"].assign_attrs(maskbatz=value)
    with pytest.raises(ValueRangeError, match="aperture: found maskbatz"):
        good.bat.mask_weight(RA, DEC, **inputs)


def test_times_that_do_not_fit(observation: Path, good: xr.Dataset) -> None:
    with pytest.raises(ValueRangeError, match="2 times, expected one"):
        good.bat.mask_weight_image(RA, DEC, time=[T0, T0 + 1], **frame(observation))
    with pytest.raises(ValueRangeError, match="rows of different lengths"):
        good.bat.lightcurve(time=[[T0, T0 + 1], [T0 + 2]])


def test_attitude_rows_without_a_quaternion_are_left_out(
    observation: Path, good: xr.Dataset, tmp_path: Path
) -> None:
    inputs = frame(observation)
    (path,) = (observation / "auxil").glob("*sat.fits")
    with fits.open(path, memmap=False) as hdus:
        hdus[1].data["QPARAM"][3] = np.nan
        hdus.writeto(tmp_path / "one.fits")
        hdus[1].data["QPARAM"][:] = np.nan
        hdus.writeto(tmp_path / "all.fits")
    inputs["attitude"] = batx.open_dataset(tmp_path / "one.fits")
    with pytest.warns(BatxWarning, match="1 of .* rows have no valid quaternion"):
        weighted = good.bat.mask_weight(RA, DEC, **inputs)
    np.testing.assert_allclose(weighted["mask_weight"], good["mask_weight"], atol=1e-9)
    inputs["attitude"] = batx.open_dataset(tmp_path / "all.fits")
    with pytest.raises(AttitudeError, match="none of them with a time and a quaternion"):
        good.bat.mask_weight(RA, DEC, **inputs)
