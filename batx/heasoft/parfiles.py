"""Parameter files of mission tools: names, types, defaults and ranges, and what a call gives checked by them.

HEASoft tools describe their parameters in IRAF-style ``.par`` files, one line ``name,type,mode,default,
minimum or choices,maximum,prompt`` a parameter; those of SAS in XML.
"""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from batx.errors import FileFormatError, MissingFileError, ParameterError

__all__ = ["ParFile", "Parameter", "nearest", "read_par", "read_sas_par"]

_LARGEST = 2**20
_TYPES = {"b": "boolean", "i": "integer", "r": "real", "d": "real", "s": "text", "f": "file", "g": "text"}
_TYPES |= {"p": "text"}
_SAS_TYPES = {
    "bool": "boolean",
    "boolean": "boolean",
    "int": "integer",
    "integer": "integer",
    "real": "real",
    "choice": "text",
    "string": "text",
    "expression": "text",
    "angle": "text",
    "time": "text",
    "filename": "file",
    "file": "file",
    "directory": "file",
    "dataset": "file",
    "table": "file",
    "block": "file",
    "array": "file",
    "column": "text",
    "attribute": "text",
    "configfile": "file",
}
_YES = {"yes", "y", "true", "t", "1", "on"}
_NO = {"no", "n", "false", "f", "0", "off"}
_OPEN = {"", "INDEF", "UNDEF", "INF"}
#: numbers as the tools read them; Python would take more (1_000, digits of other scripts)
_INTEGER = re.compile(r"[+-]?[0-9]+")
_REAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eEdD][+-]?[0-9]+)?")


@dataclass(frozen=True)
class Parameter:
    """One parameter of a tool.

    Attributes
    ----------
    name
        As the tool spells it.
    type
        ``"boolean"``, ``"integer"``, ``"real"``, ``"text"`` or ``"file"``.
    default
        What the tool takes if nothing is given; `None` where the parameter file is blank.
    choices
        The values allowed, empty if any is.
    minimum, maximum
        Limits of a number, `None` where there is none.
    required
        Whether the tool would ask for it if it is not given and has no default.
    several
        Whether it takes a list, its items with blanks between them (SAS).
    prompt
        What the tool says it is.
    """

    name: str
    type: str
    default: str | None = None
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    required: bool = False
    several: bool = False
    prompt: str = ""

    def text(self, value: Any) -> str:
        """Return a value as the tool reads it.

        Raises
        ------
        ParameterError
            If it is not of the type, not among the choices, or outside the range.

        Examples
        --------
        >>> Parameter("clobber", "boolean").text(True)
        'yes'
        """
        if self.several and isinstance(value, (list, tuple)):
            return " ".join(self.text(item) for item in value)
        text = _plain(self, value)
        if self.choices and not self.several:
            return _choice(self, text)
        if self.type == "boolean":
            return _boolean(self, text)
        return _checked_number(self, text) if self.type in ("integer", "real") else text


def _plain(parameter: Parameter, value: Any) -> str:
    """Write a value as text; a boolean as yes or no, a list with commas."""
    if isinstance(value, (list, tuple)):
        return ",".join(_plain(parameter, item) for item in value)
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        value = value.item()
    if isinstance(value, bool):
        if parameter.type in ("integer", "real"):
            raise _wrong(parameter, value, f"a number of type {parameter.type}")
        return "yes" if value else "no"
    if isinstance(value, float):
        if not math.isfinite(value):
            raise _wrong(parameter, value, "a finite number")
        text = repr(int(value)) if parameter.type == "integer" and value == int(value) else repr(value)
    elif isinstance(value, (str, int, os.PathLike)):
        text = str(value)
    else:
        raise _wrong(parameter, value, "text, a number, a boolean or a path")
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in text):
        raise _wrong(parameter, value, "text without line ends and control characters")
    return text


def _wrong(parameter: Parameter, value: Any, expected: str) -> ParameterError:
    return ParameterError(f"found {parameter.name} = {str(value)[:200]!r}, expected {expected}")


def _choice(parameter: Parameter, text: str) -> str:
    for choice in parameter.choices:
        if choice.lower() == text.strip().lower():
            return choice
    if parameter.type in ("integer", "real") and (number := _number(text)) is not None:
        for choice in parameter.choices:
            if _number(choice) == number:
                return choice
    near = nearest(text, parameter.choices)
    raise _wrong(parameter, text, f"one of {', '.join(parameter.choices)}{near}")


def _number(text: str) -> float | None:
    """Return the number that a text is to a tool, `None` if it is none; D may stand for the exponent."""
    text = text.strip()
    return float(re.sub("[dD]", "e", text)) if _REAL.fullmatch(text) else None


def _boolean(parameter: Parameter, text: str) -> str:
    if text.strip().lower() in _YES:
        return "yes"
    if text.strip().lower() in _NO:
        return "no"
    raise _wrong(parameter, text, "yes or no (True or False)")


def _checked_number(parameter: Parameter, text: str) -> str:
    """Return a number within the limits without blanks, or a word that stands for none."""
    text = text.strip()
    if text.upper() in _OPEN or text.startswith(")"):
        return text
    number = _number(text)
    if number is None or (parameter.type == "integer" and not _INTEGER.fullmatch(text)):
        raise _wrong(parameter, text, f"a number of type {parameter.type}")
    if not math.isfinite(number):
        raise _wrong(parameter, text, "a finite number")
    if parameter.minimum is not None and number < parameter.minimum:
        raise _wrong(parameter, text, f"at least {parameter.minimum:g}")
    if parameter.maximum is not None and number > parameter.maximum:
        raise _wrong(parameter, text, f"at most {parameter.maximum:g}")
    return text


def nearest(name: str, names: Iterable[str]) -> str:
    """Return "; did you mean ...?" with the name that is most like one, empty if none is.

    Examples
    --------
    >>> nearest("timdel", ["timedel", "tstart"])
    '; did you mean timedel?'
    """
    spelled = {other.lower(): other for other in names}
    near = difflib.get_close_matches(name.lower(), list(spelled), n=1, cutoff=0.5)
    return f"; did you mean {spelled[near[0]]}?" if near else ""


@dataclass(frozen=True)
class ParFile:
    """The parameters of one tool, in the order of its parameter file.

    Attributes
    ----------
    task
        Name of the tool.
    parameters
        Name to `Parameter`.
    path
        The file; `None` where there is none.
    """

    task: str
    parameters: Mapping[str, Parameter]
    path: Path | None = None

    def __contains__(self, name: object) -> bool:
        return name in self.parameters

    def __getitem__(self, name: str) -> Parameter:
        """Return a parameter by its name, whatever the case; raise `ParameterError` if there is none."""
        if name in self.parameters:
            return self.parameters[name]
        for other, parameter in self.parameters.items():
            if other.lower() == name.lower():
                return parameter
        raise ParameterError(
            f"{self.task} has no parameter {name!r}{nearest(name, self.parameters)} "
            f"(it has {', '.join(self.parameters)})"
        )

    def checked(self, given: Mapping[str, Any], optional: tuple[str, ...] = ()) -> dict[str, str]:
        """Return what is given as the tool reads it, under the tool's own names, in the tool's order.

        Parameters
        ----------
        given
            Name to value; `None` means that the parameter is not given.
        optional
            Parameters that may be missing although they have no default; ``"*"`` stands for all.

        Raises
        ------
        ParameterError
            If a name is unknown (the nearest is named), a value ill-typed or out of range, or a parameter
            is missing that the tool would ask for.

        Examples
        --------
        >>> par = ParFile("tool", {"rows": Parameter("rows", "integer", "1", minimum=1)})
        >>> par.checked({"rows": 3})
        {'rows': '3'}
        >>> par.checked({"row": 3})
        Traceback (most recent call last):
        batx.errors.ParameterError: tool has no parameter 'row'; did you mean rows? (it has rows)
        """
        texts: dict[str, str] = {}
        for name, value in given.items():
            if value is None:
                continue
            parameter = self[name]
            if parameter.name in texts:
                raise ParameterError(f"{self.task} was given {parameter.name} twice, as {name!r} too")
            texts[parameter.name] = parameter.text(value)
        missing = [
            one.name
            for one in self.parameters.values()
            if one.required
            and not one.default
            and one.name not in texts
            and not {one.name, "*"} & set(optional)
        ]
        if missing:
            raise ParameterError(
                f"{self.task} needs {', '.join(missing)}, which was not given and has no default"
            )
        return {name: texts[name] for name in self.parameters if name in texts}

    def complete(self, texts: Mapping[str, str]) -> dict[str, str]:
        """Return every parameter with the value that the tool will take: what is given, else its default."""
        return {name: texts.get(name, one.default or "") for name, one in self.parameters.items()}


def read_par(path: str | os.PathLike[str]) -> ParFile:
    r"""Read a ``.par`` file of HEASoft.

    Parameters
    ----------
    path
        The file; the name of the tool is the stem.

    Raises
    ------
    MissingFileError
        If there is no such file.
    FileFormatError
        If a line is no parameter.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "tool.par"
    >>> _ = path.write_text('level,r,h,1.5,0,10,"the level, in sigma"\n')
    >>> read_par(path)["level"].maximum
    10.0
    """
    path = Path(path)
    parameters: dict[str, Parameter] = {}
    for number, line in enumerate(_read_text(path).splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        fields, closed = _fields(line)
        if not closed or len(fields) < 4 or not re.fullmatch(r"[\w.\-]+", fields[0]):
            raise FileFormatError(
                f"{path}, line {number}: found {line[:80]!r}, expected name,type,mode,default,minimum,"
                "maximum,prompt"
            )
        parameter = _iraf_parameter(path, number, [*fields, "", "", ""])
        parameters[parameter.name] = parameter
    return ParFile(path.stem, parameters, path)


def _read_text(path: Path) -> str:
    try:
        if path.stat().st_size > _LARGEST:
            raise FileFormatError(f"{path} is larger than 1 MB: this is no parameter file")
        return path.read_text(encoding="utf-8-sig", errors="replace")
    except FileNotFoundError as error:
        raise MissingFileError(f"there is no parameter file {path}; is the tool installed?") from error
    except OSError as error:
        raise FileFormatError(f"cannot read {path}: {error.strerror or error}") from error


def _fields(line: str) -> tuple[list[str], bool]:
    """Split a line at commas outside quotes; also whether every quote is closed."""
    fields, field, quote, quoted, escaped = [], "", "", False, False
    for letter in line:
        if escaped:
            field += letter
            escaped = False
        elif quote and letter == "\\":
            escaped = True
        elif quote:
            if letter == quote:
                quote = ""
            else:
                field += letter
        elif letter in "\"'" and not field.strip():
            field, quote, quoted = "", letter, True
        elif letter == ",":
            fields.append(field if quoted else field.strip())
            field, quoted = "", False
        elif letter == "#" and len(fields) >= 6:
            break
        elif not (quoted and letter.isspace()):
            field += letter
    # prompts often lack their closing quote; anything before them must not
    closed = not quote or len(fields) >= 6
    return [*fields, field if quoted else field.strip()], closed


def _iraf_parameter(path: Path, number: int, fields: list[str]) -> Parameter:
    name, kind, mode, default, low, high = fields[:6]
    letter = kind.lstrip("*")[:1].lower()
    if letter not in _TYPES:
        raise FileFormatError(f"{path}, line {number}: found type {kind!r}, expected one of b, i, r, s, f")
    choices: tuple[str, ...] = ()
    minimum = maximum = None
    if _TYPES[letter] in ("integer", "real") and "|" not in low:
        minimum, maximum = _number(low), _number(high)
        # the tools themselves take no notice of a range that holds nothing
        if minimum is not None and maximum is not None and maximum < minimum:
            minimum = maximum = None
    elif "|" in low:
        choices = tuple(one.strip() for one in low.split("|") if one.strip())
    return Parameter(
        name=name,
        type=_TYPES[letter],
        default=default or None,
        choices=choices,
        minimum=minimum,
        maximum=maximum,
        required=name != "mode" and bool({"q", "a"} & set(mode.lower())),
        prompt=fields[6].strip(),
    )


def read_sas_par(path: str | os.PathLike[str]) -> ParFile:
    """Read a parameter file of SAS (XML): every ``PARAM`` element, also those that depend on others.

    Parameters
    ----------
    path
        The file; the name of the task is the stem.

    Raises
    ------
    MissingFileError
        If there is no such file.
    FileFormatError
        If it is not XML, declares entities, or holds no parameters.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "task.par"
    >>> _ = path.write_text('<FILE><PARAM id="table" type="table" mandatory="yes" default=""/></FILE>')
    >>> read_sas_par(path)["table"].required
    True
    """
    path = Path(path)
    text = _read_text(path)
    if "<!ENTITY" in text:
        raise FileFormatError(f"{path} declares entities, which no parameter file of SAS does: not read")
    try:
        top = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise FileFormatError(f"{path} is not XML: {error}") from error
    # what depends on another parameter is not needed in every case
    nested = {id(inner) for one in _sas_elements(top) for inner in one.iter() if inner is not one}
    parameters = {
        one.name: one
        for one in (_sas_parameter(element, id(element) in nested) for element in _sas_elements(top))
    }
    if not parameters:
        raise FileFormatError(f"{path} holds no PARAM elements: this is no parameter file of SAS")
    return ParFile(path.stem, parameters, path)


def _sas_elements(top: ElementTree.Element) -> Iterator[ElementTree.Element]:
    for element in top.iter():
        if element.tag.upper() == "PARAM" and (element.get("id") or element.get("name")):
            yield element


def _sas_parameter(element: ElementTree.Element, nested: bool) -> Parameter:
    minimum, maximum = None, None
    limits = re.search(r"([-+.\deE]*)\s*(?::|,|<=?\s*\w+\s*<=?)\s*([-+.\deE]*)", element.get("range", ""))
    if limits:
        minimum, maximum = _number(limits[1]), _number(limits[2])
    kind = element.get("type", "string").lower().split("-")[0]
    listed = element.get("list", "no").lower() in _YES
    name = element.get("id") or element.get("name") or ""
    choices = tuple(filter(None, re.split(r"[|]", element.get("choices", ""))))
    return Parameter(
        name=name,
        type=_SAS_TYPES.get(kind, "text"),
        default=element.get("default") or None,
        choices=choices,
        minimum=minimum,
        maximum=maximum,
        required=not nested and element.get("mandatory", "no").lower() in _YES,
        several=listed,
        prompt=(element.findtext("DESCRIPTION") or "").strip(),
    )
