"""What runs in the interpreter that has pyXspec: one fit from data that describe it, and nothing else.

Only names of the pyXspec manual are used. Nothing is asked of the user: prompts are off, and standard input
is empty anyway.
"""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

import xspec

#: how often XSPEC's minimisation is repeated until the statistic stays, and how much it may change then
_REPEATS = 12
_SETTLED = 1e-5
#: how often all begins again after the search for error ranges found a better minimum
_RESTARTS = 4


class _Tried:
    """Lets a command of XSPEC fail, which is the exception that pyXspec raises: `Exception` itself."""

    def __init__(self, complaints: list, what: str) -> None:
        self.complaints, self.what = complaints, what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        if kind is Exception:
            self.complaints.append("{}: {}".format(self.what, " ".join(str(error).split())))
            return True
        return False


def hello() -> dict[str, Any]:
    """Silence XSPEC; return the versions of what runs here."""
    _quiet()
    return {"version": [str(part) for part in xspec.Xset.version], "python": sys.version.split()[0]}


def _quiet() -> None:
    xspec.Xset.chatter = 0
    xspec.Xset.logChatter = 0
    xspec.Xset.allowPrompting = False
    xspec.Fit.query = "no"


def fit(request: dict[str, Any]) -> dict[str, Any]:
    """Fit spectra that lie in this folder.

    The request has ``spectra`` (``data``, ``statistic``, ``ignore``: ranges of channels), ``abund``,
    ``xsect``, ``systematic``, ``energies`` (extensions of the response), ``expression``, ``parameters`` (of
    each data group: ``name``, ``value``, ``step``, ``limits``, ``frozen``, ``link``), ``free`` (global
    numbers), ``delta`` (none for no ranges), ``flux`` (bands in keV).
    """
    complaints: list = []
    _reset()
    _load(request)
    groups = _model(request)
    settled = True
    if request["free"]:
        settled = _minimise(request)
    ranges: dict = {}
    if request["delta"] is not None and request["free"]:
        for _ in range(_RESTARTS):
            ranges, better = _ranges(request, groups, complaints)
            if not better:
                break
            settled = _minimise(request)
    covariance: list = []
    if request["free"]:
        with _Tried(complaints, "covariance"):
            covariance = [float(value) for value in xspec.Fit.covariance]
    answer = {
        "parameters": [[_numbers(par.values)[0], float(par.sigma)] for group in groups for par in group],
        "covariance": covariance,
        "statistic": float(xspec.Fit.statistic),
        "dof": int(xspec.Fit.dof),
        "settled": settled,
        "ranges": ranges,
    }
    answer["noticed"] = [list(xspec.AllData(i + 1).noticed) for i in range(len(request["spectra"]))]
    answer["folded"] = [
        _numbers(xspec.AllModels(i + 1).folded(i + 1)) for i in range(len(request["spectra"]))
    ]
    answer["flux"] = [_flux(request, band) for band in request["flux"]]
    answer["complaints"] = complaints
    return answer


def _numbers(values: Any) -> list:
    return [float(value) for value in values]


def _reset() -> None:
    """Take away what an earlier request, or a start-up file, has set."""
    xspec.AllChains.clear()
    xspec.AllData.clear()
    xspec.AllModels.clear()
    _quiet()
    xspec.AllModels.setEnergies("reset")
    xspec.AllModels.systematic = 0.0
    xspec.Xset.modelStrings = {}
    xspec.Xset.parallel.leven = 1
    xspec.Xset.parallel.error = 1
    xspec.Fit.bayes = "off"
    xspec.Fit.weight = "standard"
    xspec.Fit.statMethod = "chi"
    xspec.Fit.delta = 0.0
    xspec.Fit.method = ["leven", 1000, 1e-6]


def _load(request: dict[str, Any]) -> None:
    """Read the spectra, each into a data group of its own, and leave out channels."""
    if request["abund"]:
        xspec.Xset.abund = request["abund"]
    xspec.Xset.xsect = request["xsect"]
    entries = request["spectra"]
    xspec.AllData(" ".join("{0}:{0} {1}".format(i + 1, entry["data"]) for i, entry in enumerate(entries)))
    if xspec.AllData.nSpectra != len(entries):
        raise ValueError(f"XSPEC read {xspec.AllData.nSpectra} of {len(entries)} spectra")
    for i, entry in enumerate(entries):
        spectrum = xspec.AllData(i + 1)
        spectrum.response  # noqa: B018 (raises if there is none)
        for channels in entry["ignore"]:
            spectrum.ignore(channels)
        xspec.Fit.statMethod = "{} {}".format(entry["statistic"], i + 1)


def _model(request: dict[str, Any]) -> list:
    """Define the model, set its parameters; return those of each data group."""
    for words in request["energies"]:
        xspec.AllModels.setEnergies("extend", words)
    xspec.AllModels.systematic = request["systematic"]
    xspec.Model(request["expression"])
    groups = []
    for number, entries in enumerate(request["parameters"], 1):
        model = xspec.AllModels(number)
        names = [model(k + 1).name for k in range(model.nParameters)]
        wanted = [entry["name"] for entry in entries]
        if [name.lower() for name in names] != [name.lower() for name in wanted]:
            raise ValueError(
                "this XSPEC has the parameters {} for {}, expected {}".format(
                    ", ".join(names), request["expression"], ", ".join(wanted)
                )
            )
        groups.append([model(k + 1) for k in range(model.nParameters)])
    for parameters, entries in zip(groups, request["parameters"]):  # noqa: B905 (older interpreters)
        for par, entry in zip(parameters, entries):  # noqa: B905
            if par.link:
                par.untie()
            par.values = [entry["value"], entry["step"], *entry["limits"]]
            par.frozen = bool(entry["frozen"])
    for parameters, entries in zip(groups, request["parameters"]):  # noqa: B905
        for par, entry in zip(parameters, entries):  # noqa: B905
            if entry["link"]:
                par.link = entry["link"]
    return groups


def _minimise(request: dict[str, Any]) -> bool:
    """Fit until the statistic stays; return whether it does."""
    last = None
    for _ in range(_REPEATS):
        xspec.Fit.perform()
        now = float(xspec.Fit.statistic)
        if last is not None and abs(last - now) <= _SETTLED * max(1.0, abs(now)):
            return True
        last = now
    return False


def _ranges(request: dict[str, Any], groups: list, complaints: list) -> tuple:
    """Return the range of each free parameter with its flags, and whether a better minimum turned up."""
    flat = [par for group in groups for par in group]
    ranges = {}
    for number in request["free"]:
        before = float(xspec.Fit.statistic)
        with _Tried(complaints, f"error {number}"):
            xspec.Fit.error(f"stopat 100 0.001 maximum 1.0e10 {float(request['delta'])} {number}")
            low, high, flags = flat[number - 1].error
            ranges[str(number)] = [float(low), float(high), str(flags)]
            if str(flags)[:1] == "T" or float(xspec.Fit.statistic) < before - 1e-3:
                return ranges, True
    return ranges, False


def _flux(request: dict[str, Any], band: list) -> list:
    """Return the energy flux and the photon flux of each spectrum in a band."""
    xspec.AllModels.calcFlux(f"{float(band[0])} {float(band[1])}")
    rows = [_numbers(xspec.AllData(i + 1).flux) for i in range(len(request["spectra"]))]
    return [[row[0], row[3]] for row in rows]


def contour(request: dict[str, Any]) -> dict[str, Any]:
    """Step through two parameters of the fit that was made last.

    The request has ``axes``: of each parameter its global number, first and last value, number of steps.
    """
    axes = request["axes"]
    xspec.Fit.steppar(" ".join("{} {!r} {!r} {}".format(*axis) for axis in axes))
    return {
        "statistic": _numbers(xspec.Fit.stepparResults("statistic")),
        "values": [_numbers(xspec.Fit.stepparResults(str(axis[0]))) for axis in axes],
    }


VERBS = {"fit": fit, "contour": contour}
