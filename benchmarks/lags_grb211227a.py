"""Lags and hardness of GRB 211227A from its light curve in text, as the tables of docs/how-to/lags.md.

Run ``python benchmarks/lags_grb211227a.py GRB20211227_T84726_64ms_BAT.thr [PICTURES]``; with a folder,
pictures are put there.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import xarray as xr

import batx

#: seconds since the trigger, and how the peak is fitted
PARTS = {
    "whole burst": {},
    "first pulse": {"interval": (-2.0, 5.0)},
    "whole burst, within 2.5 s": {"fit_range": (-2.5, 2.5)},
}
PAIRS = [((15, 25), (50, 100)), ((25, 50), (50, 100))]


def lags(lc: xr.Dataset, pictures: Path | None) -> None:
    """Print the lag of each pair of bands in each part."""
    print("| bands (keV) | " + " | ".join(PARTS) + " |\n|---|" + "---|" * len(PARTS))
    found = {}
    for name, options in PARTS.items():
        found[name] = lc.bat.lag(n_samples=2000, seed=1, **options)
        if pictures is not None:
            panels = np.atleast_1d(found[name].bat.plot_lag(title=f"GRB 211227A, {name}"))
            panels[0].figure.savefig(pictures / f"lag {name}.png".replace(" ", "_"), dpi=110)
    for k, pair in enumerate(found["whole burst"].pair.values):
        cells = []
        for one in found.values():
            low, high = (1e3 * float(one[f"lag_err_{side}"][k]) for side in ("low", "high"))
            value = 1e3 * float(one.lag[k])
            text = f"{value:.0f} −{low:.0f} +{high:.0f} ms" if np.isfinite(value) else "not measured"
            cells.append(f"{text} ({float(one.significance[k]):.0f})")
        print(f"| {pair.removesuffix(' keV')} | " + " | ".join(cells) + " |")


def hardness(lc: xr.Dataset, pictures: Path | None) -> None:
    """Print the hardness of two pairs in each block of the burst."""
    blocks = lc.bat.rebin_time(blocks=lc.bat.bayesian_blocks())
    found = blocks.isel(time=slice(1, -1)).bat.hardness(PAIRS)
    print("\n| time (s) | " + " | ".join(found.pair.values) + " |\n|---|---|---|")
    for k, bounds in enumerate(found.time_bnds.values):
        cells = []
        for pair in range(2):
            value, low, high = (float(found[f"hardness{end}"][pair, k]) for end in ("", "_low", "_high"))
            cells.append(f"{value:.3f} −{value - low:.3f} +{high - value:.3f}")
        print(f"| {bounds[0]:.2f} to {bounds[1]:.2f} | " + " | ".join(cells) + " |")
    if pictures is not None:
        fine = lc.sel(time=slice(-0.1, 130.0)).bat.rebin_time(snr=15).bat.hardness(PAIRS)
        panels = lc.bat.rebin_time(factor=16).bat.plot_hardness(fine, title="GRB 211227A")
        panels[0].figure.savefig(pictures / "hardness.png", dpi=110)


def main(names: list[str]) -> None:
    """Print both tables."""
    warnings.simplefilter("ignore", batx.BatxWarning)
    lc = batx.open_dataset(names[0], energy=[15, 25, 50, 100, 350], t0=0.0)
    pictures = Path(names[1]) if len(names) > 1 else None
    lags(lc, pictures)
    hardness(lc, pictures)


if __name__ == "__main__":
    main(sys.argv[1:])
