"""Spectra and what is asked of a fit, put together as the problem that is solved.

Private to the public functions of fits.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from batx.errors import KindError, ModelError, ValueRangeError
from batx.fit_data import fit_data
from batx.fit_parameters import parameters_of
from batx.fit_problems import Problem
from batx.spectral_models import spectral_model

__all__ = ["Settings", "each", "is_pair", "labelled", "problem_of", "settings_of"]

_COMPAT = (None, "xspec")


@dataclass(frozen=True)
class Settings:
    """What can be said of any fit; the fields are the keywords of `batx.fit` of the same names."""

    response: Any = None
    background: Any = None
    energy: Any = None
    statistic: Any = "auto"
    parameters: Mapping[str, Any] | None = None
    untied: Sequence[str] = ()
    tied: Mapping[str, str] | None = None
    model_error: float = 0.0
    ignore_bad: bool = True
    compat: str | None = None


def settings_of(given: Mapping[str, Any], operation: str) -> Settings:
    """Return keywords as `Settings`; one that is not known is an error with the list of those that are."""
    known = list(Settings.__dataclass_fields__)
    if unknown := given.keys() - set(known):
        raise TypeError(
            f"{operation}: unknown keyword {', '.join(map(repr, unknown))}; there are {', '.join(known)}"
        )
    return Settings(**given)


def problem_of(spectra: Any, model: Any, settings: Settings) -> Problem:
    """Return the problem of fitting a model to spectra.

    Parameters
    ----------
    spectra, model
        As for `batx.fit`.
    settings
        The other keywords of `batx.fit`.
    """
    if settings.compat not in _COMPAT:
        raise ValueRangeError(f"compat: found {settings.compat!r}, expected None or 'xspec'")
    made = spectral_model(model)
    if made.is_factor:
        raise ModelError(f"fit: {made.expression!r} is a factor and no spectrum; multiply it by one")
    named = {label: _opened(entry) for label, entry in labelled(spectra).items()}
    own = {
        name: each(getattr(settings, name), list(named), name)
        for name in ("response", "background", "energy", "statistic")
    }
    data = [
        fit_data(
            spectrum,
            label,
            ignore_bad=settings.ignore_bad,
            compat=settings.compat,
            **{name: values[i] for name, values in own.items()},
        )
        for i, (label, spectrum) in enumerate(named.items())
    ]
    layout = parameters_of(made, list(named), settings.parameters or {}, settings.untied, settings.tied or {})
    if not settings.model_error >= 0:
        raise ValueRangeError(f"model_error: found {settings.model_error}, expected a fraction of the model")
    return Problem(made, data, layout, settings.model_error, settings.compat)


def labelled(spectra: Any) -> dict[str, Any]:
    """Return spectra, as they are given, under their labels: those of a mapping, otherwise 0, 1 ..."""
    if isinstance(spectra, (xr.Dataset, str, os.PathLike)):
        spectra = [spectra]
    if not isinstance(spectra, (Mapping, Iterable)):
        raise KindError(
            f"fit: found {type(spectra).__name__}, expected a spectrum, a path, a list of these or a mapping"
        )
    if not isinstance(spectra, Mapping):
        spectra = {str(i): entry for i, entry in enumerate(spectra)}
    if not spectra:
        raise ValueRangeError("fit: found no spectrum")
    return {str(label): entry for label, entry in spectra.items()}


def _opened(spectrum: Any) -> xr.Dataset:
    if isinstance(spectrum, (str, os.PathLike)):
        return xr.open_dataset(spectrum, engine="batx")
    return spectrum


def each(value: Any, labels: list[str], name: str) -> list[Any]:
    """Return a setting for each spectrum: of a mapping by label, of a list in order, else one for all."""
    if isinstance(value, Mapping) and not isinstance(value, xr.Dataset):
        if unknown := set(map(str, value)) - set(labels):
            raise ValueRangeError(
                f"{name}: there is no spectrum {', '.join(unknown)}; there are {', '.join(labels)}"
            )
        default = "auto" if name == "statistic" else None
        named = {str(label): entry for label, entry in value.items()}
        return [named.get(label, default) for label in labels]
    if isinstance(value, list) and not (name == "energy" and is_pair(value)):
        if len(value) != len(labels):
            raise ValueRangeError(f"{name}: found {len(value)} entries for {len(labels)} spectra")
        return value
    return [value] * len(labels)


def is_pair(value: Any) -> bool:
    """Whether a value is a single (low, high): two numbers or quantities, or an array of two."""
    if isinstance(value, np.ndarray):
        return value.shape == (2,)
    return isinstance(value, (list, tuple)) and len(value) == 2 and all(np.ndim(x) == 0 and x is not None
                                                                       for x in value)  # fmt: skip
