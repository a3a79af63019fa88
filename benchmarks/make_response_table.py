"""Make the packaged table of responses from the responses of ``batdrmgen`` on a grid over the field.

``python benchmarks/make_response_table.py FOLDER`` reads ``bat_grid_*.rsp.gz`` and writes
``batx/instrument/response_table.npz``. Mirrored quadrants have identical responses; one of each is kept.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from astropy.io import fits

TABLE = Path(__file__).resolve().parent.parent / "batx" / "instrument" / "response_table.npz"


def read(path: Path) -> dict[str, np.ndarray]:
    """Return matrix, edges, direction and normalisation of one response."""
    with fits.open(path) as hdus:
        matrix, bands = hdus["SPECRESP MATRIX"], hdus["EBOUNDS"].data
        header = matrix.header
        x, y, z = (header[f"BAT_{axis}OBJ"] for axis in "XYZ")
        return {
            "matrix": np.array(list(matrix.data["MATRIX"]), np.float32),
            "energy_in": np.stack([matrix.data[f"ENERG_{end}"] for end in ("LO", "HI")], axis=1),
            "channel": np.stack([bands[f"E_{end}"] for end in ("MIN", "MAX")], axis=1),
            "direction": np.abs([x / z, y / z]),
            "mskwtsqf": np.float64(header["MSKWTSQF"]),
            "origin": f"{header['PARMFILE']} {header['DPTHFILE']} {header['ENRGFILE']} {header['CREATOR']}",
        }


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    entries: dict[tuple[float, ...], dict[str, np.ndarray]] = {}
    for path in sorted(parser.parse_args().folder.glob("bat_grid_*.rsp.gz")):
        entry = read(path)
        entries.setdefault(tuple(np.round(entry["direction"], 2)), entry)
    nodes = [entries[key] for key in sorted(entries)]
    matrices = np.stack([node["matrix"] for node in nodes])
    filled = (matrices > 0).all(axis=0)
    assert not matrices[:, ~filled].any(), "an element is zero at some of the places only"
    assert len({str(node["origin"]) for node in nodes}) == 1, "responses of different calibrations"
    origin = (
        f"Swift/BAT responses at {len(nodes)} places of the field: {nodes[0]['origin']}, from the grid of "
        "the program simmes (Copyright 2024 Michael Moss, MIT licence)"
    )
    np.savez_compressed(
        TABLE,
        matrix=matrices[:, filled],
        filled=filled,
        energy_in=nodes[0]["energy_in"].astype(np.float64),
        channel=nodes[0]["channel"].astype(np.float64),
        direction=np.stack([node["direction"] for node in nodes]),
        mskwtsqf=np.array([node["mskwtsqf"] for node in nodes]),
        origin=np.array(origin),
    )
    print(f"{len(nodes)} places, {TABLE.stat().st_size / 1e3:.0f} kB: {origin}")


if __name__ == "__main__":
    main()
