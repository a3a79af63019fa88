"""The parameters of a fit: values, limits, what is frozen, tied, or of one spectrum only.

Private to `batx.fitting`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from batx.errors import ModelError
from batx.model_components import Parameter
from batx.spectral_models import SpectralModel

__all__ = ["FitParameter", "Layout", "parameters_of"]


@dataclass(frozen=True)
class FitParameter:
    """One parameter of a fit: of all spectra, or of one.

    Attributes
    ----------
    name
        ``index``, or ``index[label]`` where spectra have their own.
    spec
        Start value, limits, whether it is frozen.
    given
        Whether the start value was given.
    """

    name: str
    spec: Parameter
    given: bool = False


@dataclass(frozen=True)
class Layout:
    """The parameters of a fit, and which of them each spectrum uses in the order of its model."""

    parameters: tuple[FitParameter, ...]
    places: tuple[np.ndarray, ...]
    tied: Mapping[str, str] = field(default_factory=dict)

    @property
    def values(self) -> np.ndarray:
        """Start values."""
        return np.array([entry.spec.value for entry in self.parameters])

    @property
    def free(self) -> np.ndarray:
        """Places of the parameters that are fitted."""
        return np.flatnonzero([not entry.spec.frozen for entry in self.parameters])


def parameters_of(
    model: SpectralModel,
    labels: Sequence[str],
    settings: Mapping[str, Any],
    untied: Iterable[str],
    tied: Mapping[str, str],
) -> Layout:
    """Return the parameters of a fit of `model` to the spectra of these labels.

    Parameters
    ----------
    model, labels
        The model of all spectra, and their names.
    settings
        Parameter name to a value, or to a mapping of ``value``, ``min``, ``max`` and ``frozen``. The name may
        be short or full, and with ``[label]`` means that of one spectrum.
    untied
        Names of parameters that each spectrum has for itself.
    tied
        Name to the name whose value it takes.

    Raises
    ------
    ModelError
        If a name is unknown or ambiguous, limits or values make no sense, or ties go in a circle.
    """
    own = {_full_name(model, name) for name in untied}
    made: dict[str, FitParameter] = {}
    places = []
    for label in labels:
        names = [f"{name}[{label}]" if name in own and len(labels) > 1 else name for name in model.names]
        for name, spec in zip(names, model.parameters.values(), strict=True):
            made.setdefault(name, FitParameter(name, spec))
        places.append(names)
    for name, setting in settings.items():
        for full in _fit_names(model, name, made, labels):
            made[full] = _set(made[full], setting)
    links = {
        low: _fit_names(model, high, made, labels)[0]
        for name, high in tied.items()
        for low in _fit_names(model, name, made, labels)
    }
    for name in links:
        seen = {name}
        while (target := links.get(name)) is not None and target in links:
            if target in seen:
                raise ModelError(f"tied: {name!r} is tied to itself through {target!r}")
            seen.add(target)
            links[name] = links[target]
    kept = [entry for name, entry in made.items() if name not in links]
    number = {entry.name: i for i, entry in enumerate(kept)}
    return Layout(
        tuple(kept),
        tuple(np.array([number[links.get(name, name)] for name in names], np.int64) for names in places),
        links,
    )


def _full_name(model: SpectralModel, name: str) -> str:
    """Return the name of a parameter of a model for its short or full form."""
    if name in model.parameters:
        return name
    found = [
        full
        for component, names in model.components
        for short, full in names.items()
        if name in (short, f"{component.name}.{short}")
    ]
    if len(found) == 1:
        return found[0]
    problem = "several parameters are" if found else "no parameter is"
    raise ModelError(
        f"{problem} called {name!r}; the model {model.expression!r} has {', '.join(model.names)}"
    )


def _fit_names(
    model: SpectralModel, name: str, made: Mapping[str, FitParameter], labels: Sequence[str]
) -> list[str]:
    """Return the names of a fit that a name means: those of all spectra, or of the one in brackets."""
    plain, bracket, label = name.partition("[")
    full = _full_name(model, plain)
    if not bracket:
        return [full] if full in made else [f"{full}[{label}]" for label in labels]
    wanted = f"{full}[{label}"
    if wanted in made:
        return [wanted]
    raise ModelError(
        f"there is no parameter {name!r}: name it in untied=, and give one of the labels {', '.join(labels)}"
    )


_SETTINGS = {"value", "min", "max", "frozen"}


def _set(entry: FitParameter, setting: Any) -> FitParameter:
    """Return a parameter with a value, or with what a mapping says of it."""
    given = setting if isinstance(setting, Mapping) else {"value": setting}
    if unknown := given.keys() - _SETTINGS:
        raise ModelError(
            f"parameter {entry.name!r}: found {', '.join(map(repr, unknown))}, "
            f"expected {', '.join(sorted(_SETTINGS))}"
        )
    own = {"value": entry.spec.value, "min": entry.spec.minimum, "max": entry.spec.maximum}
    try:
        value, low, high = (float(given.get(key, number)) for key, number in own.items())
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"parameter {entry.name!r}: found {setting!r}, expected a number, or a mapping of value, min, "
            "max and frozen"
        ) from error
    spec = replace(
        entry.spec,
        value=value,
        minimum=low,
        maximum=high,
        frozen=bool(given.get("frozen", entry.spec.frozen)),
    )
    if not spec.minimum < spec.maximum or np.isnan(spec.value):
        raise ModelError(
            f"parameter {entry.name!r}: found the value {spec.value:g} and limits {spec.minimum:g} to "
            f"{spec.maximum:g}; expected a number between two increasing limits"
        )
    low, high = spec.physical
    held = (spec.value,) if spec.frozen else (spec.value, spec.minimum, spec.maximum)
    if not np.isfinite(spec.value) or min(held) <= low or max(held) >= high:
        raise ModelError(
            f"parameter {entry.name!r}: its value and limits must lie between {low:g} and {high:g}, "
            f"where the model has a meaning; found {', '.join(f'{number:g}' for number in held)}"
        )
    if not spec.frozen and not spec.minimum <= spec.value <= spec.maximum:
        if "value" in given:
            raise ModelError(
                f"parameter {entry.name!r}: the value {spec.value:g} lies outside its limits "
                f"{spec.minimum:g} to {spec.maximum:g}; move the limits (min, max) or the value"
            )
        spec = replace(spec, value=float(np.clip(spec.value, spec.minimum, spec.maximum)))
    return FitParameter(entry.name, spec, entry.given or "value" in given)
