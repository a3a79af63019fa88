"""Which calibration served a product: one JSON text in ``attrs["provenance"]``."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from typing import Any

import xarray as xr

__all__ = ["calibration_of", "file_record", "united", "with_calibration"]


def _parsed(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the provenance as a dict; what is no JSON object is kept as it is under ``text``."""
    text = attrs.get("provenance")
    if not text:
        return {}
    try:
        found = json.loads(str(text))
    except ValueError:
        return {"text": str(text)}
    return found if isinstance(found, dict) else {"text": str(text)}


def with_calibration(
    attrs: Mapping[str, Any], records: Mapping[str, Mapping[str, Any] | None]
) -> dict[str, Any]:
    """Return attributes with records of calibration put into the entry ``calibration`` of the provenance.

    Parameters
    ----------
    attrs
        Attributes of the product.
    records
        Purpose (``"aperture"``, ``"pulser"``, ...) to what is known of the file, as `file_record` gives it;
        `None` is left out.

    Examples
    --------
    >>> made = with_calibration({}, {"aperture": {"file": "a.fits"}})
    >>> calibration_of(made)
    {'aperture': {'file': 'a.fits'}}
    """
    kept = {name: dict(record) for name, record in records.items() if record}
    if not kept:
        return dict(attrs)
    provenance = _parsed(attrs)
    provenance["calibration"] = provenance.get("calibration", {}) | kept
    return {**attrs, "provenance": json.dumps(provenance, sort_keys=True)}


def calibration_of(obj: xr.Dataset | xr.DataTree | Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return which file served which purpose, from an object or its attributes; empty if nothing is known."""
    attrs: Mapping[Any, Any] = obj.attrs if isinstance(obj, (xr.Dataset, xr.DataTree)) else obj
    found = _parsed(attrs).get("calibration", {})
    return found if isinstance(found, dict) else {}


def united(all_attrs: Iterable[Mapping[Any, Any]]) -> dict[str, dict[str, Any]]:
    """Return which files served the parts that something is made of.

    Parameters
    ----------
    all_attrs
        Attributes of each part.

    Returns
    -------
    dict
        Purpose to the record of the file, or to ``{"files": [names]}`` where several served.

    Examples
    --------
    >>> parts = [with_calibration({}, {"aperture": {"file": name}}) for name in ("a.fits", "b.fits")]
    >>> united(parts), united(parts[:1])
    ({'aperture': {'files': ['a.fits', 'b.fits']}}, {'aperture': {'file': 'a.fits'}})
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for text in {str(attrs["provenance"]) for attrs in all_attrs if attrs.get("provenance")}:
        for purpose, record in calibration_of({"provenance": text}).items():
            names = record.get("files") or [str(record.get("file", ""))]
            found.setdefault(purpose, {}).update({name: record for name in names if name})
    return {
        purpose: next(iter(records.values())) if len(records) == 1 else {"files": sorted(records)}
        for purpose, records in found.items()
        if records
    }


def file_record(ds: Any, **further: Any) -> dict[str, Any] | None:
    """Return what is known of the file that a Dataset came from; `None` for what came from no file.

    The Dataset's own record (of a file that batx found, with its place in the calibration database) comes
    first; else there are ``file``, the path, and ``version``, keyword FILENAME or VERSION, if there.

    Parameters
    ----------
    ds
        Dataset, or anything else (then `None`).
    **further
        Further entries of the record.
    """
    if not isinstance(ds, xr.Dataset):
        return dict(further) or None
    record: dict[str, Any] = {}
    source = ds.encoding.get("source")
    if source is not None:
        record["file"] = os.path.basename(os.fspath(source))
        record["path"] = os.fspath(source)
    own = ds.attrs.get("calibration_file")
    if isinstance(own, str):
        record |= json.loads(own)
    return (record | further) or None
