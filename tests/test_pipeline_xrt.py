"""The pipeline of Swift-XRT from archive folders to a joint fit and pictures, with stand-ins of its tools."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mission_inputs import DEC, RA, TRUTH, event_list, parameters, small_response, spectrum_files
from stand_ins import add_tool, make_headas

import batx
from batx.errors import EmptySelectionError, MissingFileError, ValueRangeError
from batx.heasoft import Subprocess
from batx.pipelines.xrt_pipeline import xrt

SWIFT = {"telescope": "SWIFT", "instrument": "XRT", "utcf": -6.0, "datamode": "PHOTON", "deadc": 1.0}
OBSERVATIONS = ("00040990001", "00040990002", "00040990003", "00040990004")
DAY = 86400.0

PIPELINE = parameters(
    "indir f", "outdir f", "steminputs s", "stemoutputs s DEFAULT", "srcra s OBJECT", "srcdec s OBJECT",
    "createexpomap b yes", "exitstage i 3", "attfile f DEFAULT", "hdfile f DEFAULT",
)  # fmt: skip
EXPOSURE = parameters("infile f", "attfile f", "hdfile f", "outdir f", "stemout s DEFAULT")
PRODUCTS = parameters(
    "infile f", "regionfile f", "bkgextract b no", "bkgregionfile f NONE", "outdir f", "stemout s DEFAULT",
    "binsize r 10", "pilow i 30", "pihigh i 1000", "expofile f NONE", "attfile f NONE", "hdfile f NONE",
    "correctlc b yes", "plotdevice s gif",
)  # fmt: skip


def add_xrt_tools(headas: Path, data: Path) -> None:
    """Add stand-ins that copy what lies in ``data/<observation>``."""
    add_tool(headas, "xrtpipeline", PIPELINE, f"""id="${{steminputs#sw}}"
[ -d "$indir/xrt/event" ] || {{ echo "no events in $indir" >&2; exit 1; }}
[ -e "{data}/$id/fails" ] && {{ echo "xrtpipeline: cannot find the attitude of $id" >&2; exit 1; }}
echo "$id" >> "{data}/calls"
mkdir -p "$outdir" && cp "{data}/$id/"*_cl.evt* "$outdir/"
""")  # fmt: skip
    add_tool(headas, "xrtexpomap", EXPOSURE, f"""id="${{stemout#sw}}"; id="${{id%xpc}}"
mkdir -p "$outdir" && cp "{data}/$id/exposure.img" "$outdir/${{stemout}}w3po_ex.img"
""")  # fmt: skip
    add_tool(headas, "xrtproducts", PRODUCTS, f"""id="${{stemout#sw}}"; id="${{id%xpc}}"
grep -q 'circle(' "$regionfile" && grep -q fk5 "$regionfile" || exit 3
mkdir -p "$outdir"
cp "{data}/$id/source.pha" "$outdir/${{stemout}}posr.pha"
cp "{data}/$id/background.pha" "$outdir/${{stemout}}pobkg.pha"
cp "{data}/$id/area.arf" "$outdir/${{stemout}}posr.arf"
cp "{data}/$id/curve.lc" "$outdir/${{stemout}}posr.lc"
""")  # fmt: skip


def area_file(path: Path, response_name: str, real: Path | None) -> None:
    """Write an effective area that names its redistribution."""
    from astropy.io import fits

    if real is not None:
        shutil.copyfile(real, path)
    else:
        response = small_response()
        bounds, area = response["energy_in_bnds"].values, np.ones(response.sizes["energy_in"])
        columns = [
            fits.Column("ENERG_LO", "E", "keV", array=bounds[:, 0]),
            fits.Column("ENERG_HI", "E", "keV", array=bounds[:, 1]),
            fits.Column("SPECRESP", "E", "cm**2", array=area),
        ]
        table = fits.BinTableHDU.from_columns(columns, name="SPECRESP")
        table.header.update(
            {"TELESCOP": "SWIFT", "INSTRUME": "XRT", "HDUCLAS1": "RESPONSE", "HDUCLAS2": "SPECRESP"}
        )
        table.writeto(path)
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
        batx.to_fits(response, caldb / name)
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
        area_file(made / "area.arf", name, real and real / "interval0pc.arf")
        image = batx.count_image(events, center=(RA, DEC), size=100, bin=4)
        batx.to_fits(image, made / "exposure.img")
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
