"""The pipeline of XMM-Newton from observation data to spectra, curves and RGS, with stand-ins."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import sys
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from mission_inputs import DEC, RA, event_list, small_response, spectrum_files, split_response
from stand_ins import add_sas_task, make_sas

import batx
from batx.errors import FileFormatError, MissingFileError, ValueRangeError, WriteError
from batx.heasoft import Sas
from batx.io.write_links import write_links
from batx.pipelines.missions.xmm_products import _without_core
from batx.pipelines.xmm_pipeline import xmm
from batx.plots.timeaxis import time_axis
from batx.regions import Region

OBS = ("0693760101", "0693760201")
#: arcsec outside which the source of each is not piled up
CORE = {OBS[0]: 3.5, OBS[1]: 0.0}
TRUTH = {"nh": 0.05, "index": 1.7, "pivot": 1.0, "norm": 4e-3}
MJDREF = {"mjdref_int": 50814, "mjdref_frac": 0.0}

#: puts a keyword of a number before the END of the second header of a file
KEYWORD = """python3() { "@" -I -S "$@"; }
card() { python3 - "$1" "$2" "$3" <<'PY'
import sys
path, key, value = sys.argv[1:]
data = bytearray(open(path, "rb").read())
start = data.index(b"XTENSION")
end = start
while data[end:end + 80].strip() != b"END":
    end += 80
assert data[end + 80:end + 160].strip() == b"" and (end + 80) % 2880, "no room"
data[end:end + 160] = f"{key:8s}= {value:>20s}".ljust(80).encode() + b"END".ljust(80)
open(path, "wb").write(data)
PY
}
""".replace("@", sys.executable, 1)


def elements(*names: str) -> str:
    """PARAM elements: a name, its type and, if it has one, its default."""
    made = []
    for name in names:
        key, kind, *default = name.split()
        made.append(
            f'<PARAM id="{key}" type="{kind}" mandatory="no" default="{default[0] if default else ""}"/>'
        )
    return "".join(made)


def add_sas_tasks(sas: Path, data: Path) -> None:
    """Add stand-ins that give out what lies in ``data/<observation>``; each knows it by its environment."""
    know = KEYWORD + f'data="{data}/$(cat "$SAS_ODF" 2> /dev/null | sed -n "s/^OBS //p")"\n'
    need = '[ -f "$SAS_CCF" ] && [ -f "$SAS_ODF" ] || { echo "SAS_CCF or SAS_ODF is not set" >&2; exit 1; }\n'
    add_sas_task(
        sas,
        "cifbuild",
        elements("calindexset dataset ccf.cif"),
        f'[ -d "$SAS_ODF" ] || exit 1\ncp "{data}/any.fits" "$calindexset"\n',
    )
    add_sas_task(
        sas,
        "odfingest",
        elements("odfdir directory", "outdir directory ."),
        'id=$(ls "$odfdir" | head -1 | cut -d_ -f2)\n'
        'printf "PATH $odfdir/\\nOBS $id\\n" > "1234_${id}_SCX00000SUM.SAS"\n',
    )
    chain = elements("runbackground bool no", "withinstexpids bool no", "instexpids string")
    take = 'echo "$instexpids" >> "$data/chosen"; cp "$data"/*{}* .\n'
    add_sas_task(sas, "epproc", chain, know + need + take.format("EPN"))
    add_sas_task(sas, "emproc", chain, know + need + take.format("EMOS"))
    add_sas_task(
        sas,
        "epchain",
        elements("schedule string S", "exposure int 0"),
        know
        + need
        + 'name="$schedule$(printf %03d "$exposure")"; '
        + 'cp "$data"/*EPN_${name}_* "P0123456789PN${name}PIEVLI0000.FIT"\n',
    )
    add_sas_task(
        sas,
        "merge",
        elements("set1 dataset", "set2 dataset", "outset dataset"),
        know + need + '[ -s "$set2" ] && cp "$set1" "$outset"\n',
    )
    add_sas_task(
        sas,
        "evselect",
        elements(
            "table table",
            "withfilteredset bool no",
            "filteredset dataset filtered.fits",
            "destruct bool yes",
            "keepfilteroutput bool no",
            "expression expression true",
            "withrateset bool no",
            "rateset dataset rate.fits",
            "timebinsize real 1",
            "withtimeranges bool no",
            "timemin real 0",
            "timemax real 1000",
            "maketimecolumn bool no",
            "makeratecolumn bool no",
            "withspectrumset bool no",
            "spectrumset dataset spectrum.fits",
            "energycolumn string PI",
            "spectralbinsize int 5",
            "withspecranges bool no",
            "specchannelmin int 0",
            "specchannelmax int 11999",
        ),
        know
        + need
        + """yes() { case "$1" in yes|true|Y|1) true ;; *) false ;; esac; }
[ -s "$table" ] || exit 2
if yes "$withfilteredset"; then
  case "$expression" in *gti*) good=${expression#*gti(}; [ -s "${good%%,*}" ] || exit 3 ;; esac
  cp "$table" "$filteredset"
  case "$expression" in *annulus*) card "$filteredset" CORE "$(echo "$expression" | cut -d, -f4)" ;; esac
elif yes "$withrateset"; then
  case "$expression" in
    *10000:12000*|*"PI>10000"*) cp "$data/flares.lc" "$rateset" ;;
    *annulus*|*circle*) echo "$expression" >> "$data/bands"
      echo "$withtimeranges $timemin $timemax" >> "$data/times"; cp "$data/rate.lc" "$rateset" ;;
    *) exit 5 ;;
  esac
else
  kind=source; case "$expression" in *",100)"*) exit 6 ;; *",1200,2000)"*) kind=background ;; esac
  cp "$data/$kind.pha" "$spectrumset"
fi
""",
    )
    add_sas_task(
        sas,
        "epatplot",
        elements(
            "set dataset",
            "useplotfile bool no",
            "plotfile file",
            "withbackgroundset bool no",
            "backgroundset dataset",
        ),
        know
        + need
        + """core=$(LC_ALL=C sed -n 's/.*CORE    = *\\([0-9.]*\\).*/\\1/p' "$set" | head -1)
clean=$(cat "$data/core")
ratio=$(python3 -c "print('0.850' if float('${core:-0}') < 20 * $clean else '0.990')")
card "$set" SNGL_OTM "$ratio"; card "$set" ESGL_OTM 0.020
card "$set" DBLE_OTM 1.020; card "$set" EDBL_OTM 0.030
echo "%!PS" > "$plotfile"
""",
    )
    add_sas_task(
        sas,
        "backscale",
        elements("spectrumset dataset", "badpixlocation dataset"),
        know + need + 'printf x | dd of=/dev/null 2> /dev/null; [ -w "$spectrumset" ]\n',
    )
    add_sas_task(
        sas,
        "rmfgen",
        elements("spectrumset dataset", "rmfset dataset"),
        know + need + f'cp "{data}/pn.rmf" "$rmfset"\n',
    )
    add_sas_task(
        sas,
        "arfgen",
        elements(
            "spectrumset dataset",
            "arfset dataset",
            "withrmfset bool no",
            "rmfset dataset",
            "badpixlocation dataset",
            "detmaptype string psf",
        ),
        know + need + f'[ -s "$rmfset" ] && cp "{data}/pn.arf" "$arfset"\n',
    )
    add_sas_task(
        sas,
        "epiclccorr",
        elements(
            "srctslist dataset",
            "bkgtslist dataset",
            "withbkgset bool no",
            "eventlist dataset",
            "outset dataset",
            "applyabsolutecorrections bool no",
        ),
        know + need + '[ -s "$bkgtslist" ] && echo "$applyabsolutecorrections" >> "$data/corrections" '
        '&& cp "$srctslist" "$outset"\n',
    )
    add_sas_task(
        sas,
        "rgsproc",
        elements("withsrc bool no", "srclabel string", "srcra real", "srcdec real"),
        know + need + 'cp "$data"/P*R[12]S* .\n',
    )
    add_sas_task(
        sas,
        "rgscombine",
        elements(
            "pha dataset",
            "bkg dataset",
            "rmf dataset",
            "filepha dataset",
            "filebkg dataset",
            "filermf dataset",
        ),
        know
        + need
        + 'for p in pha bkg rmf; do eval "list=\\$$p; to=\\$file$p"; set -- $list; cp "$1" "$to"; '
        'echo "$list" | tr " " "\\n" | sed "s,.*/,," >> "$data/../combined"; done\n',
    )


def rate_file(path: Path, start: float, rates: np.ndarray, step: float) -> None:
    """Write a light curve as evselect does: RATE, without bands."""
    time = start + step * (np.arange(len(rates)) + 0.5)
    columns = [
        fits.Column("RATE", "E", "count/s", array=rates),
        fits.Column("ERROR", "E", "count/s", array=np.sqrt(rates / step)),
        fits.Column("TIME", "D", "s", array=time),
    ]
    table = fits.BinTableHDU.from_columns(columns, name="RATE")
    cards = {
        "TELESCOP": "XMM",
        "INSTRUME": "EPN",
        "TIMEDEL": step,
        "HDUCLASS": "OGIP",
        "HDUCLAS1": "LIGHTCURVE",
    }
    table.header.update(cards | {"MJDREF": 50814.0, "TIMESYS": "TT", "TIMEPIXR": 0.5, "TSTART": start})
    table.writeto(path)


def make_archive(folder: Path, shared: Path | None) -> tuple[list[Path], Path]:
    """Write observation data, one of them packed, and what the tasks make of them."""
    data = folder / "data"
    data.mkdir()
    batx.to_fits(batx.build("gti", {"start": [0.0], "stop": [1.0]}, {"telescope": "XMM"}), data / "any.fits")
    real = shared / "data/xmm" if shared else None
    if real is not None:
        shutil.copyfile(real / "PN.rmf.gz", data / "pn.rmf")
        shutil.copyfile(real / "PN.arf", data / "pn.arf")
    else:
        response = small_response(0.005, 12.005, channels=2400, area=600.0)
        split_response(response, data / "pn.rmf", data / "pn.arf", {"TELESCOP": "XMM", "INSTRUME": "EPN"})
    response = batx.responses.combine_response([data / "pn.rmf", data / "pn.arf"])
    rng = np.random.default_rng(5)
    for number, obs_id in enumerate(OBS):
        place = data / obs_id
        place.mkdir()
        start = 4.5e8 + number * 40 * 86400.0
        attrs = {
            "telescope": "XMM",
            "instrument": "EPN",
            "obs_id": obs_id,
            "datamode": "IMAGING",
            "submode": "PrimeFullWindow",
            "date_obs": f"2012-0{5 + number}-14T03:49:58",
            "date_end": f"2012-0{5 + number}-14T06:34:28",
            **MJDREF,
        }
        for exposure, filtered, length in (
            ("S003", "Medium", 9000.0),
            ("U002", "Medium", 4000.0),
            ("S005", "CalClosed", 9e4),
        ):
            if number == 1 and exposure == "U002":
                continue
            events = event_list(
                attrs | {"expidstr": exposure, "filter": filtered},
                number,
                start=start,
                length=length,
                pixel=0.05,
                size=43000,
                source=900,
                field=3000,
                highest=9000,
            )
            patterns = np.resize(np.uint8([0, 1, 4, 5, 12]), events.sizes["event"])
            events = events.assign(pattern=("event", patterns))
            batx.to_fits(events, place / f"1234_{obs_id}_EPN_{exposure}_ImagingEvts.ds")
            for camera in ("EMOS1", "EMOS2") if exposure == "S003" else ():
                named = events.assign_attrs(instrument=camera, expidstr="S001")
                batx.to_fits(named, place / f"1234_{obs_id}_{camera}_S001_ImagingEvts.ds")
        spectrum_files(place, attrs, response, number, model="tbabs*powerlaw", truth=TRUTH, exposure=8000.0)
        rate_file(
            place / "flares.lc",
            start,
            np.where(np.arange(90) < 20, 2.0, 0.2) + rng.uniform(0, 0.1, 90),
            100.0,
        )
        rate_file(place / "rate.lc", start, rng.poisson(40.0, 90) / 100.0, 100.0)
        (place / "core").write_text(str(CORE[obs_id]))
        small = small_response(0.35, 2.4, channels=3600 if real else 60, area=50.0)
        for exposure, order in (("R1S004", 1), ("R2S005", 1), ("R1S004", 2)):
            spectrum_files(
                place,
                attrs | {"instrument": f"RGS{exposure[1]}"},
                small,
                number,
                model="tbabs*powerlaw",
                truth=TRUTH,
                names=tuple(f"P{obs_id}{exposure}{kind}{order}003.FIT" for kind in ("SRSPEC", "BGSPEC")),
            )
            batx.to_fits(small, place / f"P{obs_id}{exposure}RSPMAT{order}003.FIT")
        if real is not None and number == 0:
            shutil.copyfile(real / "PN_spectrum_grp20.fits", place / "source.pha")
            shutil.copyfile(real / "PNbackground_spectrum.fits", place / "background.pha")
            # in the archive SBSPEC is what rgsproc calls SRSPEC, which is less the background there
            for kind, theirs in (("SRSPEC", "SBSPEC"), ("BGSPEC", "BGSPEC")):
                packed_spectrum = (real / f"P0112880201R1S004{theirs}1003.FTZ").read_bytes()
                (place / f"P{obs_id}R1S004{kind}1003.FIT").write_bytes(gzip.decompress(packed_spectrum))
    first = folder / OBS[0]
    first.mkdir()
    (first / f"1234_{OBS[0]}_SCX00000ATS.FIT").write_bytes(b"attitude")
    return [first, packed(folder / f"{OBS[1]}.tar.gz", OBS[1])], data


def packed(path: Path, obs_id: str) -> Path:
    """Write observation data as the archive sends it: a tar in a tar.gz."""

    def tar(mode: str, name: str, content: bytes) -> bytes:
        held = io.BytesIO()
        with tarfile.open(fileobj=held, mode=mode) as archive:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        return held.getvalue()

    inner = tar("w", f"1234_{obs_id}_SCX00000ATS.FIT", b"attitude")
    path.write_bytes(tar("w:gz", f"{obs_id}/1234_{obs_id}.TAR", inner))
    return path


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory):
    """Observations, data of the stand-ins and backend: with the real response if there is one."""
    folder = tmp_path_factory.mktemp("xmm")
    name = os.environ.get("BATX_SHARED")
    observations, data = make_archive(folder, Path(name).resolve() if name else None)
    sas = make_sas(folder)
    add_sas_tasks(sas, data)
    return observations, data, Sas(sas, environment={"SAS_CCFPATH": str(data)})


def test_end_to_end(observed, tmp_path):
    observations, data, backend = observed
    bands = {"n": 3, "spacing": "counts", "axis": "energy", "limits": (0.5, 8.0)}
    pipeline = xmm(
        observations,
        RA,
        DEC,
        output=tmp_path / "out",
        backend=backend,
        bands=bands,
        rgs=True,
        corrections="relative",
        tied=[] if "BATX_SHARED" in os.environ else None,  # the real source is another one
    )
    found = {status.name: status for status in pipeline.run()}
    assert {name: status.state for name, status in found.items()} == dict.fromkeys(found, "done"), found
    keys = [f"{obs_id}_pn" for obs_id in OBS]
    left, merged = found["exposures"].notes[:2]
    assert left.endswith(
        "used S003 (PrimeFullWindow, Medium, 8100 s), not S005 (PrimeFullWindow, CalClosed, 81000 s)"
    )
    assert "merged S003, U002" in merged
    for obs_id in OBS:
        (summary,) = (tmp_path / f"out/calibration/{obs_id}").glob("*SUM.SAS")
        odf = tmp_path / "out" / found["unpack"].facts["folders"][obs_id]
        assert summary.read_text().startswith(f"PATH {odf}/\n") and odf.is_dir()
    lost = {key: found["flares"].facts["lists"][key]["thresholds"]["0.4"]["lost"] for key in keys}
    assert lost == dict.fromkeys(keys, 2000.0)
    kept = found["flares"].facts["lists"][keys[1]]["thresholds"]["0.4"]["kept"]
    assert kept == pytest.approx(9000 - 2000 - 900)  # less what was never good time
    assert found["pileup"].facts["radii"] == {f"{obs_id}_pn": core for obs_id, core in CORE.items()}
    tried = pd.read_csv(tmp_path / "out/pileup.csv")
    assert tried[tried.name == keys[0]].radius.tolist() == [0.0, 3.0, 3.5]
    facts = found["fit"].facts
    assert facts["converged"] and facts["spectra"] == keys
    for key in keys[1:] if "BATX_SHARED" in os.environ else keys:
        assert abs(facts["values"][f"index[{key}]"] - TRUTH["index"]) < 4 * facts["errors"][f"index[{key}]"]
    edges, energies = (found["bands"].facts[name] for name in ("edges", "energies"))
    assert len(edges) == 4
    spectra = [batx.open_dataset(tmp_path / f"out/spectra/{key}.pi").load() for key in keys]
    mean = sum(one.counts.values / float(one.exposure) for one in spectra)
    channels = np.array(edges) // 5
    rates = np.add.reduceat(mean, channels)[:3]
    assert np.ptp(rates) < 2 * mean[channels[0] : channels[3]].max()  # equal, but for whole channels
    bounds = batx.open_dataset(tmp_path / f"out/spectra/{keys[0]}.rmf").energy_bnds.values
    np.testing.assert_allclose(energies, bounds[channels, 0], atol=1e-4)
    for obs_id in OBS:
        curve = batx.open_dataset(tmp_path / f"out/lightcurves/{obs_id}_pn.nc")
        assert curve.sizes["energy"] == 3
        np.testing.assert_allclose(curve.energy_bnds.values[:, 0], energies[:-1])
        selected = (data / obs_id / "bands").read_text().splitlines()
        start = 4.5e8 + OBS.index(obs_id) * 40 * 86400.0
        times = {tuple(line.split()) for line in (data / obs_id / "times").read_text().splitlines()}
        assert times == {("yes", str(start), str(start + 9000.0))}  # of source, background and all bands
        assert len(selected) == 6 and set((data / obs_id / "corrections").read_text().split()) <= {
            "no",
            "false",
            "N",
        }
        shape = "annulus" if CORE[obs_id] else "circle"
        assert sum(f"IN {shape}({21500.5:g}" in line for line in selected) == (3 if CORE[obs_id] == 0 else 6)
    table = pd.read_csv(tmp_path / "out/summary.csv")
    assert table["instrument"].tolist() == ["EPN", "EPN"] and np.isfinite(table["start_mjd"]).all()
    for order in (1, 2):
        total = batx.open_dataset(tmp_path / f"out/rgs/rgs_order{order}.pha").attrs
        links = tuple(total[name] for name in ("backfile", "respfile", "ancrfile"))
        assert links == (f"rgs_order{order}_bkg.pha", f"rgs_order{order}.rsp", "none")
    # both instruments of both observations in the first order
    summed = (data / "combined").read_text().split()
    first = [f"P{obs_id}R{one}SRSPEC1003.FIT" for obs_id in OBS for one in ("1S004", "2S005")]
    second = [f"P{obs_id}R1S004SRSPEC2003.FIT" for obs_id in OBS]
    assert [name for name in summed if "SRSPEC" in name] == first + second
    assert (
        batx.fit(tmp_path / "out/rgs/rgs_order1.pha", "powerlaw", errors="covariance").attrs["fit_statistic"]
        == "wstat"
    )
    pictures = {path.stem for path in (tmp_path / "out/figures").glob("*.png")}
    assert {
        "epochs",
        "selection",
        "fit",
        "unfolded",
        f"lightcurve_{keys[0]}",
        f"flares_{keys[0]}",
    } <= pictures


def test_a_source_off_the_ccds_and_calibration_that_is_not_there(observed, tmp_path, monkeypatch):
    observations, _, backend = observed
    out = {"output": tmp_path / "out", "thresholds": {}, "bands": (0.3, 2, 10)}
    found = {
        status.name: status for status in xmm(observations[:1], RA, DEC + 0.4, backend=backend, **out).run()
    }
    assert found["regions"].state == "failed" and "source region has no events" in found["regions"].reason
    assert found["figures"].state == "done"  # to see where the region lies
    assert (tmp_path / "out/figures/epochs.png").is_file()
    monkeypatch.delenv("SAS_CCFPATH", raising=False)
    bare = xmm(observations[:1], RA, DEC, backend=Sas(backend.place), output=tmp_path / "bare")
    assert "SAS_CCFPATH: found nothing" in bare.run("calibrate")[-1].reason


def test_exposures_of_a_name_and_in_other_modes(observed, tmp_path):
    """Modes that only the primary header states; a name that there is no file of; data files of a name."""
    _, data, backend = observed
    obs_id = "0693760901"
    place, odf = data / obs_id, tmp_path / obs_id
    place.mkdir()
    odf.mkdir()
    for name in ("PNS00301IME", "PNU00201TIE", "M1S00101IME"):
        (odf / f"1234_{obs_id}_{name}.FIT").write_bytes(b"data")
    for name, mode, kind in (("S003", "IMAGING", "Imaging"), ("U002", "TIMING", "Timing")):
        path = place / f"1234_{obs_id}_EPN_{name}_{kind}Evts.ds"
        shutil.copyfile(data / OBS[0] / f"1234_{OBS[0]}_EPN_S003_ImagingEvts.ds", path)
        with fits.open(path, mode="update") as hdus:
            for key in ("EXPIDSTR", "DATAMODE", "SUBMODE"):
                hdus["EVENTS"].header.remove(key, ignore_missing=True)
            hdus[0].header.update({"EXPIDSTR": name, "DATAMODE": mode, "SUBMODE": "A"})
    given = {"output": tmp_path / "out", "backend": backend}
    found = xmm(odf, RA, DEC, **given).run("exposures")[-1]
    assert "used S003 (A, Medium, 8100 s), not U002" in found.notes[0]
    xmm(odf, RA, DEC, exposures=["S003"], **given).run("exposures")
    assert (place / "chosen").read_text().split() == ["PNS003"]
    # a further parameter goes to the task, and makes the step anew; what the pipeline sets is its own
    xmm(odf, RA, DEC, settings={"epproc": {"withinstexpids": True, "instexpids": "PNU002"}}, **given).run(
        "events"
    )
    assert (place / "chosen").read_text().split() == ["PNS003", "PNU002"]
    fixed = xmm(odf, RA, DEC, settings={"epatplot": {"set": "a"}, "cifbuild": {"calindexset": "b"}}, **given)
    assert "cifbuild: calindexset is set by the pipeline" in fixed.run("calibrate")[-1].reason
    with pytest.raises(ValueRangeError, match="settings: found evselect, expected some of cifbuild"):
        xmm(odf, RA, DEC, settings={"evselect": {"a": 1}}, **given)
    none = {status.name: status for status in xmm(odf, RA, DEC, exposures=["U099"], **given).run("exposures")}
    assert "U002 (A, Medium, 8100 s), expected some of U099" in none["events"].reason


@pytest.mark.parametrize(
    ("source", "made"),
    [
        (Region("circle", (50, 60, 600), "physical"), [("annulus", (50, 60, 70, 600))]),
        (Region("annulus", (50, 60, 90, 600), "physical"), [("annulus", (50, 60, 90, 600))]),
        (Region("ellipse", (50, 60, 90, 99, 0), "physical"), [("ellipse", None), ("circle", (7, 8, 70))]),
    ],
)
def test_cores_that_are_cut_out(source, made):
    """3.5 arcsec are 70 pixels; of what is not round the core is that of the target."""
    found = _without_core([source], 3.5, (7.0, 8.0))
    for one, (shape, values) in zip(found, made, strict=True):
        assert one.shape == shape and (values is None or one.values == values)
    assert len(found) == 1 or (found[0].include and not found[1].include)
    if source.shape == "circle":
        with pytest.raises(ValueRangeError, match="all of the source region"):
            _without_core([source], 30.0, (7.0, 8.0))


def test_from_the_archive_with_channels_for_bands(observed, tmp_path):
    """An observation id is downloaded; bands of channels, curves without a filter, absolute corrections."""
    observations, data, backend = observed
    obs_id = OBS[1]
    mirror = observations[1].parent.as_uri() + "/{obs_id}.tar.gz"
    (data / obs_id / "bands").unlink(missing_ok=True)
    (data / obs_id / "corrections").unlink(missing_ok=True)
    pipeline = xmm(
        [obs_id],
        RA,
        DEC,
        output=tmp_path / "out",
        backend=backend,
        mirrors=[mirror, "https://me:secret@127.0.0.1/{obs_id}"],
        thresholds={"pn": 0.4, "pn.curve": None},
        bands=(100, 200, 1000),
        bands_by="channel",
        pileup_rule="none",
    )
    found = {status.name: status for status in pipeline.run("curves", "rgs")}
    assert {status.state for name, status in found.items() if name != "rgs"} == {"done"}, found
    assert found["rgs"].state == "skipped"
    records = list((tmp_path / "out" / ".batx").rglob("*.json"))
    assert records and not any("secret" in path.read_text() for path in records)
    assert found["pileup"].notes == ("pile-up was not looked for",)
    assert found["bands"].facts["edges"] == [500, 1000, 5000]
    bounds = batx.open_dataset(tmp_path / f"out/spectra/{obs_id}_pn.rmf").energy_bnds.values
    np.testing.assert_allclose(found["bands"].facts["energies"], bounds[[100, 200, 1000], 0], atol=1e-4)
    lists = found["flares"].facts["lists"][f"{obs_id}_pn"]["lists"]
    assert lists["curve"] == f"events/{obs_id}_pn_all.evt"
    assert lists["spectrum"] == f"events/{obs_id}_pn_0.4.evt"
    assert "PI in [500:999]" in (data / obs_id / "bands").read_text()
    assert set((data / obs_id / "corrections").read_text().split()) <= {"yes", "true", "Y"}


def test_other_cameras_and_chains(observed, tmp_path):
    """Both MOS cameras next to pn; epchain for chosen exposures, of which none is merged."""
    observations, _, backend = observed
    given = {"output": tmp_path / "out", "backend": backend, "cameras": ("pn", "mos"), "chain": "epchain"}
    pipeline = xmm(observations[:1], RA, DEC, exposures=["S003", "U002", "S001"], merge=False, **given)
    found = {status.name: status for status in pipeline.run("flares", "regions")}
    assert "S001" in found["events"].notes[0]  # pn has no such exposure
    assert not any("merged" in note for note in found["exposures"].notes)
    chosen = found["exposures"].facts["events"]
    assert sorted(chosen) == [f"{OBS[0]}_{camera}" for camera in ("mos1", "mos2", "pn")]
    assert chosen[f"{OBS[0]}_pn"].endswith("P0123456789PNS003PIEVLI0000.FIT")
    limits = {key: list(held["thresholds"]) for key, held in found["flares"].facts["lists"].items()}
    assert limits == {f"{OBS[0]}_mos1": ["0.35"], f"{OBS[0]}_mos2": ["0.35"], f"{OBS[0]}_pn": ["0.4"]}
    physical = batx.regions.read_regions(tmp_path / f"out/regions/{OBS[0]}_mos1_source_physical.reg")
    assert physical[0].frame == "physical"
    np.testing.assert_allclose(physical[0].values, (21500.5, 21500.5, 600.0), atol=0.01)


def test_archives_that_are_not_observations(observed, tmp_path):
    from batx.pipelines.frame import Status

    _, _, backend = observed

    def first(place) -> Status:
        number = len(list(tmp_path.iterdir()))
        return xmm([place], RA, DEC, output=tmp_path / f"out{number}", backend=backend).run("unpack")[0]

    empty = tmp_path / "empty"
    empty.mkdir()
    assert "found no observation data files" in first(empty).reason
    states = xmm([empty], RA, DEC, output=tmp_path / "outs", backend=backend).run()
    assert {one.state for one in states[1:]} <= {"blocked", "skipped"}, states
    bad = tmp_path / "bad.tar.gz"
    bad.write_bytes(b"<html>not found</html>")
    assert first(bad).state == "failed"
    evil = tmp_path / "evil.tar"
    with tarfile.open(evil, "w") as archive:
        info = tarfile.TarInfo("../../outside.txt")
        info.size = 4
        archive.addfile(info, io.BytesIO(b"evil"))
    assert first(evil).state == "failed"
    assert not list(tmp_path.rglob("outside.txt"))
    again = xmm([observed[0][1]] * 2, RA, DEC, output=tmp_path / "again", backend=backend).run("unpack")
    assert "given twice" in again[0].reason
    assert "ten digits" in first(tmp_path / "nothing").reason


def test_arguments_that_make_no_sense(tmp_path):
    wrong = (
        {"cameras": ["rgs"]},
        {"cameras": []},
        {"chain": "emchain"},
        {"exposures": ["3"]},
        {"pileup_rule": "both"},
        {"corrections": "none"},
        {"bands": (3, 2)},
        {"bands": {"spacing": "log"}},
        {"bands": {"n": 3, "width": 2}},
        {"bands_by": "pi"},
        {"thresholds": {"epn": 0.4}},
        {"thresholds": {"pn": -1}},
        {"thresholds": {"pn.lightcurve": 1}},
    )
    for options in wrong:
        with pytest.raises(ValueRangeError):
            xmm("0693760101", RA, DEC, output=tmp_path, **options)
    with pytest.raises(ValueRangeError):
        xmm([], RA, DEC, output=tmp_path)
    with pytest.raises(ValueRangeError, match="use another folder"):  # not after hours of epproc
        xmm("0693760101", RA, DEC, output=tmp_path / "a b")


def test_utc_on_time_axes():
    """XMM-Newton's times are TT since MJD 50814; those of Swift need the UTCF."""
    curve = batx.build("gti", {"start": [4.5e8], "stop": [4.6e8]}, MJDREF | {"telescope": "XMM"})
    assert "[2012-04-05 07:58:53.816 UTC, MET 450000000.000]" in time_axis(curve, 4.5e8).label
    assert "UTC" not in time_axis(curve.assign_attrs(telescope="SWIFT"), 4.5e8).label


def test_links_of_spectra(tmp_path):
    rate_file(tmp_path / "rate.lc", 0.0, np.ones(3), 1.0)
    with pytest.raises(FileFormatError, match="found no spectrum"):
        write_links(tmp_path / "rate.lc", tmp_path / "a.pha", respfile="a.rsp")
    with pytest.raises(MissingFileError):
        write_links(tmp_path / "no.pha", tmp_path / "a.pha", respfile="a.rsp")
    with pytest.raises(ValueRangeError, match="respfil="):
        write_links(tmp_path / "rate.lc", tmp_path / "a.pha", respfil="a.rsp")
    with pytest.raises(WriteError):
        write_links(tmp_path / "rate.lc", tmp_path / "rate.lc", overwrite=True, respfile="a.rsp")
    assert not (tmp_path / "a.pha").exists()
    one = batx.build(
        "spectrum",
        {"channel": [0, 1], "counts": [5, 3], "exposure": ((), 10.0)},
        {"statistic": "poisson", "weighting": "none", "respfile": "old.rsp"},
    )
    packed_one = batx.to_fits(one, tmp_path / "one.pha.gz")
    before = packed_one.read_bytes()
    made = write_links(packed_one, tmp_path / "a.pha.gz", respfile="new.rsp", backfile=None)
    assert packed_one.read_bytes() == before
    back = batx.open_dataset(made)
    assert (back.attrs["respfile"], back.attrs["backfile"]) == ("new.rsp", "none")
    np.testing.assert_array_equal(back.counts, one.counts)


@pytest.mark.parametrize(
    ("wanted", "edges"),
    [
        ({"n": 2, "axis": "channel", "limits": (100, 500)}, [500, 1500, 2500]),
        ({"n": 2, "axis": "channel", "spacing": "log", "limits": (100, 400)}, [500, 1000, 2000]),
        (
            {"n": 4, "axis": "channel", "spacing": "linear", "limits": (100, 500)},
            [500, 1000, 1500, 2000, 2500],
        ),
    ],
)
def test_bands_from_the_mean_of_spectra(tmp_path, wanted, edges):
    """Channels of the spectra are 5 eV of PI; the two spectra are flat together, so halves are halves."""
    from batx.pipelines.frame import Pipeline, Step
    from batx.pipelines.missions.xmm_curves import bands

    def group(work):
        for number, counts in enumerate((np.arange(1000), 999 - np.arange(1000))):
            one = batx.build(
                "spectrum",
                {"channel": np.arange(1000), "counts": counts, "exposure": ((), 10.0)},
                {"statistic": "poisson", "weighting": "none"},
            )
            batx.to_fits(one, work.output(f"spectra/{number}.pi"))

    steps = [
        Step("group", "group", group),
        Step("bands", "bands", bands, uses=["group"], options=["bands", "bands_by", "energy"]),
    ]
    options = {"bands": wanted, "bands_by": "energy", "energy": [0.5, 4.0]}
    found = Pipeline("bands", steps, tmp_path / "out", options).run()[1]
    energies = [edge / 1000 for edge in edges]
    assert found.facts == {"edges": edges, "energies": energies, "from": "mean of 2 spectra"}, found.reason
