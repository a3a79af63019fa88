"""The programs that can do what a function of batx does: found by name when they are asked for."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial, wraps
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, TypeVar

from batx.errors import ValueRangeError

__all__ = ["by_engine", "call_engine", "engine_names", "where_possible"]

#: engines that batx has, and their modules: functions there have the names of those that they stand for
_ENGINES = {"heasoft": "batx.heasoft.engine", "xspec": "batx.xspec.engine"}
_GROUP = "batx.engines"
_R = TypeVar("_R")


def by_engine(function: Callable[..., _R]) -> Callable[..., _R]:
    """Give a function the keyword `engine`: ``"native"``, the default, is the function itself.

    Anything else is handed to `call_engine` under the name of the function, with what was given; defaults are
    left to the engine.

    Examples
    --------
    >>> @by_engine
    ... def exposure(seconds):
    ...     return seconds
    >>> class Doubling:
    ...     def exposure(self, seconds):
    ...         return 2 * seconds
    >>> exposure(3), exposure(3, engine=Doubling())
    (3, 6)
    """
    own = inspect.signature(function)
    engine = inspect.Parameter("engine", inspect.Parameter.KEYWORD_ONLY, default="native", annotation="Any")

    @wraps(function)
    def chosen(*arguments: Any, engine: Any = "native", **keywords: Any) -> _R:
        if isinstance(engine, str) and engine == "native":
            return function(*arguments, **keywords)
        given = own.bind(*arguments, **keywords)
        return call_engine(engine, function.__name__, *given.args, **given.kwargs)

    others = list(own.parameters.values())
    last = len(others) - (others[-1:] != [] and others[-1].kind is inspect.Parameter.VAR_KEYWORD)
    shown = own.replace(parameters=[*others[:last], engine, *others[last:]])
    chosen.__signature__ = shown  # type: ignore[attr-defined]
    return chosen


def engine_names() -> list[str]:
    """Return the names of all engines: native, those of batx, and those that other packages announce.

    Examples
    --------
    >>> "xspec" in engine_names()
    True
    """
    return ["native", *sorted({*_ENGINES, *(entry.name for entry in entry_points(group=_GROUP))})]


def call_engine(engine: Any, verb: str, /, *arguments: Any, **keywords: Any) -> Any:
    """Return what an engine makes of a request that a function of batx was given.

    Parameters
    ----------
    engine
        A name, or an object whose methods have the names of the functions that they stand for.
    verb
        The name of the function.
    arguments, keywords
        Its arguments, without ``engine``.

    Raises
    ------
    ValueRangeError
        If there is no such engine, or it does not do this.

    Notes
    -----
    Names are those of `engine_names`. A package announces its own by an entry point of the group
    ``batx.engines``: a module or an object with functions of these names.

    Examples
    --------
    >>> class Doubling:
    ...     def exposure(self, seconds):
    ...         return 2 * seconds
    >>> call_engine(Doubling(), "exposure", 3)
    6
    """
    found = _found(engine, verb) if isinstance(engine, str) else engine
    function = getattr(found, verb, None)
    if not callable(function):
        raise ValueRangeError(f"{verb}: the engine {engine!r} does not do this; use engine='native'")
    return function(*arguments, **keywords)


def where_possible(engine: Any, function: Callable[..., _R]) -> Callable[..., _R]:
    """Return a function that an engine does if it can, and batx itself if not; for steps of many functions.

    Parameters
    ----------
    engine
        A name or an object, as for `call_engine`.
    function
        Has the keyword ``engine``.

    Raises
    ------
    ValueRangeError
        If there is no such engine.

    Examples
    --------
    >>> import batx
    >>> where_possible("xspec", batx.lightcurve) is batx.lightcurve
    True
    >>> where_possible("heasoft", batx.lightcurve).keywords
    {'engine': 'heasoft'}
    """
    verb = function.__name__
    if isinstance(engine, str) and engine == "native":
        return function
    found = _found(engine, verb) if isinstance(engine, str) else engine
    return partial(function, engine=engine) if callable(getattr(found, verb, None)) else function


def _found(name: str, verb: str) -> Any:
    if name in _ENGINES:
        return import_module(_ENGINES[name])
    for entry in entry_points(group=_GROUP):
        if entry.name == name:
            return entry.load()
    raise ValueRangeError(
        f"{verb}: found engine={name!r}, expected one of {', '.join(map(repr, engine_names()))}"
    )
