"""Take from the reference folder what tests of the survey compare with: ``python extract_survey.py FOLDER``.

The arrays are what the tools made of a simulated observation of four histograms, and so much of the inputs as
is needed to make the same of them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from astropy.io import fits


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
    np.savez_compressed(Path(__file__).with_name("survey.npz"), **extract(Path(sys.argv[1])))
