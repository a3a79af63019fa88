"""How often the errors of T90 hold: simulated bursts against T90 of the noise-free curve (algorithms 2.5).

Run ``python benchmarks/coverage_durations.py [N_BURSTS]``; 80 bursts of each sort take some ten minutes.
"""

from __future__ import annotations

import sys

import numpy as np
import xarray as xr

N_BINS, START = 600, 250.0
TIMES = np.arange(N_BINS) + 0.5


def fred(random: np.random.Generator) -> np.ndarray:
    """Return a Norris pulse of τ₁ 1-5 s and τ₂ 5-25 s."""
    rise, decay = random.uniform(1, 5), random.uniform(5, 25)
    since = np.clip(TIMES - START, 1e-3, None)
    return np.exp(-rise / since - since / decay)


def gaussian(random: np.random.Generator) -> np.ndarray:
    """Return a Gaussian of σ 3-15 s."""
    return np.exp(-0.5 * ((TIMES - START - 20) / random.uniform(3, 15)) ** 2)


def several(random: np.random.Generator) -> np.ndarray:
    """Return four Gaussians of σ 2-6 s within 60 s."""
    width, height, place = random.uniform(2, 6, 4), random.uniform(0.3, 1, 4), random.uniform(0, 60, 4)
    return np.sum(height * np.exp(-0.5 * ((TIMES[:, np.newaxis] - START - place) / width) ** 2), axis=1)


def true_t90(rate: np.ndarray) -> float:
    """Return T90 of a curve without noise."""
    rise = np.append(0.0, np.cumsum(rate)) / rate.sum()
    return float(np.subtract(*np.interp([0.95, 0.05], rise, np.arange(N_BINS + 1.0))))


def scaled(shape: np.ndarray, snr: float) -> np.ndarray:
    """Return a curve whose signal within T90 is `snr` times its noise, of 1 in each bin."""
    part = np.cumsum(shape) / shape.sum()
    inside = (part > 0.05) & (part < 0.95)
    return shape * snr * np.sqrt(inside.sum()) / shape[inside].sum()


def light_curve(rate: np.ndarray) -> xr.Dataset:
    """Return rates of unit error as a Dataset."""
    import batx

    return batx.build(
        "lightcurve",
        {
            "time": TIMES,
            "time_bnds": (("time", "bnds"), np.column_stack([TIMES - 0.5, TIMES + 0.5])),
            "energy": [100.0],
            "energy_bnds": (("energy", "bnds"), [[15.0, 350.0]]),
            "rate": (("time", "energy"), rate[:, np.newaxis]),
            "rate_err": (("time", "energy"), np.ones((N_BINS, 1))),
            "exposure": np.ones(N_BINS),
            "fracexp": np.ones(N_BINS),
            "gti_start": [0.0],
            "gti_stop": [float(N_BINS)],
        },
        {"statistic": "gaussian", "weighting": "mask"},
    )


def main(n_bursts: int) -> None:
    """Print bias, error and coverage of each method for each sort of burst."""
    import batx

    random = np.random.default_rng(1)
    for shape in (fred, gaussian, several):
        for snr in (30.0, 60.0, 120.0):
            found: dict[str, list[tuple[float, float]]] = {"tool": [], "bootstrap": [], "pulses": []}
            for _ in range(n_bursts):
                rate = scaled(shape(random), snr)
                lc = light_curve(rate + random.normal(size=N_BINS))
                for method, rows in found.items():
                    try:
                        made = batx.duration(lc, method=method, n_samples=300, seed=1)
                    except batx.BatxError:
                        continue
                    rows.append((float(made["t90"]) - true_t90(rate), float(made["t90_err"])))
            for method, rows in found.items():
                apart, error = np.array(rows).T
                within = [float(np.mean(np.abs(apart) < k * error)) for k in (1.0, 1.645)]
                print(
                    f"{shape.__name__:8s} {snr:4.0f} {method:9s} {len(rows):4d} bursts, bias "
                    f"{apart.mean():6.2f} s, error {np.median(error):5.2f} s, within 1 σ {within[0]:.2f}, "
                    f"1.645 σ {within[1]:.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 80)
