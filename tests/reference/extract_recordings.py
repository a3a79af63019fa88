"""Write ``recorded/``: calls of the BAT tools for `batx.heasoft.Replay`, with what the tools made.

Run ``python tests/reference/extract_recordings.py FOLDER`` with the folder of the runs (COMMANDS.txt).
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

BANDS = "15-25,25-50,50-100,100-350"
#: name -> tool, parameters of its command line that are no files, output to its file
RUNS = {
    "lightcurve": (
        "batbinevt",
        {"outtype": "LC", "timedel": "1.0", "timebinalg": "u", "energybins": BANDS},
        {"outfile": "lc/lc_w_4b_10.lc.gz"},
    ),
    "spectrum": (
        "batbinevt",
        {"outtype": "PHA", "timedel": "0", "timebinalg": "u", "tstart": "600000045", "tstop": "600000085"},
        {"outfile": "pha/spec_w.pha.gz"},
    ),
    "detector_plane": (
        "batbinevt",
        {
            "outtype": "DPI",
            "timedel": "0",
            "timebinalg": "u",
            "energybins": "15-150",
            "weighted": "NO",
            "outunits": "COUNTS",
        },
        {"outfile": "dpi/all_1b.dpi.gz"},
    ),
    "hot_pixels": ("bathotpix", {}, {"outfile": "hotpix/hot_default.mask.gz"}),
    "curve_of_blocks": (
        "batbinevt",
        {"outtype": "LC", "timedel": "1.0", "timebinalg": "u", "energybins": "15-350"},
        {"outfile": "lc/lc_w_1b_10.lc.gz"},
    ),
    "bayesian_blocks": ("battblocks", {}, {"outfile": "bb/gti_w1s.gti.gz"}),
    "duration": (
        "battblocks",
        {"bkgsub": "YES", "durerrmeth": "FRACVAR"},
        {"outfile": "bb/gti_w1s_bs.gti.gz", "durfile": "bb/dur_w1s_bs.gti.gz"},
    ),
}


def extract(folder: Path, target: Path) -> None:
    """Write a folder for each run."""
    for name, (tool, parameters, outputs) in RUNS.items():
        place = target / name
        place.mkdir(parents=True, exist_ok=True)
        for source in outputs.values():
            shutil.copyfile(folder / source, place / Path(source).name)
        record = {
            "task": tool,
            "parameters": parameters,
            "outputs": {one: Path(source).name for one, source in outputs.items()},
            "version": "HEASoft 6.20",
        }
        (place / "call.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    extract(Path(sys.argv[1]), Path(__file__).with_name("recorded"))
