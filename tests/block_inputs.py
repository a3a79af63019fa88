"""Light curves for the tests of blocks and durations: small made ones, and those of the reference runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from reference_events import MET0, packed_arrays, packed_events

from batx.schema import build

PACKED = Path(__file__).parent / "reference" / "blocks.npz"

#: run of the tool -> light curve, arguments of bayesian_blocks, further ones of duration
RUNS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "w1s": ("lc_w_1b_10", {}, {}),
    "w64ms": ("lc_w_1b_0064", {}, {}),
    "w1s_bs": ("lc_w_1b_10", {}, {"background": True, "errors": "fracvar"}),
    "raw1s": ("lc_raw_1b_10", {}, {"background": True}),
    "raw64": ("lc_raw_1b_0064", {}, {"background": True}),
    "lookback": ("lc_w_1b_0064", {"lookback": 20.0}, {"txx": 80}),
    "evt": ("events", {"spill": 128}, {"background": True}),
}


def packed() -> dict[str, np.ndarray]:
    """Return the committed arrays."""
    with np.load(PACKED) as file:
        return dict(file)


def reference_curve(name: str) -> xr.Dataset:
    """Return a light curve of the reference observation, or its events."""
    if name == "events":
        events = packed_events(packed_arrays())
        return events.assign_attrs(tstart=MET0, tstop=MET0 + 200.0)
    arrays = {key.removeprefix(f"{name}_"): value for key, value in packed().items() if key.startswith(name)}
    width = 1.0 if name.endswith("10") else 0.064
    attrs = {"timedel": width, "tstart": MET0, "tstop": MET0 + 200.0}
    if "rate" in arrays:
        return curve(arrays["rate"], arrays["error"], lower=arrays["time"], width=width, **attrs)
    fracexp = arrays["fracexp"]
    return curve(arrays["counts"], lower=arrays["time"], width=width, exposure=width * fracexp, **attrs)


def curve(
    values: Any,
    errors: Any = None,
    *,
    lower: Any = None,
    width: Any = 1.0,
    exposure: Any = None,
    **attrs: Any,
) -> xr.Dataset:
    """Return a light curve: rates with errors, or counts without; (time,) or (time, band)."""
    values = np.asarray(values, dtype=np.float64)
    values = values[:, np.newaxis] if values.ndim == 1 else values
    n, n_bands = values.shape
    lower = np.arange(n) * width if lower is None else np.asarray(lower, dtype=np.float64)
    exposure = np.full(n, width) if exposure is None else np.asarray(exposure, dtype=np.float64)
    bands = np.linspace(15.0, 350.0, n_bands + 1)
    if errors is None:
        variables = {"counts": (("time", "energy"), values)}
        attrs = {"statistic": "poisson", "weighting": "none", **attrs}
    else:
        errors = np.broadcast_to(np.asarray(errors, dtype=np.float64).reshape(-1, 1), values.shape)
        variables = {"rate": (("time", "energy"), values), "rate_err": (("time", "energy"), errors.copy())}
        attrs = {"statistic": "gaussian", "weighting": "mask", **attrs}
    return build(
        "lightcurve",
        {
            "time": lower + 0.5 * width,
            "time_bnds": (("time", "bnds"), np.column_stack([lower, lower + width])),
            "energy": 0.5 * (bands[1:] + bands[:-1]),
            "energy_bnds": (("energy", "bnds"), np.column_stack([bands[:-1], bands[1:]])),
            "exposure": exposure,
            "fracexp": exposure / width,
            "gti_start": lower[:1],
            "gti_stop": lower[-1:] + width,
            **variables,
        },
        attrs,
    )


def noise(n: int, n_bands: int = 1, seed: int = 0, burst: float = 0.0) -> xr.Dataset:
    """Return rates of unit error around 0, with a burst of this height in the middle tenth."""
    values = np.random.default_rng(seed).normal(size=(n, n_bands))
    values[int(0.45 * n) : int(0.55 * n)] += burst
    return curve(values, np.ones(n))


def edges_of(blocks: xr.Dataset) -> np.ndarray:
    """Return the edges of neighbouring blocks."""
    bounds = blocks["time_bnds"].values
    assert np.array_equal(bounds[1:, 0], bounds[:-1, 1])
    return np.append(bounds[:, 0], bounds[-1, 1])
