"""Fits of peaks: what a source leaves at cells, how their noise is correlated, places and heights."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import xarray as xr
from scipy.spatial.transform import Rotation

import batx
from batx import simulate
from batx.instrument.detector import DETECTOR
from batx.instrument.mask import FAR, MaskGeometry, illumination
from batx.kernels import peaks
from batx.kernels.sampled import Sampled, pixel_grid
from batx.map_peaks import MapImages, mask_profile
from batx.schema import build
from batx.sky_coords import image_cards, sky_to_tangent, tangent_to_sky

STEP = 0.0021
PROFILE = mask_profile()
WIDTH = PROFILE.natural_width


def images(number: int, weights: np.ndarray | None = None) -> tuple[Sampled, np.ndarray]:
    """Images that point near each other at random, and directions of cells near the middle."""
    rng = np.random.default_rng(number)
    projections = []
    for _ in range(number):
        pixel = np.array([[-1 / STEP, 0, rng.uniform(80, 81)], [0, 1 / STEP, rng.uniform(60, 61)], [0, 0, 1]])
        projections.append(
            pixel @ Rotation.from_euler("xyz", [0.1, 0.2, 0.5] + rng.normal(0, 0.02, 3)).as_matrix()
        )
    centre = Rotation.from_euler("xyz", [0.1, 0.2, 0.5]).as_matrix()[2] + [0.03, 0.0, 0.0]
    centre /= np.linalg.norm(centre)
    shares = np.full(number, 1 / number) if weights is None else weights
    cells = centre + rng.uniform(-0.004, 0.004, (12, 3))
    cells /= np.linalg.norm(cells, axis=1)[:, None]
    given = np.array(projections)
    return Sampled(centre, given, given[:, None], shares, PROFILE, WIDTH), cells


def pixels_of(projection: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    pixel = vectors @ projection.T
    return pixel[:, :2] / pixel[:, 2:]


def bilinear(at: np.ndarray, size: int = 160) -> np.ndarray:
    """The weights (cell, size * size) of pixels at places (cell, 2)."""
    weights = np.zeros((len(at), size, size))
    corner, fraction = np.floor(at).astype(int), at % 1
    for i, ((x, y), (u, v)) in enumerate(zip(corner, fraction, strict=True)):
        weights[i, y : y + 2, x : x + 2] = np.outer([1 - v, v], [1 - u, u])
    return weights.reshape(len(at), -1)


def test_what_a_source_leaves_are_bilinear_samples_of_its_images():
    shares = np.array([0.2, 0.5, 0.3])
    sampled, cells = images(3, shares)
    place = np.array([0.05, -0.08])
    source = peaks.from_tangent(place, sampled.centre)
    expected = np.zeros(len(cells))
    y, x = np.mgrid[:160, :160]
    for share, projection in zip(shares, sampled.projections, strict=True):
        (column, row), at = pixels_of(projection, source[None])[0], pixels_of(projection, cells)
        plane = PROFILE((x.ravel() - column) * STEP, (y.ravel() - row) * STEP, WIDTH)[0]
        expected += share * bilinear(at) @ plane
    values, slopes = sampled.at(cells).source(place)
    np.testing.assert_allclose(values, expected, atol=3e-6)
    small = 1e-4
    for axis in (0, 1):
        there = [sampled.at(cells).source(place + sign * small * np.eye(2)[axis])[0] for sign in (1, -1)]
        np.testing.assert_allclose(slopes[:, axis], (there[0] - there[1]) / (2 * small), atol=5e-3)


def test_noise_of_cells_is_that_of_bilinear_samples():
    sampled, cells = images(2, np.array([0.25, 0.75]))
    expected = np.zeros((len(cells), len(cells)))
    for share, projection in zip((0.25, 0.75), sampled.projections, strict=True):
        weights = bilinear(pixels_of(projection, cells))
        used = np.flatnonzero(weights.any(axis=0))
        dy, dx = (np.subtract.outer(index, index).ravel() for index in np.divmod(used, 160))
        pixels = PROFILE(dx * STEP, dy * STEP, WIDTH)[0].reshape(len(used), -1)
        expected += share * weights[:, used] @ pixels @ weights[:, used].T
    variance = np.prod([2 / 3 + PROFILE.along(axis, np.array([STEP]), WIDTH)[0] / 3 for axis in (0, 1)])
    np.testing.assert_allclose(sampled.at(cells).correlation() * variance, expected, atol=3e-6)


def test_a_source_that_moves_is_smeared():
    """Two moments: the mean of two places, lower by σ²/2 of the spread."""
    still, cells = images(1)
    turned = [
        still.projections[0] @ Rotation.from_rotvec(sign * np.array([0, 5e-4, 0])).as_matrix()
        for sign in (1, -1)
    ]
    moving = Sampled(still.centre, still.projections, np.array([turned]), still.weights, PROFILE, WIDTH)
    mean = np.mean(
        [
            Sampled(still.centre, still.projections, np.array([[one]]), still.weights, PROFILE, WIDTH)
            .at(cells)
            .source(np.zeros(2))[0]
            for one in turned
        ],
        axis=0,
    )
    np.testing.assert_allclose(moving.at(cells).source(np.zeros(2))[0], mean)


def test_pixels_from_projections():
    sampled, _ = images(2)
    step, axis = pixel_grid(sampled.projections)
    np.testing.assert_allclose(step, STEP)
    assert (axis // 1 == [80, 60]).all()
    assert sampled.fwhm == pytest.approx(np.rad2deg(WIDTH), rel=0.01)


def test_images_of_a_mosaic_are_known_and_may_be_unknown():
    header = image_cards((21.0, 11.0), (0.01, 0.01), (150.0, 30.0, 20.0))
    img = build(
        "sky_image",
        {
            "imx": np.linspace(-0.2, 0.2, 41),
            "imy": np.linspace(-0.1, 0.1, 21),
            "rate": np.full((21, 41), 3.0),
            "noise": (("imy", "imx"), np.full((21, 41), 0.5)),
            "pcode": np.ones((21, 41)),
            "exposure": 10.0,
            "wcs": ((), header),
        },
    )
    sums = batx.mosaic([img], nside=32).compute()
    known = MapImages.of(sums, PROFILE, WIDTH)
    centre = np.array(
        [
            np.cos(np.radians(30)) * np.cos(np.radians(150)),
            np.cos(np.radians(30)) * np.sin(np.radians(150)),
            0.5,
        ]
    )
    here = known.around(centre)
    np.testing.assert_allclose(pixels_of(here.projections[0], centre[None])[0], [20, 10], atol=1e-9)
    assert len(known.around(-centre).projections) == 16  # of which nothing is known
    assert len(MapImages.of(sums.drop_vars("image_projection"), PROFILE, WIDTH).around(centre).weights) == 16


def test_fit_of_a_peak_has_unit_pulls():
    """Noise correlated as the peak is shaped, on a grid that samples it well."""
    rng = np.random.default_rng(3)
    axis = np.arange(-3, 4) * 0.115
    places = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    places = places[np.hypot(*places.T) < 0.42]
    narrow = 4 * np.log(2) / 0.39**2

    def shape(place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        away = places - place
        value = np.exp(-narrow * (away**2).sum(1))
        return value, 2 * narrow * away * value[:, None]

    correlation = np.exp(-narrow * ((places[:, None] - places) ** 2).sum(-1))
    spread = np.linalg.cholesky(correlation + 1e-6 * np.eye(len(places)))
    pulls = []
    for _ in range(300):
        true = rng.uniform(-0.06, 0.06, 2)
        values = 15 * shape(true)[0] + spread @ rng.standard_normal(len(places))
        peak = peaks.fit_peak(shape, values, np.ones(len(places)), correlation, 0.1, 0.39)
        pulls.append(
            [*((peak.place - true) / np.sqrt(np.diag(peak.covariance))), (peak.height - 15) / peak.error]
        )
    assert np.abs(np.mean(pulls, axis=0)).max() < 0.25
    np.testing.assert_allclose(np.std(pulls, axis=0), 1.0, atol=0.15)


APERTURE = simulate.aperture()
GEOMETRY = MaskGeometry.from_attrs(APERTURE.attrs, APERTURE["mask"].shape)
BACKGROUND, SECONDS = 20.0, 10.0


def shadow(imx: float, imy: float) -> np.ndarray:
    point = (imx * FAR, imy * FAR, FAR)
    lit = illumination(APERTURE["mask"].values, GEOMETRY, point, unbalanced=True, centred=True)
    return lit * (1 + min(0.15 * abs(imx), 0.05) + min(0.15 * abs(imy), 0.05)) / np.sqrt(1 + imx**2 + imy**2)


def sky(counts: np.ndarray, pointing: tuple[float, float, float], start: float) -> xr.Dataset:
    """The sky image of detector counts; the gain is that of this mask."""
    plane = build(
        "detector_plane",
        {
            "counts": counts,
            "exposure": ((), SECONDS),
            "time": ((), start + SECONDS / 2),
            "time_bnds": (("bnds",), np.array([start, start + SECONDS])),
        },
    )
    attitude = simulate.attitude(start - 1, SECONDS + 2, pointing)
    return plane.bat.sky_image(
        aperture=APERTURE, alignment=simulate.alignment(), attitude=attitude, gain=0.02
    )


@functools.cache
def noise() -> xr.Dataset:
    counts = np.random.default_rng(5).poisson(np.where(DETECTOR, BACKGROUND, 0.0))
    return sky(counts, (150.0, 30.0, 40.0), 6e8)


def several(rng: np.random.Generator, number: int) -> list[tuple[float, float]]:
    """Places in the field with a coding above 0.3, far from each other."""
    chosen: list[tuple[float, float]] = []
    while len(chosen) < number:
        imx, imy = rng.uniform(-1, 1), rng.uniform(-0.6, 0.6)
        coded = noise().pcode.sel(imx=imx, imy=imy, method="nearest") > 0.3
        if coded and all(np.hypot(imx - x, imy - y) > 0.15 for x, y in chosen):
            chosen.append((imx, imy))
    return chosen


def pulls_of(nside: int, n_images: int, rounds: int, seed: int) -> np.ndarray:
    """Pulls in RA, Dec and rate (source, 3) of sources of 6 to 60 sigma in mosaics of several pointings."""
    rng, pulls = np.random.default_rng(seed), []
    for _ in range(rounds):
        ra, dec, roll = rng.uniform(0, 360), rng.uniform(-60, 60), rng.uniform(0, 360)
        sources, made = [], []
        for k in range(n_images):
            pointing = (ra + 2.0 * k, dec - 1.0 * k, roll + 3.0 * k)
            start = 6e8 + 100.0 * k
            empty = sky(DETECTOR.astype(float), pointing, start)
            if k == 0:
                places = several(rng, 6)
                radec = tangent_to_sky(empty, *np.array(places).T)
                sigma = rng.uniform(6, 60, len(places)) / np.sqrt(n_images)
                local = [float(noise().noise.sel(imx=x, imy=y, method="nearest")) for x, y in places]
                sources = list(zip(*radec, sigma * local, strict=True))
            expected = np.where(DETECTOR, BACKGROUND, 0.0)
            for place_ra, place_dec, rate in sources:
                imx, imy, _ = sky_to_tangent(empty, place_ra, place_dec)
                expected += DETECTOR * rate * SECONDS * shadow(float(imx), float(imy))
            made.append(sky(rng.poisson(expected), pointing, start))
        found = batx.candidates(batx.mosaic(made, nside).compute(), 4.0)
        for place_ra, place_dec, rate in sources:
            east = (found.ra.values - place_ra + 180) % 360 - 180
            north = found.dec.values - place_dec
            apart = np.hypot(east * np.cos(np.radians(place_dec)), north)
            row = int(np.argmin(apart))
            assert apart[row] < 0.2
            one = found.isel(source=row)
            pull = [east[row] / one.ra_err, north[row] / one.dec_err, (one.rate - rate) / one.rate_err]
            pulls.append([float(np.ravel(value)[0]) for value in pull])
    return np.array(pulls)


@pytest.mark.slow
@pytest.mark.parametrize(("nside", "n_images", "rounds"), [(512, 1, 6), (512, 3, 3), (1024, 1, 4)])
def test_candidates_have_unit_pulls(nside: int, n_images: int, rounds: int):
    """Sources of 6 to 60 sigma anywhere in the field: right ascension, declination and rate."""
    pulls = pulls_of(nside, n_images, rounds, seed=nside + n_images)
    n = len(pulls)
    assert np.abs(pulls.mean(axis=0)).max() < 3.5 / np.sqrt(n)
    assert np.abs(np.sqrt((pulls**2).mean(axis=0)) - 1).max() < 3.5 / np.sqrt(2 * n)
