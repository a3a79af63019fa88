"""Results as batsurvey leaves them, of simulated sources; and a stand-in for batsurvey that writes them."""

from __future__ import annotations

import gzip
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from stand_ins import add_tool, make_headas

import batx
from batx.schema import build
from batx.sky_coords import image_cards, tangent_to_sky
from batx.spectra import STANDARD_EDGES

EDGES = np.array([14.0, 20.0, 24.0, 35.0, 50.0, 75.0, 100.0, 150.0, 195.0])
BOUNDS = np.stack([EDGES[:-1], EDGES[1:]], axis=1)
UTCF = -22.5
#: 2020-01-06; seconds of a day
START, DAY = 6e8, 86400.0
#: full width at half maximum of the peaks, on the tangent plane
FWHM = 0.0065
NOISE = np.array([9.6, 5.5, 8.1, 7.6, 7.1, 6.0, 6.4, 5.2]) * 1e-5


@cache
def folded(index: float, norm: float, imx: float, imy: float) -> np.ndarray:
    """Count rates of a power law (photon/cm2/s/keV at 1 keV) in the eight bands."""
    response = batx.response(imx=imx, imy=imy, channels=np.minimum(EDGES, 194.9))
    low, high = response["energy_in_bnds"].values.T
    photons = norm * (high ** (1 - index) - low ** (1 - index)) / (1 - index)
    return photons @ response["matrix"].values


def energy_flux(index: float, norm: float, low: float = 14.0, high: float = 195.0) -> float:
    """Flux of a power law, erg/cm2/s."""
    if abs(index - 2) < 1e-9:
        return 1.602176634e-9 * norm * np.log(high / low)
    return 1.602176634e-9 * norm * (high ** (2 - index) - low ** (2 - index)) / (2 - index)


@dataclass
class Pointing:
    """A snapshot: when, with what status, and where each source is."""

    start: float
    code: str = "ok"
    exposure: float = 900.0
    #: name -> (catnum, ra, dec, imx, imy, index, norm)
    sources: dict[str, tuple[float, ...]] = field(default_factory=dict)
    #: first band that is empty
    empty_from: int = 8
    seed: int = 0
    noise: float = 1.0
    chi2: float = 0.95

    @property
    def image_id(self) -> str:
        """As batsurvey names it: by the minute."""
        from datetime import datetime, timedelta

        when = datetime(2001, 1, 1) + timedelta(seconds=self.start)
        return f"point_{when:%Y%j%H%M}"

    def rates(self) -> dict[str, np.ndarray]:
        """True rates of each source."""
        return {name: folded(*values[5:7], *values[3:5]) for name, values in self.sources.items()}


POINTING = (150.0, 30.0, 40.0)
#: pixels of the images: number in y and x, step on the tangent plane
PIXELS, STEP = (81, 121), 0.0021


def image_frame() -> dict[str, object]:
    """Coordinates of the small images."""
    ny, nx = PIXELS
    imx, imy = ((np.arange(size) - size // 2) * STEP for size in (nx, ny))
    cards = image_cards((1 - imx[0] / STEP, 1 - imy[0] / STEP), (STEP, STEP), POINTING)
    return {"imx": imx, "imy": imy, "wcs": ((), cards)}


def on_sky(imx: float, imy: float) -> tuple[float, float]:
    """Right ascension and declination of a place in the field."""
    image = build("sky_image", image_frame() | {"rate": np.zeros(PIXELS)})
    ra, dec = tangent_to_sky(image, imx, imy)
    return float(ra), float(dec)


STANDARD = {
    "Bright X-1": (1, *on_sky(0.05, 0.02), 0.05, 0.02, 2.0, 6.0),
    "Faint X-2": (2, *on_sky(-0.06, 0.03), -0.06, 0.03, 2.0, 0.0),
}


def write_results(folder: Path, obs_id: str, pointings: list[Pointing], images: bool = False) -> Path:
    """Write the results of an observation."""
    folder.mkdir(parents=True)
    (folder / "gti").mkdir()
    good = [pointing for pointing in pointings if pointing.code == "ok"]
    for pointing in pointings:
        place = folder / pointing.image_id
        place.mkdir(exist_ok=True)
        status = "SUCCESS" if pointing.code == "ok" else "FAIL"
        (place / f"{pointing.image_id}_status.txt").write_text(
            f'status="{status}";code="{pointing.code}";reason="said so";obsid="{obs_id}";'
            f'point="{pointing.image_id}";ndets="0";exposure="0"\n'
        )
        if pointing.code == "ok":
            for iteration in (1, 2):
                _catalog(place / f"{pointing.image_id}_{iteration}.cat", obs_id, pointing, iteration)
            if images:
                _images(place, pointing)
    _stats(folder / "stats_point.fits", obs_id, pointings)
    _observation(folder / "stats_obs.fits", obs_id, pointings, good)
    spans = np.array([[one.start, one.start + one.exposure] for one in pointings])
    gti = build("gti", {"start": spans[:, 0], "stop": spans[:, 1]}, {"utcf": UTCF})
    batx.to_fits(gti, folder / "gti" / "master.gti")
    return folder


def _clock(hdu: fits.BinTableHDU) -> fits.BinTableHDU:
    for key, value in (("TELESCOP", "SWIFT"), ("MJDREFI", 51910), ("MJDREFF", 7.4287037e-4)):
        hdu.header[key] = value
    hdu.header["TIMESYS"], hdu.header["UTCFINIT"] = "TT", UTCF
    return hdu


def _column(name: str, form: str, values: object, unit: str | None = None) -> fits.Column:
    return fits.Column(name, form, unit, array=np.asarray(values))


def _stats(path: Path, obs_id: str, pointings: list[Pointing]) -> None:
    size = len(pointings)
    ok = np.array([one.code == "ok" for one in pointings])
    bands = np.arange(8)[None, :] < np.array([one.empty_from for one in pointings])[:, None]
    filled = bands & ok[:, None]
    detectors = np.where(ok, 28000, 0)
    exposure = np.where(ok, [one.exposure for one in pointings], 0.0)
    start = np.array([one.start for one in pointings])
    columns = [
        _column("OBS_ID", "20A", [obs_id] * size),
        _column("IMAGE_ID", "20A", [one.image_id for one in pointings]),
        _column("TSTART", "1D", start, "s"),
        _column("TSTOP", "1D", start + [one.exposure for one in pointings], "s"),
        _column("EXPOSURE", "1D", exposure, "s"),
        _column("IMAGE_STATUS", "L", ok),
        _column("IMAGE_DESCR", "20A", [one.code for one in pointings]),
        _column("RA_PNT", "1D", np.where(ok, 150.0, -999.0), "deg"),
        _column("DEC_PNT", "1D", np.where(ok, 30.0, -999.0), "deg"),
        _column("PA_PNT", "1D", np.where(ok, 40.0, -999.0), "deg"),
        _column("NBATDETS", "J", detectors),
        _column("NUMBAND", "I", np.full(size, 8)),
        _column("CHI2", "8D", filled * detectors[:, None] * np.array([[one.chi2] for one in pointings])),
        _column("BKG_COUNTS", "8D", filled * 1e5, "count"),
    ]
    _clock(fits.BinTableHDU.from_columns(columns, name="STATS_POINT")).writeto(path)


def _observation(path: Path, obs_id: str, pointings: list[Pointing], good: list[Pointing]) -> None:
    columns = [
        _column("OBS_ID", "20A", [obs_id]),
        _column("TSTART", "1D", [pointings[0].start], "s"),
        _column("TSTOP", "1D", [pointings[-1].start + pointings[-1].exposure], "s"),
        _column("EXPOSURE", "1D", [sum(one.exposure for one in good)], "s"),
        _column("N_RAW_IMAGES", "I", [len(pointings)]),
        _column("N_IMAGES", "I", [len(good)]),
    ]
    _clock(fits.BinTableHDU.from_columns(columns, name="STATS_OBS")).writeto(path)


def _catalog(path: Path, obs_id: str, pointing: Pointing, iteration: int) -> None:
    rng = np.random.default_rng([pointing.seed, int(pointing.start), iteration])
    names = list(pointing.sources)
    values = np.array(list(pointing.sources.values()), dtype=float).reshape(len(names), -1)
    noise = NOISE * pointing.noise * np.ones((len(names), 1))
    true = np.array(list(pointing.rates().values())).reshape(len(names), 8)
    filled = np.arange(8) < pointing.empty_from
    rate = np.where(filled, true + noise * rng.standard_normal(true.shape), 0.0)
    noise = np.where(filled, noise, 0.0)
    with np.errstate(invalid="ignore"):
        ratio = np.nan_to_num(rate / noise)
    imx, imy = values[:, 3], values[:, 4]
    size = len(names)
    columns = [
        _column("CATNUM", "J", values[:, 0].astype(int)),
        _column("NAME", "30A", names),
        _column("RA_OBJ", "D", values[:, 1], "deg"),
        _column("DEC_OBJ", "D", values[:, 2], "deg"),
        _column("ALWAYS_CLEAN", "L", np.zeros(size, bool)),
        _column("TIME", "1D", np.full(size, pointing.start - 10.0), "s"),
        _column("TIME_STOP", "1D", np.full(size, pointing.start + pointing.exposure + 5.0), "s"),
        _column("EXPOSURE", "1D", np.full(size, pointing.exposure), "s"),
        _column("IMX", "1D", imx),
        _column("IMY", "1D", imy),
        _column("PCODEFR", "1D", np.full(size, 0.8)),
        _column("RATE", "8D", rate, "count/s"),
        _column("RATE_ERR", "8D", 1.15 * noise, "count/s"),
        _column("CENT_RATE", "8D", 0.95 * rate, "count/s"),
        _column("BKG_VAR", "8D", noise, "count/s"),
        _column("VECTSNR", "8D", ratio),
        _column("OBS_ID", "11A", [obs_id] * size),
        _column("IMAGE_ID", "17A", [pointing.image_id] * size),
        _column("TOTSNR", "1D", ratio.sum(axis=1)),
    ]
    fits.BinTableHDU.from_columns(columns, name="CATALOG").writeto(path)


def _images(place: Path, pointing: Pointing) -> None:
    """Small images of noise with the peaks of the sources."""
    rng = np.random.default_rng([pointing.seed, int(pointing.start)])
    frame = image_frame()
    rate = NOISE[:, None, None] * rng.standard_normal((8, *PIXELS))
    for name, true in pointing.rates().items():
        imx, imy = pointing.sources[name][3:5]
        square = (frame["imx"][None, :] - imx) ** 2 + (frame["imy"][:, None] - imy) ** 2
        rate += true[:, None, None] * np.exp(-4 * np.log(2) * square / FWHM**2)
    dims = ("energy", "imy", "imx")
    common = frame | {
        "energy": BOUNDS.mean(axis=1), "energy_bnds": BOUNDS,
        "time": ((), pointing.start + pointing.exposure / 2), "exposure": ((), pointing.exposure),
        "time_bnds": (("bnds",), [pointing.start, pointing.start + pointing.exposure]),
    }  # fmt: skip
    attrs = {"telescope": "SWIFT", "instrument": "BAT", "utcf": UTCF, "mjdref_int": 51910}
    attrs |= {"mjdref_frac": 7.4287037e-4, "tstart": pointing.start}
    noise = np.ones((8, *PIXELS)) * NOISE[:, None, None]
    image = {"rate": (dims, rate, {"units": "count/s"}), "pcode": np.ones(PIXELS)}
    stem = place / f"{pointing.image_id}_2"
    batx.to_fits(build("sky_image", common | image, attrs), stem.with_suffix(".img"))
    # the tool writes the map of the noise as images of their own
    flat = build("sky_image", common | {"rate": (dims, noise, {"units": "count/s"})}, attrs)
    batx.to_fits(flat, stem.with_suffix(".var"))


def observation(folder: Path, obs_id: str, channels: int = 80, filled: int | None = None) -> Path:
    """Make an observation in the archive's layout with one small survey histogram file."""
    (folder / obs_id / "bat" / "survey").mkdir(parents=True)
    (folder / obs_id / "auxil").mkdir()
    edges = np.array(STANDARD_EDGES[: channels + 1])
    counts = np.zeros((1, channels, 173, 286), np.int16)
    counts[:, : channels if filled is None else filled, 0, 0] = 1
    plane = build(
        "detector_plane",
        {
            "time": [START + 150.0], "time_bnds": [[START, START + 300.0]],
            "energy": 0.5 * (edges[1:] + edges[:-1]),
            "energy_bnds": np.stack([edges[:-1], edges[1:]], axis=1),
            "counts": (("time", "energy", "dety", "detx"), counts), "exposure": [300.0],
        },
        {"telescope": "SWIFT", "instrument": "BAT", "obs_id": obs_id, "utcf": UTCF},
    )  # fmt: skip
    batx.to_fits(plane, folder / obs_id / "bat" / "survey" / f"sw{obs_id}bsvpb000g0000.dph.gz", form="dph")
    return folder / obs_id


PARAMETERS = """indir,f,a,"",,,"Input directory"
outdir,f,a,"",,,"Output directory"
incatalog,f,a,"",,,"Input catalogue"
energybins,s,h,"14-20,20-24,24-35,35-50,50-75,75-100,100-150,150-195",,,"Energy bins"
timesep,s,h,"SNAPSHOT",SNAPSHOT|DPH,,"Time separation"
ncleaniter,i,h,2,1,,"Number of cleaning iterations"
detthresh,i,h,22000,0,,"Minimum number of detectors"
detthresh2,i,h,16000,0,,"Minimum number of detectors after masking"
cleansnr,r,h,9.0,0.0,,"Least SNR of sources that are cleaned"
cleanexpr,s,h,"NONE",,,"Expression for sources that are cleaned"
global_pattern_map,f,h,"NONE",,,"Map of the noise pattern"
global_pattern_mask,f,h,"NONE",,,"Mask of the noise pattern"
keep_sky_images,s,h,"LAST",ALL|LAST|NONE,,"Sky images to keep"
"""
SCRIPT = """
set -- "$indir"/bat/survey/sw*
obs=$(basename "$1" | cut -c3-13)
echo "batsurvey 6.15 of $obs"
echo "$obs $ncleaniter" >> "{calls}"
settings="${{detthresh:-22000}} ${{detthresh2:-16000}} ${{cleansnr:-9.0}} ${{cleanexpr:-NONE}}"
map=NONE mask=NONE
[ -f "$global_pattern_map" ] && map=$(cat "$global_pattern_map")
[ -f "$global_pattern_mask" ] && mask=$(cat "$global_pattern_mask")
echo "$obs $settings $map $mask" >> "{calls}.parameters"
while [ -e "{results}/wait" ]; do sleep 0.1; done
if [ ! -d "{results}/$obs" ]; then
  echo "ERROR: no good time in observation $obs" >&2
  exit 1
fi
[ -s "$incatalog" ] || exit 2
mkdir -p "$outdir" && cp -r "{results}/$obs/." "$outdir"
"""


def add_batsurvey(headas: Path, results: Path) -> Path:
    """Add a stand-in for batsurvey, which gives the results of a folder; return the list of its calls."""
    calls = results / "calls.txt"
    calls.touch()
    add_tool(headas, "batsurvey", PARAMETERS, SCRIPT.format(results=results, calls=calls))
    return calls


def unpacked(source: Path, target: Path) -> Path:
    """Copy reference results with all files that batsurvey leaves unpacked."""
    for path in sorted(source.rglob("*")):
        if path.is_file():
            out = target / path.relative_to(source)
            out.parent.mkdir(parents=True, exist_ok=True)
            if path.name.endswith("stats_point.fits.gz") or path.name.endswith("stats_obs.fits.gz"):
                out.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
            else:
                out.write_bytes(path.read_bytes())
    return target


def months(count: int) -> list[Pointing]:
    """Pointings from December 2019 on, one every ten days, with both sources."""
    begin = START - 30 * DAY
    return [Pointing(begin + 10 * DAY * n, sources=STANDARD, seed=n) for n in range(count)]


OWN = [(name, *values[1:3]) for name, values in STANDARD.items()]


def tree(folder: Path) -> dict[str, bytes]:
    """Every file of the results, but for locks, logs and records of calls."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "lock" and "batsurvey/.batx" not in path.as_posix()
    }


class Archive:
    """Observations, and a stand-in for batsurvey that knows the results of some."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.folder = root / "archive"
        headas = make_headas(root / "software", ())
        monkeypatch.setenv("HEADAS", str(headas))
        (root / "results").mkdir()
        self.log = add_batsurvey(headas, root / "results")

    def add(self, obs_id: str, pointings: list[Pointing] | None, **options) -> Path:
        """Add an observation; without pointings batsurvey will find no good time in it."""
        if pointings is not None:
            images = options.pop("images", False)
            write_results(self.root / "results" / obs_id, obs_id, pointings, images=images)
        return observation(self.folder, obs_id, **options)

    @property
    def calls(self) -> list[str]:
        """Observations that batsurvey was called for."""
        return sorted(line.split()[0] for line in self.log.read_text().splitlines())
