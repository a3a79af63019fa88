"""The pipeline of Swift-XRT from archive folders to a joint fit and pictures, with stand-ins of its tools."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from mission_inputs import (
    DEC,
    RA,
    TRUTH,
    event_list,
    parameters,
    small_response,
    spectrum_files,
    split_response,
)
from stand_ins import add_tool, make_headas

import batx
from batx.errors import ValueRangeError
from batx.heasoft import Subprocess
from batx.pipelines.xrt_pipeline import xrt

SWIFT = {"telescope": "SWIFT", "instrument": "XRT", "utcf": -6.0, "datamode": "PHOTON", "deadc": 1.0}
OBSERVATIONS = ("00040990001", "00040990002", "00040990003", "00040990004")
DAY = 86400.0

PIPELINE = parameters(
    "indir f",
    "outdir f",
    "steminputs s",
    "stemoutputs s DEFAULT",
    "srcra s OBJECT",
    "srcdec s OBJECT",
    "createexpomap b yes",
    "exitstage i 3",
    "attfile f DEFAULT",
    "hdfile f DEFAULT",
)
EXPOSURE = parameters("infile f", "attfile f", "hdfile f", "outdir f", "stemout s DEFAULT", "vigflag b no")
PRODUCTS = parameters(
    "infile f",
    "regionfile f",
    "bkgextract b no",
    "bkgregionfile f NONE",
    "outdir f",
    "stemout s DEFAULT",
    "binsize r 10",
    "pilow i 30",
    "pihigh i 1000",
    "expofile f NONE",
    "attfile f NONE",
    "hdfile f NONE",
    "correctlc b yes",
    "plotdevice s gif",
)


def add_xrt_tools(headas: Path, data: Path) -> None:
    """Add stand-ins that copy what lies in ``data/<observation>``."""
    add_tool(
        headas,
        "xrtpipeline",
        PIPELINE,
        f"""id="${{steminputs#sw}}"
[ -d "$indir/xrt/event" ] || {{ echo "no events in $indir" >&2; exit 1; }}
[ -e "{data}/$id/fails" ] && {{ echo "xrtpipeline: cannot find the attitude of $id" >&2; exit 1; }}
echo "$id" >> "{data}/calls"
mkdir -p "$outdir" && cp "{data}/$id/"*_cl.evt* "$outdir/"
""",
    )
    add_tool(
        headas,
        "xrtexpomap",
        EXPOSURE,
        f"""id="${{stemout#sw}}"; id="${{id%xpc}}"
mkdir -p "$outdir" && cp "{data}/$id/exposure.img" "$outdir/${{stemout}}w3po_ex.img"
""",
    )
    add_tool(
        headas,
        "xrtproducts",
        PRODUCTS,
        f"""id="${{stemout#sw}}"; id="${{id%xpc}}"
grep -q 'circle(' "$regionfile" && grep -q fk5 "$regionfile" || exit 3
mkdir -p "$outdir"
cp "{data}/$id/source.pha" "$outdir/${{stemout}}posr.pha"
cp "{data}/$id/background.pha" "$outdir/${{stemout}}pobkg.pha"
cp "{data}/$id/area.arf" "$outdir/${{stemout}}posr.arf"
cp "{data}/$id/curve.lc" "$outdir/${{stemout}}posr.lc"
""",
    )


def area_file(path: Path, response_name: str, real: Path | None, folder: Path) -> None:
    """Write an effective area that names its redistribution, which is written too if it is not real."""
    if real is not None:
        shutil.copyfile(real, path)
    else:
        cards = {"TELESCOP": "SWIFT", "INSTRUME": "XRT"}
        (folder / response_name).unlink(missing_ok=True)
        split_response(small_response(), folder / response_name, path, cards)
    with fits.open(path, mode="update") as hdus:
        hdus["SPECRESP"].header["RESPFILE"] = response_name


def make_archive(folder: Path, shared: Path | None) -> tuple[Path, Path, Path]:
    """Write observations in the archive's layout, what the tools make of them, and the redistribution."""
    archive, data, caldb = (folder / name for name in ("archive", "data", "rmf"))
    caldb.mkdir(parents=True)
    name = "swxpc0to12s6_20130101v014.rmf"
    real = shared / "data/xrt" if shared else None
    if real is None:
        response = small_response()
    else:
        shutil.copyfile(real / "interval0pc.rmf.gz", caldb / f"{name}.gz")
        response = batx.responses.combine_response([real / "interval0pc.rmf.gz", real / "interval0pc.arf"])
    for number, obs_id in enumerate(OBSERVATIONS):
        place, made = archive / obs_id, data / obs_id
        for part in (place / "xrt/event", place / "xrt/hk", place / "auxil", made):
            part.mkdir(parents=True)
        attrs = SWIFT | {"obs_id": obs_id, "date_obs": "2010-07-19T02:02:15"}
        length = 50.0 if number == 3 else 2000.0
        start = 301197737.0 + number * 11.3 * DAY
        events = event_list(attrs, number, start=start, length=length)
        raw = place / f"xrt/event/sw{obs_id}xpcw3po_uf.evt"
        batx.to_fits(events, raw)
        for path in (place / f"xrt/hk/sw{obs_id}xhd.hk", place / f"auxil/sw{obs_id}sat.fits"):
            batx.to_fits(batx.gti_of(events), path)
        if number == 0 and real is not None:
            shutil.copyfile(real / "sw00040990001xpcw3po_cl.evt.gz", made / f"sw{obs_id}xpcw3po_cl.evt.gz")
            shutil.copyfile(real / "interval0pcsource.pi", made / "source.pha")
            shutil.copyfile(real / "interval0pcback.pi", made / "background.pha")
        else:
            shutil.copyfile(raw, made / f"sw{obs_id}xpcw3po_cl.evt")
            truth = TRUTH | {"bremss.norm": TRUTH["bremss.norm"] * (1 + number)}
            spectrum_files(made, attrs, response, number, truth=truth)
        area_file(made / "area.arf", name, real and real / "interval0pc.arf", caldb)
        if number == 0 and real is not None:
            shutil.copyfile(real / "sw00040990001xpc_ex.img.gz", made / "exposure.img")
        else:
            seconds = batx.count_image(events, center=(RA, DEC), size=300, bin=4)
            batx.to_fits(seconds.assign(image=seconds.image * 0.0 + 0.9 * length), made / "exposure.img")
        curve = batx.region_lightcurve(events, batx.regions.circle(RA, DEC, 47 / 3600), dt=100.0)
        batx.to_fits(curve, made / "curve.lc")
    return archive, data, caldb


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory):
    """Archive, data of the stand-ins, redistributions and $HEADAS: real files if there are any."""
    import os

    folder = tmp_path_factory.mktemp("xrt")
    name = os.environ.get("BATX_SHARED")
    archive, data, caldb = make_archive(folder, Path(name).resolve() if name else None)
    headas = make_headas(folder, ())
    add_xrt_tools(headas, data)
    return archive, data, caldb, Subprocess(headas)


def test_end_to_end(observed, tmp_path):
    archive, _, caldb, backend = observed
    pipeline = xrt(archive, RA, DEC, output=tmp_path / "out", response=caldb, backend=backend)
    found = {status.name: status for status in pipeline.run()}
    assert {name: status.state for name, status in found.items()} == dict.fromkeys(found, "done"), found
    table = pd.read_csv(tmp_path / "out/observations.csv", dtype={"obs_id": str})
    assert table["used"].tolist() == [True, True, True, False]
    facts = found["fit"].facts
    assert facts["converged"] and facts["spectra"] == list(OBSERVATIONS[:3])
    assert sum(name.startswith("nh") for name in facts["values"]) == 1
    for number, obs_id in enumerate(OBSERVATIONS[1:3], 1):
        name = f"bremss.norm[{obs_id}]"
        wanted = TRUTH["bremss.norm"] * (1 + number)
        assert abs(facts["values"][name] - wanted) < 4 * facts["errors"][name]
    assert 0.6 < facts["statistic"] / facts["dof"] < 1.4
    spectrum = batx.open_dataset(tmp_path / f"out/spectra/{OBSERVATIONS[1]}.pi")
    assert spectrum.attrs["backfile"] == f"{OBSERVATIONS[1]}_bkg.pha"
    pictures = {path.stem for path in (tmp_path / "out/figures").glob("*.png")}
    assert {"epochs", "selection", "rates", "fit", "unfolded"} <= pictures
    states = [(status.state, status.reason) for status in pipeline.run()]
    assert states == [("done", "")] * len(found)


def small(observed, folder: Path, **options):
    """Return the pipeline of two simulated observations."""
    archive, _, caldb, backend = observed
    places = [archive / obs_id for obs_id in OBSERVATIONS[1:3]]
    given = {"response": caldb, "backend": backend, "model": "tbabs*powerlaw"} | options
    return xrt(places, RA, DEC, output=folder, **given)


def test_one_observation_fails_and_is_done_later(observed, tmp_path):
    _, data, _, _ = observed
    (data / OBSERVATIONS[1] / "fails").touch()
    try:
        found = {status.name: status for status in small(observed, tmp_path / "out").run("group")}
    finally:
        (data / OBSERVATIONS[1] / "fails").unlink()
    assert found["pipeline"].state == "done"
    assert "cannot find the attitude" in found["pipeline"].notes[0]
    assert list(found["group"].facts["spectra"]) == [OBSERVATIONS[2]]
    again = {
        status.name: status for status in small(observed, tmp_path / "out").run("group", since="pipeline")
    }
    assert list(again["group"].facts["spectra"]) == list(OBSERVATIONS[1:3])


def test_calls_that_ended_are_not_made_again(observed, tmp_path):
    """The step is interrupted after the first observation; only the second is run when it goes on."""
    _, data, _, _ = observed
    pipeline = small(observed, tmp_path / "out", workers=1)
    log = data / "calls"
    log.unlink(missing_ok=True)

    class Interrupted(BaseException):
        pass

    def interrupt(status):
        if status.name == "pipeline" and status.reason == "1 of 2":
            raise Interrupted

    with pytest.raises(Interrupted):
        pipeline.run("pipeline", progress=interrupt)
    assert pipeline.status()[2].state == "to do"
    assert [status.state for status in pipeline.run("pipeline")] == ["done", "done"]
    assert sorted(log.read_text().split()) == list(OBSERVATIONS[1:3])


def test_regions_that_were_saved_are_used(observed, tmp_path):
    saved = tmp_path / "regions"
    saved.mkdir()
    own = batx.regions.circle(RA, DEC, 30 / 3600, text="mine")
    batx.to_region(own, saved / f"{OBSERVATIONS[1]}_source.reg")
    found = small(observed, tmp_path / "out", regions=saved)
    assert all(status.state == "done" for status in found.run("curves"))
    made = batx.regions.read_regions(tmp_path / f"out/regions/{OBSERVATIONS[1]}_source.reg")
    assert made[0].values == pytest.approx(own[0].values) and made[0].text == "mine"
    everywhere = batx.regions.read_regions(tmp_path / "out/regions/all_source.reg")
    assert everywhere[0].values[2] == pytest.approx(47 / 3600)
    rates = pd.read_csv(tmp_path / "out/rates.csv")
    assert rates["counts"][0] <= rates["counts"][1]
    for number, radius in enumerate((30, 47)):  # King profile of a point source in a field without gaps
        share = 1 - (1 + (radius / 5.8) ** 2) ** -0.55
        assert rates["seen_fraction"][number] == pytest.approx(share, rel=2e-3)
    net = rates["counts"] - rates["background_scale"] * rates["background_counts"]
    np.testing.assert_allclose(rates["rate"], net / rates["exposure"] / rates["seen_fraction"], rtol=1e-6)
    batx.to_region(
        batx.regions.circle(RA, DEC, 20 / 3600), saved / f"{OBSERVATIONS[1]}_source.reg", overwrite=True
    )
    assert found.status()[1].state == "to do"


def test_what_is_missing_is_said(observed, tmp_path):
    (status,) = small(observed, tmp_path / "a", min_exposure=1e5).run("select")
    assert status.state == "failed" and "the longest is for 1800 s" in status.reason
    found = {one.name: one for one in small(observed, tmp_path / "b", response=tmp_path).run("fit")}
    assert "swxpc0to12s6_20130101v014.rmf is not in" in found["group"].reason
    assert found["fit"].state == "blocked"
    (status,) = xrt(tmp_path, RA, DEC, output=tmp_path / "c").run("select")
    assert "found no observation" in status.reason
    (status,) = xrt(tmp_path / "no", RA, DEC, output=tmp_path / "d").run("select")
    assert "there is no folder" in status.reason
    (tmp_path / "g" / OBSERVATIONS[1] / "xrt").mkdir(parents=True)
    twice = [observed[0], tmp_path / "g"]
    (status,) = xrt(twice, RA, DEC, output=tmp_path / "h").run("select")
    assert "give one of them" in status.reason
    for wrong in ({"energy": (3, 1)}, {"dt": 0}):
        with pytest.raises(ValueRangeError):
            small(observed, tmp_path / "e", **wrong)
    with pytest.raises(ValueRangeError):
        xrt([], RA, DEC, output=tmp_path / "f")
    with pytest.raises(ValueRangeError):
        xrt("x", 400.0, DEC, output=tmp_path / "f")


def test_without_tools_what_needs_none_is_done(observed, tmp_path, monkeypatch):
    monkeypatch.delenv("HEADAS", raising=False)
    found = {one.name: one for one in small(observed, tmp_path / "out", backend=None).run()}
    assert found["select"].state == "done" and found["regions"].state == "done"
    assert "HEASoft" in found["pipeline"].reason
    assert (tmp_path / "out/figures/selection.png").is_file()


def test_command(observed, tmp_path, monkeypatch):
    from click.testing import CliRunner

    from batx.cli import main

    archive, _, caldb, backend = observed
    monkeypatch.setenv("HEADAS", str(backend.place))
    monkeypatch.chdir(tmp_path)
    words = ["xrt", str(archive), "--ra", str(RA), "--dec", str(DEC), "--response", str(caldb)]
    words += ["-o", str(tmp_path / "out"), "--only", "curves"]
    ran = CliRunner().invoke(main, words)
    assert ran.exit_code == 0, ran.output
    assert len(list((tmp_path / "out/lightcurves").glob("*.lc"))) == 3
    listed = CliRunner().invoke(main, [*words[:-2], "--list"])
    assert listed.exit_code == 0 and "to do" in listed.output
    assert CliRunner().invoke(main, ["xrt", str(tmp_path / "no"), *words[2:7], str(caldb)]).exit_code != 0
