"""A burst as a sum of pulses: its light curve in stretches, and the durations of sums of pulses drawn for it.

Private to `batx.durations`.
"""

from __future__ import annotations

import numpy as np

from batx.burst_curves import Background, Curve, line_shares, variance_of

__all__ = ["pulse_intervals"]

#: longest stretch of bins that is taken together, as a part of its distance to the nearest edge of a block
STRETCH = 0.1
#: time beyond T100 that is described too, in units of its length, and at least so many bins
REACH, LEAST_BINS = 1.0, 20
#: by which intervals of several pulses are wider than their posterior: simulated bursts of shapes that are no
#: sums of these pulses ask for it (algorithms, section 2.5)
WIDER = 1.1


def pulse_intervals(
    curve: Curve,
    edges: np.ndarray,
    off: Background,
    subtracted: bool,
    fractions: np.ndarray,
    n_samples: int,
    seed: int | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return (sample, part, 2) start and stop (MET s) of parts of the fluence, and numbers of pulses.

    If a background was `subtracted`, its two rates are uncertain by their errors.
    """
    from batx.kernels.pulse_intervals import posterior_intervals, stretches
    from batx.kernels.pulse_posterior import Data

    error = np.sqrt(np.maximum(variance_of(curve), 1.0 if curve.error is None else 0.0))
    reach = max(REACH * (edges[-2] - edges[1]), LEAST_BINS * float(np.median(curve.width)))
    used = (curve.centre > edges[1] - reach) & (curve.centre < edges[-2] + reach) & (error > 0)
    used &= curve.live > 0
    lower, width = curve.lower[used] - edges[1], curve.width[used]
    firsts = stretches(lower, width, edges[1:-1] - edges[1], STRETCH)
    ends = np.append(firsts[1:], lower.size) - 1
    lines = np.array(line_shares(curve, off)) if subtracted else np.empty((0, curve.live.size))

    def total(values: np.ndarray) -> np.ndarray:
        return np.add.reduceat(values[..., used], firsts, axis=-1)

    live, signal, variance = total(curve.live), total(curve.signal), total(error**2)
    counted = curve.error is None
    base = total(curve.background) / live
    data = Data(
        lower=lower[firsts],
        width=lower[ends] + width[ends] - lower[firsts],
        rate=signal / live - (0.0 if counted else base),
        weight=live if counted else live**2 / variance,
        information=live**2 / variance,
        base=base if counted else np.zeros(live.size),
        counted=counted,
        lines=total(lines * curve.live) / live,
        line_errors=off.error if subtracted else np.empty(0),
    )
    burst = edges[1:-1] - edges[1]
    random = np.random.default_rng(seed)
    drawn, numbers = posterior_intervals(data, burst, _rates(curve, edges), fractions, n_samples, random)
    if np.median(numbers) > 1:
        middle = np.median(drawn, axis=0)
        drawn = middle + WIDER * (drawn - middle)
    return drawn + edges[1], numbers


def _rates(curve: Curve, edges: np.ndarray) -> np.ndarray:
    """Return the mean rate of every block of the burst, 0 for a block without exposure."""
    block = np.searchsorted(edges, curve.centre, side="right") - 1
    inside = (block > 0) & (block < edges.size - 2)
    net, live = (
        np.bincount(block[inside] - 1, values[inside], edges.size - 3) for values in (curve.net, curve.live)
    )
    return np.divide(net, live, out=np.zeros(net.size), where=live > 0)
