"""The command line: products can be read back, errors are one line and exit code 1, help is quick."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from time import sleep

import numpy as np
import pytest
import xarray as xr
from astropy.io import fits
from click.testing import CliRunner, Result
from makers import make

import batx
from batx.cli import main
from batx.doctor import findings
from batx.summary import describe, separation

RA, DEC = 165.0, 24.0


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def good(*arguments: object) -> Result:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="module")
def observation(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    good("simulate", folder, "--duration", 30, "--trigger", 10, "--background", 0.1, "--seed", 3)
    return folder / "00012345000"


@pytest.fixture(scope="module")
def event_file(observation: Path) -> Path:
    (path,) = (observation / "bat" / "event").iterdir()
    return path


# --- errors and help ---


def test_help_imports_nothing_heavy():
    code = (
        "import sys, batx.cli\n"
        "from click.testing import CliRunner\n"
        "assert CliRunner().invoke(batx.cli.main, ['--help']).exit_code == 0\n"
        "heavy = {'astropy', 'numba', 'matplotlib', 'dask', 'scipy', 'healpy', 'h5py', 'zarr'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    before = subprocess.run(
        [sys.executable, "-c", "import sys, xarray; print(sorted(sys.modules))"],
        capture_output=True,
        check=True,
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = [name for name in eval(done.stdout) if f"'{name}'" not in before.stdout.decode()]
    assert loaded == []


@pytest.mark.parametrize("command", ["info", "lightcurve", "spectrum", "dpi", "simulate", "doctor", "demo"])
def test_every_command_has_help_and_debug(command):
    assert "--debug" in good(command, "--help").output


def test_module_runs():
    done = subprocess.run(
        [sys.executable, "-m", "batx", "--help"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("Usage: batx")


def test_an_error_is_one_line_and_exit_code_1(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("not a FITS file")
    result = run("info", path)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert "Traceback" not in result.output
    assert len(result.stderr.strip().splitlines()) == 1
    assert isinstance(result.exception, SystemExit)


@pytest.mark.parametrize("arguments", [("--debug", "info"), ("info", "--debug")])
def test_debug_shows_the_traceback(tmp_path, arguments):
    path = tmp_path / "notes.txt"
    path.write_text("not a FITS file")
    assert isinstance(run(*arguments, path).exception, batx.BatxError)


def test_interrupt_is_clean(tmp_path, monkeypatch):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("batx.demo.run", interrupted)
    result = run("demo", "-o", tmp_path / "demo")
    assert result.exit_code == 130
    assert "interrupted" in result.stderr


def test_control_c_leaves_no_half_written_file(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-m", "batx", "demo", "-o", str(tmp_path / "demo")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a job in the background of a shell would hand on that interrupts are ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        for _ in range(300):
            if any(tmp_path.rglob("*.evt*")):
                break
            sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert "interrupted" in stderr
    assert not list(tmp_path.rglob("*.tmp"))
    for path in tmp_path.rglob("*.nc"):
        assert not batx.open_dataset(path).bat.check()


def test_usage_errors(event_file, tmp_path):
    assert run("lightcurve", event_file, "--energy", "15").exit_code == 2
    assert run("lightcurve", event_file, "--energy", "a,b").exit_code == 2
    assert run("lightcurve", event_file, "--ra", 10).exit_code == 2
    result = run("lightcurve", event_file, "-o", tmp_path / "burst.doc")
    assert result.exit_code == 2
    assert ".nc" in result.output
    assert run("lightcurve", event_file, "-p", tmp_path / "burst.doc").exit_code == 2
    assert run("lightcurve", tmp_path / "absent.evt").exit_code == 2


def test_library_errors_reach_the_user(observation, event_file, tmp_path):
    result = run("lightcurve", event_file, "--energy", "50,15")
    assert result.exit_code == 1
    assert "increasing" in result.stderr
    result = run("lightcurve", observation, "--ra", RA + 180, "--dec", -DEC)
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    assert run("lightcurve", tmp_path).exit_code == 1
    result = run("lightcurve", event_file, "--ra", RA, "--dec", DEC)
    assert result.exit_code == 1
    assert "give --attitude" in result.stderr
    assert run("lightcurve", event_file, "--calibration", tmp_path).exit_code == 2


def test_event_file_with_its_own_calibration_files(observation, event_file, tmp_path):
    files = {
        "--attitude": "auxil/sw00012345000sat.fits",
        "--aperture": "caldb/aperture.fits",
        "--teldef": "caldb/teldef.fits",
    }
    given = [item for option, name in files.items() for item in (option, observation / name)]
    good("lightcurve", event_file, "--ra", RA, "--dec", DEC, *given, "-o", tmp_path / "a.nc")
    ds = batx.open_dataset(tmp_path / "a.nc")
    assert ds.attrs["weighting"] == "mask"
    assert float(ds["rate"].sum("energy").max()) > 0.1


# --- info and doctor ---


def test_info_of_an_event_file(event_file):
    text = good("info", event_file).stdout
    for expected in ("kind", "events", "MET 600000000 = 2020-", "UTC", "30 s in 1 good-time interval"):
        assert expected in text


def test_info_of_an_observation(observation):
    text = good("info", observation).stdout
    for expected in ("00012345000", "events", "attitude", "detector_mask", "trigger"):
        assert expected in text
    assert "missing:" not in text


def test_info_says_what_an_observation_lacks(observation, tmp_path):
    partial = tmp_path / "00012345000"
    shutil.copytree(observation / "bat" / "event", partial / "bat" / "event")
    text = good("info", partial).stdout
    missing = text[text.index("missing:") :]
    for expected in ("attitude", "aperture"):
        assert expected in missing


def test_info_of_a_netcdf_file(tmp_path):
    path = batx.to_netcdf(make("lightcurve"), tmp_path / "lc.nc")
    text = good("info", path).stdout
    assert "lightcurve" in text
    assert "15-25-50-100-350 keV" in text


def test_description_of_times_energies_and_exposure():
    rows = describe(make("lightcurve"))
    assert rows["kind"] == "lightcurve"
    assert rows["values"] == "gaussian mask-weighted"
    assert rows["exposure"] == "199.5 s in 2 good-time intervals"
    assert rows["stop"].endswith("(200 s later)")
    utc = str(batx.met.met_to_utc(6e8, attrs=make("lightcurve").attrs)).replace("T", " ")
    assert rows["start"] == f"MET 600000000 = {utc} UTC"


def test_description_of_what_has_no_kind():
    assert describe(xr.Dataset({"a": ("b", [1, 2])})) == {
        "kind": "unknown",
        "dimensions": "b 2",
        "variables": "a",
    }


def test_doctor_reports_and_names_the_remedy():
    result = good("doctor", "--offline")
    assert "HEASoft" in result.stdout
    assert "$HEADAS is not set" in result.stdout


def test_doctor_finds_tools_and_faults(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADAS", str(tmp_path))
    monkeypatch.setenv("CALDB", str(tmp_path))
    found = {finding.name: finding for finding in findings(network=False)}
    assert found["HEASoft"].status == "broken"
    assert "set-up" in found["HEASoft"].remedy
    assert found["CALDB"].status == "broken"
    assert run("doctor", "--offline").exit_code == 1
    (tmp_path / "data" / "swift" / "bat").mkdir(parents=True)
    found = {finding.name: finding for finding in findings(network=False)}
    assert found["CALDB"].status == "ok"


# --- products ---


def test_light_curve_of_an_observation(observation, tmp_path):
    out, picture = tmp_path / "burst.nc", tmp_path / "burst.png"
    text = good("lightcurve", observation, "--ra", RA, "--dec", DEC, "-o", out, "-p", picture).stdout
    assert f"wrote {out}" in text
    assert picture.read_bytes()[:4] == b"\x89PNG"
    written = batx.open_dataset(out)
    obs = batx.open_observation(observation)
    expected = obs.bat.mask_weight(RA, DEC).bat.lightcurve(dt=1.0, energy=[15, 25, 50, 100, 350])
    np.testing.assert_array_equal(written["rate"], expected["rate"])
    assert written.attrs["weighting"] == "mask"
    assert float(written["rate"].sum("energy").max()) > 0.1


def test_ogip_light_curve(observation, tmp_path):
    out = tmp_path / "burst.lc"
    good("lightcurve", observation, "--ra", RA, "--dec", DEC, "--dt", 2, "--energy", "15,150", "-o", out)
    with fits.open(out) as hdus:
        assert hdus["RATE"].header["HDUCLAS1"] == "LIGHTCURVE"
        assert len(hdus["RATE"].data) == 15
    assert batx.open_dataset(out).bat.kind == "lightcurve"


def test_times_from_the_trigger_and_dates(event_file, tmp_path):
    limits = ("--tstart", "-5", "--tstop", "5", "--t0", "trigger")
    good("lightcurve", event_file, *limits, "-o", tmp_path / "a.nc")
    a = batx.open_dataset(tmp_path / "a.nc")
    assert a["time_bnds"].values[[0, -1], [0, 1]].tolist() == [6e8 + 5, 6e8 + 15]
    start = str(batx.met.met_to_utc(6e8 + 5, attrs=a.attrs, precision=6))
    stop = str(batx.met.met_to_utc(6e8 + 15, attrs=a.attrs, precision=6))
    good("lightcurve", event_file, "--tstart", start, "--tstop", stop, "-o", tmp_path / "b.nc")
    b = batx.open_dataset(tmp_path / "b.nc")
    assert abs(int(a["counts"].sum()) - int(b["counts"].sum())) <= 2


def test_files_are_replaced_only_when_asked(event_file, tmp_path):
    out = tmp_path / "raw.nc"
    good("lightcurve", event_file, "-o", out)
    result = run("lightcurve", event_file, "-o", out)
    assert result.exit_code == 1
    assert "exists" in result.stderr
    good("lightcurve", event_file, "-o", out, "--overwrite")


def test_spectrum_and_sequence(observation, tmp_path):
    limits = ("--tstart", 0, "--tstop", 10, "--t0", "trigger")
    out = tmp_path / "burst.pha"
    good("spectrum", observation, "--ra", RA, "--dec", DEC, *limits, "-o", out, "-p", tmp_path / "burst.pdf")
    ds = batx.open_dataset(out)
    assert ds.sizes["channel"] == 80
    assert float(ds["exposure"]) == pytest.approx(10.0)
    good("spectrum", observation, *limits, "--dt", 2, "--energy", "15,50,150", "-o", tmp_path / "five.nc")
    assert dict(batx.open_dataset(tmp_path / "five.nc").sizes)["time"] == 5


def test_detector_images(event_file, tmp_path):
    out = tmp_path / "plane.nc"
    good("dpi", event_file, "--energy", "15,50,150", "--dt", 10, "-o", out, "-p", tmp_path / "plane.png")
    ds = batx.open_dataset(out)
    assert (ds.sizes["time"], ds.sizes["energy"]) == (3, 2)
    events = batx.open_dataset(event_file)
    chosen = (events["energy"] >= 15) & (events["energy"] < 150) & events["event_flags"].isin([0, 16])
    assert int(ds["counts"].sum()) == pytest.approx(int(chosen.sum()), abs=2)


def test_zarr_output(event_file, tmp_path):
    good("lightcurve", event_file, "-o", tmp_path / "raw.zarr")
    assert batx.open_dataset(tmp_path / "raw.zarr").bat.kind == "lightcurve"


# --- images of the sky, mosaics ---


@pytest.fixture(scope="module")
def sky_files(observation: Path, tmp_path_factory) -> list[Path]:
    """Images of two parts of the burst in two bands."""
    folder = tmp_path_factory.mktemp("sky")
    files = [folder / "first.nc", folder / "second.nc"]
    for number, path in enumerate(files):
        limits = ("--tstart", 5 * number, "--tstop", 5 * number + 5, "--t0", "trigger")
        good("image", observation, *limits, "--energy", "15,50,150", "-o", path)
    return files


def test_image_with_sources(observation, tmp_path):
    out, picture, regions = tmp_path / "sky.nc", tmp_path / "sky.png", tmp_path / "sky.reg"
    limits = ("--tstart", 0, "--tstop", 10, "--t0", "trigger", "--clean", "background")
    text = good("image", observation, *limits, "-o", out, "-p", picture, "--sources", regions).stdout
    assert "1 source" in text
    assert all(f"wrote {path}" in text for path in (out, picture, regions))
    assert "circle(16" in regions.read_text()
    ds = batx.open_dataset(out)
    assert (ds.bat.kind, ds.sizes["energy"]) == ("sky_image", 1)
    found = ds.bat.detect()
    away = separation(found["ra"].values, found["dec"].values, RA, DEC)
    assert 60 * away[0] < 5 * 60 * float(found["err_rad"][0])


def test_sources_are_cleaned_from_a_catalogue(event_file):
    done = CliRunner().invoke(main, ["image", str(event_file), "--clean", "sources"])
    assert done.exit_code == 2 and "--clean sources needs --catalog" in done.output


def test_image_of_a_detector_image_in_fits(observation, event_file, tmp_path):
    plane, out = tmp_path / "plane.dpi", tmp_path / "sky.img"
    good("dpi", event_file, "--energy", "15,50,150", "-o", plane)
    (attitude,) = (observation / "auxil").glob("*sat*")
    obs = batx.open_observation(observation)
    parts = {name: tmp_path / f"{name}.nc" for name in ("aperture", "alignment")}
    for name, path in parts.items():
        batx.to_netcdf(obs[name].to_dataset(), path)
    files = ("--aperture", parts["aperture"], "--teldef", parts["alignment"], "--attitude", attitude)
    good("image", plane, *files, "--keep-hot", "-o", out)
    ds = batx.open_dataset(out)
    expected = batx.open_dataset(plane).bat.sky_image(
        attitude=batx.open_dataset(attitude), **{name: obs[name].to_dataset() for name in parts}
    )
    np.testing.assert_allclose(ds["snr"], expected["snr"], rtol=1e-5, atol=1e-5)
    result = run("image", plane, *files, "--energy", "15,50")
    assert result.exit_code == 2
    assert "are for events" in result.stderr


def test_image_says_what_is_missing(event_file, tmp_path):
    result = run("image", event_file)
    assert result.exit_code == 1
    assert "needs the aperture" in result.stderr
    assert "--aperture" in result.stderr


def test_mosaic_of_files(sky_files, tmp_path):
    out, picture = tmp_path / "mosaic.nc", tmp_path / "mosaic.png"
    options = ("--nside", 128, "--scheduler", "threads", "--resume", tmp_path / "sums")
    text = good("mosaic", *sky_files, *options, "-o", out, "-p", picture, "--detect").stdout
    assert "in 2 images" in text
    assert "1 source" in text
    assert picture.stat().st_size > 10_000
    made = batx.open_dataset(out)
    expected = batx.finalize(batx.mosaic(sky_files, nside=128)).compute()
    for name in ("sum_w", "flux", "snr", "exposure"):
        np.testing.assert_allclose(made[name], expected[name], rtol=1e-12)
    good("mosaic", *sky_files, *options, "-o", out, "--overwrite")  # from the partial sums
    np.testing.assert_array_equal(batx.open_dataset(out)["sum_w"], made["sum_w"])


def test_mosaic_of_images_without_a_pixel(sky_files, tmp_path):
    image = batx.open_dataset(sky_files[0]).load()
    batx.to_netcdf(image.assign(rate=image["rate"] * np.nan), tmp_path / "empty.nc")
    result = run("mosaic", tmp_path / "empty.nc", "--nside", 32, "--scheduler", "threads")
    assert result.exit_code == 1 and "none of 1 files has a pixel" in result.stderr


def test_mosaic_of_time_groups(sky_files, tmp_path):
    out = tmp_path / "mosaic.nc"
    options = ("--nside", 64, "--scheduler", "threads", "--time-bins", 5)
    good("mosaic", *sky_files, *options, "-o", out)
    tree = batx.open_datatree(out)
    assert {"total", "groups"} <= set(tree.children)
    groups = tree["groups"].to_dataset()
    assert groups.sizes["time"] == 2
    np.testing.assert_allclose(groups["sum_w"].sum("time"), tree["total/sum_w"], rtol=1e-12)
    good("mosaic", *sky_files, *options, "-o", tmp_path / "mosaic.fits")
    np.testing.assert_array_equal(batx.open_dataset(tmp_path / "mosaic.fits")["snr"], tree["total/snr"])


def test_mosaic_on_a_cluster(sky_files, tmp_path):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        out = tmp_path / "mosaic.nc"
        address = cluster.scheduler_address.removeprefix("tcp://")
        good("mosaic", *sky_files, "--nside", 64, "--scheduler", address, "-o", out)
    expected = batx.mosaic(sky_files, nside=64).compute()
    np.testing.assert_allclose(batx.open_dataset(out)["sum_w"], expected["sum_w"], rtol=1e-12)


def test_mosaic_starts_a_cluster_of_its_own(sky_files, tmp_path):
    pytest.importorskip("distributed")
    out = tmp_path / "mosaic.nc"
    command = [
        sys.executable,
        "-m",
        "batx",
        "mosaic",
        *map(str, sky_files),
        "--nside",
        "64",
        "--workers",
        "2",
    ]
    done = subprocess.run(
        [*command, "-o", str(out)], capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
    expected = batx.mosaic(sky_files, nside=64).compute()
    np.testing.assert_allclose(batx.open_dataset(out)["sum_w"], expected["sum_w"], rtol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        ((), 2, "give sky images"),
        (("--radius", "3"), 2, "--center"),
        (("--nside", "500", "--scheduler", "threads"), 1, "power of two"),
        (("--time-bins", "fortnight", "--scheduler", "threads"), 2, "month, year or seconds"),
    ],
)
def test_mosaic_refuses(arguments, status, words, sky_files):
    files = sky_files if arguments else []
    result = run("mosaic", *files, *arguments)
    assert result.exit_code == status
    assert words in result.stderr
    assert "Traceback" not in result.stderr


def test_image_with_half_a_part_to_show(observation):
    result = run("image", observation, "--radius", "3")
    assert result.exit_code == 2 and "give --center with --radius" in result.stderr


def test_mosaic_of_a_slew(tmp_path):
    from batx.simulate import Background, Box, Slew, Source, observation

    burst = Source(2.0, ra=RA, dec=DEC, light_curve=Box(4.0, 6.0), name="burst")
    folder = observation(
        tmp_path, burst, Background(rate=0.1), duration=8.0, trigger=4.0, target=(160.0, 24.0, 40.0),
        slews=[Slew(2.0, 8.0, 163.0, 24.0, 40.0)], seed=2,
    )  # fmt: skip
    out, regions = tmp_path / "slew.nc", tmp_path / "slew.reg"
    options = ("--step", 0.5, "--energy", "15,150", "--nside", 256)
    text = good("mosaic", "--events", folder, *options, "-o", out, "--sources", regions).stdout
    assert "1 source" in text
    slew = re.search(r"slew from MET ([\d.]+) to ([\d.]+)", text)
    assert 6e8 + 2 <= float(slew[1]) < 6e8 + 3 and 6e8 + 7 < float(slew[2]) <= 6e8 + 8
    limits = ("--tstart", 2, "--tstop", 8, "--t0", 6e8)
    text = good("mosaic", "--events", folder, *options, *limits, "--snr", 500).stdout
    assert "no source found" in text and "slew from" not in text
    assert batx.open_dataset(out).bat.kind == "mosaic"
    _, ra, dec, *_ = regions.read_text().split("circle")[1].replace("(", ",").split(",")
    assert separation(float(ra), float(dec), RA, DEC) < 0.01


# --- demo ---


def test_demo_leaves_readable_products_and_pictures(tmp_path):
    folder = tmp_path / "demo"
    text = good("demo", "-o", folder).stdout
    assert "Done in" in text
    for name in (
        "lightcurve_64ms",
        "lightcurve_1s",
        "spectrum",
        "detector_plane",
        "detector_mask",
        "ray_trace",
        "sky_image",
        "slew_mosaic",
    ):
        ds = batx.open_dataset(folder / f"{name}.nc")
        assert not ds.bat.check()
        assert (folder / f"{name}.png").stat().st_size > 10_000
    fine = batx.open_dataset(folder / "lightcurve_64ms.nc")
    assert fine.sizes["energy"] == 4
    assert fine.attrs["weighting"] == "mask"
    assert fits.getheader(folder / "burst.lc", 1)["HDUCLAS1"] == "LIGHTCURVE"
    assert fits.getheader(folder / "burst.pha", 1)["HDUCLAS1"] == "SPECTRUM"
    for name in ("sources", "slew_sources"):
        found = batx.open_dataset(folder / f"{name}.nc")
        away = separation(found["ra"][0], found["dec"][0], RA, DEC)
        assert float(away) < 4 * float(found["err_rad"][0])
        assert found.sizes["source"] == 2, "the burst and the steady source"
    assert " ".join(text.split()).count("from the truth") == 3
    good("demo", "-o", folder)  # again, over itself


def test_demo_leaves_files_of_others_alone(tmp_path):
    (tmp_path / "burst.lc").write_text("mine")
    result = run("demo", "-o", tmp_path)
    assert result.exit_code == 1 and "found burst.lc, expected an empty folder" in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["burst.lc"]
