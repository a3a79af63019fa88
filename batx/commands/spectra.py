"""Fits of spectra, limits and responses."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batx.commands.options import EXISTING, FITS_SUFFIXES, STORE_SUFFIXES, Band, Edges, NewFile
from batx.commands.products import refuse_existing, write
from batx.commands.screen import Command, progress, sheet, table

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["fit", "limit", "response"]

_PICTURES = (".png", ".pdf", ".svg")
#: channels that are used of spectra of BAT
_BAT = (15.0, 150.0)
_BAND = click.option(
    "--energy",
    type=Band(),
    help="Channels used, keV.  [default: 15 to 150 of burst spectra, else all]",
)
_RESPONSE = click.option(
    "--response",
    "response_file",
    type=EXISTING,
    multiple=True,
    help="Response; twice for RMF and ARF.  [default: that of the header, or the packaged one]",
)
_OUTPUT = click.option("--output", "-o", type=NewFile(*STORE_SUFFIXES), help="Result; .nc or .zarr.")
_OVERWRITE = click.option("--overwrite", is_flag=True, help="Replace files that exist.")


class Setting(click.ParamType):
    """``NAME=VALUE``, or ``NAME=VALUE!`` to freeze it."""

    name = "NAME=VALUE[!]"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, dict[str, Any]]:
        """Return name, value and whether it is frozen."""
        name, found, text = str(value).partition("=")
        frozen = text.endswith("!")
        try:
            number = float(text.rstrip("!"))
        except ValueError:
            self.fail(f"found {value!r}, expected for example index=2 or index=2!", param, ctx)
        if not found:
            self.fail(f"found {value!r}, expected for example index=2", param, ctx)
        return name, {"value": number, "frozen": True} if frozen else {"value": number}


@click.command(cls=Command)
@click.argument("spectra", type=EXISTING, nargs=-1, required=True)
@click.option("--model", "-m", default="powerlaw", show_default=True, help="Expression, as in XSPEC.")
@_BAND
@_RESPONSE
@click.option("--background", type=EXISTING, help="Spectrum of the background.")
@click.option("--statistic", default="auto", show_default=True,
              type=click.Choice(["auto", "chi2", "cstat", "wstat", "pgstat", "gaussian"]),
              help="What is minimised.")  # fmt: skip
@click.option("--set", "settings", type=Setting(), multiple=True, help="Start value; with ! it is frozen.")
@click.option("--untie", multiple=True, help="Parameter that each spectrum has for itself.")
@click.option("--flux", type=Band(), multiple=True, help="Band of a flux, keV.  [default: the channels]")
@click.option("--delta", type=float, default=1.0, show_default=True, help="Of intervals; 2.706 for 90 %.")
@click.option("--engine", type=click.Choice(["native", "xspec"]), default="native", show_default=True,
              help="What makes the fit; xspec needs pyXspec.")  # fmt: skip
@click.option("--script", type=NewFile(".xcm", ".py"), help="Commands for XSPEC (.xcm) or Sherpa (.py).")
@_OUTPUT
@click.option("--plot", "-p", type=NewFile(*_PICTURES), help="Picture to write; .png, .pdf or .svg.")
@_OVERWRITE
def fit(
    spectra: tuple[Path, ...],
    model: str,
    energy: tuple[float, float] | None,
    response_file: tuple[Path, ...],
    background: Path | None,
    settings: tuple[tuple[str, dict[str, Any]], ...],
    untie: tuple[str, ...],
    flux: tuple[tuple[float, float], ...],
    script: Path | None,
    output: Path | None,
    plot: Path | None,
    overwrite: bool,
    **options: Any,
) -> None:
    """Fit a model to one or more spectra.

    SPECTRA are spectrum files; several are fitted jointly, with all parameters shared but those that --untie
    names.
    """
    import batx

    refuse_existing(overwrite, output, plot, script)
    with progress() as step:
        step(f"fitting {model}")
        opened = [batx.open_dataset(path) for path in spectra]
        bands = [energy or _own_band(entry, "fit") for entry in opened]
        found = batx.fit(
            opened,
            model,
            response=tuple(map(str, response_file)) if response_file else None,
            background=background,
            energy=bands,
            parameters=dict(settings),
            untied=untie,
            flux=list(flux) if len(flux) > 1 else flux[0] if flux else bands[0],
            **options,
        )
        written = [write(found, output, overwrite)] if output else []
        if script:
            form = "xspec" if script.suffix == ".xcm" else "sherpa"
            written.append(batx.to_script(found, script, form, overwrite=overwrite))
        if plot:
            written.append(_draw(found, plot, overwrite))
    click.echo(batx.fit_table(found))
    if found.attrs.get("message"):
        click.echo(f"note: {found.attrs['message']}")
    for path in written:
        click.echo(f"wrote {path}")


def _own_band(spectrum: xr.Dataset, operation: str) -> tuple[float, float] | None:
    """Return the channels that are used by default: those of bursts, or `None` for all."""
    from batx.schema import require_kind
    from batx.survey_spectra import SURVEY_EDGES

    require_kind(spectrum, "spectrum", operation=operation)
    is_bat = str(spectrum.attrs.get("instrument", "")).upper() == "BAT"
    return _BAT if is_bat and spectrum.sizes["channel"] != len(SURVEY_EDGES) - 1 else None


def _draw(found: xr.Dataset, path: Path, overwrite: bool) -> Path:
    from batx.plots.fit import plot_fit
    from batx.plots.page import save

    return save(found, path, overwrite=overwrite, draw=plot_fit)


@click.command(cls=Command)
@click.argument("spectrum", type=EXISTING)
@click.option("--index", type=float, multiple=True, help="Index of a power law.  [default: 2]")
@click.option("--template", type=click.Choice(["soft", "normal", "hard"]), multiple=True,
              help="Spectrum of a burst.")  # fmt: skip
@click.option("--sigma", type=float, default=3.0, show_default=True, help="Confidence, one-sided.")
@click.option("--method", type=click.Choice(["bayesian", "profile", "rate"]), default="bayesian",
              show_default=True, help="Kind of limit.")  # fmt: skip
@_BAND
@click.option("--flux", type=Band(), help="Band of the flux, keV.  [default: the channels]")
@_RESPONSE
@_OUTPUT
@_OVERWRITE
def limit(
    spectrum: Path,
    index: tuple[float, ...],
    template: tuple[str, ...],
    sigma: float,
    energy: tuple[float, float] | None,
    flux: tuple[float, float] | None,
    response_file: tuple[Path, ...],
    output: Path | None,
    overwrite: bool,
    **options: Any,
) -> None:
    """Limit the flux of a source that a spectrum does not show, and say how significant it is."""
    import batx

    refuse_existing(overwrite, output)
    shapes = [*template, *index] or [2.0]
    response = tuple(map(str, response_file)) if response_file else None
    with progress() as step:
        step("computing")
        ds = batx.open_dataset(spectrum)
        energy = energy or _own_band(ds, "limit")
        seen = batx.significance(ds, energy, response=response)
        found = batx.upper_limit(
            ds, sigma=sigma, template=shapes, energy=energy, flux=flux or energy, response=response, **options
        )
        written = [write(found, output, overwrite)] if output else []
    rate, error, snr = (float(seen[name]) for name in ("rate", "rate_err", "snr"))
    band = f"{seen.attrs['emin']:g}-{seen.attrs['emax']:g} keV"
    table({"rate": f"{rate:.4g} ± {error:.2g} count/s, {band}", "significance": f"{snr:.2f} sigma"})
    rows = [
        [
            str(found["template"].values[k]),
            f"{float(found['flux_limit'][k]):.3g}",
            f"{float(found['photon_flux_limit'][k]):.3g}",
            f"{float(found['rate_limit'][k]):.3g}",
        ]
        for k in range(found.sizes["template"])
    ]
    low, high = found.attrs["emin"], found.attrs["emax"]
    heading = (f"{sigma:g} sigma limit", f"erg/cm2/s {low:g}-{high:g} keV", "ph/cm2/s", "count/s")
    sheet("", heading, rows)
    for path in written:
        click.echo(f"wrote {path}")


@click.command(cls=Command)
@click.argument("spectrum", type=EXISTING, required=False)
@click.option(
    "--place", type=(float, float), metavar="IMX IMY", help="IMX and IMY, in place of those of the spectrum."
)
@click.option("--survey", is_flag=True, help="That of sums of the survey, in its eight bands.")
@click.option("--channels", type=Edges(), help="Edges of the channels, keV.")
@click.option("--parameters", type=EXISTING, help="Parameter file of the calibration (with --depth).")
@click.option("--depth", type=EXISTING, help="Depth file of the calibration: the response is computed.")
@click.option("--output", "-o", type=NewFile(".rsp", *FITS_SUFFIXES, *STORE_SUFFIXES), required=True,
              help="Response; FITS (.rsp), .nc or .zarr.")  # fmt: skip
@_OVERWRITE
def response(
    spectrum: Path | None,
    place: tuple[float, float] | None,
    survey: bool,
    channels: list[float] | None,
    parameters: Path | None,
    depth: Path | None,
    output: Path,
    overwrite: bool,
) -> None:
    """Write the response of BAT for a spectrum, or for a place in the field."""
    import batx

    if survey and any(given is not None for given in (spectrum, place, channels, parameters, depth)):
        raise click.UsageError("--survey says all; give nothing else with it")
    refuse_existing(overwrite, output)
    with progress() as step:
        step("computing")
        imx, imy = place if place else (None, None)
        if survey:
            made = batx.survey_response()
        else:
            made = batx.response(
                batx.open_dataset(spectrum) if spectrum else None,
                imx=imx,
                imy=imy,
                channels=channels,
                parameters=parameters,
                depth=depth,
            )
        path = write(made, output, overwrite)
    click.echo(f"wrote {path}")
