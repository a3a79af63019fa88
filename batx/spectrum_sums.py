"""Spectra of several observations: their sum with background and response, and a table of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batx.errors import EmptySelectionError, KindError, ValueRangeError
from batx.fit_data import per_channel
from batx.kernels.grouping import PARTIAL
from batx.met import met_to_mjd
from batx.provenance import united, with_calibration
from batx.responses import linked_path, response_of
from batx.schema import build, require_kind
from batx.schema.attributes import kept_attrs

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["combine_spectra", "spectrum_table"]


def combine_spectra(
    spectra: Sequence[Any], *, responses: Sequence[Any] | None = None, backgrounds: Any = None
) -> xr.DataTree:
    """Return the sum of spectra of counts, with the sum of their backgrounds and their mean response.

    Parameters
    ----------
    spectra
        Kind ``spectrum`` with counts, or paths; on the same channels.
    responses
        Of each, as for `fit`; by default the files that each names.
    backgrounds
        Of each, kind ``spectrum`` or a path; by default the files that each names, `False` for none.

    Returns
    -------
    xarray.DataTree
        ``/spectrum``, ``/response`` and, if there is one, ``/background``, for
        ``fit(tree["spectrum"].to_dataset(), response=..., background=...)``; ``tree.bat.to_fits("sum.pha")``
        writes the files, of which the first names the others.

    Raises
    ------
    KindError
        If something is no spectrum of counts.
    ValueRangeError
        If channels differ, an exposure is not positive, or only some have a background.
    MissingFileError, ResponseError
        As for `fit`.

    Notes
    -----
    Counts and exposures are added. Responses are averaged with exposure × AREASCAL as weights, channel by
    channel; that of the sum is 1. Background counts are added too; one BACKSCAL stands for all: with r_i the
    ratio of exposure × AREASCAL × BACKSCAL of spectrum to background, that of the sum is Σ r_i B_i / Σ B_i
    with all counts B_i of a background, so that the background that is subtracted has the right
    sum. Channel by channel that is exact if the r_i are equal; otherwise it is off by as much as the shapes
    of the backgrounds differ. Errors of counts that are not Poisson (net spectra) are added in quadrature.
    A channel is bad if it is in one of the spectra, or if none has any area there; groups are not kept.

    Examples
    --------
    >>> one = build("spectrum", {"channel": np.arange(2), "counts": [5, 3], "exposure": ((), 10.0)},
    ...             {"statistic": "poisson", "weighting": "none"})
    >>> matrix = build("response", {"energy_in": [15.0], "energy_in_bnds": [[10.0, 20.0]],
    ...                "channel": np.arange(2), "matrix": (("energy_in", "channel"), [[1.0, 2.0]],
    ...                {"units": "cm**2"})})
    >>> total = combine_spectra([one, one], responses=[matrix, 3 * matrix], backgrounds=False)
    >>> total["spectrum"].counts.values, total["response"].matrix.values
    (array([10,  6]), array([[2., 4.]]))
    """
    opened = [_opened(spectrum) for spectrum in spectra]
    if not opened:
        raise EmptySelectionError("combine_spectra: found no spectra")
    for one in opened:
        _require_counts(one)
    _same_channels(opened, "spectra")
    weights = np.array([float(one["exposure"]) for one in opened])
    if not (weights > 0).all():
        raise ValueRangeError(f"combine_spectra: found exposures {weights.tolist()} s, expected them above 0")
    each = [None] * len(opened) if responses is None else list(responses)
    if len(each) != len(opened):
        raise ValueRangeError(f"combine_spectra: found {len(each)} responses for {len(opened)} spectra")
    matrices = [response_of(one, own) for one, own in zip(opened, each, strict=True)]
    shares = weights[:, np.newaxis] / weights.sum() * _scales(opened, "areascal")
    nodes = {"response": _mean_response(matrices, shares)}
    behind = _backgrounds(opened, backgrounds)
    scale = (weights @ _scales(opened, "backscal")) / weights.sum()
    if behind:
        nodes["background"] = _summed(behind, _backscal(opened, behind, scale))
    nodes["spectrum"] = _without_dead(_summed(opened, scale), shares.sum(axis=0) > 0)
    return xr.DataTree.from_dict(nodes)


def _opened(item: Any) -> xr.Dataset:
    if isinstance(item, (str, os.PathLike)):
        item = xr.open_dataset(item, engine="batx")
    require_kind(item, "spectrum", operation="combine_spectra")
    return item


def _require_counts(one: xr.Dataset) -> None:
    if "counts" not in one or one["counts"].dims != ("channel",):
        raise KindError(
            "combine_spectra: found a spectrum of rates, or several along an axis, expected counts of one; "
            "mask-weighted spectra are not summed but fitted jointly"
        )


def _same_channels(several: Sequence[xr.Dataset], what: str) -> None:
    first = several[0]["channel"].values
    if any(not np.array_equal(one["channel"].values, first) for one in several):
        raise ValueRangeError(f"combine_spectra: the {what} have different channels")


def _backgrounds(spectra: Sequence[xr.Dataset], given: Any) -> list[xr.Dataset]:
    if given is False:
        return []
    found = [linked_path(one, "backfile") for one in spectra] if given is None else list(given)
    if len(found) != len(spectra) or any((entry is None) != (found[0] is None) for entry in found):
        raise ValueRangeError(
            "combine_spectra: some of the spectra have a background and some have none; give backgrounds=, "
            "one for each, or False"
        )
    behind = [_opened(entry) for entry in found if entry is not None]
    for one in behind:
        _require_counts(one)
    if behind:
        _same_channels([spectra[0], *behind], "spectra and backgrounds")
    return behind


def _scales(several: Sequence[xr.Dataset], name: str) -> np.ndarray:
    """Return AREASCAL or BACKSCAL of each spectrum, keyword or column, as (spectrum, channel)."""
    return np.stack([per_channel(one, name, 1.0) for one in several])


def _backscal(spectra: Sequence[xr.Dataset], behind: Sequence[xr.Dataset], scale: np.ndarray) -> np.ndarray:
    """Return the BACKSCAL of the summed background that subtracts as much as the single ones do."""
    exposure, exposure_behind = (
        np.array([[float(one["exposure"])] for one in several]) for several in (spectra, behind)
    )
    size, size_behind = (
        seconds * _scales(several, "areascal") * _scales(several, "backscal")
        for seconds, several in ((exposure, spectra), (exposure_behind, behind))
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.nan_to_num(size / size_behind, posinf=0.0)
        counts = np.array([float(one["counts"].sum()) for one in behind])
        ratio = counts @ ratios / counts.sum() if counts.sum() > 0 else ratios.mean(axis=0)
        made = exposure.sum() * scale / (exposure_behind.sum() * ratio)
    return np.where(np.isfinite(made) & (made > 0), made, 1.0)


def _summed(several: Sequence[xr.Dataset], backscal: np.ndarray) -> xr.Dataset:
    first = several[0]
    variables: dict[str, Any] = {
        name: first[name].variable for name in ("channel", "energy", "energy_bnds") if name in first.variables
    }
    variables["counts"] = ("channel", sum(one["counts"].values for one in several))
    poisson = all(one.attrs.get("statistic") == "poisson" for one in several)
    if not poisson:
        errors = [_error(one) for one in several]
        variables["stat_err"] = ("channel", np.sqrt(np.sum(np.square(errors), axis=0)), {"units": "count"})
    variables["exposure"] = ((), sum(float(one["exposure"]) for one in several))
    # quality 2 is what a grouping left over, and the groups are gone
    qualities = [
        np.where(one["quality"].values == PARTIAL, 0, one["quality"].values)
        for one in several
        if "quality" in one
    ]
    if qualities:
        variables["quality"] = ("channel", np.maximum.reduce(qualities))
    attrs = kept_attrs(
        first.attrs, "telescope", "instrument", "object", "chantype", "mjdref_int", "mjdref_frac"
    )
    for name, outermost in (("tstart", min), ("tstop", max)):
        ends = [one.attrs[name] for one in several if one.attrs.get(name) is not None]
        if len(ends) == len(several):
            attrs[name] = outermost(ends)
    names = ", ".join(str(one.attrs.get("obs_id", "?")) for one in several)
    if np.ptp(backscal) <= 1e-12 * backscal[0]:
        attrs["backscal"] = float(backscal[0])
    else:
        variables["backscal"] = ("channel", backscal, {"units": "1", "fits_name": "BACKSCAL"})
    attrs |= {"areascal": 1.0, "history": f"batx.combine_spectra: {names}"}
    attrs |= {"statistic": "poisson" if poisson else "gaussian", "weighting": "none"}
    return build("spectrum", variables, with_calibration(attrs, united(one.attrs for one in several)))


def _without_dead(spectrum: xr.Dataset, alive: np.ndarray) -> xr.Dataset:
    """Return a spectrum with the channels bad in which no spectrum has any area."""
    if alive.all():
        return spectrum
    quality = spectrum["quality"].values if "quality" in spectrum else np.zeros(alive.size, np.int16)
    attrs = {"units": "1", "fits_name": "QUALITY"}
    return spectrum.assign(quality=("channel", np.where(alive, quality, 1).astype(np.int16), attrs))


def _error(one: xr.Dataset) -> np.ndarray:
    """Return the errors of the counts."""
    if "stat_err" in one:
        return one["stat_err"].values.astype(np.float64)
    return np.sqrt(np.maximum(one["counts"].values, 0.0))


def _mean_response(matrices: Sequence[xr.Dataset], shares: np.ndarray) -> xr.Dataset:
    """Return the sum of responses times the share of each in each channel, shape (response, channel)."""
    bounds = matrices[0]["energy_in_bnds"].values
    if any(one["energy_in_bnds"].shape != bounds.shape for one in matrices) or any(
        not np.allclose(one["energy_in_bnds"], bounds, rtol=1e-5) for one in matrices
    ):
        raise ValueRangeError("combine_spectra: the responses have different incident energies")
    mean = sum(share * one["matrix"].values for share, one in zip(shares, matrices, strict=True))
    made = matrices[0].assign(matrix=(("energy_in", "channel"), mean, {"units": "cm**2"}))
    made.attrs = with_calibration(made.attrs, united(one.attrs for one in matrices))
    return made.assign_attrs(history=f"batx.combine_spectra: mean of {len(matrices)} responses")


def spectrum_table(spectra: Sequence[Any], *, min_exposure: float = 0.0) -> pd.DataFrame:
    """Return a table of spectra: observation, times, rate, exposure.

    Parameters
    ----------
    spectra
        Kind ``spectrum`` (one each), or paths.
    min_exposure
        Spectra with a shorter exposure (s) are left out.

    Returns
    -------
    pandas.DataFrame
        A row for each: ``obs_id``, ``instrument``, ``object``, ``start_mjd``, ``stop_mjd`` (UTC, NaN where
        the file has no times), ``rate``, ``rate_err`` (count/s, all good channels), ``exposure`` (s) and
        ``file``.

    Raises
    ------
    KindError
        If something is no single spectrum.
    EmptySelectionError
        If none is exposed long enough.

    Examples
    --------
    >>> one = build("spectrum", {"channel": np.arange(2), "counts": [5, 4], "exposure": ((), 10.0)},
    ...             {"statistic": "poisson", "weighting": "none", "obs_id": "00012345000"})
    >>> spectrum_table([one])[["obs_id", "rate", "exposure"]].values.tolist()
    [['00012345000', 0.9, 10.0]]
    """
    import pandas as pd

    rows = [_row(_opened(item)) for item in spectra]
    kept = [row for row in rows if row["exposure"] >= min_exposure]
    if not kept:
        raise EmptySelectionError(
            f"spectrum_table: none of {len(rows)} spectra is exposed for at least {min_exposure:g} s"
        )
    return pd.DataFrame(kept)


def _row(one: xr.Dataset) -> dict[str, Any]:
    name = "counts" if "counts" in one else "rate"
    if one[name].dims != ("channel",):
        raise KindError(f"spectrum_table: found axes {one[name].dims}, expected one spectrum; select one")
    exposure = float(one["exposure"])
    good = one["quality"].values == 0 if "quality" in one else np.ones(one.sizes["channel"], bool)
    values = one[name].values[good].astype(np.float64)
    if "stat_err" in one:
        error = float(np.sqrt(np.nansum(one["stat_err"].values[good] ** 2)))
    else:
        error = float(np.sqrt(max(np.nansum(values), 0.0)))
    per = 1.0 / exposure if name == "counts" and exposure > 0 else 1.0
    start, stop = _span(one)
    return {
        "obs_id": one.attrs.get("obs_id", ""),
        "instrument": one.attrs.get("instrument", ""),
        "object": one.attrs.get("object", ""),
        "start_mjd": start,
        "stop_mjd": stop,
        "rate": float(np.nansum(values)) * per,
        "rate_err": error * per,
        "exposure": exposure,
        "file": Path(str(one.encoding.get("source", ""))).name,
    }


def _span(one: xr.Dataset) -> tuple[float, float]:
    """Return start and end as MJD (UTC)."""
    if "time_bnds" in one.variables and "mjdref_int" in one.attrs:
        start, stop = met_to_mjd(one["time_bnds"].values.ravel()[[0, -1]], attrs=one.attrs)
        return float(start), float(stop)
    dates = [one.attrs.get(name) for name in ("date_obs", "date_end")]
    if all(dates):
        from astropy.time import Time

        with suppress(ValueError):  # days before 1999, as 26/05/98, say no time
            start, stop = Time(dates, format="isot", scale="utc").mjd
            return float(start), float(stop)
    return float("nan"), float("nan")
