"""The spectra and factors that models are made of, with the names, units and limits of their parameters.

Private to `batx.spectral_models`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from batx.kernels import absorption, models
from batx.kernels.models import Bins

__all__ = ["COMPONENTS", "Component", "Parameter"]

#: limit of what is without one
_HUGE = 1e24


@dataclass(frozen=True)
class Parameter:
    """A parameter: where a fit begins, between which limits it stays.

    Attributes
    ----------
    name, unit
        What it is called, and its unit.
    value, minimum, maximum
        Start value and limits.
    physical
        Limits between which the spectrum has a meaning, themselves excluded; none given may lie outside.
    frozen
        Whether it keeps its value.
    starts
        Values from which the best start is chosen, where none is given.
    scale
        ``"linear"`` if the spectrum is proportional to it, ``"log10"`` if to ten to its power.
    """

    name: str
    value: float
    unit: str = "1"
    minimum: float = -_HUGE
    maximum: float = _HUGE
    physical: tuple[float, float] = (-np.inf, np.inf)
    frozen: bool = False
    starts: tuple[float, ...] = ()
    scale: str = ""


@dataclass(frozen=True)
class Component:
    """A spectrum (``role`` "additive"), a factor ("factor") or a normalisation to a flux ("flux").

    Attributes
    ----------
    name, role, parameters
        As it is written in a model.
    density
        Energies in keV and parameters to photons/cm**2/s/keV, or to the factor at these energies.
    bins
        `Bins` and parameters to photons/cm**2/s in each, or to the mean factor; by default the integral of
        `density`.
    xspec
        The same as XSPEC counts it, where that differs.
    energies
        Energies (keV) at which the density jumps.
    proportional
        Whether the last parameter is a factor of it, and nothing else.
    """

    name: str
    role: str
    parameters: tuple[Parameter, ...]
    density: Callable[..., Any]
    bins: Callable[..., Any]
    xspec: Callable[..., Any] | None = None
    energies: tuple[float, ...] = ()
    proportional: bool = False


def _norm(unit: str, value: float = 1.0) -> Parameter:
    return Parameter("norm", value, unit, 0.0, _HUGE, scale="linear")


def _energy(name: str, value: float, low: float, high: float, **how: Any) -> Parameter:
    """Return an energy in keV, which is above 0."""
    return Parameter(name, value, "keV", low, high, (0.0, np.inf), **how)


_PHOTONS = "ph cm**-2 s**-1 keV**-1"
_INDEX = Parameter("index", 2.0, "1", -3.0, 10.0)
_PIVOT = _energy("pivot", 1.0, 1e-3, 1e4, frozen=True)
_KT = _energy("kt", 3.0, 1e-3, 1e3, starts=(0.1, 0.3, 1.0, 3.0, 10.0, 30.0))
_E_BREAK = (20.0, 50.0, 120.0, 300.0)


def _additive(
    name: str,
    parameters: tuple[Parameter, ...],
    density: Callable[..., Any],
    bins: Callable[..., Any] | None = None,
    xspec: Callable[..., Any] | None = None,
) -> Component:
    return Component(
        name, "additive", parameters, density, bins or _integrated(density), xspec, proportional=True
    )


def _integrated(density: Callable[..., Any]) -> Callable[..., Any]:
    return lambda bins, *values: bins.integrate(density(bins.nodes, *values))


def _two_point(density: Callable[..., Any]) -> Callable[..., Any]:
    return lambda bins, *values: models.trapezoid(bins.edges, lambda energy: density(energy, *values))


def _peaked_band(
    of: Any, bins: Callable[..., Any], alpha: float, beta: float, e_peak: float, norm: float
) -> Any:
    """Return a Band function that is given by its peak energy."""
    return bins(of, alpha, beta, e_peak / (2.0 + alpha), norm)


def _absorber(name: str, cross_section: Callable[[np.ndarray], np.ndarray]) -> Component:
    """Return a factor exp(-nh σ); within a bin σ is the mean of its edges."""

    def mean(bins: Bins, nh: float) -> Any:
        section = bins.cached(name, lambda edges: _means(cross_section(edges)))
        return np.exp(-nh * section)

    return Component(
        name,
        "factor",
        (Parameter("nh", 0.1, "1e22 cm**-2", 0.0, starts=(0.03, 0.3, 3.0)),),
        lambda energy, nh: np.exp(-nh * cross_section(energy)),
        mean,
        energies=absorption.EDGES,
    )


def _means(values: np.ndarray) -> np.ndarray:
    return 0.5 * (values[:-1] + values[1:])


def _flux(name: str, parameter: Parameter) -> Component:
    ends = (
        _energy("emin", 15.0, 1e-4, 1e7, frozen=True),
        _energy("emax", 150.0, 1e-4, 1e7, frozen=True),
    )
    return Component(name, "flux", (*ends, parameter), _scale_of(name), _scale_of(name))


def _scale_of(name: str) -> Callable[..., float]:
    """Return what gives the flux wanted from the value of the parameter."""
    return (lambda value: 10.0 ** min(value, 30.0)) if name == "cflux" else float


COMPONENTS: dict[str, Component] = {
    component.name: component
    for component in (
        _additive(
            "powerlaw",
            (replace(_INDEX, starts=(1.2, 2.2)), _PIVOT, _norm(_PHOTONS)),
            models.power_law,
            models.power_law_bins,
        ),
        _additive(
            "cutoffpl",
            (
                replace(_INDEX, value=1.0, starts=(0.5, 1.2)),
                _energy("e_cut", 100.0, 1.0, 1e5, starts=_E_BREAK),
                _PIVOT,
                _norm(_PHOTONS),
            ),
            models.cut_off_power_law,
        ),
        _additive(
            "peakpl",
            (
                replace(_INDEX, value=1.0, maximum=1.999, physical=(-np.inf, 2.0), starts=(0.5, 1.2)),
                _energy("e_peak", 100.0, 1.0, 1e5, starts=_E_BREAK),
                _PIVOT,
                _norm(_PHOTONS),
            ),
            models.peaked_power_law,
        ),
        _additive(
            "grbm",
            (
                Parameter("alpha", -1.0, "1", -10.0, 5.0, starts=(-1.2, -0.6)),
                Parameter("beta", -2.3, "1", -10.0, 10.0, starts=(-2.5,)),
                _energy("e_fold", 100.0, 1.0, 1e5, starts=_E_BREAK),
                _norm(_PHOTONS),
            ),
            models.band,
            models.band_bins,
            lambda bins, *values: models.grbm_bins(bins.edges, *values),
        ),
        _additive(
            "band",
            (
                Parameter("alpha", -1.0, "1", -1.999, 5.0, (-2.0, np.inf), starts=(-1.2, -0.6)),
                Parameter("beta", -2.3, "1", -10.0, 10.0, starts=(-2.5,)),
                _energy("e_peak", 100.0, 1.0, 1e5, starts=_E_BREAK),
                _norm(_PHOTONS),
            ),
            lambda energy, *values: _peaked_band(energy, models.band, *values),
            lambda bins, *values: _peaked_band(bins, models.band_bins, *values),
            lambda bins, *values: _peaked_band(bins.edges, models.grbm_bins, *values),
        ),
        _additive(
            "bbody",
            (_KT, _norm("1e39 erg/s at 10 kpc")),
            models.black_body,
            xspec=_two_point(models.black_body),
        ),
        _additive(
            "bremss",
            (replace(_KT, starts=(0.5, 2.0, 7.0, 30.0, 100.0)), _norm("3.02e-15/(4 pi D**2) cm**-5")),
            models.bremsstrahlung,
            xspec=_two_point(partial(models.bremsstrahlung, smooth=False)),
        ),
        _additive(
            "logpar",
            (
                Parameter("alpha", 1.5, "1", -3.0, 10.0, starts=(1.0, 2.0)),
                Parameter("beta", 0.2, "1", -10.0, 10.0),
                replace(_PIVOT, value=50.0),
                _norm(_PHOTONS),
            ),
            models.log_parabola,
        ),
        Component(
            "constant",
            "factor",
            (Parameter("factor", 1.0, "1", 0.0),),
            lambda energy, factor: factor,
            lambda bins, factor: factor,
        ),
        _absorber("tbabs", absorption.tbabs),
        _absorber("phabs", absorption.phabs),
        _absorber("tbabs_angr", partial(absorption.tbabs, abundances="angr")),
        _absorber("phabs_angr", partial(absorption.phabs, abundances="angr")),
        _flux("cflux", Parameter("log_flux", -8.0, "log10(erg cm**-2 s**-1)", -100.0, 100.0, scale="log10")),
        _flux("eflux", Parameter("flux", 1e-8, "erg cm**-2 s**-1", 0.0, scale="linear")),
        _flux("cpflux", Parameter("photon_flux", 1.0, "ph cm**-2 s**-1", 0.0, scale="linear")),
    )
}
