"""What a kind of data is, written down as data: the classes that a specification is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Attribute", "Kind", "Variable", "axis"]


@dataclass(frozen=True)
class Variable:
    """One variable or coordinate of a kind.

    Attributes
    ----------
    name
        Name in the Dataset.
    dims
        Dimensions in order. One in square brackets may be absent: ``("[time]", "[energy]", "dety", "detx")``.
        ``("...",)`` leaves them free.
    units
        Canonical unit, or `None` where it depends on the product.
    doc
        One line for the generated tables and for ``attrs["long_name"]``.
    dtype
        ``"float"`` (float64 on `build`), ``"real"`` (any float or integer, kept), ``"integer"``, ``"bool"``,
        ``"string"`` or ``"any"``.
    required
        Whether every object of the kind has it.
    coord
        Whether it is a coordinate.
    fits
        Column or keyword of the FITS product it comes from.
    """

    name: str
    dims: tuple[str, ...]
    units: str | None
    doc: str
    dtype: str = "float"
    required: bool = False
    coord: bool = False
    fits: str = ""

    def allows(self, dims: tuple[str, ...]) -> bool:
        """Whether `dims` is one of the forms that the specification permits."""
        if self.dims == ("...",):
            return True
        position = 0
        for spec in self.dims:
            optional = spec.startswith("[")
            name = spec.strip("[]")
            if position < len(dims) and dims[position] == name:
                position += 1
            elif not optional:
                return False
        return position == len(dims)

    def default_dims(self, ndim: int) -> tuple[str, ...] | None:
        """Return the dimensions of a plain array with `ndim` axes, `None` if `ndim` does not settle them."""
        names = [spec.strip("[]") for spec in self.dims]
        if self.dims == ("...",):
            return None
        if ndim == len(names):
            return tuple(names)
        kept = tuple(spec for spec in self.dims if not spec.startswith("["))
        return kept if ndim == len(kept) else None


def axis(
    name: str, units: str, doc: str, required: bool = True, optional: bool = False
) -> tuple[Variable, ...]:
    """Return the centre coordinate of an interval axis and its CF bounds."""
    dim = f"[{name}]" if optional else name
    return (
        Variable(name, (dim,), units, f"{doc} (centre)", coord=True, required=required),
        Variable(f"{name}_bnds", (dim, "bnds"), units, f"{doc} (edges)", coord=True, required=required),
    )


@dataclass(frozen=True)
class Attribute:
    """One Dataset attribute of a kind; `values` lists what is legal, empty for anything of `type`."""

    name: str
    doc: str
    type: type | tuple[type, ...] = str
    required: bool = False
    values: tuple[str, ...] = ()


@dataclass(frozen=True)
class Kind:
    """A kind of data.

    Attributes
    ----------
    name, doc
        Name as in ``ds.bat.kind``, and one line of what it is.
    variables, attributes
        The specification; a Dataset may hold further variables.
    marks
        The structure by which the kind is recognised: a tuple of alternatives, each a mapping from variable
        name to the dimensions that it must have (a subset, in any order).
    one_of
        Groups of variable names of which at least one must be present.
    """

    name: str
    doc: str
    variables: tuple[Variable, ...]
    marks: tuple[Mapping[str, tuple[str, ...]], ...]
    attributes: tuple[Attribute, ...] = ()
    one_of: tuple[tuple[str, ...], ...] = ()
    by_name: Mapping[str, Variable] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {variable.name: variable for variable in self.variables})


GTI_VARIABLES = (
    Variable("gti_start", ("gti",), "s", "start of good time (MET, included)", fits="START"),
    Variable("gti_stop", ("gti",), "s", "end of good time (MET, excluded)", fits="STOP"),
)
"""Good time carried by events and by everything binned from them."""

TRACE_VARIABLES = (
    Variable("trace_time", ("[source]", "trace"), "s", "from when on the source is here (MET)", "real"),
    Variable("trace_imx", ("[source]", "trace"), "1", "tangent-plane position X/Z of the source"),
    Variable("trace_imy", ("[source]", "trace"), "1", "tangent-plane position Y/Z of the source"),
    Variable("trace_pcode", ("[source]", "trace"), "1", "partial coding fraction"),
    Variable("trace_norm", ("[source]", "trace"), "1", "mask weight normalisation (MSKWTSQF)"),
)
"""Way of the source through the field, carried by weighted events and their spectra."""

COMMON_ATTRIBUTES = (
    Attribute("Conventions", "metadata conventions of the object", required=True),
    Attribute("batx_kind", "kind of data", required=True),
    Attribute("batx_schema", "version of this data model", required=True),
    Attribute("telescope", "FITS TELESCOP"),
    Attribute("instrument", "FITS INSTRUME"),
    Attribute("obs_id", "observation id, leading zeros kept", str),
    Attribute("object", "target name"),
    Attribute("mjdref_int", "integer part of the MJD of MET 0", (int, float)),
    Attribute("mjdref_frac", "fractional part of the MJD of MET 0 (TT)", (int, float)),
    Attribute("time_scale", "scale of MET; tdb at the barycentre", values=("tt", "tdb")),
    Attribute("utcf", "UTC correction factor in seconds (UTCFINIT)", (int, float)),
    Attribute("trigger_time", "trigger time (MET s)", (int, float)),
    Attribute("history", "one line a processing step"),
    Attribute("provenance", "JSON: inputs, software, parameters"),
)
