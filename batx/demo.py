"""A whole analysis on a simulated burst, from the archive's layout to files and pictures: ``batx demo``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from batx.errors import WriteError

__all__ = ["DURATION", "STEPS", "Demo", "run"]

OBS_ID = "00012345000"
RA, DEC = 165.0, 24.0
DURATION = 120.0
STEPS = 11
_SLEW = (70.0, 92.0)
_STEADY = (140.0, 20.0)
_BANDS = [15, 25, 50, 100, 350]
_TARGET = (155.0, 22.0, 40.0)
#: index, and energy in keV of the peak of E² N, of the burst's photons
_SHAPE = (1.0, 180.0)
_FIT = (15.0, 150.0)
_TRIGGER = 30.0
_START = 6e8


@dataclass
class Demo:
    """What the demonstration made.

    Attributes
    ----------
    observation
        Folder of the simulated observation.
    files
        Products and pictures, in the order in which they were made.
    facts
        What came out, by label, to be read by a person.
    products
        The labelled objects by name.
    """

    observation: Path
    files: list[Path] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    products: dict[str, xr.Dataset] = field(default_factory=dict)


def run(directory: Path, step: Callable[[str], None] = lambda _: None, seed: int = 1) -> Demo:
    """Simulate an observation, analyse it, and leave files and pictures in a folder.

    Parameters
    ----------
    directory
        Made if it is not there; products of an earlier demonstration in it are replaced.
    step
        Called with the name of each of the `STEPS` steps when it begins.
    seed
        Seed of the simulation.

    Returns
    -------
    Demo
        Files, facts and objects.

    Raises
    ------
    WriteError
        If the folder cannot be written, or holds files of others.
    """
    import batx
    from batx.summary import describe_times, distinct

    directory.mkdir(parents=True, exist_ok=True)
    _require_own(directory)
    step("simulating an observation")
    demo = Demo(simulate(directory, seed))

    step("opening it")
    obs = batx.open_observation(demo.observation)
    events = obs["events"].to_dataset()
    demo.facts = describe_times(events)
    demo.facts["events"] = f"{events.sizes['event']} in {_exposure(events):.3f} s of good time"

    step("finding hot detectors")
    (enable_map,) = (demo.observation / "bat" / "hk").glob("*bdecb.hk*")
    enabled = batx.open_dataset(enable_map)
    mask = events.bat.detector_plane(energy=[15, 150]).bat.hot_pixels(detector_mask=enabled)
    n_enabled, n_good = int(enabled["good"].sum()), int(mask["good"].sum())
    demo.facts["detectors"] = f"{n_enabled} enabled, of which {n_enabled - n_good} found hot or dead"

    step("mask weights for the burst, through the slew")
    frame = {name: obs[name].to_dataset() for name in ("attitude", "aperture", "alignment")}
    weighted = events.bat.mask_weight(RA, DEC, detector_mask=mask, **frame)
    trace = events.bat.ray_trace(RA, DEC, detector_mask=mask, **frame)
    demo.facts["coding"] = (
        f"{float(trace['pcode'].min()):.2f} to {float(trace['pcode'].max()):.2f} of the detectors"
    )

    step("light curves")
    fine = weighted.bat.lightcurve(dt=0.064, energy=_BANDS)
    coarse = weighted.bat.lightcurve(dt=1.0, energy=_BANDS)
    start, stop, peak = _burst(coarse.sel(time=slice(None, _START + _SLEW[0])))
    demo.facts["burst"] = (
        f"{_since(start, coarse)} to {_since(stop, coarse)} s from the trigger, "
        f"peak {peak:.3f} count/s per detector in {_BANDS[0]}-{_BANDS[-1]} keV"
    )

    total = fine.bat.rebin_energy([_BANDS[0], _BANDS[-1]])
    blocks = total.bat.bayesian_blocks()
    durations = total.bat.duration(blocks=blocks)
    for name in ("t90", "t50"):
        length, error, first, last = (float(durations[name + end]) for end in ("", "_err", "_start", "_stop"))
        demo.facts[name.upper()] = (
            f"{length:.2f} +- {error:.2f} s, {_since(first, fine)} to {_since(last, fine)} s from the trigger"
        )

    step("spectrum and detector images of the burst")
    spectrum = weighted.bat.spectrum(tstart=start, tstop=stop)
    images = events.bat.detector_plane(time=[start - 20.0, start, stop], energy=[15, 50, 150])
    demo.facts["spectrum"] = _counts(spectrum)

    step("fits of the spectrum")
    fitted = spectrum.bat.fit("peakpl", energy=_FIT, flux=_FIT)
    demo.facts["fit"] = _fit(fitted)
    edges = np.array([start, start + 3.0, start + 8.0, start + 14.0, stop])
    series = weighted.bat.spectrum(time=edges).bat.fit_series("powerlaw", energy=_FIT, flux=_FIT)
    demo.facts["in time"] = "index " + ", ".join(
        f"{float(one.value):.2f} +- {float(one.error):.2f}" for one in _along(series, "index")
    )
    demo.facts["fluence"] = f"{float(series['fluence'].sum()):.3g} erg/cm2 in {_FIT[0]:g}-{_FIT[1]:g} keV"

    step("image of the sky, cleaned, and the position of the burst")
    plane = events.bat.detector_plane(tstart=start, tstop=stop, energy=[15, 150])
    sky = {**frame, "detector_mask": mask}
    image = plane.bat.clean(version="bkgcleaned", **sky).bat.sky_image(**sky)
    sources = image.bat.detect()
    demo.facts["localised"] = _place(sources, 0, (RA, DEC))

    step("mosaic of the slew")
    limits = [_START + end for end in _SLEW]
    slew = batx.slew_mosaic(events, *limits, energy=[15, 150], total=True, **sky)
    candidates = distinct(slew["candidates"].to_dataset())
    candidates = candidates.isel(source=candidates["false_alarms"].values < 0.01)
    demo.facts["in the slew"] = _place(candidates, 0, (RA, DEC))
    for source in range(1, candidates.sizes["source"]):
        demo.facts["steady source" if source == 1 else f"source {source}"] = _place(
            candidates, source, _STEADY
        )

    step("writing netCDF and OGIP files")
    demo.products = {
        "lightcurve_64ms": fine,
        "lightcurve_1s": coarse,
        "blocks": blocks,
        "durations": durations,
        "spectrum": spectrum,
        "fit": fitted,
        "fit_series": series,
        "detector_plane": images,
        "detector_mask": mask,
        "ray_trace": trace,
        "sky_image": image,
        "sources": sources,
        "slew_mosaic": batx.finalize(slew["total"].to_dataset()),
        "slew_sources": candidates,
    }
    demo.products = {name: product.compute() for name, product in demo.products.items()}
    for name, product in demo.products.items():
        demo.files.append(batx.to_netcdf(product, directory / f"{name}.nc", overwrite=True))
    for name, product in (("burst.lc", coarse), ("burst.pha", spectrum), ("sources.fits", sources)):
        demo.files.append(batx.to_fits(product, directory / name, overwrite=True))

    step("drawing pictures")
    demo.files.append(_duration_picture(directory, total, durations, blocks))
    demo.files += _pictures(directory, demo.products, obs["attitude"].to_dataset())
    return demo


def _require_own(directory: Path) -> None:
    """Raise if a folder holds files, but no observation of an earlier demonstration."""
    held = sorted(path.name for path in directory.iterdir())
    if held and not any(name.startswith(OBS_ID) for name in held):
        raise WriteError(f"{directory}: found {held[0]}, expected an empty folder or that of an earlier demo")


def simulate(directory: Path, seed: int = 1) -> Path:
    """Write the observation: a burst of three pulses, the last in a slew, a steady source, bad detectors."""
    from batx.simulate import Cutoff, Fred, Slew, Source, Sum, detector_table, observation

    pulses = Sum(
        [
            (1.0, Fred(_TRIGGER - 1.0, 1.0, 6.0)),
            (0.6, Fred(_TRIGGER + 11.0, 3.0, 4.0)),
            (0.25, Fred(_TRIGGER + 50.0, 1.0, 3.0)),
        ]
    )
    return observation(
        directory,
        [
            Source(
                0.4,
                ra=RA,
                dec=DEC,
                light_curve=pulses,
                spectrum=Cutoff(index=_SHAPE[0], peak=_SHAPE[1]),
                response="packaged",
                name="burst",
            ),
            Source(0.03, ra=_STEADY[0], dec=_STEADY[1], name="steady source"),
        ],
        obs_id=OBS_ID,
        start=_START,
        duration=DURATION,
        trigger=_TRIGGER,
        target=_TARGET,
        slews=[Slew(*_SLEW, RA, DEC, 40.0)],
        gti=[(_START, _START + 60.0), (_START + 63.5, _START + DURATION)],
        detectors=detector_table(hot=60, cold=30, seed=seed),
        object_name="Simulated GRB",
        seed=seed,
        overwrite=True,
    )


def _exposure(ds: xr.Dataset) -> float:
    return float((ds["gti_stop"] - ds["gti_start"]).sum())


def _since(met: float, ds: xr.Dataset) -> str:
    return f"{met - ds.attrs['trigger_time']:.1f}"


def _burst(lc: xr.Dataset) -> tuple[float, float, float]:
    """Return start, stop (MET) and peak rate: from the first to the last bin above 5 sigma, all bands."""
    total = lc["rate"].sum("energy").values
    sigma = np.sqrt((lc["rate_err"].values ** 2).sum(axis=lc["rate_err"].get_axis_num("energy")))
    bright = np.flatnonzero(total > 5.0 * sigma)
    bounds = lc["time_bnds"].values
    return float(bounds[bright[0], 0]), float(bounds[bright[-1], 1]), float(np.nanmax(total))


def _place(catalog: xr.Dataset, index: int, truth: tuple[float, float]) -> str:
    """Return a source with its distance from where it was simulated, and the window in which it was found."""
    from batx.summary import describe_source, separation

    row = describe_source(catalog, index)
    ra, dec = (float(catalog[name][index]) for name in ("ra", "dec"))
    away = 60.0 * float(separation(ra, dec, *truth))
    window = f" from {row['window (s)']} s" if "window (s)" in row else ""
    return (
        f"RA {row['ra (deg)']} Dec {row['dec (deg)']} +- {row['arcmin']} arcmin, {away:.2f} arcmin "
        f"from the truth, SNR {row['snr']}{window}"
    )


def _counts(spectrum: xr.Dataset) -> str:
    """Return the counts of a spectrum, all but the open-ended channels, and their error."""
    inner = spectrum.isel(channel=slice(1, -1))
    counts = float(inner["rate"].sum() * spectrum["exposure"])
    error = float(np.sqrt((inner["stat_err"] ** 2).sum()) * spectrum["exposure"])
    return f"{counts:.3f} +- {error:.3f} count per detector in {inner.sizes['channel']} channels"


def _fit(found: xr.Dataset) -> str:
    """Return index, peak energy and flux, with what was simulated."""
    index, peak = (found.sel(parameter=name) for name in ("index", "e_peak"))
    return (
        f"index {float(index.value):.2f} +- {float(index.error):.2f} ({_SHAPE[0]:g} simulated), peak "
        f"{float(peak.value):.0f} -{float(peak.error_low):.0f} +{float(peak.error_high):.0f} keV "
        f"({_SHAPE[1]:g}), flux {float(found['flux']):.3g} erg/cm2/s"
    )


def _along(series: xr.Dataset, name: str) -> list[xr.Dataset]:
    """Return a parameter at each time."""
    return [series.sel(parameter=name).isel(time=number) for number in range(series.sizes["time"])]


def _duration_picture(directory: Path, lc: xr.Dataset, found: xr.Dataset, blocks: xr.Dataset) -> Path:
    from batx.plots.duration import plot_duration
    from batx.plots.page import save

    def draw(ds: xr.Dataset, page: Any) -> None:
        plot_duration(ds, found, blocks, page)

    return save(lc, directory / "duration.png", overwrite=True, draw=draw)


def _pictures(directory: Path, products: dict[str, xr.Dataset], attitude: xr.Dataset) -> list[Path]:
    from batx.plots.page import save

    mask = products["detector_mask"]
    sources, found = products["sources"], products["slew_sources"]
    middle = tuple(float(sources[name][0]) for name in ("ra", "dec"))
    drawn: list[tuple[str, xr.Dataset, dict[str, Any]]] = [
        ("lightcurve_64ms", products["lightcurve_64ms"], {}),
        ("lightcurve_1s", products["lightcurve_1s"], {"utc_axis": True}),
        ("spectrum", products["spectrum"], {"energy": (15, 195)}),
        ("fit", products["fit"], {}),
        ("fit_unfolded", products["fit"], {"unfolded": True}),
        ("detector_plane", products["detector_plane"], {"detector_mask": mask}),
        ("detector_mask", mask, {}),
        ("ray_trace", products["ray_trace"], {}),
        ("attitude", attitude, {}),
        ("sky_image", products["sky_image"], {"catalog": sources}),
        ("sky_image_burst", products["sky_image"], {"catalog": sources, "center": middle, "radius": 2.0}),
        ("slew_mosaic", products["slew_mosaic"], {"catalog": found}),
        ("slew_mosaic_burst", products["slew_mosaic"], {"catalog": found, "center": middle, "radius": 5.0}),
        ("slew_exposure", products["slew_mosaic"], {"variable": "pcode_exposure"}),
    ]
    return [
        save(product, directory / f"{name}.png", overwrite=True, **options)
        for name, product, options in drawn
    ]
