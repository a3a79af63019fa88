"""Take from the reference folder what the tests of good time compare with: ``python extract_gti.py FOLDER``.

The arrays are inputs of our own and what the tools ``maketime`` and ``batsurvey-gti`` made of them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from astropy.io import fits

MAKETIME_FRACTIONS = ("0_0", "0_1", "0.5_0.5", "1_1")
SURVEY_FILTERS = (
    "array_on",
    "dataflags",
    "earthconstraints",
    "global",
    "low_rate",
    "startracker_locked",
    "startracker_lossfcn",
    "ten_arcmin",
)


def extract(shared: Path) -> dict[str, np.ndarray]:
    """Return the arrays by name; intervals are (n, 2)."""
    survey = shared / "reference" / "survey"
    arrays = {}

    def column(path: Path, extension: int | str, name: str) -> np.ndarray:
        data = np.asarray(fits.getdata(path, extension)[name])
        return data.astype(data.dtype.newbyteorder("="))

    def intervals(path: Path) -> np.ndarray:
        return np.column_stack([column(path, 1, "START"), column(path, 1, "STOP")])

    maketime = survey / "maketime"
    arrays["maketime_time"] = column(maketime / "in.fits", 1, "TIME")
    arrays["maketime_flag"] = column(maketime / "in.fits", 1, "V") == 1
    for fractions in MAKETIME_FRACTIONS:
        arrays[f"maketime_{fractions}"] = intervals(maketime / f"g_{fractions}.gti")
    for name in "abcm":
        arrays[f"merge_{name}"] = intervals(maketime / f"{name}.gti")

    for mode in ("gti", "gti_sep"):
        folder = survey / "batsurvey-gti" / mode
        for name in SURVEY_FILTERS:
            arrays[f"{mode}_{name}"] = intervals(folder / f"{name}.gti")
        arrays[f"{mode}_raw"] = intervals(folder / "master.gti-raw")
        arrays[f"{mode}_master"] = intervals(folder / "master.gti")

    observation = survey / "survey_obs" / "00099999001"
    auxil, hk = observation / "auxil", observation / "bat" / "hk"
    for name, path, extension, value in (
        ("ten_arcmin", auxil / "sw00099999001sat.fits", "ACS_DATA", "FLAGS"),
        ("array_on", hk / "sw00099999001ben.hk", "HK139X001", "BDIHKNGOODDETS"),
        ("earthconstraints", auxil / "sw00099999001sao.fits", "PREFILTER", "ELV"),
        ("startracker_locked", auxil / "sw00099999001sen.hk", "HK011X001", "SAC_MODESTAT"),
        ("startracker_lossfcn", auxil / "sw00099999001sen.hk", "HK014X001", "STAST_LOSSFCN"),
    ):
        arrays[f"{name}_time"] = column(path, extension, "TIME")
        arrays[f"{name}_value"] = column(path, extension, value)
    arrays["startracker_aderr"] = column(auxil / "sw00099999001sen.hk", "HK011X001", "SAC_ADERR")
    return arrays


if __name__ == "__main__":
    np.savez_compressed(Path(__file__).with_name("gti.npz"), **extract(Path(sys.argv[1])))
