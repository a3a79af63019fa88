"""The exceptions that batx raises; each says what was found, what was expected and what to do.

All are children of `BatxError`, so ``except batx.BatxError`` catches whatever batx has to say.
Where a built-in exception says the same (a missing file, a bad value), the child inherits from that too.
"""

from __future__ import annotations

__all__ = [
    "AttitudeError",
    "BatxError",
    "BatxWarning",
    "CalibrationError",
    "DownloadError",
    "EmptySelectionError",
    "EngineError",
    "EngineTimeoutError",
    "FileFormatError",
    "GtiError",
    "KindError",
    "MissingFileError",
    "MissingKeywordError",
    "MissingPackageError",
    "MissingVariableError",
    "ModelError",
    "OrbitError",
    "ParameterError",
    "PositionError",
    "QueryError",
    "RebinError",
    "ResponseError",
    "SchemaError",
    "ToolError",
    "ToolMissingError",
    "UnitsError",
    "ValueRangeError",
    "WriteError",
]


class BatxError(Exception):
    """Anything that batx refuses to do, with the reason and the remedy in its text."""


class MissingFileError(BatxError, FileNotFoundError):
    """A file or directory that is needed is not there."""


class CalibrationError(MissingFileError):
    """No calibration file serves the purpose; the text says which one is missing and how to get it."""


class FileFormatError(BatxError, ValueError):
    """A file cannot be read as what it should be: not FITS, truncated, corrupt, or of an unknown layout."""


class MissingPackageError(BatxError, ImportError):
    """An optional package that is needed for what was asked is not installed."""


class EngineError(BatxError, RuntimeError):
    """An external program failed, ended, or gave an answer that makes no sense.

    `kind` is what it raised, and `module` the module that it did not find, where it said so.
    """

    kind: str = ""
    module: str = ""


class EngineTimeoutError(EngineError, TimeoutError):
    """An external program did not answer in time, and was ended."""


class MissingVariableError(BatxError, KeyError):
    """A column or variable that is needed is absent."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class MissingKeywordError(BatxError, KeyError):
    """A header keyword or attribute that is needed is absent."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class KindError(BatxError, TypeError):
    """An operation was asked of a kind of data that it does not apply to."""


class ModelError(BatxError, ValueError):
    """A spectral model is not understood, or its parameters make no sense."""


class SchemaError(BatxError, ValueError):
    """An object does not follow the data model; `issues` lists every departure with its path."""

    def __init__(self, message: str, issues: list | None = None) -> None:
        super().__init__(message)
        self.issues = issues or []


class ToolError(BatxError, RuntimeError):
    """A mission tool failed: its return code, a promised output that is not there, or its time limit.

    `result` is the `batx.heasoft.Result` of the failed call with its log; None where nothing was started.
    """

    def __init__(self, message: str, result: object = None) -> None:
        super().__init__(message)
        self.result = result

    def __reduce__(self) -> tuple[type[ToolError], tuple[object, ...]]:
        return type(self), (self.args[0], self.result)


class ToolMissingError(BatxError, ImportError):
    """A mission tool, or the software that it belongs to, is not installed or not set up."""


class UnitsError(BatxError, ValueError):
    """A quantity has a unit that cannot be converted to the one needed."""


class ValueRangeError(BatxError, ValueError):
    """A value, an edge or an array is outside what makes sense (NaN, not increasing, out of range)."""


class EmptySelectionError(BatxError, ValueError):
    """A selection leaves nothing to work on (no events, no good time, no good detectors)."""


class GtiError(BatxError, ValueError):
    """Good-time intervals are absent, empty or malformed."""


class AttitudeError(BatxError, ValueError):
    """The attitude is absent, malformed, or does not cover the times asked for."""


class OrbitError(BatxError, ValueError):
    """The orbit is absent, malformed, or does not cover the times asked for."""


class ParameterError(BatxError, ValueError):
    """A parameter of a mission tool is unknown, ill-typed, out of range or missing."""


class PositionError(BatxError, ValueError):
    """A sky or instrument position is malformed or outside the coded field of view."""


class RebinError(BatxError, ValueError):
    """New bin edges do not fall on old ones, or would join bins across a gap."""


class ResponseError(BatxError, ValueError):
    """A response is incomplete, or does not belong to the spectrum."""


class WriteError(BatxError, OSError):
    """A file cannot be written: it exists already, it is an input, or its folder does not permit it."""


class DownloadError(BatxError, OSError):
    """A file could not be fetched: no way to the server, refused by it, or damaged or unsafe as it came."""


class UnreachableError(DownloadError):
    """None of the servers that have a file could be connected to."""


class QueryError(BatxError, OSError):
    """A service could not be asked, refused the question, or gave an answer that cannot be used."""


class BatxWarning(UserWarning):
    """Something unusual in the input that batx handled as documented; the numbers are right."""
