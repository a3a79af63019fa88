"""Catalogues of glitches: growing stores, resumed runs, sources of any sort, the command."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from click.testing import CliRunner

import batx
from batx.cli import main
from batx.errors import BatxWarning, EmptySelectionError, FileFormatError, MissingFileError, ValueRangeError
from batx.io.growing import GrowingStore
from batx.simulate import Background, Glitch, aperture, detector_table, events

DIMS = ("observation", "glitch", "gti")
MASK, DETECTORS = aperture(seed=1), detector_table(seed=1)


def observe(number: int) -> xr.Dataset:
    """Events of an observation with none, one or two glitches."""
    surge = [Glitch(1.0 + k, 600, reach=8.0, scatter=1.2, seed=number) for k in range(number % 3)]
    return events(
        (),
        Background(rate=0.15),
        start=6e8 + 86400.0 * number,
        duration=4.0,
        glitches=surge,
        obs_id=f"{12345000 + number:011d}",
        aperture=MASK,
        detectors=DETECTORS,
        seed=number,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five observations in the layout of the archive, of which only the events matter."""
    top = tmp_path_factory.mktemp("observations")
    for number in range(5):
        place = top / f"{12345000 + number:011d}" / "bat" / "event"
        place.mkdir(parents=True)
        suffix = ".gz" if number % 2 else ""
        batx.to_fits(observe(number), place / f"sw{12345000 + number:011d}bevshsp_uf.evt{suffix}")
        (place / "readme.txt").write_text("no FITS")
    return top


@pytest.fixture(scope="module")
def whole(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> xr.Dataset:
    path = tmp_path_factory.mktemp("whole") / "glitches.zarr"
    return batx.glitch_catalog(batx.event_files(folder), path, workers=2).load()


def same(one: xr.Dataset, other: xr.Dataset) -> bool:
    return one.load().identical(other.load())


def test_one_dataset_of_all(whole: xr.Dataset):
    assert whole.bat.kind == "glitches" and not whole.bat.check()
    np.testing.assert_array_equal(whole["n_glitches"], [0, 1, 2, 0, 1])
    names = [f"{12345000 + n:011d}" for n in range(5)]
    assert whole["observation"].values.tolist() == names
    assert whole["obs_id"].values.tolist() == [names[k] for k in (1, 2, 2, 4)]
    assert whole["file"].values[1] == f"sw{names[1]}bevshsp_uf.evt.gz"
    assert "obs_id" not in whole.attrs and "utcf" not in whole.attrs
    alone = batx.glitches(observe(2))
    two = whole.isel(glitch=[1, 2])
    for name in ("time_bnds", "snr_low", "image", "sandwich", "spectrum", "score"):
        np.testing.assert_array_equal(two[name], alone[name])
    kept = whole["gti_obs_id"].values == names[2]
    np.testing.assert_array_equal(whole["gti_start"].values[kept], alone["gti_start"])
    # the good time of all is good time for each
    lc = observe(2).bat.lightcurve(dt=4.0, gti=whole, weighting="none")
    assert float(lc["exposure"][0]) == pytest.approx(batx.exposure(alone))


def test_order_does_not_depend_on_workers(folder: Path, whole: xr.Dataset, tmp_path: Path):
    made = batx.glitch_catalog(batx.event_files(folder), tmp_path / "a.zarr", workers=4)
    assert same(made, whole)


def test_sources_of_any_sort(whole: xr.Dataset, folder: Path, tmp_path: Path):
    """Paths, events, and functions that open either, from a generator that is not run to its end."""
    asked = []

    def page():
        paths = [path for _, path in batx.event_files(folder)]
        for number, path in enumerate(paths):
            name = f"{12345000 + number:011d}"
            asked.append(name)
            opener = (lambda number=number: observe(number)) if number == 2 else (lambda path=path: path)
            opener.name = path.name  # type: ignore[attr-defined]
            yield (name, path) if number == 1 else (name, observe(0)) if number == 0 else (name, opener)

    made = batx.glitch_catalog(page(), tmp_path / "a.zarr", max_observations=3, workers=1)
    np.testing.assert_array_equal(made["n_glitches"], [0, 1, 2])
    np.testing.assert_array_equal(made["image"], whole["image"][:3])
    assert len(asked) == 3


def test_going_on(folder: Path, whole: xr.Dataset, tmp_path: Path):
    path = tmp_path / "a.zarr"
    first = batx.glitch_catalog(batx.event_files(folder), path, max_observations=2, workers=1)
    assert first.sizes["observation"] == 2
    lines: list[str] = []
    more = batx.glitch_catalog(
        batx.event_files(folder), path, max_glitches=2, progress=lines.append, workers=1
    )
    assert more.sizes["observation"] == 3 and more.sizes["glitch"] == 3
    assert lines[-1].startswith("1 searched, 3 glitches, 2 done before")
    assert same(batx.glitch_catalog(batx.event_files(folder), path), whole)
    before = zarr.open_group(path)["image"].nbytes_stored()
    assert same(batx.glitch_catalog(batx.event_files(folder), path), whole)  # nothing is left to do
    assert zarr.open_group(path)["image"].nbytes_stored() == before


def test_what_an_interruption_leaves_is_cut_off(folder: Path, whole: xr.Dataset, tmp_path: Path):
    path = tmp_path / "a.zarr"
    batx.glitch_catalog(batx.event_files(folder), path, max_observations=3, workers=1)
    complete = batx.open_dataset(path).load()
    group = zarr.open_group(path, mode="r+")
    for name in ("snr_low", "image", "n_glitches", "gti_start"):  # as when killed while rows are added
        array = group[name]
        array.resize((array.shape[0] + 2, *array.shape[1:]))
        array[-2:] = 7
    assert same(batx.open_dataset(path), complete)
    assert batx.open_datatree(path).to_dataset().sizes == complete.sizes
    (tmp_path / ".a.zarr.0123.tmp").mkdir()
    assert same(batx.glitch_catalog(batx.event_files(folder), path), whole)
    assert not list(tmp_path.glob(".*.tmp"))


KILLED = """
import sys, batx, batx.glitch_catalogs as module
module._SECONDS = 0.0
batx.glitch_catalog(batx.event_files(sys.argv[1]), sys.argv[2], workers=2)
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_killed_and_gone_on(folder: Path, whole: xr.Dataset, tmp_path: Path, how: signal.Signals):
    path = tmp_path / "a.zarr"

    def rows() -> int:
        try:
            return json.loads((path / "zarr.json").read_text())["attributes"]["rows"][0]
        except (FileNotFoundError, json.JSONDecodeError):
            return 0

    run = subprocess.Popen([sys.executable, "-c", KILLED, str(folder), str(path)], stderr=subprocess.DEVNULL)
    while run.poll() is None and not rows():
        time.sleep(0.002)
    run.send_signal(how)
    run.wait()
    found = batx.open_dataset(path).load()
    n = found.sizes["observation"]
    assert n >= 1
    np.testing.assert_array_equal(found["n_glitches"], whole["n_glitches"][:n])
    np.testing.assert_array_equal(found["image"], whole["image"][: found.sizes["glitch"]])
    assert same(batx.glitch_catalog(batx.event_files(folder), path), whole)


def test_files_that_cannot_be_searched(folder: Path, tmp_path: Path):
    good = next(path for _, path in batx.event_files(folder))
    short = tmp_path / "short.evt"
    short.write_bytes(good.read_bytes()[:-6000])
    sources = [
        ("1", short),
        ("2", tmp_path / "none.evt"),
        ("3", good),
        ("4", lambda: batx.build("gti", {"start": [0.0], "stop": [1.0]})),
    ]
    with pytest.warns(BatxWarning) as seen:
        made = batx.glitch_catalog(sources, tmp_path / "a.zarr", workers=1)
    assert made["observation"].values.tolist() == ["3"]
    assert len([w for w in seen if "left out" in str(w.message)]) == 3
    with (
        pytest.warns(BatxWarning, match="left out"),
        pytest.raises(EmptySelectionError, match="1 that could not"),
    ):
        batx.glitch_catalog(sources[:1], tmp_path / "b.zarr")
    assert not (tmp_path / "b.zarr").exists()


def test_refusals(folder: Path, whole: xr.Dataset, tmp_path: Path):
    path = tmp_path / "a.zarr"
    batx.glitch_catalog(batx.event_files(folder), path, max_observations=1)
    with pytest.raises(ValueRangeError, match="snr"):
        batx.glitch_catalog(batx.event_files(folder), path, snr=12.0)
    batx.to_zarr(whole, tmp_path / "plain.zarr")
    with pytest.raises(FileFormatError, match="no store to go on with"):
        batx.glitch_catalog(batx.event_files(folder), tmp_path / "plain.zarr")
    (tmp_path / "text.zarr").write_text("text")
    with pytest.raises(FileFormatError):
        batx.glitch_catalog(batx.event_files(folder), tmp_path / "text.zarr")
    for wrong in (["a.evt"], [("1", 5)], [("1", "a", "b")]):
        with pytest.raises(ValueRangeError, match="sources"):
            batx.glitch_catalog(wrong, tmp_path / "b.zarr")
    with pytest.raises(ValueRangeError, match="max_glitches"):
        batx.glitch_catalog([], tmp_path / "b.zarr", max_glitches=0)
    with pytest.raises(ValueRangeError, match="detector_mask"):
        batx.glitch_catalog([], tmp_path / "b.zarr", detector_mask=np.ones((173, 286), bool))
    with pytest.raises(EmptySelectionError):
        batx.glitch_catalog([], tmp_path / "b.zarr")
    with pytest.raises(MissingFileError):
        list(batx.event_files(tmp_path / "nothing"))


def test_event_files(folder: Path):
    every = list(batx.event_files(folder))
    assert [obs_id for obs_id, _ in every] == [f"{12345000 + n:011d}" for n in range(5)]
    since, until = 6e8 + 86400, 6e8 + 3 * 86400
    assert list(batx.event_files(folder, since=since, until=until)) == every[1:3]
    assert list(batx.event_files(every[3][1], folder / every[0][0])) == [every[3], every[0]]
    assert len(list(batx.event_files(folder, since="2020-01-08"))) == 3


def test_store_grows_by_any_rows(tmp_path: Path, whole: xr.Dataset):
    store = GrowingStore.open(tmp_path / "a.zarr", DIMS, "{}", whole)
    assert store.rows() == dict.fromkeys(DIMS, 0)
    assert batx.open_dataset(store.path).sizes["glitch"] == 0
    store.append(whole, whole)
    twice = batx.open_dataset(store.path)
    np.testing.assert_array_equal(twice["obs_id"], [*whole["obs_id"].values] * 2)
    assert GrowingStore.open(store.path, DIMS, "{}", None).rows()["gti"] == 2 * whole.sizes["gti"]


def test_command(folder: Path, whole: xr.Dataset, tmp_path: Path):
    path = tmp_path / "a.zarr"
    first = CliRunner().invoke(main, ["glitches", str(folder), "-o", str(path), "--max-observations", "2"])
    assert first.exit_code == 0, first.output
    assert "2, 8 s of good time" in first.output
    again = CliRunner().invoke(
        main, ["glitches", str(folder), "-o", str(path), "-p", str(tmp_path / "a.png")]
    )
    assert again.exit_code == 0 and "wrote" in again.output
    made = batx.open_dataset(path)
    np.testing.assert_array_equal(made["image"], whole["image"])
    other = CliRunner().invoke(main, ["glitches", str(folder), "-o", str(path), "--snr", "9"])
    assert other.exit_code == 1 and "another path" in other.output
    public = CliRunner().invoke(main, ["glitches", str(folder), "--compat", "batanalysis", "--workers", "1"])
    assert public.exit_code == 0, public.output
