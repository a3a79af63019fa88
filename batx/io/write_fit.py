"""Fits as commands for XSPEC, and as scripts for Sherpa and 3ML."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from batx.errors import ModelError, ValueRangeError
from batx.io.atomic import atomic_path, input_files
from batx.schema import require_kind
from batx.spectral_models import SpectralModel, spectral_model
from batx.xspec_models import XSPEC_MODELS, XSPEC_STATISTICS, abundances

__all__ = ["to_script"]


def to_script(
    fit: xr.Dataset, path: str | os.PathLike[str], format: str = "xspec", overwrite: bool = False
) -> Path:
    """Write a fit as commands that make it again in another program, starting from its best parameters.

    Parameters
    ----------
    fit
        Kind ``fit``, of spectra and responses that are files.
    path
        File to write, all of it or nothing.
    format
        ``"xspec"`` (an .xcm file), ``"sherpa"`` or ``"3ml"`` (Python scripts).
    overwrite
        Whether an existing file may be replaced.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    KindError
        If it is no fit.
    ModelError
        If the other program has no such model or tie, or, for 3ML, if spectra have parameters of their own.
    ValueRangeError
        If a spectrum or response was not a file, its name would not be read by XSPEC as one, the other
        program has no such statistic or error of the model, or there is no such format.

    Notes
    -----
    A power law with a pivot becomes one at 1 keV for XSPEC and Sherpa; models by their peak energy become
    those by their e-folding energy; ``eflux`` becomes ``cflux``. Limits of these parameters are not carried
    over, and those of others to XSPEC only; what is frozen here is its counterpart there. Sherpa and 3ML
    select whole channels by their own rules, which may differ by one at either end. Backgrounds and effective
    areas that the header of a spectrum names, but the fit did not use, are taken away for XSPEC.

    Examples
    --------
    >>> import tempfile
    >>> from batx.schema import build
    >>> inputs = '[{"label": "0", "statistic": "chi2", "energy": [15, 150], '
    >>> inputs += '"data": "a.pha", "response": "a.rsp"}]'
    >>> result = build("fit", {"parameter": ["index", "pivot", "norm"], "value": [1.9, 1.0, 40.0],
    ...                        "frozen": [False, True, False]}, {"model": "powerlaw", "inputs": inputs})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     print(to_script(result, f"{folder}/a.xcm").read_text())
    data 1:1 a.pha
    response 1 a.rsp
    ignore bad
    ignore 1:**-15.0 150.0-**
    statistic chi 1
    model powerlaw & 1.9,0.019 & 40.0,0.4
    """
    require_kind(fit, "fit", operation="to_script")
    if format not in _WRITERS:
        raise ValueRangeError(f"format: found {format!r}, expected one of {', '.join(map(repr, _WRITERS))}")
    lines = _WRITERS[format](_Recipe(fit))
    with atomic_path(path, overwrite=overwrite, inputs=input_files(fit)) as temporary:
        Path(temporary).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return Path(path)


@dataclass(frozen=True)
class _Value:
    """A parameter of another program: its value, whether it is frozen, its parameter in the fit."""

    name: str
    value: float
    frozen: bool
    source: str
    limits: tuple[float, float] | None = None


class _Recipe:
    """What was fitted, read from the result."""

    def __init__(self, fit: xr.Dataset) -> None:
        self.model: SpectralModel = spectral_model(str(fit.attrs.get("model", "")))
        self.inputs: list[dict[str, Any]] = json.loads(fit.attrs.get("inputs", "[]"))
        for entry in self.inputs:
            if missing := [key for key in ("data", "response") if not entry.get(key)]:
                raise ValueRangeError(
                    f"to_script: the {' and '.join(missing)} of spectrum {entry.get('label')!r} came from no "
                    "file; write them (to_fits) and fit the files"
                )
        names = [str(name) for name in fit["parameter"].values]
        self.values = dict(zip(names, fit["value"].values.tolist(), strict=True))
        self.frozen = dict(zip(names, fit["frozen"].values.tolist(), strict=True))
        self.limits: dict[str, tuple[float, float]] = {}
        if "minimum" in fit and "maximum" in fit:
            pairs = zip(fit["minimum"].values.tolist(), fit["maximum"].values.tolist(), strict=True)
            self.limits = dict(zip(names, pairs, strict=True))
        self.tied: dict[str, str] = json.loads(fit.attrs.get("tied", "{}"))
        self.model_error = float(fit.attrs.get("model_error", 0.0))

    def source(self, name: str, label: str) -> str:
        """Return the name in the fit of a parameter of a spectrum."""
        own = f"{name}[{label}]"
        full = own if own in self.values or own in self.tied else name
        return self.tied.get(full, full)

    def components(self, label: str, table: dict[str, Any]) -> Iterator[tuple[str, list[_Value]]]:
        """Yield the components of a spectrum under the names and with the parameters of another program."""
        for component, names in self.model.components:
            if component.name not in table:
                raise ModelError(f"to_script: {component.name!r} has no counterpart there")
            other, parameters = table[component.name]
            sources = {short: self.source(full, label) for short, full in names.items()}
            values = {short: self.values[full] for short, full in sources.items()}
            yield (
                other,
                [
                    _Value(
                        name,
                        float(convert(values)),
                        self.frozen[sources[main]],
                        sources[main],
                        self._limits(component.name, name, sources[main], values),
                    )
                    for name, main, convert in parameters
                ],
            )

    def _limits(
        self, component: str, name: str, source: str, values: dict[str, float]
    ) -> tuple[float, float] | None:
        """Return the limits of a parameter of XSPEC, if those here are known."""
        parameters = XSPEC_MODELS.get(component, ("", ()))[1]
        entry = next((entry for entry in parameters if entry.name == name), None)
        if entry is None or source not in self.limits:
            return None
        if entry.back is None or (entry.source == "norm" and values.get("pivot") == 1.0):
            return self.limits[source]
        if not entry.others:
            low, high = (entry.there({**values, entry.source: end}) for end in self.limits[source])
            return low, high
        return entry.limits


def _own(name: str) -> Callable[[dict[str, float]], float]:
    return lambda values: values[name]


#: component: (name in XSPEC, (parameter there, parameter here that frees or freezes it, its value) ...)
_XSPEC: dict[str, Any] = {
    name: (other, tuple((entry.name, entry.source, entry.there) for entry in parameters))
    for name, (other, parameters) in XSPEC_MODELS.items()
}


# ---------------------------------------------------------------- XSPEC

_XSPEC_STATISTICS = {**XSPEC_STATISTICS, "gaussian": "chi"}
#: what XSPEC, or its Tcl, reads as something else than a part of a name
_NOT_IN_NAMES = set(' \t\n"$[]{}();,\\#')


def _xspec(recipe: _Recipe) -> list[str]:
    """Return commands of XSPEC."""
    inputs = list(enumerate(recipe.inputs, 1))
    lines = []
    if (table := abundances(recipe.model)) is not None:
        lines += [f"abund {table}", "xsect vern"]
    lines.append("data " + " ".join(f"{i}:{i} {_plain(entry['data'])}" for i, entry in inputs))
    for i, entry in inputs:
        linked = _linked(entry["data"])
        for key, command in (("response", "response"), ("arf", "arf"), ("background", "backgrnd")):
            if entry.get(key):
                lines.append(f"{command} {i} {_plain(entry[key])}")
            elif key in linked:
                lines.append(f"{command} {i} none")
    if not all(entry.get("keep_bad") for entry in recipe.inputs):
        lines.append("ignore bad")
    for i, entry in inputs:
        if entry.get("energy"):
            low, high = map(float, entry["energy"])
            lines.append(f"ignore {i}:**-{low} {high}-**")
    lines += [f"statistic {_XSPEC_STATISTICS[entry['statistic']]} {i}" for i, entry in inputs]
    if recipe.model_error:
        lines.append(f"systematic {recipe.model_error}")
    known: dict[tuple[str, str], tuple[int, float]] = {}
    values = [
        _xspec_value(value, known, number)
        for number, value in enumerate(
            (
                value
                for entry in recipe.inputs
                for _, parameters in recipe.components(entry["label"], _XSPEC)
                for value in parameters
            ),
            1,
        )
    ]
    names = [other for other, _ in recipe.components(recipe.inputs[0]["label"], _XSPEC)]
    return [*lines, f"model {recipe.model.written(names)} & {' & '.join(values)}"]


def _plain(name: str) -> str:
    """Return the name of a file that XSPEC reads as one."""
    if _NOT_IN_NAMES & set(name):
        raise ValueRangeError(
            f"to_script: XSPEC does not read {name!r} as the name of a file, because of its blanks, brackets "
            "or signs; rename it, or link it under another name, and fit that"
        )
    return name


def _linked(path: str) -> set[str]:
    """Return which of ``arf`` and ``background`` the header of a spectrum names, if the file is there."""
    from astropy.io import fits

    if not Path(path).is_file():
        return set()
    found = set()
    with fits.open(path) as hdus:
        for hdu in hdus:
            for key, keyword in (("arf", "ANCRFILE"), ("background", "BACKFILE")):
                if str(hdu.header.get(keyword, "none")).strip().lower() not in ("", "none", "null", "n/a"):
                    found.add(key)
    return found


def _xspec_value(value: _Value, known: dict[tuple[str, str], tuple[int, float]], number: int) -> str:
    """Return a parameter with its step, negative if frozen, and limits; or a tie to where it came first."""
    key = (value.source, value.name)
    if key in known:
        _check_tie(value, known[key][1])
        return f"=p{known[key][0]}"
    known[key] = (number, value.value)
    step = max(0.01 * abs(value.value), 1e-12)
    limits = ""
    if value.limits is not None:
        low, high = min(value.limits[0], value.value), max(value.limits[1], value.value)
        limits = f",{low:g},{low:g},{high:g},{high:g}"
        if low == value.value or high == value.value:
            limits = f",{low!r},{low!r},{high!r},{high!r}"
    return f"{value.value!r},{-step if value.frozen else step:.6g}{limits}"


def _check_tie(value: _Value, first: float) -> None:
    """Raise an error if a parameter that spectra share here is another number for each there."""
    if abs(value.value - first) > 1e-9 * abs(first):
        raise ModelError(
            f"to_script: {value.source!r} is shared, but {value.name}, which stands for it there, differs "
            "from spectrum to spectrum; share all parameters that it depends on, or set pivot to 1 keV"
        )


# ---------------------------------------------------------------- Sherpa

_SHERPA_STATISTICS = {"chi2": "chi2datavar", "gaussian": "chi2datavar", "cstat": "cstat", "wstat": "wstat"}


def _sherpa(recipe: _Recipe) -> list[str]:
    """Return a Python script for Sherpa with its XSPEC models."""
    statistics = {_SHERPA_STATISTICS.get(entry["statistic"]) for entry in recipe.inputs}
    if len(statistics) != 1 or None in statistics:
        raise ValueRangeError(
            "to_script: Sherpa takes one statistic for all spectra, and has no PG-statistic"
        )
    _refuse_model_error(recipe, "Sherpa")
    statistic = statistics.pop()
    lines = ["from sherpa.astro import ui", "", f"ui.set_stat({statistic!r})"]
    given = ", use_errors=True" if statistic == "chi2datavar" else ""
    if (table := abundances(recipe.model)) is not None:
        lines += [f"ui.set_xsabund({table!r})", "ui.set_xsxsect('vern')"]
    known: dict[tuple[str, str], tuple[str, float]] = {}
    for i, entry in enumerate(recipe.inputs, 1):
        lines.append(f"ui.load_pha({i}, {entry['data']!r}{given})")
        for key, command in (("response", "load_rmf"), ("arf", "load_arf"), ("background", "load_bkg")):
            if entry.get(key):
                lines.append(f"ui.{command}({i}, {entry[key]!r})")
        if given and entry.get("background"):
            lines.append(f"ui.subtract({i})")
        if not entry.get("keep_bad"):
            lines.append(f"ui.ignore_bad({i})")
        if entry.get("energy"):
            lines.append(f"ui.notice_id({i}, {float(entry['energy'][0])}, {float(entry['energy'][1])})")
        parts = list(recipe.components(entry["label"], _XSPEC))
        made = [f"ui.xs{other}.c{i}_{k}" for k, (other, _) in enumerate(parts)]
        lines.append(f"ui.set_source({i}, {recipe.model.written(made)})")
        for k, (_, parameters) in enumerate(parts):
            for value in parameters:
                own, key_of = f"c{i}_{k}.{value.name}", (value.source, value.name)
                if key_of in known:
                    _check_tie(value, known[key_of][1])
                    lines.append(f"ui.link({own}, {known[key_of][0]})")
                else:
                    known[key_of] = (own, value.value)
                    lines.append(f"ui.set_par({own}, val={value.value!r}, frozen={value.frozen})")
    return [*lines, "ui.fit()", "ui.conf()"]


def _refuse_model_error(recipe: _Recipe, program: str) -> None:
    if recipe.model_error:
        raise ValueRangeError(f"to_script: {program} has no error of the model, found {recipe.model_error}")


# ---------------------------------------------------------------- 3ML


def _minus(name: str) -> Callable[[dict[str, float]], float]:
    return lambda values: -values[name]


_K = ("K", "norm", _own("norm"))
_PIV = ("piv", "pivot", _own("pivot"))
#: component: (function of astromodels, (parameter there, parameter here, its value) ...)
_ASTROMODELS: dict[str, Any] = {
    "powerlaw": ("Powerlaw", (_K, _PIV, ("index", "index", _minus("index")))),
    "cutoffpl": (
        "Cutoff_powerlaw",
        (_K, _PIV, ("index", "index", _minus("index")), ("xc", "e_cut", _own("e_cut"))),
    ),
    "peakpl": (
        "Cutoff_powerlaw_Ep",
        (_K, _PIV, ("index", "index", _minus("index")), ("xp", "e_peak", _own("e_peak"))),
    ),
    "band": (
        "Band",
        (
            _K,
            ("alpha", "alpha", _own("alpha")),
            ("xp", "e_peak", _own("e_peak")),
            ("beta", "beta", _own("beta")),
        ),
    ),
    "bbody": (
        "Blackbody",
        (("K", "norm", lambda values: 8.0525 * values["norm"] / values["kt"] ** 4), ("kT", "kt", _own("kt"))),
    ),
    "tbabs": ("TbAbs", (("NH", "nh", _own("nh")),)),
    "phabs": ("PhAbs", (("NH", "nh", _own("nh")),)),
}


def _threeml(recipe: _Recipe) -> list[str]:
    """Return a Python script for 3ML."""
    if any("[" in name for name in recipe.values):
        raise ModelError(
            "to_script: parameters of single spectra are not written for 3ML; fit without untied="
        )
    _refuse_model_error(recipe, "3ML")
    lines = ["from threeML import *", "", "data = DataList("]
    for entry in recipe.inputs:
        named = {"observation": entry["data"], "response": entry["response"], "arf_file": entry.get("arf")}
        named["background"] = entry.get("background")
        given = "".join(f", {key}={value!r}" for key, value in named.items() if value)
        lines.append(f"    OGIPLike({'s' + entry['label']!r}{given}),")
    lines += [")", ""]
    for i, entry in enumerate(recipe.inputs):
        if entry.get("energy"):
            low, high = map(float, entry["energy"])
            lines.append(f"list(data.values())[{i}].set_active_measurements('{low}-{high}')")
    made = []
    for k, (other, parameters) in enumerate(recipe.components(recipe.inputs[0]["label"], _ASTROMODELS)):
        made.append(f"f{k}")
        lines.append(f"f{k} = {other}()")
        for value in parameters:
            lines.append(f"f{k}.{value.name}.bounds = (None, None)")
            lines.append(f"f{k}.{value.name} = {value.value!r}")
            lines.append(f"f{k}.{value.name}.fix = {value.frozen}")
    spectrum = recipe.model.written(made)
    return [
        *lines,
        f"model = Model(PointSource('source', 0.0, 0.0, spectral_shape={spectrum}))",
        "analysis = JointLikelihood(model, data)",
        "analysis.fit()",
    ]


_WRITERS = {"xspec": _xspec, "sherpa": _sherpa, "3ml": _threeml}
