"""Open FITS files as labelled data."""

from __future__ import annotations

import os
from typing import Any

import xarray as xr

from batx.errors import FileFormatError

__all__ = ["open_dataset", "open_datatree"]


def open_dataset(
    path: str | os.PathLike[str],
    chunks: Any = None,
    hdu: int | str | None = None,
    *,
    energy: Any = None,
    t0: Any = None,
    **kwargs: Any,
) -> xr.Dataset:
    """Open a file as the kind of data that it is about; energies and good times of a FITS file are merged in.

    The kind is recognised from the headers, never from the name. For FITS this is the same as
    ``xr.open_dataset(path, engine="batx")``; what `batx.to_netcdf` and `batx.to_zarr` wrote is given back as
    it was.

    Parameters
    ----------
    path
        A FITS file, plain or gzipped; a netCDF file or Zarr directory; or, with `energy`, a table in text.
    chunks
        `None` for lazy NumPy-backed variables (read once, when used); ``{}`` for dask arrays with chunks of
        about a million rows; or chunks as xarray takes them.
    hdu
        Number or EXTNAME of the HDU to open instead of the principal one.
    energy
        For tables of numbers without a header, such as the light curves in text on the pages of bursts: the
        bands as edges or pairs (keV). Columns are the centre of a bin (s), then mask-weighted rate and error
        of each band; bins have one width, rows may be missing.
    t0
        For tables: the zero of their times, MET or a date; it becomes the trigger time. By default they are
        MET.
    **kwargs
        Passed to `xarray.open_dataset`, for example ``drop_variables``.

    Returns
    -------
    xarray.Dataset
        Follows the data model (``batx.check`` finds nothing); ``encoding["source"]`` is the path. No large
        array is read.

    Raises
    ------
    MissingFileError
        If there is no such file.
    FileFormatError
        If it is not FITS, is corrupt or cut short, has no data, or is a table without `energy`.
    MissingKeywordError, MissingVariableError
        If the product lacks a keyword or column without which its numbers mean nothing.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> from astropy.io import fits
    >>> table = fits.BinTableHDU.from_columns(
    ...     [fits.Column("START", "D", array=[0.0, 20.0]), fits.Column("STOP", "D", array=[10.0, 30.0])],
    ...     name="STDGTI",
    ... )
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     table.writeto(f"{folder}/good.gti")
    ...     gti = open_dataset(f"{folder}/good.gti").load()
    >>> gti.batx_kind, gti["stop"].values
    ('gti', array([10., 30.]))
    """
    from batx.io.engine import BatxBackendEntrypoint
    from batx.io.store import is_store, open_store
    from batx.io.text import is_text, read_text

    if energy is not None:
        return read_text(path, energy, t0)
    if is_text(path):
        raise FileFormatError(
            f"{os.fspath(path)}: found a table of numbers, which does not say its energies; if it is a light "
            "curve, give its bands: batx.open_dataset(path, energy=[15, 25, 50, 100, 350], t0=trigger_time)"
        )
    if is_store(path):
        return open_store(path, chunks)
    return xr.open_dataset(path, engine=BatxBackendEntrypoint, chunks=chunks, hdu=hdu, **kwargs)


def open_datatree(path: str | os.PathLike[str], chunks: Any = None, **kwargs: Any) -> xr.DataTree:
    """Open every HDU of a FITS file: a DataTree with a node for each that holds data, named after its
    EXTNAME.

    The same as ``xr.open_datatree(path, engine="batx")``. Parameters and errors are those of `open_dataset`;
    the attributes of the root are the keywords of the primary header.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> from astropy.io import fits
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     fits.PrimaryHDU(np.ones((4, 5))).writeto(f"{folder}/image.fits")
    ...     tree = open_datatree(f"{folder}/image.fits").load()
    >>> tree["PRIMARY"].attrs["batx_kind"], tree["PRIMARY/image"].shape
    ('image', (4, 5))
    """
    from batx.io.engine import BatxBackendEntrypoint
    from batx.io.store import is_store, open_store_tree

    if is_store(path):
        return open_store_tree(path, chunks)
    return xr.open_datatree(path, engine=BatxBackendEntrypoint, chunks=chunks, **kwargs)
