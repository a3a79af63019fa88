"""What the tools of BAT and of OGIP spectra make of spectra: responses, errors, positions, groups."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from batx.errors import KindError, ValueRangeError
from batx.schema import require_kind

if TYPE_CHECKING:
    from batx.heasoft.engine import Bench, Engine

__all__ = ["add_position", "add_systematics", "group", "response"]


def _spectrum(bench: Bench, spectrum: Any) -> Path:
    require_kind(spectrum, "spectrum", operation=f"{bench.verb} by the engine heasoft")
    return bench.write(spectrum, "spectrum.pha")


def _file(value: Any, name: str) -> Any:
    """Return the name of a file of the calibration, CALDB where none is given."""
    if value is None or isinstance(value, (str, os.PathLike)):
        return "CALDB" if value is None else value
    source = value.encoding.get("source") if isinstance(value, (xr.Dataset, xr.DataTree)) else None
    if source is None:
        raise KindError(f"{name}: the engine heasoft takes the name of a file, found {type(value).__name__}")
    return source


def response(
    engine: Engine,
    spectrum: xr.Dataset | None = None,
    *,
    parameters: Any = None,
    depth: Any = None,
    energy_in: Any = None,
    **options: Any,
) -> xr.Dataset:
    """Return the response that batdrmgen makes of a spectrum; arguments as for `batx.response`.

    The place of the source is that of the attributes of the spectrum (`batx.add_position`).

    Examples
    --------
    >>> import batx
    >>> batx.response(batx.schema.build("events", {"time": [0.0]}), engine="heasoft")
    Traceback (most recent call last):
    batx.errors.KindError...
    """
    if spectrum is None:
        raise ValueRangeError("response: the engine heasoft needs a spectrum")
    with engine.bench("response") as bench:
        options.pop("compat", None)
        bench.refuse(options)
        path = _spectrum(bench, spectrum)
        if "bat_zobj" not in spectrum.attrs and "bat_zobj" not in spectrum.variables:
            raise ValueRangeError(
                "response: the spectrum does not say where its source is (bat_xobj, bat_yobj, bat_zobj); "
                "use batx.add_position first"
            )
        if "time" in spectrum.dims and spectrum.sizes["time"] > 1:
            raise ValueRangeError("response: the engine heasoft makes one response; select one time")
        result = bench.run(
            "batdrmgen",
            infile=path,
            outfile=bench.path("response.rsp"),
            hkfile="NONE",
            calfile=_file(parameters, "parameters"),
            depthfile=_file(depth, "depth"),
            efile=_file(energy_in, "energy_in"),
            escale="FILE",
            method="MEAN",
        )
        return bench.done(bench.read(result["outfile"], "response"))


def add_systematics(
    engine: Engine, spectrum: xr.Dataset, errors: Any = None, energy: Any = None
) -> xr.Dataset:
    """Return a spectrum with the systematic errors of batphasyserr; arguments as for `batx.add_systematics`.

    `errors` is the name of a file of systematic errors, CALDB by default.

    Examples
    --------
    >>> import batx
    >>> batx.add_systematics(batx.schema.build("events", {"time": [0.0]}), engine="heasoft")
    Traceback (most recent call last):
    batx.errors.KindError...
    """
    with engine.bench("add_systematics") as bench:
        bench.refuse({"energy": energy})
        result = bench.run(
            "batphasyserr",
            infile=_spectrum(bench, spectrum.drop_vars("sys_err", errors="ignore")),
            outputs={"infile": bench.path("with_errors.pha")},
            syserrfile=_file(errors, "errors"),
        )
        made = bench.done(bench.read(result["infile"], "spectrum"))
    values = made["sys_err"].isel({dim: 0 for dim in made["sys_err"].dims if dim not in spectrum.dims})
    return spectrum.assign(sys_err=(values.dims, values.values, dict(made["sys_err"].attrs))).assign_attrs(
        history=made.attrs["history"]
    )


def add_position(engine: Engine, spectrum: xr.Dataset, trace: xr.Dataset) -> xr.Dataset:
    """Return a spectrum with the position that batupdatephakw adds; arguments as for `batx.add_position`.

    Examples
    --------
    >>> import batx
    >>> batx.add_position(batx.schema.build("events", {"time": [0.0]}), None, engine="heasoft")
    Traceback (most recent call last):
    batx.errors.KindError...
    """
    with engine.bench("add_position") as bench:
        path = _spectrum(bench, spectrum)
        require_kind(trace, "ray_trace", operation="add_position by the engine heasoft")
        result = bench.run(
            "batupdatephakw",
            infile=path,
            outputs={"infile": bench.path("with_position.pha")},
            auxfile=bench.write(trace, "aux.fits"),
        )
        made = bench.done(bench.read(result["infile"], "spectrum"))
    names = ("bat_xobj", "bat_yobj", "bat_zobj", "pcodefr", "ngoodpix", "mskwtsqf")
    several = {name: made[name] for name in names if name in made.variables and "time" in spectrum.dims}
    single = {name: made.attrs[name] for name in names if name in made.attrs and name not in several}
    result_spectrum = spectrum.assign(
        {name: (values.dims, values.values, dict(values.attrs)) for name, values in several.items()}
    )
    return result_spectrum.assign_attrs(single, history=made.attrs["history"])


def group(
    engine: Engine,
    spectrum: xr.Dataset,
    *,
    min_counts: float | None = None,
    min_snr: float | None = None,
    size: int | None = None,
    optimal: bool = False,
    energy: Any = None,
    response: Any = None,
    background: Any = None,
    **options: Any,
) -> xr.Dataset:
    """Return a spectrum with the groups of grppha or ftgrouppha; arguments as for `batx.group`.

    `min_counts` and `size` are done by grppha, `size` also for channels of an `energy`.

    Examples
    --------
    >>> import batx
    >>> batx.group(batx.schema.build("events", {"time": [0.0]}), min_counts=9, engine="heasoft")
    Traceback (most recent call last):
    batx.errors.KindError...
    """
    ways = {"min": min_counts, "snmin": min_snr, "constant": size}
    given = {name: value for name, value in ways.items() if value is not None}
    with engine.bench("group") as bench:
        bench.refuse(options)
        path = _spectrum(bench, spectrum)
        if len(given) > 1 or not (given or optimal):
            raise ValueRangeError("group: the engine heasoft takes one of min_counts, min_snr, size, optimal")
        kind, scale = next(iter(given.items()), ("opt", None))
        if optimal and given:
            if kind == "constant":
                raise ValueRangeError("group: the engine heasoft has nothing for optimal groups of a size")
            kind = f"opt{kind}"
        files = {"infile": path, "outfile": bench.path("grouped.pha")}
        if energy is not None and kind != "constant":
            raise ValueRangeError("group: the engine heasoft takes energy with size only")
        if kind == "min":
            result = bench.run("grppha", **files, comm=f"group min {scale:g} & exit")
        elif kind == "constant":
            first, last = _channels(spectrum, energy)
            result = bench.run("grppha", **files, comm=f"group {first} {last} {scale:g} & exit")
        else:
            result = bench.run(
                "ftgrouppha",
                **files,
                grouptype=kind,
                groupscale=scale,
                backfile=bench.write_optional(background, "background.pha"),
                respfile=bench.write_optional(response, "response.rsp"),
            )
        made = bench.done(bench.read(result["outfile"], "spectrum"))
    columns = {
        name: (made[name].dims, made[name].values, dict(made[name].attrs))
        for name in ("grouping", "quality")
        if name in made
    }
    return spectrum.assign(columns).assign_attrs(history=made.attrs["history"])


def _channels(spectrum: xr.Dataset, energy: Any) -> tuple[int, int]:
    """Return the first and the last channel whose middle is in a range of energy; of all without one."""
    from batx.channel_groups import channels_inside

    channels = spectrum["channel"].values[channels_inside(spectrum, energy)]
    if not channels.size:
        raise ValueRangeError(f"group: no channel has its middle in {energy} keV")
    return int(channels[0]), int(channels[-1])
