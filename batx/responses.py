"""The response of a spectrum: found, combined with its effective area, on its channels."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from batx.errors import MissingFileError, ResponseError
from batx.schema import build, require_kind

__all__ = ["LINKS", "combine_response", "linked_path", "moved_links", "named", "own_response", "response_of"]

#: keywords of a spectrum that name files
LINKS = ("respfile", "ancrfile", "backfile", "corrfile")
#: what stands for "no file" in a header
_NO_FILE = {"", "none", "null", "n/a"}


def response_of(spectrum: xr.Dataset, response: Any = None) -> xr.Dataset:
    """Return the response of a spectrum in cm**2, channel by channel that of the spectrum.

    Parameters
    ----------
    spectrum
        Kind ``spectrum``.
    response
        Kind ``response``, a path, or a pair (redistribution, effective area) of either; without it the files
        that the header names (RESPFILE, ANCRFILE), next to the spectrum; and where it names none, that of
        `batx.response` for a mask-weighted spectrum.

    Returns
    -------
    xarray.Dataset
        Kind ``response`` with ``matrix(energy_in, channel)`` in cm**2, rows as they are.

    Raises
    ------
    MissingFileError
        If there is no response, or the file that the header names is not there.
    MissingKeywordError
        If a mask-weighted spectrum does not say where its source is in the field.
    ResponseError
        If the channels are not those of the spectrum, or a redistribution has no effective area.

    Notes
    -----
    The k-th channel of the matrix is the k-th of the spectrum if both have as many; otherwise channels are
    found by their numbers.

    Examples
    --------
    >>> spectrum = build("spectrum", {"channel": [1, 2], "counts": [3, 4], "exposure": ((), 1.0)},
    ...                  {"statistic": "poisson", "weighting": "none"})
    >>> matrix = build("response", {"energy_in": [15.0], "energy_in_bnds": [[10.0, 20.0]],
    ...                "channel": [0, 1, 2], "matrix": (("energy_in", "channel"), [[1.0, 2.0, 3.0]],
    ...                {"units": "cm**2"})})
    >>> response_of(spectrum, matrix).matrix.values
    array([[2., 3.]])
    """
    require_kind(spectrum, "spectrum", operation="response_of")
    if response is None:
        response = own_response(spectrum)
    return _on_channels(combine_response(response), spectrum)


def own_response(spectrum: xr.Dataset) -> Any:
    """Return the files that a spectrum names, or the packaged response if it is mask-weighted."""
    names = [linked_path(spectrum, key) for key in ("respfile", "ancrfile")]
    if names[0] is not None:
        return [name for name in names if name is not None]
    if spectrum.attrs.get("weighting") == "mask":
        from batx.detector_responses import response
        from batx.survey_spectra import is_of_survey, survey_response

        return survey_response() if is_of_survey(spectrum) else response(spectrum)
    raise MissingFileError(
        "response_of: the spectrum names no response (RESPFILE); pass response=, a file or a Dataset"
    )


def linked_path(spectrum: xr.Dataset, key: str) -> Path | None:
    """Return the file that a header keyword names, looked for next to the spectrum; `None` if there is none.

    Raises
    ------
    MissingFileError
        If the file is not there.
    """
    name = named(spectrum, key)
    if not name:
        return None
    path, folder = _found(spectrum, name)
    if path is not None:
        return path
    survey = key == "respfile" and "survey" in name
    raise MissingFileError(
        f"the spectrum names {name!r} as its {key.upper()}, which is not in {folder}; put it there, or pass "
        f"the file{' or response=batx.survey_response()' if survey else ''}"
    )


def named(spectrum: xr.Dataset, key: str) -> str:
    """Return the name that a header keyword gives a file; nothing for ``none`` and the like."""
    name = str(spectrum.attrs.get(key, "")).strip()
    return "" if name.lower() in _NO_FILE else name


def _found(spectrum: xr.Dataset, name: str) -> tuple[Path | None, Path]:
    """Return the file of a name, if it is there, and the folder in which it must be."""
    folder = Path(spectrum.encoding.get("source", ".")).parent
    plain = name.partition("[")[0]
    present = [path for path in (folder / plain, folder / f"{plain}.gz") if path.is_file()]
    return (present[0] if present else None), folder


def moved_links(spectrum: xr.Dataset, folder: Path) -> xr.Dataset:
    """Return a spectrum that is written to another folder, with the files it names as seen from there.

    Names of files that are not where they were, or are in the new folder too, stay.
    """
    made = {}
    for key in LINKS if "source" in spectrum.encoding else ():
        name = named(spectrum, key)
        plain, bracket, rest = name.partition("[")
        path = _found(spectrum, name)[0] if name else None
        if path is not None and not (folder / plain).is_file():
            made[key] = os.path.relpath(path.resolve(), folder.resolve()) + bracket + rest
    return spectrum.assign_attrs(made) if made else spectrum


def combine_response(response: Any) -> xr.Dataset:
    """Return a response in cm**2: the redistribution times the effective area, energy by energy.

    Parameters
    ----------
    response
        Kind ``response``, a path, or a pair (redistribution, effective area) of either.

    Raises
    ------
    ResponseError
        If a redistribution comes without its effective area, or with one on other energies.
    """
    parts = list(response) if isinstance(response, (list, tuple)) else [response]
    opened = [_opened(part) for part in parts]
    matrix = next((part for part in opened if "matrix" in part), None)
    if matrix is None:
        raise ResponseError("the response has an effective area and no matrix; pass (redistribution, area)")
    area = next((part for part in opened if part is not matrix and "area" in part), matrix)
    in_area = matrix["matrix"].attrs.get("units") == "cm**2" and area is matrix
    if in_area and (matrix["energy_in_bnds"].values > 0).all():
        return matrix
    values = matrix["matrix"].values.astype(np.float64)
    if not in_area:
        if "area" not in area:
            raise ResponseError(
                "the matrix is a redistribution without an effective area; pass (redistribution, area)"
            )
        values = values * _area_on(area, matrix)[:, np.newaxis]
    bounds = _positive(matrix["energy_in_bnds"].values)
    kept = [name for name in ("channel", "energy", "energy_bnds") if name in matrix.variables]
    variables = {
        "energy_in": bounds.mean(axis=-1),
        "energy_in_bnds": bounds,
        **{name: matrix[name].variable for name in kept},
        "matrix": (("energy_in", "channel"), values, {"units": "cm**2"}),
    }
    made = build("response", variables, matrix.attrs)
    made.encoding.update({key: value for key, value in matrix.encoding.items() if key == "source"})
    return made


def _opened(response: Any) -> xr.Dataset:
    if isinstance(response, (str, os.PathLike)):
        response = xr.open_dataset(response, engine="batx")
    require_kind(response, "response", operation="response_of")
    return response


def _area_on(area: xr.Dataset, matrix: xr.Dataset) -> np.ndarray:
    """Return the effective area, which must be on the energies of the matrix."""
    own, wanted = area["energy_in_bnds"].values, matrix["energy_in_bnds"].values
    if own.shape != wanted.shape or not np.allclose(own, wanted, rtol=1e-3, atol=1e-4):
        raise ResponseError(
            f"the effective area has {len(own)} energy bins from {own.min():g} to {own.max():g} keV, the "
            f"matrix {len(wanted)} from {wanted.min():g} to {wanted.max():g}; they must be the same"
        )
    return area["area"].values.astype(np.float64)


def _positive(bounds: np.ndarray) -> np.ndarray:
    """Return energy bounds with lower edges above zero: a thousandth of the upper edge, as XSPEC takes."""
    low, high = bounds.T
    return np.stack([np.where(low > 0, low, high / 1000.0), high], axis=-1)


def _on_channels(response: xr.Dataset, spectrum: xr.Dataset) -> xr.Dataset:
    if response.sizes["channel"] == spectrum.sizes["channel"]:
        _require_same_energies(response, spectrum)
        return response
    if "channel" in response.coords and np.isin(spectrum["channel"], response["channel"]).all():
        return response.sel(channel=spectrum["channel"].values)
    raise ResponseError(
        f"the spectrum has {spectrum.sizes['channel']} channels, the response {response.sizes['channel']}, "
        "and the numbers of the former are not among those of the latter; use the response of this spectrum"
    )


def _require_same_energies(response: xr.Dataset, spectrum: xr.Dataset) -> None:
    """Raise if both say the energies of their channels, and these are others."""
    if "energy_bnds" not in response.variables or "energy_bnds" not in spectrum.variables:
        return
    own, other = (ds["energy_bnds"].values.astype(np.float64) for ds in (spectrum, response))
    narrow = np.minimum(*(np.abs(bounds[:, 1] - bounds[:, 0]) for bounds in (own, other)))
    apart = np.abs(own - other).max(axis=1) > 0.5 * narrow + 0.02
    if own.shape == other.shape and apart[1:-1].any():  # the ends of the first and last mean little
        worst = 1 + int(np.argmax(apart[1:-1]))
        raise ResponseError(
            f"channel {worst} of the spectrum is from {own[worst, 0]:g} to {own[worst, 1]:g} keV, that of "
            f"the response from {other[worst, 0]:g} to {other[worst, 1]:g}; use the response of this spectrum"
        )
