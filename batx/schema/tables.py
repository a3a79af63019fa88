"""The tables of the page docs/reference/data-model.md, from the specification.

``python -m batx.schema.tables docs/reference/data-model.md`` renews them in place; what is written by hand,
above the mark, stays.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from batx.errors import FileFormatError
from batx.schema.kinds import KINDS
from batx.schema.spec import COMMON_ATTRIBUTES, Attribute, Kind, Variable

__all__ = ["MARK", "renew", "tables"]

MARK = "<!-- generated below: python -m batx.schema.tables docs/reference/data-model.md -->"

_NUMBERS = {"float": "float64", "real": "number", "integer": "integer"}


def tables() -> str:
    """Return the generated part of the page: common attributes, then every kind in the order of recognition.

    Examples
    --------
    >>> "### `gti`" in tables()
    True
    """
    parts = ["## Attributes of every kind", _attribute_table(COMMON_ATTRIBUTES), "## Kinds"]
    parts += [part for kind in KINDS.values() for part in _section(kind)]
    return "\n\n".join(parts) + "\n"


def renew(page: str) -> str:
    """Return the text of the page with its generated part made anew.

    Raises
    ------
    FileFormatError
        If the page has no mark where that part begins.

    Examples
    --------
    >>> page = renew("A hand-written head. " + MARK)
    >>> page == renew(page)
    True
    """
    head, mark, _ = page.partition(MARK)
    if not mark:
        raise FileFormatError(f"page: found no line {MARK!r}, below which the tables go")
    return f"{head}{MARK}\n\n{tables()}"


def _section(kind: Kind) -> Iterable[str]:
    yield f"### `{kind.name}`"
    yield f"{kind.doc[0].upper()}{kind.doc[1:]}."
    if kind.marks:
        yield f"Recognised by {', or '.join(_mark(mark) for mark in kind.marks)}."
    elif kind.name == "table":
        yield "Recognised by a dimension `row`."
    if kind.variables:
        rows = [_variable_row(variable) for variable in kind.variables]
        yield _table(("name", "dimensions", "units", "type", "meaning", "FITS"), rows)
    for group in kind.one_of:
        yield f"At least one of {', '.join(f'`{name}`' for name in group)} is there."
    own = [attribute for attribute in kind.attributes if attribute not in COMMON_ATTRIBUTES]
    if own:
        yield _attribute_table(own)


def _mark(mark: Mapping[str, tuple[str, ...]]) -> str:
    return " and ".join(f"`{name}({', '.join(dims)})`" for name, dims in mark.items())


def _variable_row(variable: Variable) -> tuple[str, ...]:
    name = f"**`{variable.name}`**" if variable.required else f"`{variable.name}`"
    return (
        f"{name} ○" if variable.coord else name,
        ", ".join(variable.dims) or "scalar",
        f"`{variable.units}`" if variable.units else "",
        _NUMBERS.get(variable.dtype, variable.dtype),
        variable.doc,
        f"`{variable.fits}`" if variable.fits else "",
    )


def _attribute_table(attributes: Iterable[Attribute]) -> str:
    rows = []
    for attribute in attributes:
        types = attribute.type if isinstance(attribute.type, tuple) else (attribute.type,)
        plain = "number" if float in types else "text"
        values = " or ".join(f"`{value}`" for value in attribute.values)
        rows.append(
            (
                f"**`{attribute.name}`**" if attribute.required else f"`{attribute.name}`",
                values or plain,
                attribute.doc,
            )
        )
    return _table(("attribute", "value", "meaning"), rows)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(renew(page.read_text(encoding="utf-8")), encoding="utf-8")
