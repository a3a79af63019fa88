"""The components of models as XSPEC has them: their names, parameters, and what these are in ours."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from batx.errors import ModelError
from batx.spectral_models import SpectralModel

__all__ = ["XSPEC_MODELS", "XSPEC_STATISTICS", "Counterpart", "abundances"]

Values = Mapping[str, float]

#: our statistics in XSPEC; with a background, cstat is W there
XSPEC_STATISTICS = {"chi2": "chi", "cstat": "cstat", "wstat": "cstat", "pgstat": "pgstat"}


@dataclass(frozen=True)
class Counterpart:
    """A parameter of XSPEC.

    Attributes
    ----------
    name
        What it is called there.
    source
        The parameter here that it carries, that is free, frozen or tied with it.
    there
        Values of a component here, by short name, to its value.
    back
        Its value and those of `others` to the value of `source`; none if both are the same.
    others
        Parameters here that `back` needs.
    link
        How XSPEC writes it for a given `source` ({value}) and `others` ({name}: their parameters there);
        empty if it cannot.
    limits
        Between which it stays where those of `source` cannot be carried over.
    """

    name: str
    source: str
    there: Callable[[Values], float]
    back: Callable[[float, Values], float] | None = None
    others: tuple[str, ...] = ()
    link: str = ""
    limits: tuple[float, float] = (0.0, 1e24)


def _own(name: str, source: str) -> Counterpart:
    return Counterpart(name, source, lambda values: values[source])


#: XSPEC counts the power laws from 1 keV
_NORM = Counterpart(
    "norm",
    "norm",
    lambda values: values["norm"] * values["pivot"] ** values["index"],
    lambda value, values: value / values["pivot"] ** values["index"],
    ("pivot", "index"),
)
_INDEX = _own("PhoIndex", "index")
_FLUX_ENDS = (_own("Emin", "emin"), _own("Emax", "emax"))
_THERMAL = (_own("kT", "kt"), _own("norm", "norm"))

#: component: (its name in XSPEC, its parameters there in their order)
XSPEC_MODELS: dict[str, tuple[str, tuple[Counterpart, ...]]] = {
    "powerlaw": ("powerlaw", (_INDEX, _NORM)),
    "cutoffpl": ("cutoffpl", (_INDEX, _own("HighECut", "e_cut"), _NORM)),
    "peakpl": (
        "cutoffpl",
        (
            _INDEX,
            Counterpart(
                "HighECut",
                "e_peak",
                lambda values: values["e_peak"] / (2.0 - values["index"]),
                lambda value, values: value * (2.0 - values["index"]),
                ("index",),
                "{value}/(2.0-{index})",
                (1e-2, 1e6),
            ),
            _NORM,
        ),
    ),
    "grbm": (
        "grbm",
        (_own("alpha", "alpha"), _own("beta", "beta"), _own("tem", "e_fold"), _own("norm", "norm")),
    ),
    "band": (
        "grbm",
        (
            _own("alpha", "alpha"),
            _own("beta", "beta"),
            Counterpart(
                "tem",
                "e_peak",
                lambda values: values["e_peak"] / (2.0 + values["alpha"]),
                lambda value, values: value * (2.0 + values["alpha"]),
                ("alpha",),
                "{value}/(2.0+{alpha})",
                (1e-2, 1e6),
            ),
            _own("norm", "norm"),
        ),
    ),
    "bbody": ("bbody", _THERMAL),
    "bremss": ("bremss", _THERMAL),
    "logpar": (
        "logpar",
        (_own("alpha", "alpha"), _own("beta", "beta"), _own("pivotE", "pivot"), _own("norm", "norm")),
    ),
    "constant": ("constant", (_own("factor", "factor"),)),
    **{
        name: (name.removesuffix("_angr"), (_own("nH", "nh"),))
        for name in ("tbabs", "phabs", "tbabs_angr", "phabs_angr")
    },
    "cflux": ("cflux", (*_FLUX_ENDS, _own("lg10Flux", "log_flux"))),
    "eflux": (
        "cflux",
        (
            *_FLUX_ENDS,
            Counterpart(
                "lg10Flux",
                "flux",
                lambda values: math.log10(max(values["flux"], 1e-100)),
                lambda value, values: 10.0**value,
            ),
        ),
    ),
    "cpflux": ("cpflux", (*_FLUX_ENDS, _own("Flux", "photon_flux"))),
}


def abundances(model: SpectralModel) -> str | None:
    """Return the table of abundances that the absorption of a model needs, `None` without absorption.

    Raises
    ------
    ModelError
        If it needs two, which other programs do not have at once.

    Examples
    --------
    >>> from batx.spectral_models import spectral_model
    >>> abundances(spectral_model("tbabs*powerlaw"))
    'wilm'
    """
    names = {component.name for component, _ in model.components}
    tables = {
        "angr" if name.endswith("_angr") else "wilm" for name in names if name[:5] in ("tbabs", "phabs")
    }
    if len(tables) > 1:
        raise ModelError(
            f"{model.expression}: other programs have one table of abundances for all components, found "
            "components for angr and for wilm"
        )
    return tables.pop() if tables else None
