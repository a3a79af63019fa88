"""A calibration database for tests: ``caldb.config``, indexes and files as HEASARC lays them out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

CONFIG = "software/tools/caldb.config"
BAT = "data/swift/bat"
SC = "data/swift/mis"

#: a row: file, code name, boundaries, day from when on it holds, and what differs from the usual
Row = dict[str, Any]


def row(file: str, codename: str, *conditions: str, day: str = "2004-11-20", **other: Any) -> Row:
    """Return one row of an index."""
    return {
        "TELESCOP": "SWIFT",
        "INSTRUME": "BAT",
        "DETNAM": "-",
        "FILTER": "-",
        "CAL_DEV": "ONLINE",
        "CAL_DIR": f"{BAT}/bcf",
        "CAL_FILE": file,
        "CAL_CLAS": "BCF",
        "CAL_DTYP": "DATA",
        "CAL_CNAM": codename,
        "CAL_CBD": "".join(f"{condition:<70}" for condition in conditions or ("NONE",)),
        "CAL_XNO": 0,
        "CAL_VSD": day,
        "CAL_VST": "00:00:00",
        "REF_TIME": 0.0,
        "CAL_QUAL": 0,
        "CAL_DATE": "2010-01-01",
        "CAL_DESC": "made for a test",
        **other,
    }


def write_index(path: Path, rows: Sequence[Row]) -> None:
    """Write ``caldb.indx``."""
    formats = {"CAL_CBD": "630A70", "CAL_XNO": "I", "CAL_QUAL": "I", "REF_TIME": "D"}
    columns = []
    for name in rows[0]:
        values = [item[name] for item in rows]
        form = formats.get(name, "80A")
        columns.append(fits.Column(name, "630A" if name == "CAL_CBD" else form, array=np.array(values)))
    table = fits.BinTableHDU.from_columns(columns, name="CIF")
    path.parent.mkdir(parents=True, exist_ok=True)
    table.writeto(path, overwrite=True, checksum=True)


def write_config(root: Path) -> None:
    """Write ``caldb.config``."""
    lines = ["# telescope instrument device folder index device folder"]
    for instrument, folder in (("BAT", BAT), ("SC", SC), ("XRT", "data/swift/xrt")):
        lines.append(f"SWIFT {instrument} CALDB {folder} caldb.indx CALDB {folder}")
    (root / CONFIG).parent.mkdir(parents=True, exist_ok=True)
    (root / CONFIG).write_text("\n".join(lines) + "\n")


def write_file(root: Path, name: str, value: float = 1.0, **keywords: Any) -> Path:
    """Write a small image with keywords, with checksums, below the root."""
    header = fits.Header({"TELESCOP": "SWIFT", "INSTRUME": "BAT", **keywords})
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    fits.PrimaryHDU(np.full((9, 9), value, np.int16), header=header).writeto(
        path, overwrite=True, checksum=True
    )
    return path


def write_clock(root: Path, name: str) -> Path:
    """Write a clock file of two rows, 1 and 2 seconds."""
    columns = [
        fits.Column(column, "D", array=np.array(values))
        for column, values in (
            ("TSTART", [5e8, 6e8]),
            ("TSTOP", [6e8, 7e8]),
            ("C0", [1e6, 1e6]),
            ("C1", [0.0, 0.0]),
            ("C2", [0.0, 0.0]),
        )
    ]
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    fits.BinTableHDU.from_columns(columns, name="CLOCK_CORRECT").writeto(path, overwrite=True, checksum=True)
    return path


ROWS = [
    row("aper_flux_v1.fits", "CODED_MASK", 'APERTYPE("FLUX")', day="2003-01-01"),
    row("aper_flux_v2.fits", "CODED_MASK", 'APERTYPE("FLUX")', day="2010-06-01"),
    row("aper_flux_bad.fits", "CODED_MASK", 'APERTYPE("FLUX")', day="2011-06-01", CAL_QUAL=5),
    row("aper_flux_v3.fits", "CODED_MASK", 'APERTYPE("FLUX")', day="2025-01-01"),
    row("aper_edge.fits", "CODED_MASK", 'APERTYPE("MASK_EDGES")', day="2003-01-01"),
    row("gone.teldef", "TELDEF"),
    row("ground.fits", "PULSER_GAIN", 'SOURCE("GROUND")', CAL_XNO=1),
    row("flight.fits", "PULSER_GAIN", 'SOURCE("FLIGHT")', CAL_XNO=1),
    row("low.fits", "DET_POSCOR", "ENERGY(14000-50000)eV"),
    row("high.fits", "DET_POSCOR", "ENERGY(50-195)keV"),
    row("../../../../outside.fits", "BADPIX"),
    row("absolute.fits", "BADPIX", CAL_DIR="/etc"),
    row("newer.fits", "DEPTH_DIST", day="2004-11-20", CAL_DATE="2012-01-01"),
    row("older.fits", "DEPTH_DIST", day="2004-11-20", CAL_DATE="2009-01-01"),
]


def caldb(root: Path, rows: Sequence[Row] = ROWS) -> Path:
    """Write a whole database; the file of the teldef is missing in it."""
    write_config(root)
    write_index(root / BAT / "caldb.indx", rows)
    for item in rows:
        name, folder = item["CAL_FILE"], item["CAL_DIR"]
        if name.startswith(("..", "gone", "absolute")):
            continue
        write_file(root, f"{folder}/{name}", APERTYPE="FLUX" if "flux" in name else "MASK_EDGES", NAME=name)
    clock = row("swclock.fits", "CLOCK", CAL_DIR=f"{SC}/bcf/clock", INSTRUME="SC", CAL_XNO=1)
    write_index(root / SC / "caldb.indx", [clock])
    write_clock(root, f"{SC}/bcf/clock/swclock.fits")
    return root
