"""A stand-in for pyXspec, with the names, the types and the manners of the real one.

It computes its fits itself: own reading and folding, iminuit for the minimum and the ranges, the models of
`batx.kernels`. With ``STANDIN_ANSWERS`` (a file) it gives answers that the real XSPEC gave, if it is asked
the same question, and refuses otherwise. ``STANDIN_MISBEHAVE`` (``place:manner``, several with blanks) makes
it prompt, print, hang, raise or end where the real one may.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from pathlib import Path

import numpy as np

_BAD = dict(entry.split(":") for entry in os.environ.get("STANDIN_MISBEHAVE", "").split())
_ANSWERS = os.environ.get("STANDIN_ANSWERS")

#: component: (name, value, hard and soft limits) of its parameters, as in model.dat
_NORM = ("norm", 1.0, 0.0, 0.0, 1e20, 1e24)
_ENDS = (("Emin", 0.5, 0.0, 0.0, 1e6, 1e6), ("Emax", 10.0, 0.0, 0.0, 1e6, 1e6))
_PARAMETERS = {
    "powerlaw": (("PhoIndex", 1.0, -3.0, -2.0, 9.0, 10.0), _NORM),
    "cutoffpl": (
        ("PhoIndex", 1.0, -3.0, -2.0, 9.0, 10.0),
        ("HighECut", 15.0, 0.01, 1.0, 500.0, 500.0),
        _NORM,
    ),
    "bbody": (("kT", 3.0, 1e-4, 0.01, 100.0, 200.0), _NORM),
    "bremss": (("kT", 7.0, 1e-4, 1e-4, 100.0, 200.0), _NORM),
    "grbm": (
        ("alpha", -1.0, -10.0, -3.0, 2.0, 5.0),
        ("beta", -2.0, -10.0, -5.0, 2.0, 10.0),
        ("tem", 300.0, 10.0, 50.0, 1000.0, 10000.0),
        _NORM,
    ),
    "logpar": (
        ("alpha", 1.5, 0.0, 0.0, 4.0, 4.0),
        ("beta", 0.2, -4.0, -4.0, 4.0, 4.0),
        ("pivotE", 1.0, 0.0, 0.0, 1e6, 1e6),
        _NORM,
    ),
    "constant": (("factor", 1.0, 0.0, 0.0, 1e10, 1e10),),
    "tbabs": (("nH", 1.0, 0.0, 0.0, 1e5, 1e6),),
    "phabs": (("nH", 1.0, 0.0, 0.0, 1e5, 1e6),),
    "cflux": (*_ENDS, ("lg10Flux", -12.0, -100.0, -100.0, 100.0, 100.0)),
    "cpflux": (*_ENDS, ("Flux", 1.0, 0.0, 0.0, 1e10, 1e10)),
}
_FROZEN = {"Emin", "Emax", "pivotE"}


def _misbehave(place):
    manner = _BAD.get(place)
    if manner == "flood":
        for _ in range(10_000):
            print("XSPEC says so much that nobody reads it " * 3)
    elif manner == "hang":
        while True:
            time.sleep(1000)
    elif manner == "exit":
        print("XSPEC: fatal", flush=True)
        sys.exit(5)
    elif manner == "osexit":
        os._exit(6)
    elif manner == "segv":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif manner == "raise":
        raise Exception(f"Error: {place} did not work")
    elif manner == "prompt":
        _ask("Enter something")
    elif manner == "elsewhere":
        os.chdir("/")
    elif manner == "bytes":
        os.write(1, b"\xff\xfe\x00 \x1b[2J" * 1000)
    elif manner == "closes":
        os.closerange(3, 256)
    elif manner == "slow":
        time.sleep(0.5)
    elif manner == "stops":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif manner == "deep":
        sys.setrecursionlimit(50)
    elif manner == "silent":
        sys.stdout = sys.stderr = None


def _ask(question):
    """Ask until there is an answer, for ever if there is none."""
    while True:
        print(f"{question} (or /*): ", end="", flush=True)
        answer = sys.stdin.readline().strip()
        if answer:
            return answer
        time.sleep(0.001)


class _Restricted:
    """Refuses attributes that do not exist, as pyXspec does."""

    def __setattr__(self, name, value):
        if not name.startswith("_") and not isinstance(getattr(type(self), name, None), property):
            raise Exception(f"***Error: Attribute {name} does not exist in class {type(self).__name__}")
        super().__setattr__(name, value)


def _setting(name, kind, check=lambda value: True):
    def put(self, value):
        if not isinstance(value, kind) or not check(value):
            raise Exception(f"Error: {name} cannot be {value!r}")
        self.__dict__["_" + name] = value

    return property(lambda self: self.__dict__["_" + name], put)


class _Parallel(_Restricted):
    leven = _setting("leven", int)
    error = _setting("error", int)


class _Xset(_Restricted):
    chatter = _setting("chatter", int)
    logChatter = _setting("logChatter", int)
    allowPrompting = _setting("allowPrompting", bool)
    abund = _setting("abund", str)
    xsect = _setting("xsect", str)
    seed = _setting("seed", int)
    modelStrings = _setting("modelStrings", (dict, tuple))
    version = property(lambda self: ("2.1.5", "12.15.0"))
    parallel = property(lambda self: self.__dict__["_parallel"])

    def __init__(self):
        self.__dict__["_parallel"] = _Parallel()
        self._chatter, self._logChatter, self._allowPrompting = 10, 10, True
        self._abund, self._xsect, self._seed, self._modelStrings = "angr", "vern", 0, {}


# ---------------------------------------------------------------- data


def _vector(table, header, name, size, default):
    if name in table.columns.names:
        return np.asarray(table[name], float)
    value = header.get(name, default)
    return np.full(size, float(value) if isinstance(value, (int, float)) else default)


def _found(name, what):
    """The file of a name; where there is none, XSPEC asks for another, for ever."""
    while not Path(name).is_file():
        if not Xset.allowPrompting or _BAD.get("missing") == "raise":
            raise Exception(f"Error: cannot open {what} {name}")
        name = _ask(f"Unable to open {name}. Enter a {what} file")
    return name


class _Channels:
    """One PHA file."""

    def __init__(self, name):
        from astropy.io import fits

        with fits.open(_found(name, "spectrum")) as hdus:
            hdu = next(
                hdu for hdu in hdus if hdu.name == "SPECTRUM" or hdu.header.get("HDUCLAS1") == "SPECTRUM"
            )
            table, header = hdu.data, hdu.header
            size = len(table)
            self.exposure = float(header.get("EXPOSURE", 1.0))
            counts = "COUNTS" in table.columns.names
            scale = 1.0 if counts else self.exposure
            self.counts = np.asarray(table["COUNTS" if counts else "RATE"], float) * scale
            self.poisson = header.get("POISSERR") is True
            if self.poisson or "STAT_ERR" not in table.columns.names:
                self.variance = np.maximum(self.counts, 0.0)
            else:
                self.variance = (np.asarray(table["STAT_ERR"], float) * scale) ** 2
            self.systematic = _vector(table, header, "SYS_ERR", size, 0.0)
            self.quality = _vector(table, header, "QUALITY", size, 0.0).astype(int)
            self.grouping = _vector(table, header, "GROUPING", size, 1.0).astype(int)
            self.area = _vector(table, header, "AREASCAL", size, 1.0)
            self.back = _vector(table, header, "BACKSCAL", size, 1.0)
            self.links = {
                key: str(header.get(key, "none")).strip() for key in ("RESPFILE", "ANCRFILE", "BACKFILE")
            }


def _matrix(name, size):
    """Energy edges and the matrix of a response file."""
    from astropy.io import fits

    with fits.open(_found(name, "response")) as hdus:
        hdu = next(hdu for hdu in hdus if "MATRIX" in hdu.name)
        table = hdu.data
        column = table.columns.names.index("F_CHAN") + 1
        first = int(hdu.header.get(f"TLMIN{column}", 1))
        made = np.zeros((len(table), size))
        for row, entry in enumerate(table):
            at = 0
            values = np.atleast_1d(entry["MATRIX"])
            chans, numbers = np.atleast_1d(entry["F_CHAN"]), np.atleast_1d(entry["N_CHAN"])
            for group in range(int(entry["N_GRP"])):
                start, number = int(chans[group]) - first, int(numbers[group])
                made[row, start : start + number] = values[at : at + number]
                at += number
        low, high = np.array(table["ENERG_LO"], float), np.array(table["ENERG_HI"], float)
        low[0] = high[0] / 1000 if low[0] <= 0 else low[0]
        return np.append(low, high[-1]), made


class Spectrum(_Restricted):
    def __init__(self, name):
        _misbehave("data")
        own = self._own = _Channels(name)
        self._name = name
        kept = np.flatnonzero(own.quality != 1)
        begins = own.grouping[kept] != -1
        begins[0] = True
        self._kept, self._starts = kept, np.flatnonzero(begins)
        self._used = np.ones(self._starts.size, bool)
        self._statistic, self._flux = "chi", ()
        self._other = None
        if own.links["BACKFILE"].lower() != "none":
            self._other = _Channels(own.links["BACKFILE"])
        self._response = None
        if own.links["RESPFILE"].lower() != "none":
            self._edges, matrix = _matrix(own.links["RESPFILE"], own.counts.size)
            if own.links["ANCRFILE"].lower() != "none":
                from astropy.io import fits

                with fits.open(_found(own.links["ANCRFILE"], "arf")) as hdus:
                    matrix = matrix * np.asarray(hdus["SPECRESP"].data["SPECRESP"], float)[:, None]
            self._response = self._sums(matrix * own.area)

    def _sums(self, values):
        return np.add.reduceat(values[..., self._kept], self._starts, axis=-1)

    response = property(lambda self: self._get_response())
    noticed = property(lambda self: (np.flatnonzero(self._used) + 1).tolist())
    flux = property(lambda self: tuple(self._flux))

    def _get_response(self):
        if self._response is None:
            raise Exception("Error: no response")
        return self

    def ignore(self, words):
        if not isinstance(words, str):
            raise Exception("Error: ignore takes a string")
        for word in re.split(r"[,\s]+", words.strip()):
            if "." in word or "*" in word:
                raise Exception("the stand-in ignores channels only")
            ends = [int(end) for end in word.split("-")]
            self._used[ends[0] - 1 : ends[-1]] = False

    def _counts(self):
        own = self._own
        observed = self._sums(own.counts)
        largest = np.maximum.reduceat(own.systematic[self._kept], self._starts)
        variance = self._sums(own.variance) + (largest * observed) ** 2
        background, background_variance, ratio = np.zeros((3, observed.size))
        other = self._other
        if other is not None:
            background = self._sums(other.counts)
            background_variance = self._sums(other.variance)
            scale = own.exposure * own.area * own.back / (other.exposure * other.area * other.back)
            ratio = self._sums(scale) / self._sums(np.ones(scale.size))
        return observed, variance, background, background_variance, ratio

    def _statistic_of(self, expected):
        from batx.kernels import fit_statistics

        used = self._used
        observed, variance, background, background_variance, ratio = (v[used] for v in self._counts())
        expected = expected[used]
        if self._statistic == "chi":
            net, spread = observed - ratio * background, variance + ratio**2 * background_variance
            one = 1.0 if self._other is None else np.minimum(1.0, ratio**2)
            spread = np.where(spread > 0, spread, one)
            return fit_statistics.chi_square(net, expected, spread, AllModels.systematic)
        if self._other is None:
            return fit_statistics.cstat(observed, expected)
        if self._statistic == "cstat":
            return fit_statistics.wstat(observed, background, ratio, expected)
        return fit_statistics.pgstat(observed, background, background_variance, ratio, expected)


class _AllData:
    def __init__(self):
        self._spectra = []

    nSpectra = property(lambda self: len(self._spectra))

    def __call__(self, words):
        if isinstance(words, int):
            return self._spectra[words - 1]
        self._spectra = []
        Fit._answers = json.loads(Path(_ANSWERS).read_text()) if _ANSWERS else None
        for number, word in enumerate(re.findall(r"(\d+:\d+)\s+(\S+)", words), 1):
            if word[0] != f"{number}:{number}":
                raise Exception("Error: bad data command")
            self._spectra.append(Spectrum(word[1]))
        return None

    def clear(self):
        _misbehave("clear")
        self._spectra = []


class _AllChains:
    def __init__(self):
        self._loaded = False

    def clear(self):
        self._loaded = False


# ---------------------------------------------------------------- models


class Parameter(_Restricted):
    def __init__(self, name, value, hard_low, low, high, hard_high, link=""):
        self._name = name
        self._values = [value, max(0.01 * abs(value), 0.01), hard_low, low, high, hard_high]
        self._frozen, self._link, self._sigma, self._error = name in _FROZEN, link, -1.0, (0.0, 0.0, 9 * "F")

    name = property(lambda self: self._name)
    sigma = property(lambda self: self._sigma)
    error = property(lambda self: self._error)
    values = property(lambda self: self._get(), lambda self, value: self._put(value))
    frozen = property(lambda self: self._frozen, lambda self, value: setattr(self, "_frozen", bool(value)))
    link = property(lambda self: self._link and f"= {self._link}", lambda self, value: self._tie(value))

    def _get(self):
        return [self._number(), *self._values[1:]]

    def _number(self):
        if not self._link:
            return self._values[0]
        flat = AllModels._flat()
        text = re.sub(r"p(\d+)", lambda found: repr(flat[int(found[1]) - 1]._number()), self._link)
        if not re.fullmatch(r"[-+*/(). \deE]+", text):
            raise Exception(f"Error: link {self._link}")
        return float(eval(text, {"__builtins__": {}}))

    def _put(self, value):
        new = [float(entry) for entry in str(value).strip("([])").split(",")]
        merged = [*new, *self._values[len(new) :]]
        if not merged[2] <= merged[3] <= merged[4] <= merged[5] or not merged[2] <= merged[0] <= merged[5]:
            raise Exception(f"Error: {self._name} cannot be {merged}")
        self._values = merged

    def _tie(self, value):
        if value.strip() and not re.fullmatch(r"[p\d+\-*/(). eE]+", value):
            raise Exception(f"Error: link {value}")
        self._link = value.strip()

    def untie(self):
        self._values[0], self._link = self._number(), ""


class Model:
    def __init__(self, expression, group=None):
        if group is None:
            _misbehave("model")
            AllModels._define(expression)
            self._parameters = AllModels._groups[0]
        else:
            self._parameters = AllModels._groups[group - 1]
            self._group = group

    nParameters = property(lambda self: len(self._parameters))

    def __call__(self, number):
        if not isinstance(number, int) or not 1 <= number <= self.nParameters:
            raise Exception(f"Error: Valid range of parameters for this object: 1-{self.nParameters}")
        return self._parameters[number - 1]

    def folded(self, number):
        spectrum = AllData(number)
        return (AllModels._expected(number - 1) / spectrum._own.exposure)[spectrum._used].tolist()


class _AllModels:
    def __init__(self):
        self._groups, self._expression, self._extensions, self._systematic = [], "", [], 0.0

    def _get_systematic(self):
        return self._systematic

    def _set_systematic(self, value):
        if not isinstance(value, (int, float)) or not 0 <= value < 1:
            raise Exception("Error: Systematic error must be .0 <= syst < 1.0")
        self._systematic = value

    systematic = property(_get_systematic, _set_systematic)

    def __call__(self, group):
        return Model("", group)

    def clear(self):
        self._groups, self._expression = [], ""

    def setEnergies(self, first, second=None):
        if first == "reset":
            self._extensions = []
        else:
            side, energy, number, scale = re.split(r"[,\s]+", second.strip())
            self._extensions.append((side, float(energy), int(number)))
            assert first == "extend"
            assert scale == "log"

    def _define(self, expression):
        names = re.findall(r"[a-z]+", expression.lower())
        for name in names:
            if name not in _PARAMETERS:
                raise Exception(f"Error: model component {name} not found")
        self._expression, self._names, self._groups = expression, names, []
        entries = [entry for name in names for entry in _PARAMETERS[name]]
        for group in range(max(AllData.nSpectra, 1)):
            links = [f"p{i + 1}" if group else "" for i in range(len(entries))]
            self._groups.append([Parameter(*entry, link=link) for entry, link in zip(entries, links)])

    def _flat(self):
        return [entry for group in self._groups for entry in group]

    def _grid(self, number):
        edges = AllData._spectra[number]._edges
        for side, energy, size in self._extensions:
            if side == "low" and energy < edges[0]:
                edges = np.concatenate([np.geomspace(energy, edges[0], size + 1)[:-1], edges])
            if side == "high" and energy > edges[-1]:
                edges = np.concatenate([edges, np.geomspace(edges[-1], energy, size + 1)[1:]])
        return edges

    def _photons(self, number):
        """Photons in the bins of the grid of a spectrum."""
        from batx.kernels.models import Bins
        from batx.spectral_models import spectral_model

        strings = dict(Xset.modelStrings)
        if "POW_EMIN" in strings:
            raise Exception("a start-up file has changed the norms")
        text = self._expression.lower()
        if Xset.abund == "angr":
            text = text.replace("tbabs", "tbabs_angr").replace("phabs", "phabs_angr")
        model = spectral_model(text)
        values = []
        numbers = iter(entry._number() for entry in self._groups[number])
        for component, names in model.components:
            pivoted = component.name in ("powerlaw", "cutoffpl")
            values += [1.0 if pivoted and short == "pivot" else next(numbers) for short in names]
        edges = self._grid(number)
        return edges, model.photons(Bins(edges), np.array(values), "xspec")

    def _expected(self, number):
        spectrum = AllData._spectra[number]
        edges, photons = self._photons(number)
        start = int(np.searchsorted(edges, spectrum._edges[0] * (1 - 1e-9)))
        return photons[start : start + spectrum._edges.size - 1] @ spectrum._response * spectrum._own.exposure

    def calcFlux(self, words):
        _misbehave("flux")
        parts = words.split()
        low, high = map(float, parts[:2])
        for number, spectrum in enumerate(AllData._spectra):
            spectrum._flux = self._one_flux(number, low, high)

    def _one_flux(self, number, low, high):
        recorded = Fit._recorded_flux(number, low, high)
        if recorded is not None:
            return (recorded[0], 0.0, 0.0, recorded[1], 0.0, 0.0)

        from batx.kernels.models import xspec_flux

        edges, photons = self._photons(number)
        made = [xspec_flux(photons, edges, low, high, energy) for energy in (True, False)]
        return (made[0], 0.0, 0.0, made[1], 0.0, 0.0)


# ---------------------------------------------------------------- fits


class _Fit(_Restricted):
    query = _setting("query", str, lambda value: value in ("yes", "no", "on"))
    bayes = _setting("bayes", str)
    weight = _setting("weight", str)
    delta = _setting("delta", (int, float))
    method = _setting("method", (str, list))
    nIterations = _setting("nIterations", int)
    statMethod = property(lambda self: "chi", lambda self, value: self._set_statistic(value))
    statistic = property(lambda self: self._value())
    dof = property(lambda self: self._bins() - len(self._free()))
    covariance = property(lambda self: self._triangle())

    def __init__(self):
        self._query, self._bayes, self._weight, self._delta = "on", "off", "standard", 0.0
        self._method, self._answers, self._matrix = "leven", None, None

    def _set_statistic(self, value):
        words = value.split()
        if words[0] not in ("chi", "cstat", "pgstat", "pstat", "lstat", "whittle"):
            raise Exception(f"Error: no statistic {value}")
        for number, spectrum in enumerate(AllData._spectra, 1):
            if len(words) == 1 or int(words[1]) == number:
                spectrum._statistic = words[0]

    def _bins(self):
        return sum(int(spectrum._used.sum()) for spectrum in AllData._spectra)

    def _free(self):
        return [entry for entry in AllModels._flat() if not entry._frozen and not entry._link]

    def _value(self):
        if self._answers is not None:
            return self._answers["stat"]
        if self._weight != "standard" or self._bayes != "off" or AllChains._loaded:
            raise Exception("a state from before is still there")
        return float(
            sum(spectrum._statistic_of(AllModels._expected(i)) for i, spectrum in enumerate(AllData._spectra))
        )

    def perform(self):
        _misbehave("perform")
        if self.query == "on":
            _ask("Number of trials exceeded: continue fitting?")
        if not self._free():
            raise Exception("Error: No variable parameters for fit")
        if self._answers is not None:
            self._replay()
            return
        minuit = self._minuit()
        minuit.tol = 1e-4
        minuit.migrad(ncall=20_000)
        minuit.hesse()
        self._matrix = np.array(minuit.covariance)
        for entry, value, error in zip(self._free(), minuit.values, minuit.errors):
            entry._values[0], entry._sigma = float(value), float(error)

    def _minuit(self):
        from iminuit import Minuit

        free = self._free()

        def cost(values):
            for entry, value in zip(free, values):
                entry._values[0] = float(value)
            return self._value()

        minuit = Minuit(cost, [entry._values[0] for entry in free])
        minuit.errordef, minuit.strategy = 1.0, 1
        ends = [(entry._values[2], entry._values[5]) for entry in free]
        minuit.limits = [tuple(end if abs(end) < 1e19 else None for end in pair) for pair in ends]
        minuit.errors = [max(0.05 * abs(entry._values[0]), 1e-9) for entry in free]
        return minuit

    def error(self, words):
        _misbehave("error")
        found = re.fullmatch(r"stopat (\d+) (\S+) maximum (\S+) (\d+\.\d*) (\d+)", words)
        if found is None:
            raise Exception(f"Error: error {words}")
        delta, number = float(found[4]), int(found[5])
        entry = AllModels._flat()[number - 1]
        if entry._frozen:
            entry._error = (0.0, 0.0, "FFFFFTFFF")
            return
        if self._answers is not None:
            given = self._answers["params"][str(number)]
            entry._error = (given["err_lo"], given["err_hi"], given["err_flag"])
            return
        free = self._free()
        best = [one._values[0] for one in free]
        minuit = self._minuit()
        minuit.errordef = delta
        minuit.migrad(ncall=20_000)
        place = free.index(entry)
        minuit.minos(place)
        ends = minuit.merrors[minuit.parameters[place]]
        flags = list(9 * "F")
        flags[3] = flags[6] = "T" if ends.at_lower_limit or not ends.lower_valid else "F"
        flags[4] = flags[7] = "T" if ends.at_upper_limit or not ends.upper_valid else "F"
        low = 0.0 if flags[6] == "T" else best[place] + ends.lower
        high = 0.0 if flags[7] == "T" else best[place] + ends.upper
        for one, value in zip(free, best):
            one._values[0] = value
        entry._error = (low, high, "".join(flags))

    def steppar(self, words):
        _misbehave("steppar")
        parts = [words.split()[i : i + 4] for i in range(0, len(words.split()), 4)]
        axes = [
            (int(n), np.linspace(float(low), float(high), int(steps) + 1)) for n, low, high, steps in parts
        ]
        free = self._free()
        best = [entry._values[0] for entry in free]
        places = [free.index(AllModels._flat()[number - 1]) for number, _ in axes]
        self._steps = {"statistic": [], **{str(number): [] for number, _ in axes}}
        for second in axes[1][1]:  # the first parameter runs fastest
            for first in axes[0][1]:
                minuit = self._minuit()
                for place, value in zip(places, (first, second)):
                    minuit.values[place] = value
                    minuit.fixed[place] = True
                if len(free) > 2:
                    minuit.migrad(ncall=20_000)
                for entry, value in zip(free, minuit.values):
                    entry._values[0] = float(value)
                self._steps["statistic"].append(self._value())
                for (number, _), value in zip(axes, (first, second)):
                    self._steps[str(number)].append(float(value))
        for entry, value in zip(free, best):
            entry._values[0] = value

    def stepparResults(self, what):
        if what not in self._steps:
            raise Exception(f"Error: no results of steppar for {what}")
        return tuple(self._steps[what])

    def _triangle(self):
        if self._answers is not None:
            return tuple(self._answers["covariance"])
        if self._matrix is None:
            raise Exception("Error: no covariance")
        return tuple(self._matrix[np.tril_indices(len(self._matrix))])

    def _replay(self):
        """Take the recorded parameters, if the question is the recorded one."""
        flat, given = AllModels._flat(), self._answers["params"]
        if len(flat) != len(given):
            raise ValueError(f"{len(flat)} parameters, recorded {len(given)}")
        free = {i for i, entry in enumerate(flat, 1) if not entry._frozen and not entry._link}
        wanted = {int(key) for key, entry in given.items() if "err_lo" in entry}
        if free != wanted:
            raise ValueError(f"free parameters {sorted(free)}, recorded {sorted(wanted)}")
        for i, entry in enumerate(flat, 1):
            recorded = given[str(i)]
            if entry._name.lower() != recorded["name"].lower():
                raise ValueError(f"parameter {i} is {entry._name}, recorded {recorded['name']}")
            if not entry._link and not np.isclose(entry._values[0], recorded["value"]) and i not in free:
                raise ValueError(
                    f"{entry._name} is frozen at {entry._values[0]}, recorded {recorded['value']}"
                )
            if not entry._link:
                entry._values[0] = recorded["value"]
            entry._sigma = recorded["sigma"]
        for number, spectrum in enumerate(AllData._spectra, 1):
            parts = [part.split("-") for part in self._answers["noticed"][str(number)].split(",")]
            noticed = [k for ends in parts for k in range(int(ends[0]), int(ends[-1]) + 1)]
            if spectrum.noticed != noticed:
                raise ValueError(f"noticed {spectrum.noticed}, recorded {noticed}")
        methods = {spectrum._statistic for spectrum in AllData._spectra}
        names = {"Chi-Squared": "chi", "C-Statistic": "cstat", "PG-Statistic": "pgstat"}
        if names[self._answers["statmethod"]] not in methods:
            raise ValueError(f"statistics {methods}, recorded {self._answers['statmethod']}")

    def _recorded_flux(self, number, low, high):
        if self._answers is None:
            return None
        key = f"{low:g}_{high:g}"
        if key not in self._answers["flux_erg_cm2_s"]:
            return None
        return [self._answers[name][key][str(number + 1)] for name in ("flux_erg_cm2_s", "flux_ph_cm2_s")]


Xset, AllData, AllChains, AllModels, Fit = _Xset(), _AllData(), _AllChains(), _AllModels(), _Fit()
if os.environ.get("STANDIN_STATE"):  # what a start-up file, or who was here before, has left
    Xset._modelStrings, Xset._abund = {"POW_EMIN": "2.0"}, "feld"
    AllModels._systematic, AllModels._extensions = 0.3, [("low", 1e-3, 50)]
    Fit._weight, Fit._bayes, AllChains._loaded = "gehrels", "on", True
print("This is a stand-in for XSPEC")
_misbehave("import")
