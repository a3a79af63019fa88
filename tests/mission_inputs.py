"""What stand-ins of the tools of X-ray telescopes give out: spectra, events and images, simulated or real.

`small_response`, `spectrum_files` and `event_file` simulate; a stand-in is a shell script that copies a file
that was made before, under the name that the tool gives it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr
from astropy.io import fits
from scipy.special import erf

import batx
from batx.schema import build

#: position of the source of 00040990001
RA, DEC = 257.2464515, 21.88555609
MODEL = "tbabs*(bbody+bremss)"
TRUTH = {"nh": 0.08, "bbody.kt": 0.6, "bbody.norm": 5e-5, "bremss.kt": 6.0, "bremss.norm": 2e-3}


def parameters(*lines: str) -> str:
    """Lines of a parameter file from ``name type default``; hidden but for those without a default."""
    made = []
    for line in lines:
        name, kind, *default = line.split()
        made.append(f'{name},{kind},{"h" if default else "a"},{default[0] if default else ""},,,"{name}"\n')
    return "".join(made)


def small_response(
    low: float = 0.2, high: float = 10.0, channels: int = 98, area: float = 120.0
) -> xr.Dataset:
    """Return a response with a resolution of some per cent, in cm**2."""
    edges_in = np.geomspace(low, 1.05 * high, 161)
    edges = np.linspace(low, high, channels + 1)
    middle = np.sqrt(edges_in[1:] * edges_in[:-1])
    cumulative = 0.5 * (1 + erf((edges - middle[:, None]) / (np.sqrt(2) * 0.05 * np.sqrt(middle)[:, None])))
    shape = area * np.exp(-((np.log(middle / 1.5)) ** 2) / 4)
    return build(
        "response",
        {
            "energy_in": middle,
            "energy_in_bnds": np.stack([edges_in[:-1], edges_in[1:]], axis=1),
            "channel": np.arange(channels),
            "energy": 0.5 * (edges[1:] + edges[:-1]),
            "energy_bnds": np.stack([edges[:-1], edges[1:]], axis=1),
            "matrix": (
                ("energy_in", "channel"),
                shape[:, None] * np.diff(cumulative, axis=1),
                {"units": "cm**2"},
            ),
        },
    )


def split_response(response: xr.Dataset, redistribution: Path, area: Path, cards: dict) -> None:
    """Write a response as a redistribution, with rows of sum 1, and an effective area."""
    matrix = response["matrix"].values
    total = matrix.sum(axis=1)
    rows = (("energy_in", "channel"), matrix / total[:, None], {"units": "1"})
    batx.to_fits(response.assign(matrix=rows), redistribution)
    bounds = response["energy_in_bnds"].values
    columns = [
        fits.Column("ENERG_LO", "E", "keV", array=bounds[:, 0]),
        fits.Column("ENERG_HI", "E", "keV", array=bounds[:, 1]),
        fits.Column("SPECRESP", "E", "cm**2", array=total),
    ]
    table = fits.BinTableHDU.from_columns(columns, name="SPECRESP")
    table.header.update({"HDUCLASS": "OGIP", "HDUCLAS1": "RESPONSE", "HDUCLAS2": "SPECRESP", **cards})
    table.writeto(area)


def spectrum_files(
    folder: Path,
    attrs: dict,
    response: xr.Dataset,
    seed: int,
    *,
    model: str = MODEL,
    truth: dict | None = None,
    exposure: float = 3000.0,
    names: tuple[str, str] = ("source.pha", "background.pha"),
) -> None:
    """Write a spectrum and its background as tools do: no groups, no links."""
    rng = np.random.default_rng(seed)
    values = np.array([(truth or TRUTH)[name] for name in batx.spectral_model(model).names])
    bounds = response["energy_in_bnds"].values
    photons = batx.spectral_model(model).density(bounds.mean(axis=1), values) * np.diff(bounds)[:, 0]
    expected = photons @ response["matrix"].values * exposure
    channels = {"channel": response["channel"].values, "exposure": ((), exposure)}
    poisson = {"statistic": "poisson", "weighting": "none", "chantype": "PI", **attrs}
    back = np.full(len(expected), 4.0)
    both = (rng.poisson(expected + back / 10), 1.0), (rng.poisson(back), 10.0)
    for name, (counts, scale) in zip(names, both, strict=True):
        spectrum = build("spectrum", {**channels, "counts": counts}, poisson | {"backscal": scale})
        batx.to_fits(spectrum, folder / name)


def event_list(
    attrs: dict,
    seed: int,
    *,
    start: float,
    length: float = 2000.0,
    ra: float = RA,
    dec: float = DEC,
    pixel: float = 2.357,
    size: int = 1000,
    source: int = 250,
    field: int = 500,
    highest: int = 1000,
) -> xr.Dataset:
    """Return events of a point source on a flat field, with two intervals of good time."""
    rng = np.random.default_rng(seed)
    middle = (size + 1) / 2
    x, y = (
        np.rint(np.append(middle + rng.normal(0, 9 / pixel, source), rng.uniform(1, size, field)))
        for _ in range(2)
    )
    gti = np.array([[start, start + 0.4 * length], [start + 0.5 * length, start + length]])
    part = rng.uniform(0, 0.9 * length, len(x))
    time = start + part + np.where(part > 0.4 * length, 0.1 * length, 0.0)
    order = np.argsort(time)
    cards = (
        f"CTYPE1  = 'RA---TAN'\nCRPIX1  = {middle}\nCRVAL1  = {ra}\nCDELT1  = {-pixel / 3600}\n"
        f"CTYPE2  = 'DEC--TAN'\nCRPIX2  = {middle}\nCRVAL2  = {dec}\nCDELT2  = {pixel / 3600}\n"
        "RADESYS = 'FK5'"
    )
    return build(
        "events",
        {
            "time": time[order],
            "x": ("event", x[order], {"units": "pixel"}),
            "y": ("event", y[order], {"units": "pixel"}),
            "pi": ("event", rng.integers(30, highest, len(x)).astype(np.int32), {"units": "chan"}),
            "wcs": ((), cards),
            "gti_start": gti[:, 0],
            "gti_stop": gti[:, 1],
        },
        {
            "mjdref_int": 51910,
            "mjdref_frac": 0.00074287037,
            "time_scale": "tt",
            "object": "TARGET",
            "tstart": start,
            "tstop": start + length,
            "exposure": 0.9 * length,
            **attrs,
        },
    )
