"""The pipeline of Swift-XRT from archive folders to a joint fit and pictures, with stand-ins of its tools."""

from __future__ import annotations

import math
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
from batx.errors import BatxError, ValueRangeError
from batx.heasoft import Subprocess
from batx.pipelines.missions.toolbox import Toolbox
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
EXPOSURE = parameters(
    "infile f", "attfile f", "hdfile f", "outdir f", "stemout s DEFAULT", "vigflag b no", "pcnframe i 0"
)
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
    frozen = {"nh": {"value": facts["values"]["nh"], "frozen": True}}
    how = {"statistic": "cstat", "energy": (0.3, 10.0), "errors": "covariance", "parameters": frozen}
    alone = [
        float(batx.fit(tmp_path / f"out/spectra/{name}.pi", "tbabs*(bbody+bremss)", **how).statistic)
        for name in facts["spectra"]
    ]
    assert facts["statistic"] < sum(alone) + 0.1  # each spectrum is in its own minimum
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


def test_tools_are_called_as_their_manuals_say(observed, tmp_path, monkeypatch):
    """The parameters of each call; the attitude is the one that ATTFLAG of the events names."""
    archive, data, _, _ = observed
    made = {}
    keep = Toolbox.request

    def request(self, work, key, task, **parameters):
        made.setdefault(task.name, {})[key] = {**task.defaults, **parameters}
        return keep(self, work, key, task, **parameters)

    monkeypatch.setattr(Toolbox, "request", request)
    name, other = OBSERVATIONS[1:3]
    auxil = archive / name / "auxil"
    shutil.copyfile(auxil / f"sw{name}sat.fits", auxil / f"sw{name}pat.fits")
    events = data / name / f"sw{name}xpcw3po_cl.evt"
    held = events.read_bytes()
    try:
        with fits.open(events, mode="update") as hdus:
            hdus["EVENTS"].header["ATTFLAG"] = "100"
        settings = {"xrtexpomap": {"pcnframe": 0}}
        found = small(observed, tmp_path / "out", dt=250, settings=settings).run("products")
    finally:
        events.write_bytes(held)
        (auxil / f"sw{name}pat.fits").unlink()
    assert [one.reason for one in found if one.state != "done"] == []
    first = made["xrtpipeline"][name]
    assert (first["indir"], first["steminputs"]) == (archive / name, f"sw{name}")
    assert (first["srcra"], first["srcdec"], first["exitstage"]) == (RA, DEC, "2")
    maps = made["xrtexpomap"]
    assert maps[name]["attfile"].name == f"sw{name}sat.fits" and maps[name]["vigflag"] == "no"
    assert maps[f"{name}/vignetted"]["vigflag"] == "yes"
    last = made["xrtproducts"][other]
    assert (last["pilow"], last["pihigh"], last["binsize"]) == (30, 999, 250.0)
    assert (last["bkgextract"], last["correctlc"]) == ("yes", "no")
    assert last["expofile"] == tmp_path / f"out/exposure/{other}.img"
    log = small(observed, tmp_path / "out", dt=250, settings={"xrtexpomap": {"infile": "a"}}).run("exposure")
    assert "is set by the pipeline" in log[-1].reason
    with pytest.raises(ValueRangeError, match="expected some of xrtpipeline"):
        small(observed, tmp_path / "out", settings={"nupipeline": {}})


def test_observations_that_cannot_be_used_are_told(observed, tmp_path):
    """Windowed timing only, cut short, another field: each has its reason, the others are done."""
    archive = tmp_path / "archive"
    shutil.copytree(observed[0], archive)
    names = [f"0004099001{number}" for number in range(3)]
    for name in names:
        (archive / name / "xrt/event").mkdir(parents=True)
    (archive / names[0] / f"xrt/event/sw{names[0]}xwtw2po_uf.evt").touch()
    whole = (archive / OBSERVATIONS[1] / f"xrt/event/sw{OBSERVATIONS[1]}xpcw3po_uf.evt").read_bytes()
    (archive / names[1] / f"xrt/event/sw{names[1]}xpcw3po_uf.evt").write_bytes(whole[:5000])
    away = archive / names[2] / f"xrt/event/sw{names[2]}xpcw3po_uf.evt"
    away.write_bytes(whole)
    with fits.open(away, mode="update") as hdus:
        hdus["EVENTS"].header.update({"RA_PNT": RA, "DEC_PNT": DEC + 1.0})
    (found,) = xrt(archive, RA, DEC, output=tmp_path / "out").run("select")
    assert found.facts["used"] == list(OBSERVATIONS[:3])
    table = pd.read_csv(tmp_path / "out/observations.csv", dtype={"obs_id": str}).set_index("obs_id")
    assert "only in windowed-timing mode" in table.reason[names[0]]
    assert "cannot be read" in table.reason[names[1]] and "cut short" in table.reason[names[1]]
    assert table.reason[names[2]] == "the source is 60 arcmin off axis, outside of the field"


def test_archived_events_need_no_tools(observed, tmp_path, monkeypatch):
    """Without HEASoft: curves, images and figures; without exposure maps rates have the wings only."""
    monkeypatch.delenv("HEADAS", raising=False)
    archive, data = tmp_path / "archive", observed[1]
    shutil.copytree(observed[0], archive)
    for name in OBSERVATIONS[1:3]:
        for path in (data / name).glob("*_cl.evt*"):
            shutil.copyfile(path, archive / name / "xrt/event" / path.name)
    (archive / OBSERVATIONS[1] / "xrt/products").mkdir()
    target = archive / OBSERVATIONS[1] / f"xrt/products/sw{OBSERVATIONS[1]}xpcw3po_ex.img"
    shutil.copyfile(data / OBSERVATIONS[1] / "exposure.img", target)
    pipeline = xrt(archive, RA, DEC, output=tmp_path / "out", reprocess=False)
    found = {one.name: one for one in pipeline.run()}
    done = ("select", "regions", "pipeline", "exposure", "curves", "images", "figures")
    assert [found[name].state for name in done] == ["done"] * len(done)
    assert "HEASoft" in found["products"].reason
    (note,) = [one for one in found["curves"].notes if "no exposure map" in one]
    assert note.startswith(OBSERVATIONS[2])
    rates = pd.read_csv(tmp_path / "out/rates.csv")
    assert rates["seen_fraction"].tolist() == pytest.approx([0.9007] * 2, abs=2e-3)
    assert {"epochs", "rates", "selection"} <= {path.stem for path in (tmp_path / "out/figures").glob("*")}


def test_bright_and_absent_sources_are_told(observed, tmp_path):
    """Above 0.5 count/s a circle is piled up, an annulus is not; no counts make a limit."""
    _, data, _, _ = observed
    events = data / OBSERVATIONS[1] / f"sw{OBSERVATIONS[1]}xpcw3po_cl.evt"
    held = events.read_bytes()
    attrs = SWIFT | {"obs_id": OBSERVATIONS[1]}
    try:
        bright = event_list(attrs, 1, start=301197737.0, source=4000)
        batx.to_fits(bright, events, overwrite=True)
        how = {"backend": observed[3], "model": "powerlaw"}
        place = observed[0] / OBSERVATIONS[1]
        found = xrt(place, RA, DEC, output=tmp_path / "a", **how).run("curves")[-1]
        assert "piled up" in " ".join(found.notes)
        ring = tmp_path / "ring.reg"
        batx.to_region(batx.regions.annulus(RA, DEC, 12 / 3600, 47 / 3600), ring)
        found = xrt(place, RA, DEC, output=tmp_path / "b", region=ring, **how).run("curves")[-1]
        assert "piled up" not in " ".join(found.notes)
        absent = event_list(attrs, 1, start=301197737.0, source=0, field=40)
        batx.to_fits(absent, events, overwrite=True)
        found = xrt(place, RA, DEC, output=tmp_path / "c", **how).run("curves")[-1]
    finally:
        events.write_bytes(held)
    (row,) = pd.read_csv(tmp_path / "c/rates.csv").to_dict("records")
    behind = row["background_scale"] * row["background_counts"]
    limit = batx.region_curves.count_limit(row["counts"], behind)
    assert row["upper_limit"] == pytest.approx(limit / row["seen_fraction"] / row["exposure"])
    assert abs(row["rate"]) < row["upper_limit"]


def test_region_files_of_ds9(observed, tmp_path):
    """Galactic regions become fk5; pixels of one sky are not laid on others; names that nobody asks for."""
    saved = tmp_path / "regions"
    saved.mkdir()
    (saved / "all_source.reg").write_text('galactic\ncircle(42.96,32.16,30")\n')
    (saved / f"{OBSERVATIONS[1]}_background.reg").write_text("physical\nannulus(500,500,60,90)\n")
    (saved / "mine.reg").write_text("physical\ncircle(500,500,9)\n")
    (_, status) = small(observed, tmp_path / "a", regions=saved).run("regions")
    assert "mine.reg" in status.notes[0]
    own, behind = (
        batx.regions.read_regions(tmp_path / f"a/regions/{OBSERVATIONS[1]}_{kind}.reg")[0]
        for kind in ("source", "background")
    )
    assert (own.frame, behind.frame) == ("fk5", "physical")
    assert own.values[:2] == pytest.approx((256.8639, 21.9569), abs=1e-4)
    (_, status) = small(observed, tmp_path / "b", region=saved / "mine.reg").run("regions")
    assert status.state == "failed" and "each of which these are another place" in status.reason
    for text, said in (("fk4\ncircle(1,2,3)\n", "coordinates 'fk4'"), ("\ufefffk5\ncircle(1,2,3)\n", "")):
        (tmp_path / "one.reg").write_text(text, encoding="utf-8")
        (_, status) = small(observed, tmp_path / "c", region=tmp_path / "one.reg").run("regions")
        assert (status.state == "done") if not said else said in status.reason


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
    with pytest.raises(ValueRangeError):
        xrt([], RA, DEC, output=tmp_path / "f")
    with pytest.raises(ValueRangeError):
        xrt("x", 400.0, DEC, output=tmp_path / "f")


@pytest.mark.parametrize(
    "wrong",
    [
        *(
            {"energy": (3, 1)},
            {"energy": 5},
            {"energy": ("a", "b")},
            {"dt": 0},
            {"ra": "10h"},
            {"dec": math.nan},
        ),
        *({"min_exposure": -1}, {"min_counts": "many"}, {"t0": "2020-01-01"}, {"reprocess": "no"}),
        *({"statistic": "chi"}, {"errors": "none"}, {"model": "powerlow"}, {"tied": "nH"}, {"tied": ("x",)}),
        *(
            {"region": "nowhere.reg"},
            {"regions": "nowhere"},
            {"settings": {"xrtpipe": {}}},
            {"settings": "a"},
        ),
    ],
    ids=str,
)
def test_arguments_are_looked_at_before_tools_run(wrong, tmp_path):
    (name,) = wrong
    with pytest.raises(BatxError, match=name if name != "model" else "powerlow"):
        xrt(tmp_path, output=tmp_path / "e", **{"ra": RA, "dec": DEC, **wrong})


def test_without_tools_what_needs_none_is_done(observed, tmp_path, monkeypatch):
    monkeypatch.delenv("HEADAS", raising=False)
    found = {one.name: one for one in small(observed, tmp_path / "out", backend=None).run()}
    assert found["select"].state == "done" and found["regions"].state == "done"
    assert "HEASoft" in found["pipeline"].reason and "reprocess=False" in found["pipeline"].reason
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
    pixels = tmp_path / "pixels.reg"
    pixels.write_text("physical\ncircle(500,500,9)\n")
    said = CliRunner().invoke(main, [*words[:-4], "-o", str(tmp_path / "b"), "--region", str(pixels)])
    assert said.exit_code != 0 and "another place" in " ".join(said.output.split())
    assert len(list((tmp_path / "out/lightcurves").glob("*.lc"))) == 3
    listed = CliRunner().invoke(main, [*words[:-2], "--list"])
    assert listed.exit_code == 0 and "to do" in listed.output
    assert CliRunner().invoke(main, ["xrt", str(tmp_path / "no"), *words[2:7], str(caldb)]).exit_code != 0
