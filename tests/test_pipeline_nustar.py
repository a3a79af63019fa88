"""The pipeline of NuSTAR from archive folders to a joint fit, with stand-ins of its tools."""

from __future__ import annotations

import itertools
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from mission_inputs import DEC, RA, event_list, parameters, small_response, spectrum_files, split_response
from stand_ins import add_tool, make_headas

import batx
from batx.heasoft import Subprocess
from batx.pipelines.nustar_pipeline import nustar

OBS = "30501003002"
MODEL = "constant*tbabs*powerlaw"
TRUTH = {"factor": 1.0, "nh": 5.0, "index": 1.8, "pivot": 1.0, "norm": 0.05}
PIPELINE = parameters("indir f", "outdir f", "steminputs s", "instrument s ALL", "saamode s NONE")
PRODUCTS = parameters(
    "indir f",
    "infile f DEFAULT",
    "instrument s",
    "steminputs s",
    "outdir f",
    "srcregionfile f DEFAULT",
    "bkgregionfile f DEFAULT",
    "binsize r 10",
    "pilow i -1",
    "pihigh i -1",
    "bkgextract b no",
    "usrgtifile f NONE",
)


def add_nustar_tools(headas: Path, data: Path) -> None:
    """Add stand-ins that copy what lies in ``data``."""
    add_tool(
        headas,
        "nupipeline",
        PIPELINE,
        f"""[ -d "$indir/event_uf" ] || exit 1
echo "${{saamode:-NONE}} $instrument" >> "{data}/instruments"
mkdir -p "$outdir" && cp "{data}/"*_cl.evt "$outdir/"
""",
    )
    add_tool(
        headas,
        "nuproducts",
        PRODUCTS,
        f"""m="${{instrument#FPM}}"
[ -e "$infile" ] && grep -q 'circle(' "$srcregionfile" || exit 3
[ -e "{data}/fails$m" ] && {{ echo "numkarf: no calibration for $instrument" >&2; exit 1; }}
mkdir -p "$outdir"
for k in sr.pha bk.pha sr.arf sr.rmf sr.lc; do
  [ -e "{data}/$m.$k" ] && cp "{data}/$m.$k" "$outdir/${{steminputs}}${{m}}01_$k"
done
true
""",
    )


def make_archive(folder: Path, shared: Path | None) -> tuple[Path, Path]:
    """Write an observation in the archive's layout, and what the tools make of it."""
    place, data = folder / "archive" / OBS, folder / "data"
    for part in (place / "event_uf", data):
        part.mkdir(parents=True)
    real = shared / "data/nustar" if shared else None
    if real is not None:
        response = batx.responses.combine_response([real / "nustar_fpma.rmf.gz", real / "nustar.arf"])
    else:
        response = small_response(1.6, 80.0, channels=196, area=400.0)
    for number, module in enumerate("AB"):
        attrs = {"telescope": "NuSTAR", "instrument": f"FPM{module}", "obs_id": OBS, "mjdref_int": 55197}
        events = event_list(attrs, number, start=2.9e8, pixel=2.458, highest=1900)
        batx.to_fits(events, place / f"event_uf/nu{OBS}{module}_uf.evt")
        batx.to_fits(events, data / f"nu{OBS}{module}01_cl.evt")
        curve = batx.region_lightcurve(events, batx.regions.circle(RA, DEC, 60 / 3600), dt=100.0)
        batx.to_fits(curve, data / f"{module}.sr.lc")
        names = (f"{module}.sr.pha", f"{module}.bk.pha")
        truth = TRUTH | {"factor": 1.0 if module == "A" else 0.9}
        spectrum_files(data, attrs, response, number, model=MODEL, truth=truth, names=names)
        if real is not None:
            shutil.copyfile(real / "nustar_fpma.rmf.gz", data / f"{module}.sr.rmf")
            shutil.copyfile(real / "nustar.arf", data / f"{module}.sr.arf")
        else:
            cards = {"TELESCOP": "NuSTAR", "INSTRUME": f"FPM{module}"}
            split_response(response, data / f"{module}.sr.rmf", data / f"{module}.sr.arf", cards)
    return place.parent, data


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory):
    """Archive, data of the stand-ins and backend: with the real response if there is one."""
    folder = tmp_path_factory.mktemp("nustar")
    name = os.environ.get("BATX_SHARED")
    archive, data = make_archive(folder, Path(name).resolve() if name else None)
    headas = make_headas(folder, ())
    add_nustar_tools(headas, data)
    return archive, data, Subprocess(headas)


def test_end_to_end(observed, tmp_path):
    archive, _, backend = observed
    pipeline = nustar(archive, RA, DEC, output=tmp_path / "out", backend=backend, energy=(3, 40))
    found = {status.name: status for status in pipeline.run()}
    assert {name: status.state for name, status in found.items()} == dict.fromkeys(found, "done"), found
    facts = found["fit"].facts
    assert facts["converged"] and facts["spectra"] == [f"{OBS}A", f"{OBS}B"]
    values, errors = facts["values"], facts["errors"]
    assert values[f"factor[{OBS}A]"] == 1.0
    assert abs(values[f"factor[{OBS}B]"] - 0.9) < 4 * errors[f"factor[{OBS}B]"]
    assert abs(values["index"] - TRUTH["index"]) < 4 * errors["index"]
    assert {path.stem for path in (tmp_path / "out/figures").glob("*.png")} == {
        "epochs",
        "fit",
        "rates",
        "unfolded",
    }


def test_one_telescope_fails(observed, tmp_path):
    """What a tool cannot do for one of them is a note; the other is fitted."""
    archive, data, backend = observed
    (data / "failsB").touch()
    try:
        pipeline = nustar(archive, RA, DEC, output=tmp_path / "out", backend=backend, energy=(3, 40))
        found = {status.name: status for status in pipeline.run("group")}
    finally:
        (data / "failsB").unlink()
    assert found["products"].state == "done"
    assert "no calibration for FPMB" in found["products"].notes[0]
    assert list(found["group"].facts["spectra"]) == [f"{OBS}A"]
    two = tmp_path / "two.reg"
    batx.to_region([*batx.regions.circle(RA, DEC, 0.01), *batx.regions.circle(RA, DEC + 0.02, 0.01)], two)
    how = {"backend": backend, "energy": (3, 40), "region": two}
    status = nustar(archive, RA, DEC, output=tmp_path / "two", **how).run("products")[-1]
    assert "circle, circle, expected one of circle, ellipse, annulus" in status.notes[0]


def test_one_telescope_is_missing(observed, tmp_path):
    """Only events of FPMA in the archive: nupipeline is called for that, and what follows is done with it."""
    archive, data, backend = observed
    raw, cleaned = archive / OBS / f"event_uf/nu{OBS}B_uf.evt", data / f"nu{OBS}B01_cl.evt"
    hidden = [path.rename(path.with_suffix(".not")) for path in (raw, cleaned)]
    try:
        pipeline = nustar(archive, RA, DEC, output=tmp_path / "out", backend=backend, energy=(3, 40))
        found = {status.name: status for status in pipeline.run("group", "curves")}
    finally:
        for path, name in zip(hidden, (raw, cleaned), strict=True):
            path.rename(name)
    assert found["curves"].state == "done" and list(found["group"].facts["spectra"]) == [f"{OBS}A"]
    notes = " ".join(found["pipeline"].notes)
    assert "only events of FPMA" in notes and "FPMB is left out" in notes
    assert (data / "instruments").read_text().split()[-1] == "FPMA"


def test_archived_events_and_a_damaged_list(observed, tmp_path, monkeypatch):
    monkeypatch.delenv("HEADAS", raising=False)
    archive, data, _ = observed
    place = tmp_path / OBS
    shutil.copytree(archive / OBS, place)
    (place / "event_cl").mkdir()
    shutil.copyfile(data / f"nu{OBS}A01_cl.evt", place / f"event_cl/nu{OBS}A01_cl.evt")
    cut = (data / f"nu{OBS}B01_cl.evt").read_bytes()[:4000]
    (place / f"event_cl/nu{OBS}B01_cl.evt").write_bytes(cut)
    pipeline = nustar(place, RA, DEC, output=tmp_path / "out", reprocess=False, energy=(3, 40))
    found = {status.name: status for status in pipeline.run()}
    assert found["curves"].state == "done" and found["figures"].state == "done"
    assert "FPMB is left out" in found["pipeline"].notes[0] and "cut short" in found["pipeline"].notes[0]
    assert "BACKSCAL" in found["curves"].notes[0] and "HEASoft" in found["products"].reason


def test_rates_are_of_live_time_with_the_scale_of_the_spectra(observed, tmp_path):
    archive, data, backend = observed
    path = data / f"nu{OBS}A01_cl.evt"
    held = path.read_bytes()
    made = {}
    try:
        for live in (1.0, 0.75):
            with fits.open(path, mode="update") as hdus:
                hdus["EVENTS"].header["DEADC"] = live
            out = tmp_path / str(live)
            settings = {"nupipeline": {"saamode": "optimized"}}
            how = {"backend": backend, "energy": (3, 40), "settings": settings}
            found = nustar(archive, RA, DEC, output=out, **how).run("curves")
            assert found[-1].state == "done" and not found[-1].notes
            made[live] = pd.read_csv(out / "rates.csv").query("name == 'FPMA'")
    finally:
        path.write_bytes(held)
    np.testing.assert_allclose(made[0.75].rate, made[1.0].rate / 0.75)
    assert (data / "instruments").read_text().split()[-2:] == ["optimized", "ALL"]
    curve = batx.open_dataset(tmp_path / f"1.0/lightcurves/{OBS}A.lc")
    assert curve.attrs["background_scale"] == pytest.approx(0.1)  # BACKSCAL 1 and 10 of the spectra


def test_nothing_there(tmp_path):
    (found,) = nustar(tmp_path, RA, DEC, output=tmp_path / "out").run("pipeline")
    assert found.state == "failed" and "event_uf" in found.reason
    (found,) = nustar(tmp_path / "x", RA, DEC, output=tmp_path / "out2").run("pipeline")
    assert found.state == "failed" and "there is no folder" in found.reason


def test_real_spectrum_is_grouped(shared, tmp_path):
    """The real spectrum of FPMB: links, groups and range of energies."""
    from batx.pipelines.frame import Pipeline, Step
    from batx.pipelines.missions import joint

    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("nustar_pha.pha", "nustar_fpma.rmf.gz", "nustar.arf"):
        shutil.copyfile(shared / "data/nustar" / name, folder / name)
    parts = joint.Parts(folder / "nustar_pha.pha", None, folder / "nustar_fpma.rmf.gz", folder / "nustar.arf")

    def make(work):
        return joint.grouped(work, "b", parts, min_counts=25, energy=(3.0, 78.0))

    (status,) = Pipeline("real", [Step("group", "group", make)], tmp_path / "out").run()
    spectrum = batx.open_dataset(tmp_path / "out/spectra/b.pi")
    counts, good = spectrum.counts.values, spectrum.quality.values == 0
    assert status.facts["counts"] == counts[good].sum()
    starts = np.flatnonzero((spectrum.grouping.values == 1) & good)
    assert all(counts[a:b].sum() >= 25 for a, b in itertools.pairwise(starts) if good[a:b].all())
    found = batx.fit(tmp_path / "out/spectra/b.pi", "tbabs*powerlaw", energy=(3, 50), errors="covariance")
    assert found.converged
