"""A fit in the words of XSPEC, and what XSPEC found in ours. Private to `batx.xspec`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from batx.errors import EngineError, ModelError, ValueRangeError
from batx.fit_problems import Interval, Minimum, Problem
from batx.fit_starts import starting_values
from batx.xspec_models import XSPEC_MODELS, XSPEC_STATISTICS, Counterpart, abundances

__all__ = ["Slot", "Translation"]

#: bins of an extension of the energies of a response, for each factor of ten
_EXTRA_BINS = 200


@dataclass(frozen=True)
class Slot:
    """A parameter of XSPEC: of a data group, with its number over all of them.

    Attributes
    ----------
    number
        From 1.
    counterpart
        What it is.
    main
        Which parameter of the fit it carries.
    sources
        The parameters of the fit that its component has, by short name.
    """

    number: int
    counterpart: Counterpart
    main: int
    sources: Mapping[str, int]

    @property
    def others(self) -> tuple[int, ...]:
        """The parameters of the fit that its conversion needs."""
        return tuple(self.sources[name] for name in self.counterpart.others)


class Translation:
    """A problem as XSPEC has it.

    Parameters
    ----------
    problem
        Spectra, model and parameters.
    extended
        Whether the energies of responses are extended to the bands of fluxes.

    Raises
    ------
    ModelError
        If XSPEC has no such component, or cannot tie, freeze or limit a parameter like that.
    ValueRangeError
        If it has no such statistic.
    """

    def __init__(self, problem: Problem, extended: bool = True) -> None:
        self.problem, self.extended = problem, extended
        self.entries = problem.layout.parameters
        self.slots = list(_slots(problem))
        self.frozen = [entry.spec.frozen for entry in self.entries]
        self._check()
        self.masters: dict[int, Slot] = {}
        for slot in self.slots:
            self.masters.setdefault(slot.main, slot)
        self.start = problem.layout.values if not problem.free.size else starting_values(problem)

    @cached_property
    def free(self) -> list[Slot]:
        """The parameters that XSPEC fits, in its order."""
        slots = sorted(self.masters.values(), key=lambda slot: slot.number)
        return [slot for slot in slots if not self.frozen[slot.main]]

    @property
    def expression(self) -> str:
        """The model as XSPEC writes it."""
        names = [XSPEC_MODELS[component.name][0] for component, _ in self.problem.model.components]
        return self.problem.model.written(names)

    def request(self, files: Sequence[str], bands: np.ndarray, delta: float | None) -> dict[str, Any]:
        """Return the request of a fit of these files, with fluxes in bands (band, 2)."""
        size = len(self.slots) // len(self.problem.data)
        parameters = [self._parameter(slot) for slot in self.slots]
        return {
            "spectra": [
                {
                    "data": name,
                    "statistic": XSPEC_STATISTICS[data.statistic],
                    "ignore": _ranges(np.setdiff1d(np.arange(data.groups), data.places) + 1),
                }
                for name, data in zip(files, self.problem.data, strict=True)
            ],
            "abund": abundances(self.problem.model),
            "xsect": "vern",
            "systematic": self.problem.model_error,
            "energies": self._extensions(bands),
            "expression": self.expression,
            "parameters": [parameters[i : i + size] for i in range(0, len(parameters), size)],
            "free": [slot.number for slot in self.free],
            "delta": delta,
            "flux": bands.tolist(),
        }

    # ------------------------------------------------------------ there

    def _check(self) -> None:
        carried = {slot.main for slot in self.slots}
        for i, entry in enumerate(self.entries):
            if i not in carried and not self.frozen[i]:
                raise ModelError(f"XSPEC has no counterpart of the parameter {entry.name!r}; freeze it")
        for data in self.problem.data:
            if data.statistic not in XSPEC_STATISTICS:
                raise ValueRangeError(
                    f"statistic: XSPEC has no {data.statistic!r}; expected chi2, cstat, wstat or pgstat"
                )

    def plain(self, place: int) -> Slot:
        """Return what carries a free parameter of the fit, if it is the same number there.

        Raises
        ------
        ModelError
            If XSPEC has another parameter in its place.
        """
        slot = self.masters[place]
        if not self._is_plain(slot):
            raise ModelError(
                f"XSPEC has {slot.counterpart.name} in place of {self.entries[place].name!r}, through "
                "which it cannot step"
            )
        return slot

    def _is_plain(self, slot: Slot) -> bool:
        """Whether a parameter there is the same number as here."""
        if slot.counterpart.back is None:
            return True
        pivot = slot.sources.get("pivot")
        return slot.counterpart.source == "norm" and pivot is not None and self.start[pivot] == 1.0

    def _is_alone(self, slot: Slot) -> bool:
        """Whether a parameter there depends on one free parameter here only."""
        return self._is_plain(slot) or all(self.frozen[i] for i in slot.others)

    def _there(self, slot: Slot, value: float | None = None) -> float:
        """Return the value there of the start values, or of another one of the parameter that it carries."""
        values = {name: float(self.start[i]) for name, i in slot.sources.items()}
        if value is not None:
            values[slot.counterpart.source] = value
        return float(slot.counterpart.there(values))

    def _parameter(self, slot: Slot) -> dict[str, Any]:
        """Return what XSPEC is told of a parameter."""
        entry, master = self.entries[slot.main], self.masters[slot.main]
        link = ""
        if slot is not master:
            self._check_tie(slot, master)
            link = f"p{master.number}"
        elif entry.spec.frozen and not self._is_alone(slot):
            link = self._frozen_link(slot)
        value = self._there(slot)
        low, high = sorted((*self._limits(slot), value))[::2]
        return {
            "name": slot.counterpart.name,
            "value": value,
            "step": max(0.01 * abs(value), 1e-3 if value == 0 else 0.0),
            "limits": [low, low, high, high],
            "frozen": entry.spec.frozen and not link,
            "link": link,
        }

    def _check_tie(self, slot: Slot, master: Slot) -> None:
        same = self._is_plain(slot) and self._is_plain(master)
        same |= slot.counterpart is master.counterpart and slot.others == master.others
        if not same:
            raise ModelError(
                f"XSPEC has {slot.counterpart.name} in place of {self.entries[slot.main].name!r}, which it "
                f"cannot share where {', '.join(slot.counterpart.others)} differ; share these too"
            )

    def _frozen_link(self, slot: Slot) -> str:
        """Return how XSPEC keeps a parameter here at its value while others that it depends on are free."""
        if slot.counterpart.link:
            numbers = {
                name: f"p{self.masters[slot.sources[name]].number}" for name in slot.counterpart.others
            }
            return slot.counterpart.link.format(value=repr(float(self.start[slot.main])), **numbers)
        roles = [component.role for component, _ in self.problem.model.components]
        if "flux" in roles and roles.count("additive") == 1:
            return ""  # its value has no meaning
        raise ModelError(
            f"XSPEC has no {self.entries[slot.main].name!r} that is frozen at a pivot while the index is "
            "free; set pivot to 1 keV, or freeze the index too"
        )

    def _limits(self, slot: Slot) -> tuple[float, float]:
        spec = self.entries[slot.main].spec
        if self._is_plain(slot):
            return spec.minimum, spec.maximum
        if self._is_alone(slot):
            low, high = self._there(slot, spec.minimum), self._there(slot, spec.maximum)
            return low, high
        default = next(
            entry
            for component, names in self.problem.model.components
            for entry in component.parameters
            if names.get(entry.name) == self.entries[slot.main].name.partition("[")[0]
            or entry.name == slot.counterpart.source
        )
        if (spec.minimum, spec.maximum) != (default.minimum, default.maximum) and not spec.frozen:
            raise ModelError(
                f"XSPEC has {slot.counterpart.name} in place of {self.entries[slot.main].name!r}, and cannot "
                f"keep it between {spec.minimum:g} and {spec.maximum:g}; leave out min and max"
            )
        return slot.counterpart.limits

    def _extensions(self, bands: np.ndarray) -> list[str]:
        """Return extensions of the energies of the responses to all bands of fluxes."""
        if not self.extended:
            return []
        ends = [bands.ravel()]
        for slot in self.slots:
            if slot.counterpart.name in ("Emin", "Emax"):
                ends.append(self.start[[slot.main]])
        wanted = np.concatenate(ends)
        low, high = float(wanted.min()), float(wanted.max())
        first = max(float(data.bins.edges[0]) for data in self.problem.data)
        last = min(float(data.bins.edges[-1]) for data in self.problem.data)
        made = []
        if low < first:
            made.append(f"low,{low},{_bins(low, first)} log")
        if high > last:
            made.append(f"high,{high},{_bins(last, high)} log")
        return made

    # ------------------------------------------------------------ back

    def minimum(self, answer: Mapping[str, Any]) -> tuple[Minimum, list[Interval] | None]:
        """Return the minimum that XSPEC found, and the intervals of the free parameters, if it looked.

        Raises
        ------
        EngineError
            If XSPEC has used other channels, or has another number of degrees of freedom.
        """
        self._compare(answer)
        notes = list(answer["complaints"])
        if not answer["settled"]:
            notes.append("XSPEC: the statistic still changes from one fit to the next")
        there = np.array([value for value, _ in answer["parameters"]], np.float64)
        values = self.back(there)
        covariance = self._covariance(answer["covariance"], there)
        message = "" if answer["settled"] else notes[-1]
        minimum = Minimum(values, covariance, float(answer["statistic"]), answer["settled"], message, 0)
        if not answer["ranges"]:
            return minimum, None
        places = {slot.main: slot for slot in self.free}
        return minimum, [self._interval(places[int(i)], answer, minimum) for i in self.problem.free]

    def back(self, there: np.ndarray) -> np.ndarray:
        """Return the values of all parameters of the fit for those of XSPEC's."""
        values = self.start.copy()
        slots = sorted(self.masters.values(), key=self._is_plain, reverse=True)
        for slot in slots:
            value = float(there[slot.number - 1])
            if self.frozen[slot.main]:
                continue
            if self._is_plain(slot) or slot.counterpart.back is None:
                values[slot.main] = value
            else:
                own = {name: float(values[i]) for name, i in slot.sources.items()}
                values[slot.main] = slot.counterpart.back(value, own)
        return values

    def _compare(self, answer: Mapping[str, Any]) -> None:
        for data, noticed in zip(self.problem.data, answer["noticed"], strict=True):
            if list(noticed) != (data.places + 1).tolist():
                raise EngineError(
                    f"XSPEC has used other bins of spectrum {data.label!r} than asked for: {len(noticed)}, "
                    f"expected {data.places.size} of {data.groups}"
                )
        if answer["dof"] != self.problem.dof:
            raise EngineError(f"XSPEC counts {answer['dof']} degrees of freedom, expected {self.problem.dof}")

    def _covariance(self, triangle: Sequence[float], there: np.ndarray) -> np.ndarray:
        """Return the covariance of all parameters of the fit from that of XSPEC's free ones, row by row."""
        made = np.zeros((len(self.entries),) * 2)
        free = self.problem.free
        size = len(self.free)
        if size == 0:
            return made
        own = np.full((size, size), np.nan)
        if len(triangle) == size * (size + 1) // 2:
            own[np.tril_indices(size)] = triangle
            own = np.where(np.tri(size, dtype=bool), own, own.T)
        slopes = np.zeros((free.size, size))
        for k, slot in enumerate(self.free):
            i = slot.number - 1
            step = 1e-5 * max(abs(there[i]), 1e-3)
            up, down = there.copy(), there.copy()
            up[i] += step
            down[i] -= step
            slopes[:, k] = (self.back(up)[free] - self.back(down)[free]) / (up[i] - down[i])
            slopes[:, k] = np.where(np.abs(slopes[:, k] - 1.0) < 1e-9, 1.0, slopes[:, k])
        made[np.ix_(free, free)] = slopes @ own @ slopes.T
        return made

    def _interval(self, slot: Slot, answer: Mapping[str, Any], minimum: Minimum) -> Interval:
        """Return the range of a parameter: XSPEC's, or from the covariance where it has another one."""
        name = slot.counterpart.name
        if not self._is_alone(slot):
            half = float(np.sqrt(answer["delta"] * minimum.covariance[slot.main, slot.main]))
            value = float(minimum.values[slot.main])
            return Interval(value - half, value + half, f"range from the covariance: XSPEC has {name} here")
        found = answer["ranges"].get(str(slot.number))
        if found is None:
            return Interval(np.nan, np.nan, "XSPEC found no range")
        low, high, flags = found
        flags = flags.ljust(9, "F")
        ends = [
            np.nan if flags[limit] == "T" or flags[failed] == "T" else self._end(slot, value, minimum)
            for value, limit, failed in ((low, 3, 6), (high, 4, 7))
        ]
        notes = [text for flag, text in zip(flags, _FLAGS, strict=False) if flag == "T" and text]
        return Interval(ends[0], ends[1], ", ".join(notes))

    def _end(self, slot: Slot, value: float, minimum: Minimum) -> float:
        if self._is_plain(slot) or slot.counterpart.back is None:
            return float(value)
        own = {name: float(minimum.values[i]) for name, i in slot.sources.items()}
        return float(slot.counterpart.back(value, own))


#: what the letters of XSPEC's error flags say
_FLAGS = (
    "",  # a new minimum, from which all was done again
    "the statistic does not rise steadily",
    "the minimisation may have run into a problem",
    "low end at the limit",
    "high end at the limit",
    "",  # frozen
    "low end not found",
    "high end not found",
    "the reduced chi-square is too large",
)


def _slots(problem: Problem) -> Sequence[Slot]:
    made: list[Slot] = []
    for place in problem.layout.places:
        position = {name: int(i) for name, i in zip(problem.model.names, place, strict=True)}
        for component, names in problem.model.components:
            if component.name not in XSPEC_MODELS:
                raise ModelError(
                    f"XSPEC has no counterpart of the component {component.name!r} of "
                    f"{problem.model.expression!r}; there are those of {', '.join(sorted(XSPEC_MODELS))}"
                )
            sources = {short: position[full] for short, full in names.items()}
            for counterpart in XSPEC_MODELS[component.name][1]:
                made.append(Slot(len(made) + 1, counterpart, sources[counterpart.source], sources))
    return made


def _ranges(numbers: np.ndarray) -> list[str]:
    """Return numbers as ranges.

    Examples
    --------
    >>> _ranges(np.array([1, 2, 3, 7]))
    ['1-3', '7']
    """
    made = []
    for run in np.split(numbers, np.flatnonzero(np.diff(numbers) != 1) + 1):
        if run.size:
            made.append(f"{run[0]}-{run[-1]}" if run.size > 1 else f"{run[0]}")
    return made


def _bins(low: float, high: float) -> int:
    return max(10, int(np.ceil(_EXTRA_BINS * np.log10(high / low))))
