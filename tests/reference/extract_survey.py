"""Take from the reference folder what tests of the survey compare with: ``python extract_survey.py FOLDER``.

The arrays are what the tools made of a simulated observation of four histograms, and so much of the inputs as
is needed to make the same of them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from astropy.io import fits

CATALOG = (
    "CATNUM", "RATE", "RATE_ERR", "CENT_RATE", "BKG_VAR", "VECTSNR", "TOTSNR", "SNR", "CHI2", "IMX", "IMY",
    "RA_OBJ", "DEC_OBJ", "PCODEFR", "CLEANED", "TIME", "TIME_STOP", "EXPOSURE",
)  # fmt: skip


def native(array: np.ndarray) -> np.ndarray:
    """Return an array in the byte order of the machine."""
    array = np.asarray(array)
    return array.astype(array.dtype.newbyteorder("="))


def extract(shared: Path) -> dict[str, np.ndarray]:
    """Return the arrays by name."""
    survey = shared / "reference" / "survey"
    arrays: dict[str, np.ndarray] = {}
    rates = fits.getdata(survey / "batsurvey-gti" / "gti" / "total.lc", 1)
    arrays["total_counts"] = native(rates["TOTCOUNTS"])
    arrays["total_rate"] = native(rates["RATE"])

    attitude = fits.getdata(survey / "aspect" / "sat.fits", "ATTITUDE")
    golden = survey / "batsurvey" / "golden" / "point_20200061040"
    for name, table in (
        ("attitude", attitude),
        ("aspect", fits.getdata(survey / "aspect" / "out.att", "ATTITUDE")),
        ("snapshot", fits.getdata(f"{golden}.att", "ATTITUDE")),
    ):
        arrays[f"{name}_time"] = native(table["TIME"])
        arrays[f"{name}_pointing"] = native(table["POINTING"])
        arrays[f"{name}_quaternion"] = native(table["QPARAM"])
    for name, path in (("aspect_gti", survey / "aspect" / "in.gti"), ("held", f"{golden}_pnt1.gti")):
        rows = fits.getdata(path, 1)
        arrays[name] = np.column_stack([native(rows["START"]), native(rows["STOP"])])
    return arrays | energies(survey)


def snapshot(shared: Path) -> dict[str, np.ndarray]:
    """Return the detector image of a snapshot, what its processing needs, and what batsurvey made of it."""
    survey = shared / "reference" / "survey"
    inputs, golden = survey / "survey_obs", survey / "batsurvey" / "golden" / "point_20200061040"
    observation = inputs / "00099999001"
    plane = (173, 286)

    def images(path: str) -> np.ndarray:
        with fits.open(path) as hdus:
            return np.stack([native(hdu.data) for hdu in hdus if hdu.is_image and hdu.shape == plane])

    arrays = {"rate": images(f"{golden}_1.dpi.gz")}
    for name, suffix in (("known", ""), ("left", "_2")):
        arrays[f"mask_{name}"] = np.packbits(images(f"{golden}{suffix}.detmask.gz")[0] == 0)
    for name in ("flux", "edge"):
        with fits.open(inputs / f"aper_{name}.fits") as hdus:
            arrays[f"aperture_{name}"] = next(
                native(hdu.data) for hdu in hdus if hdu.data is not None
            ).astype(np.int8)
    with fits.open(inputs / "distort.fits") as hdus:
        arrays["distortion"] = np.concatenate(
            [np.atleast_3d(native(hdu.data).T).T for hdu in hdus if hdu.is_image and hdu.data is not None]
        )
    with fits.open(inputs / "teldef.fits") as hdus:
        cards = next(hdu.header for hdu in hdus if "ALIGNM11" in hdu.header)
        arrays["alignment"] = np.array(
            [[cards[f"ALIGNM{i}{j}"] for j in (1, 2, 3)] for i in (1, 2, 3)], float
        )
    orbit = fits.getdata(next((observation / "auxil").glob("*sao.fits")), 1)
    arrays |= {f"orbit_{name.lower()}": native(orbit[name]) for name in orbit.columns.names}
    found = fits.getdata(f"{golden}_2.cat", 1)
    for name in CATALOG:
        arrays[f"catalog_{name.lower()}"] = native(found[name])
    given = fits.getdata(inputs / "cat.fits", 1)
    for name in ("CATNUM", "NAME", "RA_OBJ", "DEC_OBJ", "ERR_RAD", "ALWAYS_CLEAN"):
        arrays[f"given_{name.lower()}"] = np.array(given[name].tolist())
    row = fits.getdata(golden.parent / "stats_point.fits.gz", 1)
    for name in ("CHI2", "BKG_COUNTS", "NBATDETS", "RA_PNT", "DEC_PNT", "PA_PNT", "EXPOSURE"):
        arrays[f"row_{name.lower()}"] = native(row[name][0])
    return arrays


def energies(survey: Path) -> dict[str, np.ndarray]:
    """Return histograms of some detectors, their calibration, and what baterebin made of them."""
    observation, calibration = survey / "survey_obs" / "00099999001", survey / "survey_obs" / "ecal"
    quality = fits.getdata(survey / "baterebin" / "erebin.mask.gz").ravel()
    # every kind of quality, and detectors of all parts of the plane
    chosen = np.unique(
        np.concatenate(
            [np.flatnonzero(quality == bits)[:: 1 + np.sum(quality == bits) // 60] for bits in (0, 1, 8)]
        )
    )
    histogram = next((observation / "bat" / "survey").glob("*g0040.dph.gz"))
    rows, made = fits.getdata(histogram, 1), fits.getdata(survey / "baterebin" / "erebin.dph.gz", 1)
    bounds = fits.getdata(histogram, "EBOUNDS")

    def counts(table: np.ndarray) -> np.ndarray:
        values = native(table["DPH_COUNTS"])
        return values.reshape(len(values), -1, values.shape[-1])[:, chosen]

    arrays = {
        "detector": chosen.astype(np.int32),
        "quality": quality[chosen].astype(np.uint8),
        "channel_edges": np.append(native(bounds["E_MIN"]), native(bounds["E_MAX"])[-1:]),
        "channel_counts": counts(rows).astype(np.int16),
        "band_counts": counts(made),
    }
    for name, path in (
        ("gain_offset", next((observation / "bat" / "hk").glob("*bgocb.hk.gz"))),
        ("pulser", calibration / "pulser.fits.gz"),
        ("flight_pulser", calibration / "fltpulser.fits.gz"),
        ("residual", calibration / "resid.fits.gz"),
    ):
        table = fits.getdata(path, 1)
        for column in table.columns.names:
            if column != "TIME":
                arrays[f"{name}_{column.lower()}"] = native(table[column][0]).ravel()[chosen]
    return arrays


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    np.savez_compressed(Path(__file__).with_name("survey.npz"), **extract(folder))
    np.savez_compressed(Path(__file__).with_name("survey_snapshot.npz"), **snapshot(folder))
