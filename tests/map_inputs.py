"""Small sky images with known content, and the sums of the survey formulae done slowly."""

from __future__ import annotations

import healpy
import numpy as np
import xarray as xr

from batx.schema import build
from batx.sky_coords import image_cards, sky_to_pixel

EDGES = np.array([14.0, 24.0, 50.0, 195.0])
DAY = 86400.0


def sky_image(
    ra: float = 150.0,
    dec: float = 30.0,
    roll: float = 20.0,
    *,
    shape: tuple[int, int] = (24, 40),
    half: tuple[float, float] = (0.25, 0.4),
    start: float = 0.0,
    exposure: float = 300.0,
    seed: int | None = 0,
    bands: int = 3,
    dtype: str = "f4",
    **attrs: object,
) -> xr.Dataset:
    """Noise of width σ (which varies), coding that falls off from the centre; imx runs to the left."""
    ny, nx = shape
    imx, imy = np.linspace(half[1], -half[1], nx), np.linspace(-half[0], half[0], ny)
    rng = np.random.default_rng(seed)
    noise = rng.uniform(0.5, 2.0, (bands, ny, nx))
    rate = noise * rng.standard_normal((bands, ny, nx))
    coding = 1.1 - 1.2 * np.maximum(abs(imx / half[1])[None, :], abs(imy / half[0])[:, None])
    dims = ("energy", "imy", "imx")
    dx, dy = imx[1] - imx[0], imy[1] - imy[0]
    cards = image_cards((1 - imx[0] / dx, 1 - imy[0] / dy), (dx, dy), (ra, dec, roll))
    edges = EDGES[: bands + 1]
    return build(
        "sky_image",
        {
            "imx": imx,
            "imy": imy,
            "energy": (edges[1:] + edges[:-1]) / 2,
            "energy_bnds": np.stack([edges[:-1], edges[1:]], axis=1),
            "time": ((), start + exposure / 2),
            "time_bnds": (("bnds",), [start, start + exposure]),
            "rate": (dims, rate.astype(dtype), {"units": "count/s"}),
            "noise": (dims, noise.astype(dtype), {"units": "count/s"}),
            "pcode": np.clip(coding, 0, 1).astype(dtype),
            "exposure": exposure,
            "wcs": ((), cards),
        },
        {"telescope": "SWIFT", "obs_id": "00012345000", "utcf": -20.0, "mjdref_int": 51910}
        | {"mjdref_frac": 0.00074287037}
        | attrs,
    )


def slow_sums(
    images: list[xr.Dataset],
    nside: int,
    pcode_min: float = 0.15,
    *,
    nest: bool = True,
    galactic: bool = False,
    before: bool = False,
) -> dict[str, np.ndarray]:
    """Sums over the full sphere, cell by cell and pixel by pixel, from the positions of cells in degrees."""
    cells = 12 * nside**2
    bands = images[0].sizes["energy"]
    total = {name: np.zeros((bands, cells)) for name in ("sum_w", "sum_wf")}
    total |= {name: np.zeros(cells) for name in ("exposure", "pcode_exposure", "n_images")}
    lon, lat = healpy.pix2ang(nside, np.arange(cells), nest=nest, lonlat=True)
    if galactic:
        from astropy.coordinates import SkyCoord

        position = SkyCoord(lon, lat, unit="deg", frame="galactic").icrs
        lon, lat = position.ra.deg, position.dec.deg
    for image in images:
        x, y = sky_to_pixel(image, lon, lat)
        rate, noise = (image[name].values.astype(float) for name in ("rate", "noise"))
        pcode, seconds = image["pcode"].values.astype(float), float(image["exposure"])
        with np.errstate(invalid="ignore"):
            usable = (pcode > pcode_min) & np.isfinite(rate) & (noise > 0)
        ny, nx = pcode.shape
        for cell in np.flatnonzero((x >= 0) & (x <= nx - 1) & (y >= 0) & (y <= ny - 1)):
            ix, iy = min(int(x[cell]), nx - 2), min(int(y[cell]), ny - 2)
            u, v = x[cell] - ix, y[cell] - iy
            corners = {(0, 0): (1 - u) * (1 - v), (0, 1): u * (1 - v), (1, 0): (1 - u) * v, (1, 1): u * v}
            corners = {(iy + j, ix + i): w for (j, i), w in corners.items() if w > 0}
            share = 0.0
            for band in range(bands):
                good = {at: w for at, w in corners.items() if usable[(band, *at)]}
                if before:
                    weight = {at: w / noise[(band, *at)] ** 2 for at, w in good.items()}
                    total["sum_w"][band, cell] += sum(weight.values())
                    total["sum_wf"][band, cell] += sum(w * rate[(band, *at)] for at, w in weight.items())
                    share = max(share, sum(good.values()))
                elif len(good) == len(corners):
                    f = sum(w * rate[(band, *at)] for at, w in corners.items())
                    s = sum(w * noise[(band, *at)] for at, w in corners.items())
                    total["sum_w"][band, cell] += 1 / s**2
                    total["sum_wf"][band, cell] += f / s**2
                    share = 1.0
            if share:
                coded = {at: w for at, w in corners.items() if pcode[at] > pcode_min}
                total["exposure"][cell] += share * seconds
                total["pcode_exposure"][cell] += seconds * sum(w * pcode[at] for at, w in coded.items())
                total["n_images"][cell] += 1
    return total


def on_sphere(sums: xr.Dataset, name: str) -> np.ndarray:
    """Values of a sparse map on the full sphere, 0 elsewhere."""
    values = sums[name].values
    full = np.zeros((*values.shape[:-1], 12 * sums.attrs["nside"] ** 2))
    full[..., sums["cell_ids"].values] = values
    return full


def assert_same(sums: xr.Dataset, expected: dict[str, np.ndarray], rtol: float = 1e-9) -> None:
    for name, values in expected.items():
        np.testing.assert_allclose(on_sphere(sums, name), values, rtol=rtol, atol=1e-9, err_msg=name)
