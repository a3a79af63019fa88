"""How well lags, hardness ratios, variability and pulses are measured: simulated bursts (algorithms 2.12).

Run ``python benchmarks/calibrate_shapes.py [lags|hardness|variability|pulses] [N]``: with 300 bursts of each
sort the lags take some ten minutes on one core, pulses five, the others one.
"""

from __future__ import annotations

import sys
import warnings

import numpy as np
import xarray as xr

import batx
from batx.kernels.fluctuations import fast_power, shortest_part
from batx.kernels.pulse_models import binned_shape, described

STEP, N_BINS = 0.064, 800
TIMES = (np.arange(N_BINS) + 0.5) * STEP
BURST = (12.0, 42.0)


def light_curve(values: np.ndarray, errors: np.ndarray | None = None) -> xr.Dataset:
    """Return rates with errors, or counts, (time, band) as a Dataset."""
    n_bands = values.shape[1]
    bands = np.array([[15.0, 25.0], [50.0, 100.0]])[:n_bands]
    if errors is None:
        data = {"counts": (("time", "energy"), values)}
    else:
        data = {"rate": (("time", "energy"), values), "rate_err": (("time", "energy"), errors)}
    return batx.build(
        "lightcurve",
        {
            "time": TIMES,
            "time_bnds": (("time", "bnds"), TIMES[:, np.newaxis] + [-0.5 * STEP, 0.5 * STEP]),
            "energy": bands.mean(axis=1),
            "energy_bnds": (("energy", "bnds"), bands),
            "exposure": np.full(N_BINS, STEP),
            "fracexp": np.ones(N_BINS),
            **data,
        },
        {
            "statistic": "poisson" if errors is None else "gaussian",
            "weighting": "none" if errors is None else "mask",
        },
    )


def scaled(shape: np.ndarray, snr: float) -> np.ndarray:
    """Return a curve whose brightest 90 % are `snr` times their noise, of 1 a bin."""
    bright = np.sort(shape)[::-1]
    n = int(np.searchsorted(np.cumsum(bright), 0.9 * bright.sum())) + 1
    return shape * snr * np.sqrt(n) / bright[:n].sum()


def pulse(peak: float, width: float, asymmetry: float) -> np.ndarray:
    """Return the mean of a pulse of Norris et al. 2005 in each bin."""
    parameters = np.array([[0.0, peak, np.log(width), np.log(asymmetry / (1.0 - asymmetry))]])
    return binned_shape(True, parameters, TIMES - 0.5 * STEP, np.full(N_BINS, STEP))


def one_pulse(shift: float, random: np.random.Generator) -> np.ndarray:
    """Return a pulse of 3 s."""
    return pulse(20.0 + shift, 3.0, 0.5)


def short_pulse(shift: float, random: np.random.Generator) -> np.ndarray:
    """Return a pulse of half a second."""
    return pulse(20.0 + shift, 0.5, 0.6)


def many_pulses(shift: float, random: np.random.Generator) -> np.ndarray:
    """Return twelve pulses of 0.3 to 1.5 s on a hump of 12 s."""
    made = 0.5 * pulse(24.0 + shift, 12.0, 0.4)
    for _ in range(12):
        place, width, height = random.uniform(16, 34), random.uniform(0.3, 1.5), random.uniform(0.3, 1.0)
        made += height * pulse(place + shift, width, 0.5)
    return made


def lags(n: int) -> None:
    """Print pulls and coverage of lags of curves of one shape, which are those of the shift."""
    random = np.random.default_rng(1)
    true = 0.2
    ways = ({}, {"fit": "polynomial"}, {"method": "discrete"}, {"counts": True})
    for way in ways:
        for shape in (one_pulse, short_pulse, many_pulses):
            for snr in (10.0, 20.0, 50.0, 150.0):
                rows, faint = [], 0
                for _ in range(n if not way else n // 3):
                    seed = int(random.integers(1 << 30))
                    soft, hard = (
                        scaled(shape(move, np.random.default_rng(seed)), snr) for move in (true, 0.0)
                    )
                    model = np.column_stack([soft, hard])
                    options = {key: value for key, value in way.items() if key != "counts"}
                    if way.get("counts"):
                        lc = light_curve(random.poisson(model * 30.0 + 900.0))
                        options["background"] = True
                    else:
                        lc = light_curve(model + random.normal(size=model.shape), np.ones(model.shape))
                    try:
                        found = batx.lag(lc, interval=BURST, n_samples=300, seed=1, **options)
                    except batx.BatxError:
                        faint += 1
                        continue
                    error = [float(found[f"lag_err{side}"][0]) for side in ("", "_low", "_high")]
                    apart = float(found.lag[0]) - true
                    rows.append((apart, error[0], -error[2] < apart < error[1]))
                apart, error, inside = np.array(rows).T
                print(
                    f"{way or 'default'!s:24s} {shape.__name__:12s} {snr:4.0f} none {faint:3d}, bias "
                    f"{1e3 * apart.mean():6.1f} ± {1e3 * apart.std() / np.sqrt(len(rows)):5.1f} ms, scatter "
                    f"{1e3 * apart.std():6.1f}, error {1e3 * np.median(error):6.1f} ms, pull "
                    f"{np.mean(apart / error):5.2f} ± {np.std(apart / error):4.2f}, "
                    f"within 1 σ {np.mean(np.abs(apart) < error):.2f}, in interval {inside.mean():.2f}",
                    flush=True,
                )


def hardness(n: int) -> None:
    """Print how often the intervals of hardness ratios hold."""
    random = np.random.default_rng(2)
    clean = [(1, 1, 0), (3, 1, 0), (3, 3, 0), (10, 3, 0), (30, 10, 0), (100, 30, 0)]
    for soft, hard, off in (*clean, (3, 1, 3), (10, 5, 10), (30, 30, 100), (100, 50, 1000)):
        true = (hard - soft) / (hard + soft)
        repeats = max(n // N_BINS, 1) if off else max(20 * n // N_BINS, 1)
        inside = []
        for _ in range(repeats):
            counts = random.poisson(np.broadcast_to([soft + off, hard + off], (N_BINS, 2)))
            lc = light_curve(counts)
            expected = lc.assign(
                counts=(("time", "energy"), random.gamma(100.0, off / 100.0, counts.shape)),
                counts_err=(("time", "energy"), np.full(counts.shape, 0.1 * off)),
            )
            for level in (0.6827, 0.9):
                found = batx.hardness(lc, level=level, background=expected if off else False)
                inside.append((found.hardness_low < true) & (true < found.hardness_high))
        means = [float(np.mean(inside[k::2])) for k in range(2)]
        print(
            f"counts {soft:4d} and {hard:3d} over {off:4d} ± 10 %: {repeats * N_BINS:6d} bins, in 68.27 % "
            f"{means[0]:.3f}, in 90 % {means[1]:.3f}",
            flush=True,
        )
    for soft, hard in ((0.5, 0.5), (2.0, 1.0), (5.0, 2.0), (20.0, 10.0)):
        true, ratio = (hard - soft) / (hard + soft), hard / soft
        model = np.broadcast_to([soft, hard], (N_BINS, 2))
        found = []
        for _ in range(max(20 * n // N_BINS, 1)):
            lc = light_curve(model + random.normal(size=model.shape), np.ones(model.shape))
            made = [batx.hardness(lc, form=form) for form in ("difference", "ratio")]
            for one, value in zip(made, (true, ratio), strict=True):
                found.append((one.hardness_low < value) & (value < one.hardness_high))
                found.append(np.abs(one.hardness - value) < one.hardness_err)
        means = [float(np.mean(found[k::4])) for k in range(4)]
        print(
            f"rates of {soft:4.1f} and {hard:4.1f} errors: Fieller {means[0]:.3f}, first order "
            f"{means[1]:.3f}; ratio {means[2]:.3f}, {means[3]:.3f}",
            flush=True,
        )


def variability(n: int) -> None:
    """Print pulls of the variability."""
    random = np.random.default_rng(3)
    inside = (BURST[0] <= TIMES) & (BURST[1] > TIMES)
    for snr in (10.0, 20.0, 50.0, 150.0):
        pulls, excess, ratio = [], [], []
        for k in range(n):
            rate = scaled(many_pulses(0.0, np.random.default_rng(k % 20)), snr)
            time = shortest_part(rate, np.full(N_BINS, STEP), 0.45)
            true, _ = fast_power(rate, np.zeros(N_BINS), inside, time / STEP)
            burst = rate[inside]
            lc = light_curve((rate + random.normal(size=N_BINS))[:, np.newaxis], np.ones((N_BINS, 1)))
            found = batx.variability(lc, interval=BURST)
            pulls.append((float(found.variability[0]) - true) / float(found.variability_err[0]))
            apart = float(found.excess_variance[0]) - np.var(burst, ddof=1) / burst.mean() ** 2
            excess.append(apart / float(found.excess_variance_err[0]))
            ratio.append(float(found.smoothing_time[0]) / time)
        print(
            f"snr {snr:4.0f}: pull of variability {np.nanmean(pulls):5.2f} ± {np.nanstd(pulls):.2f}, of the "
            f"excess variance {np.nanmean(excess):5.2f} ± {np.nanstd(excess):.2f}, smoothing time "
            f"{np.mean(ratio):.2f} ± {np.std(ratio):.2f} of the true one",
            flush=True,
        )


def pulses(n: int) -> None:
    """Print pulls and coverage of the parameters of one pulse, of rates and of counts on a background."""
    random = np.random.default_rng(4)
    shapes = ((6.0, 0.2), (6.0, 0.5), (3.0, 0.7))
    cases = [(False, snr, *shape) for snr in (20.0, 50.0, 150.0) for shape in shapes]
    for counted, snr, width, asymmetry in (*cases, *((True, snr, 6.0, 0.5) for snr in (20.0, 50.0, 150.0))):
        rate = scaled(pulse(22.0, width, asymmetry), snr)
        height = np.log(rate.max() * (4.0 / STEP if counted else 1.0))
        odds = np.log(asymmetry / (1.0 - asymmetry))
        true = described("norris2005", np.array([height, 22.0, np.log(width), odds]))
        rows: dict[str, list[tuple[float, bool]]] = {}
        several = none = 0
        for _ in range(n):
            if counted:
                lc, baseline = light_curve(random.poisson(rate * 4.0 + 16.0)[:, np.newaxis]), 1
            else:
                model = rate[:, np.newaxis]
                lc, baseline = (
                    light_curve(model + random.normal(size=model.shape), np.ones(model.shape)),
                    None,
                )
            try:
                found = batx.fit_pulses(lc, interval=(5.0, 48.0), baseline=baseline)
            except batx.BatxError:
                none += 1
                continue
            several += found.sizes["pulse"] > 1
            if found.sizes["pulse"] == 1:
                for name in ("amplitude", "peak_time", "width", "asymmetry"):
                    rows.setdefault(name, []).append(_pull(found, name, true[name]))
        text = ", ".join(
            f"{name} {np.nanmean(pull):5.2f} ± {np.nanstd(pull):.2f} ({np.mean(held):.2f})"
            for name, (pull, held) in ((name, np.array(row).T) for name, row in rows.items())
        )
        print(
            f"{'counts' if counted else 'rates '} snr {snr:4.0f} w {width:g} κ {asymmetry}: none {none}, "
            f"several {several}; {text}",
            flush=True,
        )


def _pull(found: xr.Dataset, name: str, true: float) -> tuple[float, bool]:
    """Return how many errors a value is off, and whether its interval, open or not, holds."""
    apart = float(found[name][0]) - true
    low, high = (np.nan_to_num(float(found[f"{name}_err_{side}"][0]), nan=np.inf) for side in ("low", "high"))
    return apart / float(found[f"{name}_err"][0]), -high < apart < low


def main(names: list[str]) -> None:
    """Print the calibrations asked for."""
    known = {"lags": lags, "hardness": hardness, "variability": variability, "pulses": pulses}
    n = int(names.pop()) if names and names[-1].isdigit() else 300
    warnings.simplefilter("ignore", batx.BatxWarning)
    for name in names or known:
        known[name](n)


if __name__ == "__main__":
    main(sys.argv[1:])
