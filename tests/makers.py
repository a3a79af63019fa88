"""Small realistic Datasets of every kind of the data model, for any test that needs one.

``make("lightcurve")`` gives a fresh object, ``MAKERS`` lists the names, ``make_tree()`` gives an observation.
The values are fixed (seeded). The attributes are those of an archive file, with some outside the data model.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr

from batx.instrument.detector import DETID
from batx.schema import build
from batx.sky_coords import image_cards

T0 = 600000000.0
TRIGGER = T0 + 50.0
GTI = np.array([[T0, T0 + 90.0], [T0 + 90.5, T0 + 200.0]])
BANDS = np.array([[15.0, 25.0], [25.0, 50.0], [50.0, 100.0], [100.0, 350.0]])
N_DETX, N_DETY = 286, 173

ATTRS = {
    "telescope": "SWIFT",
    "instrument": "BAT",
    "obs_id": "00012345000",
    "object": "SIMGRB",
    "mjdref_int": 51910,
    "mjdref_frac": 0.00074287037,
    "time_scale": "tt",
    "utcf": -22.5,
    "trigger_time": TRIGGER,
    "tstart": T0,
    "tstop": T0 + 200.0,
    "history": "batx simulate\nbatx mask_weight ra=165.7636 dec=24.3982",
    "provenance": '{"inputs": [], "software": {"batx": "0.1.0"}}',
    # keywords of the header that the data model does not name
    "targ_id": 12345,
    "clockapp": 0,
    "gainapp": 1,
    "gainmeth": "FIXEDDAC",
    "ra_obj": 165.76360901119506,
    "dec_obj": 24.39815268749114,
    "pcodefr": 1.0,
    "mskwtsqf": 0.983957552725827,
    "bat_xobj": 2500042.11351687,
    "seg_num": 0,
}


def _rng() -> np.random.Generator:
    return np.random.default_rng(20250101)


def _gti() -> dict:
    return {"gti_start": GTI[:, 0], "gti_stop": GTI[:, 1]}


def _bounds(edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    bounds = np.column_stack([edges[:-1], edges[1:]])
    return bounds.mean(axis=1), bounds


def _bands() -> dict:
    return {"energy": BANDS.mean(axis=1), "energy_bnds": BANDS}


def _times(n: int, width: float) -> dict:
    centre, bounds = _bounds(T0 + width * np.arange(n + 1))
    return {"time": centre, "time_bnds": bounds}


def events(n: int = 500) -> xr.Dataset:
    rng = _rng()
    energy = np.round(rng.uniform(14.0, 200.0, n), 1).astype(np.float32)
    return build(
        "events",
        {
            "time": np.sort(rng.uniform(T0, T0 + 200.0, n)),
            "detid": rng.integers(0, 32768, n).astype(np.int16),
            "event_flags": rng.choice(np.array([0, 0, 0, 16, 1], dtype=np.uint8), n),
            "pha": ("event", rng.integers(0, 4096, n).astype(np.int16), {"units": "chan"}),
            "detx": ("event", rng.integers(0, N_DETX, n).astype(np.int16), {"units": "pixel"}),
            "dety": ("event", rng.integers(0, N_DETY, n).astype(np.int16), {"units": "pixel"}),
            "mask_weight": rng.normal(0.0, 1.0, n).astype(np.float32),
            "pi": ("event", np.rint(energy * 10).astype(np.int16), {"units": "0.1 keV"}),
            "energy": energy,
            "simlabel": (
                "event",
                rng.integers(0, 2, n).astype(np.uint8),
                {"fits_name": "SIMLABEL", "units": "1"},
            ),
            **_gti(),
        },
        {**ATTRS, "datamode": "Event", "timedel": 1e-4, "timepixr": 0.5},
    )


def events_sources() -> xr.Dataset:
    """Events with the weights of two positions."""
    ds = events()
    weight = np.stack([ds["mask_weight"].values, -ds["mask_weight"].values])
    spec = ds["mask_weight"].attrs
    return ds.drop_vars("mask_weight").assign(mask_weight=(("source", "event"), weight, spec))


def gti() -> xr.Dataset:
    return build("gti", {"start": GTI[:, 0], "stop": GTI[:, 1]}, ATTRS)


def attitude(n: int = 41) -> xr.Dataset:
    rng = _rng()
    quaternion = rng.normal(0.0, 0.01, (n, 4)) + [0.5, 0.5, 0.5, 0.5]
    quaternion /= np.linalg.norm(quaternion, axis=1, keepdims=True)
    return build(
        "attitude",
        {
            "time": T0 - 20.0 + 6.0 * np.arange(n),
            "quaternion": quaternion,
            "ra": 150.0 + rng.normal(0.0, 0.01, n),
            "dec": 30.0 + rng.normal(0.0, 0.01, n),
            "roll": 40.0 + rng.normal(0.0, 0.01, n),
            "ten_arcmin": np.ones(n, dtype=bool),
            "settled": np.arange(n) > 3,
            "in_saa": np.zeros(n, dtype=bool),
            "safe_hold": np.zeros(n, dtype=bool),
        },
        ATTRS,
    )


def ray_trace(n: int = 5) -> xr.Dataset:
    rng = _rng()
    imx, imy = 0.25 + 0.001 * rng.normal(size=n), 0.10 + 0.001 * rng.normal(size=n)
    return build(
        "ray_trace",
        {
            "time": T0 + 10.0 * np.arange(n),
            "imx": imx,
            "imy": imy,
            "x": 1e7 * imx,
            "y": 1e7 * imy,
            "z": np.full(n, 1e7),
            "pcode": np.linspace(0.8, 1.0, n),
            "n_good": np.full(n, 31662, dtype=np.int32),
            "mask_weight_norm": np.full(n, 0.983957552725827),
        },
        ATTRS,
    )


def alignment() -> xr.Dataset:
    matrix = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    return build(
        "alignment",
        {"matrix": matrix, "matrix_file": matrix},
        {**ATTRS, "ncoords": 3, "coord1": "DET", "focallen": 1000.0},
    )


def aperture(nx: int = 24, ny: int = 12) -> xr.Dataset:
    rng = _rng()
    mask = rng.choice(np.array([1, -1], dtype=np.int16), (ny, nx))
    mask[0, :3] = 0
    x0, y0 = -0.5 * 0.5 * nx, -0.5 * 0.5 * ny
    centre_x, bounds_x = _bounds(0.05 + x0 + 0.5 * np.arange(nx + 1))
    centre_y, bounds_y = _bounds(0.143 + y0 + 0.5 * np.arange(ny + 1))
    geometry = {
        "maskbatx": 0.0,
        "maskbaty": 0.0,
        "maskbatz": 100.1,
        "maskoffx": 0.05,
        "maskoffy": 0.143,
        "maskoffz": -0.05,
        "maskcelx": 0.5,
        "maskcely": 0.5,
        "maskcelz": 0.1,
        "maskcell0x": x0,
        "maskcell0y": y0,
        "detbatx": 0.0,
        "detbaty": 0.0,
        "detbatz": 0.35,
        "detoffx": 0.0,
        "detoffy": 0.0,
        "detoffz": 0.0,
        "detcelx": 0.42,
        "detcely": 0.42,
        "detsizex": 0.4,
        "detsizey": 0.4,
        "apertype": "FLUX",
    }
    return build(
        "aperture",
        {
            "mask": mask,
            "mask_x": centre_x,
            "mask_y": centre_y,
            "mask_x_bnds": bounds_x,
            "mask_y_bnds": bounds_y,
        },
        {**ATTRS, **geometry},
    )


def detector_mask() -> xr.Dataset:
    good = (_rng().random((N_DETY, N_DETX)) > 0.01) & (DETID >= 0)
    return build("detector_mask", {"good": good, "quality": (~good).astype(np.int16)}, ATTRS)


def detector_plane() -> xr.Dataset:
    rng = _rng()
    counts = rng.poisson(3.0, (2, 4, N_DETY, N_DETX)).astype(np.int32) * (DETID >= 0)
    return build(
        "detector_plane",
        {
            **_times(2, 100.0),
            **_bands(),
            "detid": DETID,
            "counts": counts,
            "exposure": np.array([99.5, 100.0]),
            **_gti(),
        },
        ATTRS,
    )


def weight_image() -> xr.Dataset:
    """A detector plane that holds mask weights only."""
    return build("detector_plane", {"weight": _rng().normal(0.0, 1e-4, (N_DETY, N_DETX))}, ATTRS)


def glitches() -> xr.Dataset:
    """Two glitches of three observations searched."""
    rng = _rng()
    peak = T0 + np.array([20.0, 120.0])
    names = np.array(["00012345000", "00012345000", "00012345001"])
    image = rng.poisson(0.01, (2, N_DETY, N_DETX)).astype(np.uint16) * (DETID >= 0)
    return build(
        "glitches",
        {
            "time": peak + 0.008,
            "time_bnds": np.stack([peak - 0.024, peak + 0.040], axis=1),
            "obs_id": names[[0, 2]],
            "glitch_start": peak - 0.024,
            "glitch_stop": peak + np.array([0.040, 0.072]),
            "snr_low": np.array([12.5, 30.1]),
            "snr_high": np.array([0.4, -1.2]),
            "counts_low": np.array([140.0, 300.0]),
            "counts_high": np.array([30.0, 55.0]),
            "expected_low": np.array([50.0, 100.0]),
            "expected_high": np.array([28.0, 60.0]),
            "score": np.array([0.8, 0.99]),
            "image": image,
            "energy": np.array([32.5, 200.0]),
            "energy_bnds": np.array([[15.0, 50.0], [50.0, 350.0]]),
            "sandwich": rng.poisson(2.0, (2, 2, 16, 16)).astype(np.uint16),
            "channel_energy": _channels()["energy"],
            "channel_energy_bnds": _channels()["energy_bnds"],
            "spectrum": rng.poisson(5.0, (2, 80)).astype(np.int32),
            "observation": names,
            "file": np.array(["a.evt", "b.evt", "a.evt"]),
            "observation_start": T0 + np.array([0.0, 50.0, 100.0]),
            "observation_stop": T0 + np.array([50.0, 100.0, 200.0]),
            "exposure": np.array([50.0, 50.0, 99.5]),
            "n_events": np.array([1000, 900, 2000]),
            "n_detectors": np.array([30000, -1, 30000]),
            "n_glitches": np.array([1, 0, 1]),
            "gti_obs_id": names[[0, 2]],
            **_gti(),
        },
        {key: value for key, value in ATTRS.items() if key not in ("obs_id", "trigger_time")},
    )


def detector_table() -> xr.Dataset:
    rng = _rng()
    shape = (N_DETY, N_DETX)
    dims = ("dety", "detx")
    return build(
        "detector_table",
        {
            "detid": DETID,
            "gain": (dims, rng.normal(1.0, 0.01, shape), {"units": "1", "fits_name": "GAIN"}),
            "offset": (dims, rng.normal(0.0, 1.0, shape), {"units": "chan", "fits_name": "OFFSET"}),
            "enabled": (dims, rng.random(shape) > 0.02),
        },
        ATTRS,
    )


def lightcurve(n: int = 50, width: float = 4.0) -> xr.Dataset:
    rng = _rng()
    rate = rng.normal(0.01, 0.02, (n, 4))
    fracexp = np.where(np.arange(n) == 22, 0.875, 1.0)
    return build(
        "lightcurve",
        {
            **_times(n, width),
            **_bands(),
            "rate": ((("time", "energy")), rate, {"per": "detector"}),
            "rate_err": ((("time", "energy")), np.abs(rate) + 1e-3, {"per": "detector"}),
            "exposure": fracexp * width,
            "fracexp": fracexp,
            "totcounts": rng.poisson(40, n).astype(np.int32),
            **_gti(),
        },
        {**ATTRS, "statistic": "gaussian", "weighting": "mask"},
    )


def lightcurve_counts() -> xr.Dataset:
    """A raw light curve with bins of unequal width."""
    edges = T0 + np.array([0.0, 10.0, 12.5, 13.0, 40.0, 90.0])
    centre, bounds = _bounds(edges)
    counts = _rng().poisson(30, (5, 4)).astype(np.int32)
    return build(
        "lightcurve",
        {
            "time": centre,
            "time_bnds": bounds,
            **_bands(),
            "counts": counts,
            "counts_err": np.sqrt(counts),
            "exposure": np.diff(edges),
            "fracexp": np.ones(5),
            **_gti(),
        },
        {**ATTRS, "statistic": "poisson", "weighting": "none"},
    )


def lightcurve_net() -> xr.Dataset:
    """A raw light curve without its background, a line whose covariance it carries."""
    counts = _rng().poisson(30, (20, 4)).astype(float)
    design = np.column_stack([np.ones(20), np.linspace(-0.95, 0.95, 20)])
    coefficients = np.column_stack([np.full(4, 29.0), np.full(4, 0.5)])
    expected = design @ coefficients.T
    return build(
        "lightcurve",
        {
            **_times(20, 1.0),
            **_bands(),
            "counts": counts - expected,
            "counts_err": np.sqrt(np.maximum(counts, expected) + 2.0),
            "background": expected,
            "background_design": design,
            "background_coefficients": coefficients,
            "background_covariance": np.broadcast_to(np.diag([1.5, 0.4]), (4, 2, 2)).copy(),
            "background_dispersion": np.ones(4),
            "exposure": np.ones(20),
            "fracexp": np.ones(20),
            **_gti(),
        },
        {**ATTRS, "statistic": "gaussian", "weighting": "none"},
    )


def triggers() -> xr.Dataset:
    start = T0 + np.array([20.0, 51.2])
    return build(
        "triggers",
        {
            "start": start,
            "stop": start + [0.128, 8.192],
            "timescale": np.array([0.128, 8.192]),
            "energy_low": np.array([15.0, 15.0]),
            "energy_high": np.array([25.0, 350.0]),
            "counts": np.array([90.0, 4000.0]),
            "background": np.array([40.0, 3000.0]),
            "background_err": np.array([0.5, 20.0]),
            "snr": np.array([6.8, 16.0]),
            "false_alarm_probability": np.array([1e-5, 1e-50]),
            "false_alarms_per_day": np.array([4e-3, 4e-48]),
            "event_start": start - 0.064,
            "event_stop": start + [0.2, 12.0],
            "n_foregrounds": np.array([3, 50]),
            "noise_factor": np.ones((1, 3, 2)),
            "stretch_start": np.array([T0]),
            "stretch_stop": np.array([T0 + 200.0]),
            "scale_length": np.array([0.064, 0.128, 0.256]),
            "band_low": np.array([15.0, 15.0]),
            "band_high": np.array([25.0, 350.0]),
        },
        {**ATTRS, "threshold": 5.5, "searched": 160.0, "trials": 20000.0},
    )


def _channels(n: int = 80) -> dict:
    edges = np.concatenate([[0.0], 10.0 + 2.5 * np.arange(n)])
    centre, bounds = _bounds(edges)
    return {"channel": np.arange(n), "energy": centre, "energy_bnds": bounds}


def spectrum() -> xr.Dataset:
    rng = _rng()
    rate = rng.normal(0.002, 0.001, 80)
    return build(
        "spectrum",
        {
            **_channels(),
            "rate": ("channel", rate, {"per": "detector"}),
            "stat_err": ("channel", np.abs(rate) / 3, {"units": "count/s", "per": "detector"}),
            "sys_err": np.full(80, 0.04),
            "exposure": ((), 199.5),
            **_gti(),
        },
        {**ATTRS, "statistic": "gaussian", "weighting": "mask"},
    )


def spectrum_counts() -> xr.Dataset:
    """A raw spectrum with quality and grouping."""
    grouping = np.where(np.arange(80) % 4, -1, 1).astype(np.int16)
    return build(
        "spectrum",
        {
            **_channels(),
            "counts": _rng().poisson(20, 80).astype(np.int32),
            "quality": np.zeros(80, dtype=np.int16),
            "grouping": grouping,
            "exposure": ((), 199.5),
            **_gti(),
        },
        {**ATTRS, "statistic": "poisson", "weighting": "none"},
    )


def spectra(n: int = 5) -> xr.Dataset:
    """A sequence of spectra (type II)."""
    rate = _rng().normal(0.002, 0.001, (n, 80))
    return build(
        "spectrum",
        {
            **_times(n, 40.0),
            **_channels(),
            "rate": (("time", "channel"), rate, {"per": "detector"}),
            "stat_err": (("time", "channel"), np.abs(rate) / 3, {"units": "count/s", "per": "detector"}),
            "exposure": ("time", np.array([40.0, 40.0, 39.5, 40.0, 40.0])[:n]),
            "totcounts": (
                "time",
                np.arange(n, dtype=np.int32) + 1000,
                {"units": "count", "fits_name": "TOTCOUNTS"},
            ),
            **_gti(),
        },
        {**ATTRS, "statistic": "gaussian", "weighting": "mask"},
    )


def response() -> xr.Dataset:
    centre, bounds = _bounds(np.geomspace(10.0, 500.0, 31).round(3))
    matrix = _rng().uniform(0.0, 5.0, (30, 80)).astype(np.float32)
    return build(
        "response",
        {
            "energy_in": centre,
            "energy_in_bnds": bounds,
            **_channels(),
            "matrix": (("energy_in", "channel"), matrix, {"units": "cm**2"}),
        },
        ATTRS,
    )


def redistribution() -> xr.Dataset:
    """A sparse redistribution matrix with its effective area, in more than one group a row."""
    ds = response()
    matrix = ds["matrix"].values.copy()
    matrix[matrix < 3.5] = 0.0
    return build(
        "response",
        {
            **{
                name: ds[name] for name in ("energy_in", "energy_in_bnds", "channel", "energy", "energy_bnds")
            },
            "matrix": (("energy_in", "channel"), matrix, {"units": "1"}),
            "area": np.linspace(10.0, 500.0, 30).astype(np.float32),
        },
        ATTRS,
    )


def _wcs() -> tuple:
    cards = "CTYPE1  = 'RA---TAN'\nCRVAL1  =                150.0\nCTYPE2  = 'DEC--TAN'"
    return ((), "", {"header": cards})


def sky_image() -> xr.Dataset:
    rng = _rng()
    dims = ("energy", "imy", "imx")
    rate = rng.normal(0.0, 1.0, (4, 20, 30)).astype(np.float32)
    rate[:, 0, 0] = np.nan
    return build(
        "sky_image",
        {
            "imx": np.linspace(-1.5, 1.5, 30),
            "imy": np.linspace(-0.8, 0.8, 20),
            **_bands(),
            "rate": (dims, rate),
            "noise": (dims, np.abs(rate), {"units": "count/s"}),
            "pcode": (("imy", "imx"), rng.random((20, 30)).astype(np.float32)),
            "exposure": ((), 25.0),
            "wcs": image_cards((15.5, 10.5), (3.0 / 29, 1.6 / 19), (150.0, 30.0, 40.0)),
            **_gti(),
        },
        ATTRS,
    )


def mosaic() -> xr.Dataset:
    rng = _rng()
    grid = {"grid_mapping_name": "healpix", "refinement_level": 8, "indexing_scheme": "nested"}
    return build(
        "mosaic",
        {
            "cell_ids": np.arange(1000, 1048, dtype=np.int64),
            "healpix": ((), np.int32(0), grid),
            **_bands(),
            "sum_w": (
                ("energy", "cell"),
                rng.random((4, 48)),
                {"units": "s**2/count**2", "grid_mapping": "healpix"},
            ),
            "sum_wf": (
                ("energy", "cell"),
                rng.random((4, 48)),
                {"units": "s/count", "grid_mapping": "healpix"},
            ),
            "exposure": ("cell", rng.uniform(0, 1000, 48)),
            "n_images": ("cell", np.arange(48, dtype=np.int32)),
        },
        ATTRS,
    )


def mosaic_image() -> xr.Dataset:
    rng = _rng()
    dims = ("energy", "y", "x")
    return build(
        "mosaic_image",
        {
            **_bands(),
            "wcs": _wcs(),
            "sum_w": (dims, rng.random((4, 5, 6)), {"units": "s**2/count**2"}),
            "sum_wf": (dims, rng.random((4, 5, 6)), {"units": "s/count"}),
            "exposure": (("y", "x"), rng.uniform(0, 1000, (5, 6))),
            "n_images": (("y", "x"), np.ones((5, 6), dtype=np.int32)),
        },
        ATTRS,
    )


def catalog() -> xr.Dataset:
    return build(
        "catalog",
        {
            "name": np.array(["Crab", "Cyg X-1", "Sco X-1 (low mass)"]),
            "ra": np.array([83.6331, 299.5903, 244.9795]),
            "dec": np.array([22.0145, 35.2016, -15.6402]),
            "ra_err": np.array([0.01, np.nan, 0.02]),
            "rate": (("source", "energy"), np.arange(12, dtype=np.float32).reshape(3, 4) / 7),
            "snr": (("source", "energy"), np.arange(12, dtype=np.float32).reshape(3, 4)),
            "catnum": ("source", np.array([1, 2, 3], dtype=np.int32), {"units": "1", "fits_name": "CATNUM"}),
            "flag": ("source", np.array([True, False, True])),
            **_bands_free(),
        },
        ATTRS,
    )


def _bands_free() -> dict:
    """Energy axis of a kind that does not specify one; the coordinates are set by the caller's Dataset."""
    return {
        "e_min": ("energy", BANDS[:, 0], {"units": "keV"}),
        "e_max": ("energy", BANDS[:, 1], {"units": "keV"}),
    }


def limit() -> xr.Dataset:
    """Limits for two shapes of the source."""
    return build(
        "limit",
        {
            "template": np.array(["soft", "normal"]),
            "flux_limit": ("template", np.array([1e-8, 2e-8])),
            "photon_flux_limit": ("template", np.array([0.2, 0.3])),
            "rate_limit": ("template", np.array([0.05, 0.05])),
            "flux": ("template", np.array([1e-9, 2e-9])),
            "flux_err": ("template", np.array([3e-9, 6e-9])),
            "snr": ("template", np.array([0.3, 0.3])),
        },
        {"sigma": 3.0, "method": "bayesian", "emin": 15.0, "emax": 150.0},
    )


def fit() -> xr.Dataset:
    """A power law with two bands of flux and three bins."""
    names = np.array(["index", "pivot", "norm"])
    edges = np.array([[15.0, 25.0], [25.0, 50.0], [50.0, 100.0]])
    energy = np.geomspace(15.0, 150.0, 5)
    return build(
        "fit",
        {
            "parameter": names,
            "value": np.array([1.6, 1.0, 1.7]),
            "error": np.array([0.03, 0.0, 0.2]),
            "error_low": np.array([0.033, np.nan, 0.19]),
            "error_high": np.array([0.032, np.nan, 0.21]),
            "unit": ("parameter", np.array(["1", "keV", "ph cm**-2 s**-1 keV**-1"])),
            "minimum": np.array([-3.0, 0.001, 0.0]),
            "maximum": np.array([10.0, 1e4, 1e24]),
            "frozen": np.array([False, True, False]),
            "covariance": (("parameter", "parameter2"), np.diag([0.0009, 0.0, 0.04])),
            "statistic": ((), 61.3),
            "dof": ((), 57),
            "converged": ((), True),
            "band": ("band", np.array([82.5, 104.5])),
            "band_bnds": np.array([[15.0, 150.0], [14.0, 195.0]]),
            "flux": ("band", np.array([2.6e-8, 3.2e-8])),
            "flux_err": ("band", np.array([1e-9, 2e-9])),
            "bin_spectrum": ("bin", np.array(["0", "0", "0"])),
            "bin_energy": edges.mean(axis=1),
            "bin_energy_bnds": edges,
            "bin_rate": np.array([0.02, 0.03, 0.02]),
            "bin_rate_err": np.array([0.001, 0.001, 0.002]),
            "bin_model": np.array([0.021, 0.029, 0.021]),
            "curve_energy": energy,
            "curve": ("curve_energy", 1.7 * energy**-1.6),
            "curve_err": ("curve_energy", 0.02 * energy**-1.6),
        },
        {
            **ATTRS,
            "model": "powerlaw",
            "fit_statistic": "chi2",
            "delta": 1.0,
            "message": "",
        },
    )


def image() -> xr.Dataset:
    return build(
        "image",
        {"image": (("y", "x"), np.arange(54, dtype=np.float32).reshape(6, 9), {"units": "s"}), "wcs": _wcs()},
        ATTRS,
    )


def housekeeping(n: int = 30) -> xr.Dataset:
    rng = _rng()
    return build(
        "housekeeping",
        {
            "time": T0 + np.arange(n, dtype=np.float64),
            "saa_time": ("time", rng.uniform(0, 100, n), {"units": "s", "fits_name": "SAA_TIME"}),
            "position": (
                ("time", "position_axis"),
                rng.normal(0, 7000, (n, 3)).astype(np.float32),
                {"units": "km"},
            ),
            "flags": ("time", rng.random(n) > 0.5, {"fits_name": "FLAGS"}),
            "mode": ("time", rng.choice(np.array(["slew", "point"]), n), {"fits_name": "MODE"}),
            "counter": (
                "time",
                rng.integers(0, 60000, n).astype(np.uint16),
                {"units": "1", "fits_name": "COUNTER"},
            ),
        },
        ATTRS,
    )


def table() -> xr.Dataset:
    return build(
        "table",
        {
            "trigger": (
                "row",
                np.array([100, 200, 300], dtype=np.int64),
                {"units": "1", "fits_name": "TRIGGER"},
            ),
            "comment": ("row", np.array(["first", "", "third, with a comma"]), {"fits_name": "COMMENT"}),
            "width": ("row", np.array([1.5, np.nan, 3.5]), {"units": "days", "fits_name": "WIDTH"}),
            "good": ("row", np.array([True, False, True])),
        },
        ATTRS,
    )


def periodogram(n: int = 40) -> xr.Dataset:
    rng = _rng()
    dims, power = ("frequency", "energy"), rng.chisquare(4, (n, 4))
    return build(
        "periodogram",
        {
            "frequency": 0.05 + 0.001 * np.arange(n),
            "frequency_dot": 0.0,
            **_bands(),
            "power": (dims, power),
            "probability": (dims, np.exp(-0.5 * power)),
            "false_alarm": (dims, -np.expm1(-n * np.exp(-0.5 * power))),
            "harmonics": (dims, rng.integers(1, 5, (n, 4))),
            "threshold": np.full(4, 25.0),
            "noise": np.array([1.0, 1.0, 1.1, 1.4]),
        },
        {**ATTRS, "method": "h", "n_harmonics": 4, "level": 0.01, "epoch": T0 + 100.0},
    )


def pulse_profile(n: int = 16) -> xr.Dataset:
    edges = np.linspace(0.0, 1.0, n + 1)
    centre, bounds = _bounds(edges)
    counts = _rng().poisson(1000.0 + 200.0 * np.sin(2 * np.pi * centre)[:, None], (n, 4))
    return build(
        "pulse_profile",
        {
            "phase": centre,
            "phase_bnds": bounds,
            **_bands(),
            "rate": counts / 12.5,
            "rate_err": np.sqrt(counts) / 12.5,
            "counts": counts,
            "exposure": np.full(n, 12.5),
            "noise": np.ones(4),
            "frequency": 0.1018,
            "frequency_dot": 0.0,
            "epoch": T0 + 100.0,
        },
        {**ATTRS, "statistic": "poisson", "weighting": "none"},
    )


MAKERS: dict[str, Callable[[], xr.Dataset]] = {
    "events": events,
    "gti": gti,
    "attitude": attitude,
    "ray_trace": ray_trace,
    "alignment": alignment,
    "aperture": aperture,
    "detector_mask": detector_mask,
    "detector_plane": detector_plane,
    "detector_table": detector_table,
    "glitches": glitches,
    "lightcurve": lightcurve,
    "spectrum": spectrum,
    "periodogram": periodogram,
    "pulse_profile": pulse_profile,
    "response": response,
    "sky_image": sky_image,
    "mosaic": mosaic,
    "mosaic_image": mosaic_image,
    "catalog": catalog,
    "fit": fit,
    "limit": limit,
    "triggers": triggers,
    "image": image,
    "housekeeping": housekeeping,
    "table": table,
    # variants of a kind: several sources, other statistics, further dimensions
    "events_sources": events_sources,
    "weight_image": weight_image,
    "lightcurve_counts": lightcurve_counts,
    "lightcurve_net": lightcurve_net,
    "spectrum_counts": spectrum_counts,
    "spectra": spectra,
    "redistribution": redistribution,
}


def make(name: str) -> xr.Dataset:
    """Return a fresh Dataset of a kind, or of one of the variants in `MAKERS`."""
    return MAKERS[name]()


def make_tree() -> xr.DataTree:
    """Return a small observation: a tree with several kinds as nodes, two of them in one group."""
    return xr.DataTree.from_dict(
        {
            "/": xr.Dataset(attrs={"obs_id": "00012345000", "telescope": "SWIFT", "history": "opened"}),
            "/events": events(),
            "/attitude": attitude(),
            "/survey/dph": detector_plane(),
            "/survey/gti": gti(),
            "/sources": catalog(),
            "/hk": housekeeping(),
        }
    )
