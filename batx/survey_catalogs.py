"""Catalogues for the survey processing: which sources it measures in every image, and which it cleans."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from batx.errors import MissingVariableError, PositionError, ValueRangeError
from batx.instrument.sky import radec_to_vector
from batx.schema import build, require_kind
from batx.units import to_value

__all__ = ["require_unique", "survey_catalog"]

#: number of the first source of one's own; the next ones count down
FIRST_NUMBER = 32767
#: characters of the column NAME
_LONGEST = 30


def survey_catalog(
    names: str | Sequence[str],
    ra: Any,
    dec: Any,
    base: xr.Dataset | str | os.PathLike[str] | None = None,
    *,
    always_clean: Any = False,
    separation: Any = 0.05,
) -> xr.Dataset:
    """Return a catalogue that ``batsurvey`` reads, with sources of one's own.

    Parameters
    ----------
    names
        Name of each source: at most 30 ASCII characters.
    ra, dec
        ICRS position of each in degrees, or a ``SkyCoord`` for `ra` and `None` for `dec`.
    base
        Catalogue that they are added to: kind ``catalog``, or the path of a file. It is not changed.
    always_clean
        Whether the sources are cleaned from every image; one value, or one for each.
    separation
        Degrees within which a source of `base` is the same as one of those given.

    Returns
    -------
    xarray.Dataset
        Kind ``catalog`` with ``catnum``, ``name``, ``ra``, ``dec``, ``glon_obj``, ``glat_obj`` and
        ``always_clean``; `batx.to_fits` writes it. Other columns of `base` are left out. The sources given
        are numbered from 32767 downwards, past numbers that `base` has.

    Raises
    ------
    PositionError
        If a position is not on the sky, or not one for each name.
    ValueRangeError
        If a name is empty, too long or not ASCII; or if two sources have the same name, or those given lie
        within `separation` of each other or of one of `base`.
    KindError, MissingVariableError
        If `base` is no catalogue or has no names.

    Examples
    --------
    >>> made = survey_catalog(["NGC 2992", "Cyg X-1"], [146.425, 299.590], [-14.326, 35.202])
    >>> made.catnum.values.tolist(), made.glon_obj.values.round(2).tolist()
    ([32767, 32766], [249.71, 71.34])
    """
    own = _checked_names(names)
    ra_deg, dec_deg = _positions(ra, dec, len(own))
    clean = np.broadcast_to(np.asarray(always_clean, dtype=bool), len(own))
    limit = float(to_value(separation, "deg", "separation"))
    known = _base(base)
    _require_distinct(known, own, ra_deg, dec_deg, limit)
    taken = set(known["catnum"].tolist())
    free = (number for number in range(FIRST_NUMBER, 0, -1) if number not in taken)
    numbers = [number for number, _ in zip(free, own, strict=False)]
    if len(numbers) < len(own):
        raise ValueRangeError(f"survey_catalog: found no free number for {len(own)} sources below 32768")
    glon, glat = _galactic(ra_deg, dec_deg)
    columns = {
        "catnum": np.array(numbers, dtype=np.int32),
        "name": np.array(own, dtype=object),
        "ra": ra_deg,
        "dec": dec_deg,
        "glon_obj": glon,
        "glat_obj": glat,
        "always_clean": clean,
    }
    together = {key: np.concatenate([known[key], values]) for key, values in columns.items()}
    return _catalog(together)


def _checked_names(names: str | Sequence[str]) -> list[str]:
    found = [str(name).strip() for name in ([names] if isinstance(names, str) else names)]
    bad = [name for name in found if not name or len(name) > _LONGEST or not name.isascii()]
    if bad or not found:
        raise ValueRangeError(
            f"survey_catalog: found names {bad or found}, expected 1 to {_LONGEST} ASCII characters each"
        )
    return found


def _positions(ra: Any, dec: Any, count: int) -> tuple[np.ndarray, np.ndarray]:
    if dec is None and hasattr(ra, "icrs"):
        ra, dec = ra.icrs.ra, ra.icrs.dec
    if dec is None:
        raise PositionError("survey_catalog: found no dec; give ra and dec in degrees, or a SkyCoord")
    first, second = (
        np.atleast_1d(to_value(value, "deg", name)) for value, name in ((ra, "ra"), (dec, "dec"))
    )
    if first.shape != (count,) or second.shape != (count,):
        raise PositionError(
            f"survey_catalog: found {first.size} ra and {second.size} dec for {count} name(s), expected one "
            "of each"
        )
    good = (
        np.isfinite(first) & np.isfinite(second) & (np.abs(second) <= 90) & (first >= -360) & (first <= 360)
    )
    if not good.all():
        where = int(np.argmin(good))
        raise PositionError(
            f"survey_catalog: found ra {first[where]}, dec {second[where]}, expected degrees on the sky"
        )
    return first % 360.0, second


def _base(base: Any) -> dict[str, np.ndarray]:
    """Return the columns of the catalogue that is added to; empty if there is none."""
    if base is None:
        text, number = np.array([], dtype=object), np.array([], dtype=np.float64)
        empty = dict.fromkeys(("ra", "dec", "glon_obj", "glat_obj"), number)
        return empty | {"name": text, "catnum": number.astype(np.int32), "always_clean": number.astype(bool)}
    if isinstance(base, (str, os.PathLike)):
        base = xr.open_dataset(base, engine="batx")
    require_kind(base, "catalog", operation="survey_catalog: base")
    if "name" not in base.variables:
        raise MissingVariableError("survey_catalog: the catalogue that is added to has no names")
    ra, dec = (base[name].values.astype(np.float64) for name in ("ra", "dec"))
    glon, glat = _galactic(ra, dec)
    size = len(ra)

    def column(name: str, default: np.ndarray) -> np.ndarray:
        return base[name].values if name in base.variables else default

    numbers = column("catnum", np.arange(1, size + 1)).astype(np.int64)
    return {
        "catnum": numbers.astype(np.int32),
        "name": np.array([str(name).strip() for name in base["name"].values], dtype=object),
        "ra": ra,
        "dec": dec,
        "glon_obj": glon,
        "glat_obj": glat,
        "always_clean": column("always_clean", np.zeros(size)).astype(bool),
    }


def _galactic(ra: np.ndarray, dec: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if not ra.size:
        return ra, dec
    from astropy.coordinates import SkyCoord

    place = SkyCoord(ra, dec, unit="deg").galactic
    return place.l.deg, place.b.deg


def _require_distinct(
    known: dict[str, np.ndarray], own: list[str], ra: np.ndarray, dec: np.ndarray, limit: float
) -> None:
    """Raise if one of the sources given is there already: by name or by position."""
    require_unique([*known["name"], *own], "survey_catalog")
    everyone = [*known["name"].tolist(), *own]
    vectors = radec_to_vector(np.concatenate([known["ra"], ra]), np.concatenate([known["dec"], dec]))
    for number, vector in enumerate(vectors[len(known["ra"]) :], len(known["ra"])):
        apart = np.rad2deg(2 * np.arcsin(0.5 * np.linalg.norm(vectors[:number] - vector, axis=1).clip(max=2)))
        if number and apart.min() < limit:
            other = int(np.argmin(apart))
            raise ValueRangeError(
                f"survey_catalog: {everyone[number]!r} is {apart[other]:.3f} degrees from "
                f"{everyone[other]!r}; leave one of them out, or give a smaller separation than {limit:g}"
            )


def require_unique(names: Iterable[Any], operation: str) -> None:
    """Raise if two sources have the same name but for case and blanks.

    Rates are merged by name, so each needs one of its own.

    Raises
    ------
    ValueRangeError
        If there are two.

    Examples
    --------
    >>> require_unique(["Cyg X-1", "Cyg X-3"], "example")
    """
    seen: dict[str, str] = {}
    for name in map(str, names):
        if _plain(name) in seen:
            raise ValueRangeError(
                f"{operation}: found {name!r} twice (the other is {seen[_plain(name)]!r}); give each source "
                "once, under a name of its own"
            )
        seen[_plain(name)] = name


def _plain(name: Any) -> str:
    """Return a name without the case of its letters and without blanks."""
    return "".join(str(name).casefold().split())


def _catalog(columns: dict[str, np.ndarray]) -> xr.Dataset:
    names = {"catnum": "CATNUM", "name": "NAME", "ra": "RA_OBJ", "dec": "DEC_OBJ", "glon_obj": "GLON_OBJ",
             "glat_obj": "GLAT_OBJ", "always_clean": "ALWAYS_CLEAN"}  # fmt: skip
    units = {"ra": "deg", "dec": "deg", "glon_obj": "deg", "glat_obj": "deg", "catnum": "1"}
    variables = {
        key: (
            ("source",),
            columns[key].astype(str) if key == "name" else columns[key],
            {"fits_name": column} | ({"units": units[key]} if key in units else {}),
        )
        for key, column in names.items()
    }
    return build("catalog", variables, {"telescope": "SWIFT", "instrument": "BAT", "extname": "BAT_CATALOG"})
