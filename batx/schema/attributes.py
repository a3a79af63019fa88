"""Attributes that a product takes over from what it is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["CLOCK", "ORIGIN", "kept_attrs", "with_history"]

#: what times mean
CLOCK = ("mjdref_int", "mjdref_frac", "time_scale", "utcf")
#: which data it is, and what its times mean: true of everything that is made of one observation
ORIGIN = ("telescope", "instrument", "obs_id", "object", *CLOCK, "trigger_time")


def kept_attrs(attrs: Mapping[Any, Any], *names: str) -> dict[str, Any]:
    """Return those of some attributes that are there, in the order of `names`.

    Examples
    --------
    >>> kept_attrs({"utcf": -22.5, "gain": 1, "telescope": "SWIFT"}, *ORIGIN)
    {'telescope': 'SWIFT', 'utcf': -22.5}
    """
    return {name: attrs[name] for name in names if name in attrs}


def with_history(attrs: Mapping[Any, Any], line: str) -> dict[str, Any]:
    r"""Return attributes with a further line of ``history``.

    Examples
    --------
    >>> with_history({"history": "first"}, "second")
    {'history': 'first\nsecond'}
    """
    return {**attrs, "history": "\n".join(filter(None, [str(attrs.get("history") or ""), line]))}
