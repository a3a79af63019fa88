"""Models of photon spectra: written as expressions, made of functions, added and multiplied."""

from __future__ import annotations

import ast
import inspect
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from batx.errors import ModelError
from batx.kernels.models import ERG_PER_KEV, Bins, xspec_flux
from batx.model_components import COMPONENTS, Component, Parameter

__all__ = ["SpectralModel", "spectral_model"]


@dataclass(frozen=True)
class _Leaf:
    """A component; `first` is the place of its first parameter among those of the model."""

    component: Component
    first: int = 0

    @property
    def values(self) -> slice:
        return slice(self.first, self.first + len(self.component.parameters))


@dataclass(frozen=True)
class _Sum:
    terms: tuple[Any, ...]


@dataclass(frozen=True)
class _Product:
    """A factor, or a normalisation to a flux, before a spectrum."""

    factor: _Leaf
    spectrum: Any


class SpectralModel:
    """A photon spectrum with named parameters; models are added, and multiplied by factors.

    Made by `spectral_model`.

    Attributes
    ----------
    expression
        How it is written.
    parameters
        `Parameter` of each name, in the order of the values. A name that several components have is written
        ``component.name``, with the number of the component if there are several of it.
    """

    def __init__(self, tree: Any) -> None:
        self._tree = _numbered(tree)
        self.expression = _written(self._tree)
        self.parameters = _named(list(_leaves(self._tree)))

    @property
    def is_factor(self) -> bool:
        """Whether this is a factor, and no spectrum."""
        return isinstance(self._tree, _Leaf) and self._tree.component.role != "additive"

    @property
    def names(self) -> list[str]:
        """The names of the parameters."""
        return list(self.parameters)

    @property
    def components(self) -> list[tuple[Component, dict[str, str]]]:
        """The components in the order of the expression, each with the full names of its parameters."""
        made = []
        for leaf in _leaves(self._tree):
            short = (parameter.name for parameter in leaf.component.parameters)
            made.append((leaf.component, dict(zip(short, self.names[leaf.values], strict=True))))
        return made

    def written(self, names: Sequence[str]) -> str:
        """Return the expression with other names for its components, normalisations as ``name(spectrum)``."""
        return _written(self._tree, iter(names), call=True)

    def photons(self, bins: Bins, values: np.ndarray, compat: str | None = None) -> np.ndarray:
        """Return photons/cm**2/s in each energy bin for parameter values in the order of `parameters`."""
        return _photons(self._tree, bins, values, compat)

    def density(self, energy: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Return photons/cm**2/s/keV at energies in keV."""
        return _density(self._tree, np.asarray(energy, np.float64), values)

    def flux(self, low: float, high: float, values: np.ndarray, energy: bool = True) -> float:
        """Return the flux between two energies in keV: erg/cm**2/s, or photons/cm**2/s."""
        return _flux(self._tree, low, high, values, energy)

    def __add__(self, other: SpectralModel) -> SpectralModel:
        """Return the sum of two spectra."""
        for model in (self, other):
            if model.is_factor:
                raise ModelError(f"{model.expression}: a factor has no place in a sum; multiply by it")
        return SpectralModel(_Sum((*_terms(self._tree), *_terms(other._tree))))

    def __mul__(self, other: SpectralModel) -> SpectralModel:
        """Return a spectrum times a factor."""
        return SpectralModel(_multiplied([self._tree, other._tree]))

    def __repr__(self) -> str:
        lines = "\n".join(
            f"  {name} = {entry.value:g} {entry.unit}{' (frozen)' if entry.frozen else ''}"
            for name, entry in self.parameters.items()
        )
        return f"<SpectralModel {self.expression}>\n{lines}"


def spectral_model(model: Any, *, role: str = "additive") -> SpectralModel:
    """Return a model of a photon spectrum.

    Parameters
    ----------
    model
        An expression as in XSPEC, such as ``"powerlaw"``, ``"tbabs*(bbody+bremss)"`` or
        ``"cflux*powerlaw"``; or a function of energies (array, keV) and parameters, whose names and defaults
        are those of its arguments, for photons/cm**2/s/keV; or a `SpectralModel`.
    role
        ``"additive"`` for a function that is a spectrum, ``"factor"`` for one that multiplies spectra.

    Returns
    -------
    SpectralModel
        It can be added to others and multiplied by factors.

    Raises
    ------
    ModelError
        If the expression is not understood, names what is not there, or multiplies two spectra.

    Notes
    -----
    Spectra: ``powerlaw`` (index, pivot, norm), ``cutoffpl`` (index, e_cut, pivot, norm), ``peakpl`` (the same
    by the peak of E² N: index, e_peak, pivot, norm), ``band`` (alpha, beta, e_peak, norm at 100 keV),
    ``grbm`` (the same by e_fold), ``bbody`` (kt, norm), ``bremss`` (kt, norm), ``logpar`` (alpha, beta,
    pivot, norm). ``norm`` of the power laws is at ``pivot``, 1 keV unless set: with ``pivot`` 50 or 100 it is
    the photon flux density there. Factors: ``constant`` (factor), ``tbabs`` and ``phabs`` (nh, 1e22/cm**2).
    Normalisations of all that follows them in a product: ``cflux`` (emin, emax, log_flux: log10 of
    erg/cm**2/s), ``eflux`` (flux) and ``cpflux`` (photon_flux); the norm of the first spectrum after them is
    frozen. Formulae: `batx.kernels.models`, `batx.kernels.absorption`.

    Examples
    --------
    >>> spectral_model("cflux*powerlaw")
    <SpectralModel cflux*powerlaw>
      emin = 15 keV (frozen)
      emax = 150 keV (frozen)
      log_flux = -8 log10(erg cm**-2 s**-1)
      index = 2 1
      pivot = 1 keV (frozen)
      norm = 1 ph cm**-2 s**-1 keV**-1 (frozen)
    >>> spectral_model(lambda energy, a=1.0, b=2.0: a * energy**-b).names
    ['a', 'b']
    """
    if isinstance(model, SpectralModel):
        return model
    if isinstance(model, str):
        return SpectralModel(_parsed(model))
    if callable(model):
        return SpectralModel(_Leaf(_component_of(model, role)))
    raise ModelError(
        f"spectral_model: found {type(model).__name__}, expected an expression, a function or a SpectralModel"
    )


def _component_of(function: Callable[..., Any], role: str) -> Component:
    """Return a Python function of (energy, parameters...) as a component."""
    if role not in ("additive", "factor"):
        raise ModelError(f"role: found {role!r}, expected 'additive' or 'factor'")
    arguments = list(inspect.signature(function).parameters.values())
    plain = [
        entry for entry in arguments if entry.kind in (entry.POSITIONAL_ONLY, entry.POSITIONAL_OR_KEYWORD)
    ]
    if len(plain) != len(arguments) or not plain:
        raise ModelError(
            "a function that is a model takes energies and then its parameters, each by its own name; found "
            f"({', '.join(map(str, arguments))})"
        )
    name = function.__name__ if function.__name__.isidentifier() else "function"
    start = [1.0 if entry.default is entry.empty else float(entry.default) for entry in plain[1:]]
    _require_one_value_each(function, start)
    parameters = tuple(
        Parameter(entry.name, value, minimum=0.0, scale="linear")
        if role == "additive" and _is_scale(function, start, i)
        else Parameter(entry.name, value)
        for i, (entry, value) in enumerate(zip(plain[1:], start, strict=True))
    )
    if role == "additive":
        return Component(
            name, role, parameters, function, lambda bins, *p: bins.integrate(function(bins.nodes, *p))
        )
    return Component(
        name,
        role,
        parameters,
        function,
        lambda bins, *p: (
            bins.integrate(function(bins.nodes, *p) * np.ones_like(bins.nodes)) / np.diff(bins.edges)
        ),
    )


def _require_one_value_each(function: Callable[..., Any], start: list[float]) -> None:
    """Raise if a function does not give a number for each energy."""
    with np.errstate(all="ignore"):
        found = np.shape(function(np.array([1.0, 15.0, 50.0, 150.0]), *start))
    if found not in ((), (4,)):
        raise ModelError(
            f"a function that is a model gives a number for each energy; for 4 energies it gave shape {found}"
        )


def _is_scale(function: Callable[..., Any], start: list[float], place: int) -> bool:
    """Whether a function is proportional to one of its parameters, which then stays above 0."""
    energy = np.array([1.0, 15.0, 50.0, 150.0])
    with np.errstate(all="ignore"):
        once = np.asarray(function(energy, *start))
        thrice = np.asarray(function(energy, *start[:place], 3.0 * start[place], *start[place + 1 :]))
    return start[place] > 0 and bool(np.allclose(thrice, 3.0 * once, rtol=1e-12, atol=0.0) and np.any(once))


# ---------------------------------------------------------------- expressions


def _parsed(expression: str) -> Any:
    """Return the tree of an expression of names, ``+``, ``*`` and brackets; nothing is evaluated."""
    try:
        body = ast.parse(expression.strip(), mode="eval").body
    except (SyntaxError, ValueError) as error:
        raise ModelError(
            f"model {expression!r}: expected names of components joined by '+', '*' and brackets: {error}"
        ) from error
    return _tree(body, expression)


def _tree(node: ast.AST, expression: str) -> Any:
    if isinstance(node, ast.Name):
        if node.id.lower() not in COMPONENTS:
            raise ModelError(
                f"model {expression!r}: there is no component {node.id!r}; there are {', '.join(COMPONENTS)}"
            )
        return _Leaf(COMPONENTS[node.id.lower()])
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        terms = [term for side in (node.left, node.right) for term in _terms(_tree(side, expression))]
        for term in terms:
            if isinstance(term, _Leaf) and term.component.role != "additive":
                raise ModelError(f"model {expression!r}: the factor {term.component.name!r} stands in a sum")
        return _Sum(tuple(terms))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        return _multiplied([_tree(part, expression) for part in _parts(node)])
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) == 1:
        return _multiplied([_tree(node.func, expression), _tree(node.args[0], expression)])
    raise ModelError(
        f"model {expression!r}: found {ast.unparse(node)!r}, expected names of components joined by '+', '*' "
        "and brackets"
    )


def _parts(node: ast.AST) -> list[ast.AST]:
    """Return what a product multiplies, from left to right."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        return [*_parts(node.left), *_parts(node.right)]
    return [node]


def _terms(tree: Any) -> tuple[Any, ...]:
    return tree.terms if isinstance(tree, _Sum) else (tree,)


def _multiplied(parts: list[Any]) -> Any:
    """Return a product: factors apply from the spectrum outwards, those after it first."""
    place = [
        i
        for i, part in enumerate(parts)
        if not (isinstance(part, _Leaf) and part.component.role != "additive")
    ]
    if len(place) != 1:
        found = " and ".join(_written(parts[i]) for i in place) or "none"
        raise ModelError(
            f"a product has factors and one spectrum; found {found} in {'*'.join(map(_written, parts))}"
        )
    made = parts[place[0]]
    for factor in parts[place[0] + 1 :]:
        if factor.component.role == "flux":
            raise ModelError(f"{factor.component.name} stands before the spectrum that it normalises")
        made = _Product(factor, made)
    for factor in reversed(parts[: place[0]]):
        made = _Product(factor, made)
    return made


def _written(tree: Any, names: Iterator[str] | None = None, call: bool = False) -> str:
    """Return an expression, with other names for the components if there are any."""
    if isinstance(tree, _Leaf):
        return next(names) if names is not None else tree.component.name
    if isinstance(tree, _Sum):
        return "+".join(_written(term, names, call) for term in tree.terms)
    factor = _written(tree.factor, names, call)
    inner = _written(tree.spectrum, names, call)
    if call and tree.factor.component.role == "flux":
        return f"{factor}({inner})"
    return f"{factor}*{f'({inner})' if isinstance(tree.spectrum, _Sum) else inner}"


# ---------------------------------------------------------------- parameters


def _leaves(tree: Any) -> Iterator[_Leaf]:
    if isinstance(tree, _Leaf):
        yield tree
    elif isinstance(tree, _Sum):
        for term in tree.terms:
            yield from _leaves(term)
    else:
        yield tree.factor
        yield from _leaves(tree.spectrum)


def _numbered(tree: Any, first: int = 0) -> Any:
    """Return the tree with the places of all parameters, and norms frozen that a flux replaces."""
    if isinstance(tree, _Leaf):
        return replace(tree, first=first)
    if isinstance(tree, _Sum):
        terms = []
        for term in tree.terms:
            terms.append(_numbered(term, first))
            first += sum(len(leaf.component.parameters) for leaf in _leaves(term))
        return _Sum(tuple(terms))
    inner = tree.spectrum
    if tree.factor.component.role == "flux":
        inner = _without_scale(inner)
    return _Product(
        replace(tree.factor, first=first), _numbered(inner, first + len(tree.factor.component.parameters))
    )


def _without_scale(tree: Any) -> Any:
    """Return a spectrum with the scale of its first component frozen."""
    if isinstance(tree, _Leaf):
        frozen = tuple(
            replace(entry, frozen=entry.frozen or bool(entry.scale)) for entry in tree.component.parameters
        )
        return replace(tree, component=replace(tree.component, parameters=frozen))
    if isinstance(tree, _Sum):
        return _Sum((_without_scale(tree.terms[0]), *tree.terms[1:]))
    return _Product(tree.factor, _without_scale(tree.spectrum))


def _named(leaves: list[_Leaf]) -> dict[str, Parameter]:
    """Return the parameters under names that are unique."""
    times = Counter(leaf.component.name for leaf in leaves)
    short = Counter(entry.name for leaf in leaves for entry in leaf.component.parameters)
    seen: Counter[str] = Counter()
    made: dict[str, Parameter] = {}
    for leaf in leaves:
        own = leaf.component.name
        seen[own] += 1
        owner = f"{own}{seen[own]}" if times[own] > 1 else own
        for entry in leaf.component.parameters:
            made[entry.name if short[entry.name] == 1 else f"{owner}.{entry.name}"] = entry
    return made


# ---------------------------------------------------------------- values


def _photons(tree: Any, bins: Bins, values: np.ndarray, compat: str | None) -> np.ndarray:
    if isinstance(tree, _Leaf):
        component = tree.component
        integral = component.xspec if compat == "xspec" and component.xspec is not None else component.bins
        own = values[tree.values]
        if not component.proportional:
            return integral(bins, *own)
        shape = tuple(own[:-1].tolist())
        once = bins.recent((tree.first, compat, shape), component, lambda: integral(bins, *shape, 1.0))
        return own[-1] * once
    if isinstance(tree, _Sum):
        return np.sum([_photons(term, bins, values, compat) for term in tree.terms], axis=0)
    photons = _photons(tree.spectrum, bins, values, compat)
    factor = tree.factor
    if factor.component.role == "factor":
        return photons * factor.component.bins(bins, *values[factor.values])
    low, high, wanted = values[factor.values]
    energy = factor.component.name != "cpflux"
    if compat == "xspec":
        flux = xspec_flux(photons, bins.edges, low, high, energy)
    else:
        flux = _flux(tree.spectrum, low, high, values, energy)
    return photons * _ratio(factor.component.bins(wanted), flux)


def _density(tree: Any, energy: np.ndarray, values: np.ndarray) -> np.ndarray:
    if isinstance(tree, _Leaf):
        return tree.component.density(energy, *values[tree.values])
    if isinstance(tree, _Sum):
        return np.sum([_density(term, energy, values) for term in tree.terms], axis=0)
    density = _density(tree.spectrum, energy, values)
    factor = tree.factor
    if factor.component.role == "factor":
        return density * factor.component.density(energy, *values[factor.values])
    low, high, wanted = values[factor.values]
    flux = _flux(tree.spectrum, low, high, values, factor.component.name != "cpflux")
    return density * _ratio(factor.component.bins(wanted), flux)


def _ratio(wanted: float, flux: float) -> float:
    """Return what a spectrum must be multiplied by; NaN if it has no flux in the band."""
    return wanted / flux if flux > 0 else np.nan


def _flux(tree: Any, low: float, high: float, values: np.ndarray, energy: bool) -> float:
    jumps = tuple(sorted({jump for leaf in _leaves(tree) for jump in leaf.component.energies}))
    bins = _flux_bins(float(low), float(high), jumps)
    density = _density(tree, bins.nodes, values)
    return ERG_PER_KEV * bins.total(density * bins.nodes) if energy else bins.total(density)


@lru_cache(maxsize=64)
def _flux_bins(low: float, high: float, jumps: tuple[float, ...]) -> Bins:
    """Return bins over a band, 20 to the decade and divided where the spectrum may jump."""
    if not 0 < low < high:
        raise ModelError(f"flux: found a band from {low:g} to {high:g} keV, expected 0 < lower < upper")
    number = max(4, int(np.ceil(20 * np.log10(high / low))))
    inside = [jump for jump in jumps if low < jump < high]
    return Bins(np.unique(np.concatenate([np.geomspace(low, high, number + 1), inside])))
