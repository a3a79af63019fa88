"""How batsurvey is set up: parameters that others use, and the noise patterns of the days."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from batx.errors import MissingFileError, ValueRangeError

__all__ = ["PRESETS", "PatternMaps", "checked_parameters", "of_day"]

#: sets of parameters by name; BatAnalysis cleans more sources, and takes pointings with fewer detectors
PRESETS: dict[str, dict[str, Any]] = {
    "batanalysis": {"detthresh": 10000, "detthresh2": 10000, "cleansnr": 6, "cleanexpr": "ALWAYS_CLEAN==T"},
}
#: parameters that the pipeline gives
_OWN = {
    "indir": "the sources",
    "outdir": "output=",
    "incatalog": "catalog= and own_sources=",
    "energybins": "the pipeline, whose products are in the eight bands of the survey; for others run "
    "batsurvey by itself, and give energy= to batx.survey_rates",
}
#: parameters that name a file for each day
_DAILY = ("global_pattern_map", "global_pattern_mask")
#: year and day of the year in the name of a file, alone among digits
_DAY = re.compile(r"(?<!\d)(20\d\d)(\d{1,3})(?!\d)")


def checked_parameters(preset: str | None, given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the parameters of batsurvey: those of a preset, and over them those that are given.

    Raises
    ------
    ValueRangeError
        If the preset is unknown, or a parameter is one that the pipeline sets.

    Examples
    --------
    >>> checked_parameters("batanalysis", {"cleansnr": 9})["cleansnr"]
    9
    """
    if preset is not None and preset not in PRESETS:
        raise ValueRangeError(f"preset: found {preset!r}, expected one of {', '.join(PRESETS)}")
    parameters = dict(given or {})
    for name in parameters:
        if name in _OWN:
            raise ValueRangeError(f"parameters: found {name}, which is set by {_OWN[name]}")
    return {**(PRESETS[preset] if preset is not None else {}), **parameters}


def of_day(parameters: Mapping[str, Any], day: date | None) -> dict[str, Any]:
    """Return parameters for an observation of a day, whose files of the day may be given as ``%Y%j``.

    Raises
    ------
    MissingFileError
        If there is no such file, or the day is not known.

    Examples
    --------
    >>> of_day({"global_pattern_map": "NONE"}, date(2020, 1, 6))
    {'global_pattern_map': 'NONE'}
    """
    made = dict(parameters)
    for name in _DAILY:
        text = str(made.get(name, ""))
        if "%" not in text:
            continue
        if day is None:
            raise MissingFileError(f"{name}: the day of the observation is not known, for {text}")
        path = Path(day.strftime(text)).expanduser().absolute()
        if not path.is_file():
            raise MissingFileError(f"{name}: there is no file {path} for {day}")
        made[name] = str(path)
    return made


@dataclass(frozen=True)
class PatternMaps:
    """A folder of noise patterns: a map (``.dpi``) and a mask (``.detmask``) for each day.

    Names hold year and day of the year, ``pattern_noise_survey8a_2020006.dpi`` and
    ``pattern_noise_survey8a_2020006_inbands.detmask``; either may be gzipped.

    Attributes
    ----------
    folder
        Where they are.
    """

    folder: Path

    @cached_property
    def days(self) -> dict[date, tuple[Path, Path]]:
        """Map and mask of each day that has both.

        Raises
        ------
        MissingFileError
            If there are none.
        ValueRangeError
            If there are several maps or masks of a day.
        """
        maps, masks = (self._by_day(ending) for ending in (".dpi", ".detmask"))
        both = sorted(maps.keys() & masks.keys())
        if not both:
            raise MissingFileError(
                f"pattern_maps: found {len(maps)} map(s) and {len(masks)} mask(s) in {self.folder}, none of "
                "the same day; expected names such as pattern_noise_survey8a_2020006.dpi and "
                "pattern_noise_survey8a_2020006_inbands.detmask"
            )
        return {day: (maps[day], masks[day]) for day in both}

    def _by_day(self, ending: str) -> dict[date, Path]:
        found: dict[date, Path] = {}
        for path in sorted(self.folder.iterdir()):
            match = _DAY.search(path.name)
            number = int(match[2]) if match else 0
            if not match or not path.name.removesuffix(".gz").endswith(ending) or not 1 <= number <= 366:
                continue
            day = date(int(match[1]), 1, 1) + timedelta(days=number - 1)
            if day in found:
                raise ValueRangeError(
                    f"pattern_maps: found {found[day].name} and {path.name} in {self.folder}, expected one "
                    "of each day; give a folder with one set"
                )
            found[day] = path
        return found

    def nearest(self, day: date) -> tuple[Path, Path, int]:
        """Return map and mask of the nearest day, and how many days away that is."""
        chosen = min(self.days, key=lambda one: (abs((one - day).days), one))
        return *self.days[chosen], abs((chosen - day).days)
