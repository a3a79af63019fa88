"""Find the numbers of the glitch score, and measure how often it errs (algorithms 2.11).

Run ``python benchmarks/train_glitch_score.py IMAGES.npz MASK [--write]``: the labelled images (arrays
``glitch_full`` and ``grb_full``, 64 ms, 173 x 286), a detector mask of the time, and whether to write
``batx/instrument/glitch_score.json``. Takes some minutes of one processor and 3 GB.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import minimize
from scipy.sparse.csgraph import connected_components

import batx
from batx.instrument.detector import DETECTOR
from batx.kernels.morphology import FEATURES, features, sandwich_sums, shares
from batx.simulate import Background, Glitch, aperture
from batx.simulate.sources import Telescope

TARGET = Path(batx.__file__).parent / "instrument" / "glitch_score.json"
MOST = 240
N_BURSTS, N_GLITCHES, N_PLACES = 6000, 1500, 700
FOLDS, SEEDS, THINNINGS = 10, 5, 8
CODINGS = np.arange(0.1, 1.01, 0.1)
STATES = ("all on", "random", "mask of 2021", "as in the glitches")


# ---------------------------------------------------------------- images


def thinned(image: np.ndarray, rng: np.random.Generator, clip_first: bool = True) -> np.ndarray:
    """Return an image of 0 and 1 with at most 240 counts, clipped before or after they are drawn."""
    cells = np.flatnonzero(image) if clip_first else np.repeat(np.arange(image.size), image.ravel())
    if cells.size > MOST:
        cells = rng.choice(cells, MOST, replace=False)
    made = np.zeros(image.size, np.uint16)
    made[cells] = 1
    return made.reshape(image.shape)


def all_thinned(images: np.ndarray, rng: np.random.Generator, clip_first: bool = True) -> np.ndarray:
    """Return each image thinned."""
    return np.stack([thinned(image, rng, clip_first) for image in images])


def near_duplicates(images: np.ndarray) -> np.ndarray:
    """Return the number of the group of each image: those with a cosine above 0.3 are together."""
    flat = images.reshape(len(images), -1).astype(float)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    return connected_components(flat @ flat.T > 0.3)[1]


def drawn(rng: np.random.Generator, shape: np.ndarray, counts: float) -> np.ndarray:
    """Return Poisson counts with a given expectation."""
    return rng.poisson(shape * (counts / shape.sum())) if shape.sum() > 0 else np.zeros(shape.shape, int)


@dataclass
class States:
    """Which detectors are on, drawn at random."""

    mask: np.ndarray
    like_glitches: np.ndarray

    @classmethod
    def of(cls, mask: np.ndarray, glitches: np.ndarray) -> States:
        """Return states with a known mask and one estimated from what typical glitches show."""
        score = features(glitches)[:, FEATURES.index("edge")]
        seen = sandwich_sums(np.minimum(glitches[score > 0.6], 1)).sum(axis=0).astype(float)
        calm = sandwich_sums(np.minimum(glitches[score <= 0.6], 1)).sum(axis=0)
        seen[:, :2] = calm[:, :2] * seen[:, 2:].sum() / calm[:, 2:].sum()
        return cls(mask & DETECTOR, np.clip(seen / np.quantile(seen, 0.97), 0, 1))

    def draw(self, rng: np.random.Generator, state: int) -> np.ndarray:
        """Return the detectors that are on in one of `STATES`."""
        if state == 2:
            return self.mask
        part = np.full((16, 16), 0.98)
        if state == 1:
            part = np.where(rng.random((16, 16)) < rng.uniform(0, 0.3), 0, rng.beta(4, 2, (16, 16)))
            for _ in range(rng.integers(1, 4) * (rng.random() < 0.4)):
                i, j = rng.integers(8), rng.integers(2)
                part[8 * j : 8 * j + 8, 2 * i : 2 * i + 2] = 0
        if state == 3:
            part = self.like_glitches
        return DETECTOR & (rng.random(DETECTOR.shape) < np.kron(part, np.ones((11, 18)))[:173, :286])


def places(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return coding and light of sources all over the field, through three masks."""
    telescopes = [
        Telescope(aperture(form, seed=seed), None, None)  # type: ignore[arg-type]
        for form, seed in (("reference", 1), ("flight", 2), ("flight", 3))
    ]
    coding, light = [], []
    per_bin = np.zeros(9, int)
    while len(light) < N_PLACES:
        telescope = telescopes[rng.integers(3)]
        lit = telescope.illuminate(rng.uniform(-1.7, 1.7), rng.uniform(-1, 1))
        coded = float((sandwich_sums((lit > 0).astype(int)) > 6).mean())
        number = int(coded * 10) - 1 - (coded == 1)
        if coded >= 0.1 and per_bin[number] < N_PLACES / 8:
            per_bin[number] += 1
            coding.append(coded)
            light.append(lit.astype(np.float32))
    return np.array(coding), np.array(light)


@dataclass
class Simulated:
    """Numbers of simulated images: raw and thinned, without and with knowledge of the detectors on."""

    state: np.ndarray
    coding: np.ndarray
    counts: np.ndarray
    numbers: dict[str, np.ndarray]
    shares: dict[str, np.ndarray]
    single: dict[str, np.ndarray]


def simulated(
    n: int, seed: int, states: States, coding: np.ndarray, light: np.ndarray, glitch: bool
) -> Simulated:
    """Return simulated bursts, or glitches."""
    shape = Background().shape()
    about: list[tuple[int, float, float]] = []
    numbers: dict[str, list[np.ndarray]] = {}
    parts: dict[str, list[np.ndarray]] = {}
    single: list[dict[str, np.ndarray]] = []
    for first in range(0, n, 500):
        images, maps = [], []
        for number in range(first, min(first + 500, n)):
            rng = np.random.default_rng([seed, number])
            state, place = int(rng.integers(4)), int(rng.integers(len(light)))
            counts = float(np.exp(rng.uniform(np.log(30), np.log(4000))))
            on = states.draw(rng, state)
            image = drawn(rng, shape * on, rng.uniform(200, 650))
            if glitch:
                image += surge(rng, on)
            else:
                image += drawn(rng, light[place] * on, counts)
                if rng.random() < 0.1:
                    image.ravel()[rng.choice(np.flatnonzero(on))] += rng.integers(3, 20)
            about.append((state, coding[place], counts))
            images.append(image)
            maps.append(on)
        raw, active = np.stack(images), np.stack(maps)
        single.append(single_numbers(raw))
        few = all_thinned(raw, np.random.default_rng([seed, first, 1]))
        for name, made in (("raw", raw), ("thinned", few)):
            parts.setdefault(name, []).append(shares(made))
            numbers.setdefault(name, []).append(features(made))
            numbers.setdefault(f"{name}, mask", []).append(features(made, active))
    state, place_coding, burst = map(np.array, zip(*about, strict=True))
    return Simulated(
        state,
        place_coding,
        burst,
        {name: np.concatenate(values) for name, values in numbers.items()},
        {name: np.concatenate(values) for name, values in parts.items()},
        {name: np.concatenate([values[name] for values in single]) for name in single[0]},
    )


def surge(rng: np.random.Generator, on: np.ndarray) -> np.ndarray:
    """Return the counts of a glitch: at the edge, in a few sandwiches, or in one to three detectors."""
    sort, counts = rng.random(), rng.uniform(50, 300)
    if sort < 0.75:
        row = int(rng.integers(0, 9))
        rows = row, min(row + int(rng.integers(5, 17)), 16)
        pattern = Glitch(0.0, rows=rows, reach=8.0, scatter=1.2, seed=int(rng.integers(1 << 31))).pattern()
        pattern[:, 0] *= 3
    elif sort < 0.9:
        chosen = np.kron(rng.random((16, 16)) < rng.uniform(0.01, 0.06), np.ones((11, 18)))[:173, :286]
        pattern, counts = chosen * np.exp(rng.normal(0, 2, on.shape)), 2 * counts
    else:
        pattern = np.zeros(on.shape)
        pattern.ravel()[rng.choice(np.flatnonzero(on), rng.integers(1, 4))] = 1
    return drawn(rng, pattern * on, counts)


def single_numbers(images: np.ndarray) -> dict[str, np.ndarray]:
    """Return simple numbers of images."""
    columns = sandwich_sums(images.astype(int)).sum(axis=1)
    flat = images.reshape(len(images), -1)
    return {
        "counts": flat.sum(axis=1).astype(float),
        "variance / mean of the 16 columns": columns.var(axis=1) / columns.mean(axis=1),
        "part in the first column": columns[:, 0] / columns.sum(axis=1),
        "most counts of a detector": flat.max(axis=1).astype(float),
    }


# ---------------------------------------------------------------- logistic


@dataclass
class Fit:
    """A logistic of the numbers of an image and of its shares, in units of the spread of bursts."""

    weights: np.ndarray
    zero: float
    shares: np.ndarray
    shares_weight: float

    def __call__(self, numbers: np.ndarray, parts: np.ndarray | None = None) -> np.ndarray:
        """Return the logarithm of the odds."""
        x = numbers @ self.weights + self.zero
        return x if parts is None else x + self.shares_weight * (parts @ self.shares)

    def moved(self, zero: float, unit: float) -> Fit:
        """Return (x - zero) / unit as a fit."""
        return Fit(self.weights / unit, (self.zero - zero) / unit, self.shares, self.shares_weight / unit)


def ratios(parts: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Return the logarithms of the ratio of mean shares of glitches and bursts, with a prior of 0.3."""
    size = parts.shape[1]
    return np.log((parts[label].mean(axis=0) * size + 0.3) / (parts[~label].mean(axis=0) * size + 0.3))


def fitted(
    real: Real, kept: np.ndarray, bursts: Simulated, surges: Simulated, use_shares: bool = True
) -> Fit:
    """Return the fit to the labelled images `kept` and to simulated ones."""
    label = real.label[kept]
    table = ratios(real.shares[0][kept], label)
    own = np.empty((1 + THINNINGS, kept.sum()))
    for group in np.unique(real.group[kept]):  # an image does not tell of itself
        inside = real.group[kept] == group
        without = ratios(real.shares[0][kept][~inside], label[~inside])
        own[:, inside] = np.stack([parts[kept][inside] @ without for parts in real.shares[: 1 + THINNINGS]])
    balance = np.where(label, (~label).sum() / label.sum(), 1.0) / label.size
    rows, truth, weight = [], [], []

    def add(
        numbers: np.ndarray, known: np.ndarray | float, is_glitch: np.ndarray | float, w: np.ndarray | float
    ) -> None:
        n = len(numbers)
        rows.append(np.column_stack([numbers, np.broadcast_to(known, n)]))
        truth.append(np.broadcast_to(is_glitch, n))
        weight.append(np.broadcast_to(w, n))

    add(real.numbers[0][kept], own[0], label, balance)
    for k in range(1, 5):
        add(real.numbers[k][kept], own[k], label, balance / 4)
    half = np.arange(bursts.state.size) % 2 == 0
    for name in ("raw", "thinned"):
        n = half.sum()
        add(bursts.numbers[name][half], bursts.shares[name][half] @ table, 0.0, 0.05 / n)
        add(bursts.numbers[f"{name}, mask"][half], 0.0, 0.0, 0.5 / n)
        add(surges.numbers[f"{name}, mask"], 0.0, 1.0, 0.25 / surges.state.size)
    x, y, w = np.concatenate(rows), np.concatenate(truth).astype(float), np.concatenate(weight)
    if not use_shares:
        x[:, -1] = 0.0
    fit = logistic(x, y, w)
    fit = Fit(fit[:-2], fit[-1], table, fit[-2])
    sample = np.concatenate(
        [fit(real.numbers[k][kept][~label], real.shares[k][kept][~label]) for k in range(5)]
    )
    middle = float(np.median(sample))
    return fit.moved(middle, float(np.median(np.abs(sample - middle))))


def logistic(x: np.ndarray, y: np.ndarray, w: np.ndarray, penalty: float = 0.01) -> np.ndarray:
    """Return weights and constant of a weighted logistic regression, ridge on standardised columns."""
    mean = np.average(x, axis=0, weights=w)
    spread = np.sqrt(np.average((x - mean) ** 2, axis=0, weights=w)) + 1e-9
    z = np.column_stack([(x - mean) / spread, np.ones(len(x))])

    def cost(b: np.ndarray) -> tuple[float, np.ndarray]:
        u = z @ b
        p = 1 / (1 + np.exp(-u))
        ridge = penalty * np.append(b[:-1], 0.0)
        value = (w * (np.logaddexp(0, u) - y * u)).sum() / w.sum() + 0.5 * penalty * (b[:-1] ** 2).sum()
        return value, z.T @ (w * (p - y)) / w.sum() + ridge

    b = minimize(cost, np.zeros(z.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 2000}).x
    slopes = b[:-1] / spread
    return np.append(slopes, b[-1] - slopes @ mean)


# ---------------------------------------------------------------- measurement


@dataclass
class Real:
    """The labelled images: raw, `THINNINGS` times clipped and thinned, and as often thinned and clipped."""

    label: np.ndarray
    group: np.ndarray
    numbers: list[np.ndarray]
    shares: list[np.ndarray]

    @classmethod
    def of(cls, images: np.ndarray, label: np.ndarray) -> Real:
        """Return the numbers of images."""
        rng = np.random.default_rng(4)
        versions = [images, *(all_thinned(images, rng) for _ in range(THINNINGS))]
        versions += [all_thinned(images, rng, clip_first=False) for _ in range(THINNINGS)]
        return cls(label, near_duplicates(images), list(map(features, versions)), list(map(shares, versions)))

    def folds(self, seed: int, n: int = FOLDS) -> Iterator[np.ndarray]:
        """Yield which images are held out; groups stay together, the larger ones are spread first."""
        sizes = np.array(
            [
                [(self.group == g).sum(), self.label[self.group == g].sum()]
                for g in range(self.group.max() + 1)
            ]
        )
        fold, load = np.zeros(len(sizes), int), np.zeros(n)
        order = np.random.default_rng(seed).permutation(len(sizes))
        for g in sorted(order, key=lambda g: -sizes[g, 0]):
            fold[g] = np.argmin(load)
            load[fold[g]] += sizes[g, 0] + 1.2 * sizes[g, 1]
        for k in range(n):
            yield fold[self.group] == k


def roc_area(score: np.ndarray, label: np.ndarray) -> float:
    """Return the probability that a glitch has a higher score than a burst; half for equal ones."""
    glitch, burst = score[label][:, None], score[~label]
    return float((glitch > burst).mean() + 0.5 * (glitch == burst).mean())


def efficient(glitches: np.ndarray) -> float:
    """Return the score that at least 95 % of the glitches reach."""
    return float(np.sort(glitches)[int(np.floor(0.05 * glitches.size))])


@dataclass
class Measured:
    """Means over the seeds of the folds."""

    area: float
    thinned: float
    thinned_after: float
    without_shadows: tuple[float, float]
    threshold: float
    real: float
    by_coding: dict[str, np.ndarray]
    by_state: dict[str, np.ndarray]
    bright: dict[str, float]


def measure(
    real: Real,
    bursts: Simulated,
    surges: Simulated,
    shadows: np.ndarray,
    *,
    use_shares: bool = True,
    folds: int = FOLDS,
) -> list[Measured]:
    """Return what held-out images and simulated bursts give, for each seed."""
    test = np.arange(bursts.state.size) % 2 == 1
    found = []
    for seed in range(SEEDS):
        scores = np.zeros((len(real.numbers), real.label.size))
        simulated_scores: dict[str, list[np.ndarray]] = {"no mask": [], "mask": []}
        for held in real.folds(seed, folds):
            fit = fitted(real, ~held, bursts, surges, use_shares)
            for k, (numbers, parts) in enumerate(zip(real.numbers, real.shares, strict=True)):
                scores[k, held] = fit(numbers[held], parts[held])
            simulated_scores["no mask"].append(fit(bursts.numbers["raw"][test], bursts.shares["raw"][test]))
            simulated_scores["mask"].append(fit(bursts.numbers["raw, mask"][test]))
        areas = np.array([roc_area(score, real.label) for score in scores])
        clear = ~shadows
        others = [roc_area(score[clear], real.label[clear]) for score in scores[: 1 + THINNINGS]]
        threshold = efficient(scores[0][real.label])
        flagged = {name: (np.array(s) >= threshold).mean(axis=0) for name, s in simulated_scores.items()}
        coding, state = np.digitize(bursts.coding[test], CODINGS[1:-1]), bursts.state[test]
        usual = {"no mask": state < 3, "mask": state < 4}
        found.append(
            Measured(
                areas[0],
                areas[1 : 1 + THINNINGS].mean(),
                areas[1 + THINNINGS :].mean(),
                (others[0], float(np.mean(others[1:]))),
                threshold,
                float((scores[0][~real.label] >= threshold).mean()),
                {
                    n: np.array([f[usual[n] & (coding == j)].mean() for j in range(9)])
                    for n, f in flagged.items()
                },
                {n: np.array([f[state == j].mean() for j in range(4)]) for n, f in flagged.items()},
                {n: float(f[usual[n] & (bursts.counts[test] > 1300)].mean()) for n, f in flagged.items()},
            )
        )
    return found


def baselines(real: Real, images: np.ndarray, bursts: Simulated) -> None:
    """Print ROC areas of single numbers, raw and thinned, and the simulated bursts that they flag."""
    rng = np.random.default_rng(6)
    few = [single_numbers(all_thinned(images, rng)) for _ in range(3)]
    raw = single_numbers(images) | dict(zip(FEATURES, real.numbers[0].T, strict=True))
    of_bursts = bursts.single | dict(zip(FEATURES, bursts.numbers["raw"].T, strict=True))
    coding = np.digitize(bursts.coding, CODINGS[1:-1])
    for name, values in raw.items():
        if name in FEATURES:
            k = FEATURES.index(name)
            thin = [roc_area(numbers[:, k], real.label) for numbers in real.numbers[1 : 1 + THINNINGS]]
        else:
            thin = [roc_area(numbers[name], real.label) for numbers in few]
        flagged = of_bursts[name] >= efficient(values[real.label])
        part = [flagged[(coding == j) & (bursts.state < 3)].mean() for j in range(9)]
        print(
            f"  {name:34s} {roc_area(values, real.label):.3f} {np.mean(thin):.3f} | "
            + " ".join(f"{100 * x:3.0f}" for x in part)
        )


def report(name: str, found: list[Measured]) -> None:
    """Print the figures of one way to fit: ROC areas raw, clipped then thinned, thinned then clipped."""
    areas = np.array([(m.area, m.thinned, m.thinned_after) for m in found])
    print(f"\n{name}: ROC area, thinned, thinned before clipping:", *np.round(areas.mean(axis=0), 4))
    print("  each seed:", "; ".join(" ".join(f"{area:.4f}" for area in row) for row in areas))
    others = np.mean([m.without_shadows for m in found], axis=0)
    print(f"  without the five shadows: {others[0]:.4f}, thinned {others[1]:.4f}")
    print(f"  at 95 % of the glitches: {100 * np.mean([m.real for m in found]):.1f} % of the real bursts; of")
    print("  simulated ones, by coding | bright ones | by detectors that are on:")
    for how in ("no mask", "mask"):
        coding = np.mean([m.by_coding[how] for m in found], axis=0)
        state = np.mean([m.by_state[how] for m in found], axis=0)
        bright = 100 * np.mean([m.bright[how] for m in found])
        states = ", ".join(f"{text} {100 * x:.1f}" for text, x in zip(STATES, state, strict=True))
        print(f"    {how:8s}", " ".join(f"{100 * x:4.1f}" for x in coding), f"| {bright:.1f} | {states}")


def main(images_path: str, mask_path: str, write: bool) -> None:
    """Train, measure, and write."""
    with np.load(images_path, allow_pickle=False) as file:
        glitches, bursts = file["glitch_full"].astype(np.int64), file["grb_full"].astype(np.int64)
    images = np.concatenate([glitches, bursts])
    label = np.arange(len(images)) < len(glitches)
    real = Real.of(images, label)
    shadows = label & (images.sum(axis=(1, 2)) > 1500)  # much of the plane lit, as through the mask
    states = States.of(batx.open_dataset(mask_path)["good"].values, glitches)
    coding, light = places(np.random.default_rng(5))
    made = simulated(N_BURSTS, 1, states, coding, light, glitch=False)
    surges = simulated(N_GLITCHES, 2, states, coding, light, glitch=True)

    print(f"{label.sum()} glitches, {(~label).sum()} bursts, {real.group.max() + 1} groups")
    print("single numbers: ROC area, thinned | simulated bursts flagged by coding, per cent")
    baselines(real, images, made)
    found = measure(real, made, surges, shadows)
    report(f"score, {FOLDS} folds", found)
    report("5 folds", measure(real, made, surges, shadows, folds=5))
    report("without the shares of sandwiches", measure(real, made, surges, shadows, use_shares=False))
    fit = fitted(real, np.ones(label.size, bool), made, surges)
    own = efficient(fit(real.numbers[0], real.shares[0])[label]) - 1e-3
    fit = fit.moved(min(own, float(np.mean([m.threshold for m in found]))), 1.0)
    score = fit(real.numbers[0], real.shares[0])
    few = [roc_area(fit(real.numbers[k], real.shares[k]), label) for k in range(1, 1 + THINNINGS)]
    print(
        f"\nfit to all: ROC area {roc_area(score, label):.4f}, thinned {np.mean(few):.4f}; above 0.5:",
        end=" ",
    )
    print(f"{100 * (score[label] > 0).mean():.0f} % of the glitches,", end=" ")
    print(f"{100 * (score[~label] > 0).mean():.0f} % of the bursts; of simulated ones, with a mask,", end=" ")
    print(f"{100 * (fit(made.numbers['raw, mask']) > 0).mean():.1f} % of the bursts and", end=" ")
    print(f"{100 * (fit(surges.numbers['raw, mask']) > 0).mean():.0f} % of the glitches")
    numbers = {
        "weights": {name: round(float(value), 4) for name, value in zip(FEATURES, fit.weights, strict=True)},
        "zero": round(fit.zero, 4),
        "shares_weight": round(fit.shares_weight, 3),
    }
    print(json.dumps(numbers))
    if write:
        table = {"shares": [round(float(value), 3) for value in fit.shares]}
        TARGET.write_text(json.dumps(numbers | table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2], "--write" in sys.argv[3:])
