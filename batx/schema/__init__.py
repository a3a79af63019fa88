"""The data model as code: specification, recognition, checks and construction."""

from batx.schema.check import (
    CONVENTIONS,
    SCHEMA_VERSION,
    Issue,
    build,
    check,
    identify,
    require_bat,
    require_kind,
    validate,
)
from batx.schema.kinds import KINDS
from batx.schema.spec import Attribute, Kind, Variable

__all__ = [
    "CONVENTIONS",
    "KINDS",
    "SCHEMA_VERSION",
    "Attribute",
    "Issue",
    "Kind",
    "Variable",
    "build",
    "check",
    "identify",
    "require_bat",
    "require_kind",
    "validate",
]
