"""Fits that XSPEC makes."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from batx.errors import BatxWarning, EngineError, MissingPackageError, ValueRangeError
from batx.fit_errors import function_error, function_interval
from batx.fit_inputs import Settings, problem_of, settings_of
from batx.fit_problems import Minimum, Problem
from batx.fit_results import fit_dataset, flux_function
from batx.fit_studies import contour_axes, contour_dataset, contour_places
from batx.fitting import flux_bands, warn_of
from batx.sessions import Session
from batx.sessions.finding import environment_of, probe
from batx.xspec.inputs import write_inputs
from batx.xspec.translation import Translation

__all__ = ["Xspec", "fit", "fit_contour"]


def fit(spectra: Any, model: Any = "powerlaw", **how: Any) -> xr.Dataset:
    """Return a fit that XSPEC makes in a process that ends with it; keywords as for `batx.fit`."""
    with Xspec() as engine:
        return engine.fit(spectra, model, **how)


def fit_contour(spectra: Any, model: Any, pair: tuple[str, str], **how: Any) -> xr.DataArray:
    """Return what XSPEC finds on a grid of two parameters; keywords as for `batx.fit_contour`."""
    with Xspec() as engine:
        return engine.fit_contour(spectra, model, pair, **how)


class Xspec:
    """XSPEC in a process of its own, for one fit after the other: ``batx.fit(..., engine=Xspec())``.

    Parameters
    ----------
    python
        The interpreter that has pyXspec; by default the one that `batx.xspec.probe` finds.
    timeout, start_timeout
        Seconds that a fit, and the start of XSPEC, may take. What takes longer is ended.

    Notes
    -----
    The process is started with the first fit. It works in a private folder with a private home, so that no
    start-up file of XSPEC changes a fit, and everything is set anew for each. It ends when a fit fails or
    takes too long (the next starts a new one), and with this object or this process.

    Examples
    --------
    >>> engine = Xspec(timeout=60.0)
    >>> engine.close()
    """

    def __init__(
        self,
        *,
        python: str | os.PathLike[str] | None = None,
        timeout: float = 600.0,
        start_timeout: float = 120.0,
    ) -> None:
        if not timeout > 0 or not start_timeout > 0:
            raise ValueRangeError(f"Xspec: found a timeout of {min(timeout, start_timeout)} s, expected more")
        self.python, self.timeout, self.start_timeout = python, float(timeout), float(start_timeout)
        self._session: Session | None = None
        self._owner = os.getpid()
        self._lock = threading.Lock()

    def __enter__(self) -> Xspec:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def fit(
        self,
        spectra: Any,
        model: Any = "powerlaw",
        *,
        errors: str = "profile",
        delta: float = 1.0,
        flux: Any = None,
        **how: Any,
    ) -> xr.Dataset:
        """Return the fit of a model to a spectrum, or to several jointly, that XSPEC makes.

        Parameters
        ----------
        spectra, model, errors, delta, flux, how
            As for `batx.fit`.

        Returns
        -------
        xarray.Dataset
            Kind ``fit`` as of `batx.fit`, with ``attrs["engine"]``. Values, covariance, statistic, intervals
            of parameters, fluxes and folded model are XSPEC's. Computed here: the errors of fluxes and of the
            model curve, and that curve, from XSPEC's values and covariance; ``flux_low`` and ``flux_high``
            from the profile of the statistic around XSPEC's minimum.

        Raises
        ------
        MissingPackageError
            If no interpreter with pyXspec is found.
        EngineError, EngineTimeoutError
            If XSPEC fails, ends, does not answer in time, or has fitted something else.
        ModelError, ValueRangeError
            If XSPEC has no such component, parameter or statistic, and as for `batx.fit`.
        """
        settings = Settings(**how)
        problem, alike, translation = _translated(spectra, model, settings)
        bands = flux_bands(flux, settings.energy, problem)
        rise = float(delta) if errors == "profile" else None
        with self._lock:
            session = self._running()
            files = write_inputs(spectra, settings, session.folder)
            request = translation.request(files, np.atleast_2d(bands), rise)
            answer = {**session.request("fit", request), "delta": float(delta)}
        minimum, intervals = translation.minimum(answer)
        if not minimum.converged:
            warnings.warn(
                f"fit: {minimum.message}; see attrs['message'] of the result", BatxWarning, stacklevel=3
            )
        made = fit_dataset(
            problem,
            minimum,
            intervals,
            bands,
            delta,
            _fluxes(problem, alike, minimum, answer, np.atleast_2d(bands), delta),
            _folded(problem, answer),
        )
        notes = [made.attrs.get("message", ""), *answer["complaints"]]
        return made.assign_attrs(engine=_version(session), message="; ".join(filter(None, notes)))

    def fit_contour(
        self,
        spectra: Any,
        model: Any,
        pair: tuple[str, str],
        *,
        grid: tuple[Any, Any] | None = None,
        size: int = 25,
        **how: Any,
    ) -> xr.DataArray:
        """Return by how much XSPEC's statistic exceeds its minimum on a grid of two parameters (steppar).

        Parameters
        ----------
        spectra, model, pair, grid, size, how
            As for `batx.fit_contour`; the steps of a grid must be even.

        Raises
        ------
        ModelError
            If a name is not that of a free parameter, or XSPEC has another one in its place.
        ValueRangeError
            If the steps of a grid are not even.
        MissingPackageError, EngineError, EngineTimeoutError
            As for `fit`.
        """
        settings = settings_of(how, "fit_contour")
        problem, _, translation = _translated(spectra, model, settings)
        places = contour_places(problem, pair)
        slots = [translation.plain(place) for place in places]
        bands = flux_bands(None, settings.energy, problem)
        with self._lock:
            session = self._running()
            files = write_inputs(spectra, settings, session.folder)
            answer = session.request("fit", translation.request(files, np.atleast_2d(bands), None))
            minimum, _ = translation.minimum(answer)
            axes = contour_axes(problem, minimum, places, grid, size)
            steps = [[slot.number, *_steps(axis)] for slot, axis in zip(slots, axes, strict=True)]
            found = session.request("contour", {"axes": steps})
        values = _on_grid(found, axes) - minimum.statistic
        made = contour_dataset(problem, minimum, places, axes, values)
        return made.assign_attrs(engine=_version(session))

    def _running(self) -> Session:
        """Return the session, with XSPEC running in it; a forked process has one of its own."""
        if self._owner != os.getpid():
            self._session, self._owner = None, os.getpid()
        if self._session is None:
            found = probe(self.python)
            if found.python is None:
                raise MissingPackageError(f"engine 'xspec': {found.problem}; {found.remedy}")
            self._session = Session(
                "xspec_worker",
                python=found.python,
                environment=environment_of(),
                timeout=self.timeout,
                start_timeout=self.start_timeout,
            )
            self._session.environment = _private(self._session.environment or {}, self._session.folder)
        try:
            self._session.start()
        except EngineError as error:
            if error.kind in ("ImportError", "ModuleNotFoundError"):
                raise MissingPackageError(
                    f"engine 'xspec': pyXspec is there, but cannot be loaded ({error}); source the set-up "
                    "script of HEASoft (headas-init) before"
                ) from error
            raise
        return self._session


def _version(session: Session) -> str:
    version = session.hello["version"]
    return f"XSPEC {version[-1]}, pyXspec {version[0]}"


def _translated(spectra: Any, model: Any, settings: Settings) -> tuple[Problem, Problem, Translation]:
    """Return a problem, the same with XSPEC's integrals over bins, and its translation."""
    problem = problem_of(spectra, model, settings)
    warn_of(problem)
    alike = Problem(problem.model, problem.data, problem.layout, problem.model_error, "xspec")
    return problem, alike, Translation(alike, extended=settings.compat != "xspec")


def _steps(axis: np.ndarray) -> tuple[float, float, int]:
    """Return first and last value and the number of steps, as XSPEC steps through them."""
    if axis.size < 2 or not np.allclose(np.diff(axis), (axis[-1] - axis[0]) / (axis.size - 1)):
        raise ValueRangeError(
            f"grid: found {axis.size} values from {axis.min():g} to {axis.max():g}, expected at least two in "
            "even steps, which is how XSPEC goes through them"
        )
    return float(axis[0]), float(axis[-1]), axis.size - 1


def _on_grid(found: Mapping[str, Any], axes: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Return the statistics at the points of a grid, in whatever order XSPEC went through them."""
    made = np.full((axes[0].size, axes[1].size), np.nan)
    points = np.array(found["values"], np.float64)
    indices = []
    for axis, values in zip(axes, points, strict=True):
        step = (axis[-1] - axis[0]) / (axis.size - 1)
        indices.append(np.rint((values - axis[0]) / step).astype(int))
        if np.abs(axis[0] + indices[-1] * step - values).max() > 1e-3 * abs(step):
            raise EngineError("XSPEC went through other values of the parameters than it was asked for")
    if points.shape[1] != made.size or any(
        index.min() < 0 or index.max() >= axis.size for index, axis in zip(indices, axes, strict=True)
    ):
        raise EngineError(f"XSPEC gave {points.shape[1]} points of the grid, expected {made.size}")
    made[tuple(indices)] = found["statistic"]
    if np.isnan(made).any():
        raise EngineError("XSPEC left out points of the grid")
    return made


def _private(environment: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return an environment with a home of its own; packages of the user stay where they are."""
    made = dict(environment)
    home = made.get("HOME", "")
    if home and (Path(home) / ".local").is_dir():
        made.setdefault("PYTHONUSERBASE", str(Path(home) / ".local"))
    private = folder / "home"
    private.mkdir(exist_ok=True)
    system = made.get("HEADAS")
    made["HOME"] = str(private)
    made["PFILES"] = f"{private};{system}/syspfiles" if system else str(private)
    return made


def _fluxes(
    problem: Problem,
    alike: Problem,
    minimum: Minimum,
    answer: Mapping[str, Any],
    bands: np.ndarray,
    delta: float,
) -> dict[str, np.ndarray]:
    """Return the fluxes of XSPEC (spectrum, band) with errors from its covariance, and with intervals.

    `alike` is the problem with the integrals over bins that XSPEC makes.
    """
    rows = np.array(answer["flux"], np.float64).transpose(1, 0, 2)
    made = {"flux": rows[..., 0], "photon_flux": rows[..., 1]}
    for k, data in enumerate(problem.data):
        for b, (low, high) in enumerate(bands):
            if problem.compat == "xspec" and (high <= data.bins.edges[0] or low >= data.bins.edges[-1]):
                rows[k, b] = np.nan  # XSPEC leaves there what it computed before
    for name, energy in (("flux", True), ("photon_flux", False)):
        made[f"{name}_err"] = np.array(
            [
                [
                    float(function_error(problem, minimum, flux_function(problem, k, band, energy)))
                    for band in bands
                ]
                for k in range(len(problem.data))
            ]
        )
    if answer["ranges"]:
        here = replace(minimum, statistic=alike.statistic(minimum.values))
        ends = np.full((*rows.shape[:2], 2), np.nan)
        for k, b in np.ndindex(*rows.shape[:2]):
            flux = flux_function(problem, k, bands[b])
            found = function_interval(alike, here, flux, delta)
            # XSPEC's flux spreads the photons of a bin evenly, and is a little larger
            ends[k, b] = np.array([found.low, found.high]) * rows[k, b, 0] / flux(minimum.values)
        made |= {"flux_low": ends[..., 0], "flux_high": ends[..., 1]}
    return made


def _folded(problem: Problem, answer: Mapping[str, Any]) -> list[np.ndarray]:
    """Return the counts of XSPEC's model in the bins that were used."""
    made = []
    for data, rates in zip(problem.data, answer["folded"], strict=True):
        values = np.array(rates, np.float64)
        if values.size == data.groups != data.places.size:
            values = values[data.places]
        if values.size != data.places.size:
            raise EngineError(
                f"XSPEC gave a folded model of {values.size} bins for spectrum {data.label!r}, expected "
                f"{data.places.size}"
            )
        made.append(values * data.exposure)
    return made
