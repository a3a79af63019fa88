"""Files in and out: FITS through an xarray engine, netCDF and Zarr stores, observations."""
