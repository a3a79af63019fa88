"""Spectra, backgrounds and responses as files that XSPEC finds in the folder where it works.

Files stay as they are, under short names that no program can misread; what is in memory is written. Private
to `batx.xspec`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xarray as xr

from batx.fit_inputs import Settings, each, labelled
from batx.io.write import to_fits
from batx.responses import linked_path, own_response, response_of

__all__ = ["write_inputs"]

_MAGIC = (b"SIMPLE", b"\x1f\x8b")
#: keywords of a spectrum that make XSPEC load other files; batx subtracts no corrections
_LINKS = ("RESPFILE", "ANCRFILE", "BACKFILE", "CORRFILE")


def write_inputs(spectra: Any, settings: Settings, folder: Path) -> list[str]:
    """Put what a fit needs into a folder; return the names of the spectra.

    Parameters
    ----------
    spectra, settings
        As for `batx.fit`.
    folder
        An empty folder, or one that this has been used on before.
    """
    named = labelled(spectra)
    responses = each(settings.response, list(named), "response")
    backgrounds = each(settings.background, list(named), "background")
    return [
        _written(spectrum, response, background, folder, f"s{number}")
        for number, (spectrum, response, background) in enumerate(
            zip(named.values(), responses, backgrounds, strict=True), 1
        )
    ]


def _written(spectrum: Any, response: Any, background: Any, folder: Path, name: str) -> str:
    opened = spectrum
    if not isinstance(spectrum, xr.Dataset):
        opened = xr.open_dataset(spectrum, engine="batx")
    if response is None:
        response = own_response(opened)
    links = dict.fromkeys(_LINKS, "none")
    parts = list(response) if isinstance(response, (list, tuple)) else [response]
    if all(_is_fits(part) and _is_clear(part) for part in parts):
        for key, suffix, part in zip(_LINKS, ("rsp", "arf"), parts, strict=False):
            links[key] = _linked(part, folder / f"{name}.{suffix}")
    else:
        matrix = response_of(opened, response)
        if "energy_bnds" not in matrix.variables and "energy_bnds" in opened.variables:
            matrix = matrix.assign_coords(energy_bnds=opened["energy_bnds"])
        links["RESPFILE"] = to_fits(matrix, folder / f"{name}.rsp", overwrite=True).name
    if background is None or background is True:
        background = linked_path(opened, "backfile")
    if background is not None and background is not False:
        links["BACKFILE"] = _background(background, folder / f"{name}.bkg")
    _spectrum(spectrum, opened, links, folder / f"{name}.pha")
    return f"{name}.pha"


def _background(background: Any, path: Path) -> str:
    if _is_fits(background):
        return _linked(background, path)
    if not isinstance(background, xr.Dataset):
        background = xr.open_dataset(background, engine="batx")
    return to_fits(_without_links(background), path, overwrite=True).name


def _spectrum(spectrum: Any, opened: xr.Dataset, links: Mapping[str, str], path: Path) -> None:
    """Write a spectrum that names these files: a copy of the file, or what is in memory."""
    if _is_fits(spectrum) and _copied(Path(spectrum), links, path):
        return
    made = opened.assign_attrs({key.lower(): name for key, name in links.items()})
    to_fits(made, path, overwrite=True)


def _copied(source: Path, links: Mapping[str, str], path: Path) -> bool:
    """Copy a file with other links in its header; return whether that can be done, for one spectrum only."""
    from astropy.io import fits

    with fits.open(source, memmap=False) as hdus:
        for hdu in hdus:
            if hdu.name != "SPECTRUM" and hdu.header.get("HDUCLAS1") != "SPECTRUM":
                continue
            columns = {str(name).upper() for name in getattr(hdu.columns, "names", ())}
            if columns & {*_LINKS, "SPEC_NUM", "ROWID"} or hdu.header.get("HDUCLAS4") == "TYPE:II":
                return False
            hdu.header.update(links)
            hdus.writeto(path, overwrite=True, checksum=False, output_verify="silentfix")
            return True
    return False


def _without_links(ds: xr.Dataset) -> xr.Dataset:
    return ds.assign_attrs({key.lower(): "none" for key in _LINKS})


def _is_fits(entry: Any) -> bool:
    """Whether something is a FITS file, compressed or not."""
    if not isinstance(entry, (str, os.PathLike)) or not Path(entry).is_file():
        return False
    with open(entry, "rb") as file:
        return file.read(6).startswith(_MAGIC)


def _is_clear(response: str | os.PathLike[str]) -> bool:
    """Whether a response says the number of its first channel; otherwise XSPEC takes 1, also if it is 0."""
    from astropy.io import fits

    with fits.open(response) as hdus:
        for hdu in hdus:
            names = [str(name).upper() for name in getattr(getattr(hdu, "columns", None), "names", ())]
            if "F_CHAN" in names and f"TLMIN{names.index('F_CHAN') + 1}" not in hdu.header:
                return False
    return True


def _linked(source: str | os.PathLike[str], path: Path) -> str:
    path.unlink(missing_ok=True)
    path.symlink_to(Path(source).resolve())
    return path.name
