"""Spectra as a fit needs them: counts, variances and response of the bins that are used, as plain arrays.

The rules for channels, groups and backgrounds are those of XSPEC. Private to `batx.fitting`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

from batx.errors import EmptySelectionError, KindError, ResponseError, ValueRangeError
from batx.kernels.fold import Fold, group_channels, packed
from batx.kernels.models import Bins
from batx.provenance import united, with_calibration
from batx.responses import linked_path, named, response_of
from batx.schema import require_kind
from batx.units import to_value

__all__ = ["STATISTICS", "FitData", "fit_data", "limits_of", "per_channel"]

#: attributes of a spectrum that its fit keeps
_IDENTITY = ("telescope", "instrument", "object", "obs_id")
STATISTICS = ("chi2", "cstat", "wstat", "pgstat", "gaussian")


@dataclass(frozen=True)
class FitData:
    """The bins of one spectrum that a fit uses; all counts are those of the exposure.

    Attributes
    ----------
    label
        Name of the spectrum in the result.
    bins
        `Bins` of the incident energy of the response.
    fold
        Photons/cm**2/s in energy bins (..., energy) to counts (..., bin).
    observed, variance
        (bin,) Counts of the spectrum and their variance, the systematic part included.
    background, background_variance
        (bin,) Counts of the background spectrum and their variance; zeros without one.
    ratio
        (bin,) Background in the region of the source for one count of the background spectrum.
    energies
        (bin, 2) Nominal edges in keV.
    exposure
        Seconds.
    statistic
        The statistic of this spectrum.
    poisson, background_poisson
        Whether the counts (of the background) are Poisson.
    has_background
        Whether there is a background spectrum.
    is_net
        Whether the spectrum says that its background was subtracted.
    correction
        Name of a correction file (CORRFILE) that the spectrum names; it is not used.
    limits
        The energies that were asked for.
    files
        Paths of ``data``, ``response``, ``arf`` and ``background``, as far as they are files.
    identity
        Attributes that say what was observed, by which instrument.
    provenance
        Attributes that say which calibration served the spectrum and its response.
    places, groups
        (bin,) Which of the groups of channels (those of quality 1 left out) the bins are, and how many there
        are.
    keep_bad
        Whether channels of a quality above 1 are used.
    """

    label: str
    bins: Bins
    fold: Fold
    observed: np.ndarray
    variance: np.ndarray
    background: np.ndarray
    background_variance: np.ndarray
    ratio: np.ndarray
    energies: np.ndarray
    exposure: float
    statistic: str
    poisson: bool
    background_poisson: bool
    has_background: bool
    is_net: bool = False
    correction: str = ""
    limits: tuple[float, float] | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    identity: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    places: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    groups: int = 0
    keep_bad: bool = False

    @cached_property
    def net(self) -> np.ndarray:
        """Counts without the background."""
        return self.observed - self.ratio * self.background

    @cached_property
    def net_variance(self) -> np.ndarray:
        """Variance of `net`."""
        return self.variance + self.ratio**2 * self.background_variance


@dataclass
class _Channels:
    """Counts of a spectrum channel by channel, with what was said about them."""

    counts: np.ndarray
    variance: np.ndarray
    systematic: np.ndarray
    area: np.ndarray
    back: np.ndarray
    exposure: float
    poisson: bool


@dataclass
class _Grouping:
    """Channels that are not of quality 1, where groups of them start, and the quality of each group."""

    kept: np.ndarray
    starts: np.ndarray
    quality: np.ndarray

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Return sums over the channels of each group, of (..., channel)."""
        return group_channels(values[..., self.kept], self.starts)

    def largest(self, values: np.ndarray) -> np.ndarray:
        """Return the largest value of each group."""
        return np.maximum.reduceat(values[self.kept], self.starts)

    def ends(self, bounds: np.ndarray) -> np.ndarray:
        """Return the lower edge of the first and the upper one of the last channel of each group."""
        last = np.append(self.starts[1:], self.kept.size) - 1
        return np.stack([bounds[self.kept][self.starts, 0], bounds[self.kept][last, 1]], axis=-1)


def fit_data(
    spectrum: xr.Dataset,
    label: str,
    *,
    response: Any,
    background: Any,
    energy: Any,
    statistic: str,
    ignore_bad: bool,
    compat: str | None,
) -> FitData:
    """Return a spectrum, its background and its response as the arrays of a fit.

    Parameters
    ----------
    spectrum
        Kind ``spectrum``, one.
    label
        Its name in the result and in messages.
    response, background, energy, statistic, ignore_bad, compat
        As for `batx.fit`.

    Raises
    ------
    KindError, ResponseError, MissingFileError, ValueRangeError, EmptySelectionError
        As for `batx.fit`.
    """
    require_kind(spectrum, "spectrum", operation="fit")
    energy = None if energy is None else limits_of(energy)
    extra = [str(dim) for dim in _values(spectrum).dims if dim != "channel"]
    if extra:
        raise KindError(
            f"fit: spectrum {label!r} has the dimensions {', '.join(extra)}; take one of them "
            f"(sp.isel({extra[0]}=0)), or pass a list"
        )
    matrix = response_of(spectrum, response)
    own = _channels(spectrum, label)
    other = _background(spectrum, background, label)
    if other is not None and other.counts.size != own.counts.size:
        raise ValueRangeError(
            f"fit: spectrum {label!r} has {own.counts.size} channels, its background {other.counts.size}"
        )
    groups = _groups(spectrum, label)
    bounds = groups.ends(_energies(matrix, spectrum, label))
    used = _noticed(bounds, energy) & ((groups.quality == 0) | (not ignore_bad))
    if not used.any():
        raise EmptySelectionError(
            f"fit: no channel of spectrum {label!r} is left: {int((groups.quality != 0).sum())} of "
            f"{groups.quality.size} bins are bad, and "
            f"energy={energy} leaves those inside {bounds.min():g} to {bounds.max():g} keV"
        )
    observed = groups.sums(own.counts)
    fold = groups.sums(_on_bins(matrix) * (own.exposure * own.area))[:, used]
    finite = np.isfinite(fold).all()
    if not finite or not fold.any():
        raise ResponseError(
            f"fit: the response of spectrum {label!r} is {'zero' if finite else 'not finite'} in the "
            "channels used; use the response of this spectrum"
        )
    variance = groups.sums(own.variance) + (groups.largest(own.systematic) * observed) ** 2
    behind = np.zeros((3, observed.size)) if other is None else _behind(own, other, groups)
    data = FitData(
        label=label,
        bins=Bins(_edges(matrix)),
        fold=packed(fold),
        observed=observed[used],
        variance=variance[used],
        background=behind[0][used],
        background_variance=behind[1][used],
        ratio=behind[2][used],
        energies=bounds[used],
        exposure=own.exposure,
        statistic=_statistic_of(statistic, own, other),
        poisson=own.poisson,
        background_poisson=other is not None and other.poisson,
        has_background=other is not None,
        is_net=str(spectrum.attrs.get("hduclas2", "")).strip().upper() == "NET",
        correction=named(spectrum, "corrfile"),
        limits=energy,
        files=_files(spectrum, response, background),
        identity={key: spectrum.attrs[key] for key in _IDENTITY if spectrum.attrs.get(key) is not None},
        provenance=with_calibration({}, united([matrix.attrs, spectrum.attrs])),
        places=np.flatnonzero(used),
        groups=used.size,
        keep_bad=not ignore_bad,
    )
    return _without_zeros(data, compat) if data.statistic in ("chi2", "gaussian") else data


def limits_of(energy: Any) -> tuple[float, float]:
    """Return (low, high) in keV, numbers or a quantity."""
    if isinstance(energy, (list, tuple)):  # perhaps of quantities
        energy = [float(to_value(limit, "keV", "energy")) for limit in energy]
    limits = to_value(energy, "keV", "energy")
    if limits.shape != (2,) or not limits[0] < limits[1]:
        raise ValueRangeError(f"fit: found energy={energy}, expected lower < upper limit in keV")
    return float(limits[0]), float(limits[1])


def _behind(own: _Channels, other: _Channels, groups: _Grouping) -> np.ndarray:
    """Return counts of the background, their variance and the ratio of the regions, of each group."""
    counts = groups.sums(other.counts)
    variance = groups.sums(other.variance) + (groups.largest(other.systematic) * counts) ** 2
    size, behind = own.exposure * own.area * own.back, other.exposure * other.area * other.back
    ratio = np.divide(size, behind, out=np.zeros_like(size), where=behind > 0)  # dead channels have none
    return np.stack([counts, variance, groups.sums(ratio) / groups.sums(np.ones(ratio.size))])


def _without_zeros(data: FitData, compat: str | None) -> FitData:
    """Return data whose variances are above zero: bins without an error get that of one count.

    That is XSPEC's rule. Rates are not counts, so without compat="xspec" it is refused for them.
    """
    empty = data.net_variance <= 0.0
    if not empty.any():
        return data
    if not data.poisson and compat != "xspec":
        low, high = data.energies[empty].T
        raise ValueRangeError(
            f"fit: {int(empty.sum())} bins of spectrum {data.label!r} (from {low.min():g} to {high.max():g} "
            "keV) have an error of zero, so chi-square is undefined; leave them out by quality or energy, "
            "give them errors, or pass compat='xspec' for the error of one count"
        )
    one = np.minimum(1.0, data.ratio**2) if data.has_background else np.ones_like(data.variance)
    return replace(data, variance=np.where(empty, one, data.variance))


# ---------------------------------------------------------------- one spectrum


def _values(spectrum: xr.Dataset) -> xr.DataArray:
    return spectrum["counts" if "counts" in spectrum else "rate"]


def _channels(spectrum: xr.Dataset, label: str) -> _Channels:
    """Return the counts of a spectrum; those of a rate are rate times exposure."""
    exposure = float(spectrum["exposure"].values)
    if "counts" not in spectrum and np.isnan(exposure):
        exposure = 1.0
    if not exposure > 0:
        raise ValueRangeError(
            f"fit: spectrum {label!r} has an exposure of {exposure:g} s; expected a positive number"
        )
    scale = 1.0 if "counts" in spectrum else exposure
    counts = _values(spectrum).values.astype(np.float64) * scale
    poisson = spectrum.attrs.get("statistic") == "poisson"
    if poisson or "stat_err" not in spectrum:
        variance = np.maximum(counts, 0.0)
    else:
        variance = (spectrum["stat_err"].values.astype(np.float64) * scale) ** 2
    good = _quality(spectrum) == 0
    if not (np.isfinite(counts) & np.isfinite(variance))[good].all():
        raise ValueRangeError(
            f"fit: spectrum {label!r} has values or errors that are not finite; mark these channels as bad "
            "(quality 1)"
        )
    if not poisson and "stat_err" in spectrum and (spectrum["stat_err"].values[good] < 0).any():
        raise ValueRangeError(
            f"fit: spectrum {label!r} has negative errors; give them numbers above 0, or mark these channels "
            "as bad (quality 1)"
        )
    counts, variance = (np.where(good, values, np.nan_to_num(values)) for values in (counts, variance))
    return _Channels(
        counts,
        variance,
        per_channel(spectrum, "sys_err", 0.0),
        per_channel(spectrum, "areascal", 1.0),
        per_channel(spectrum, "backscal", 1.0),
        exposure,
        poisson,
    )


def per_channel(spectrum: xr.Dataset, name: str, default: float) -> np.ndarray:
    """Return a column, or the keyword of that name, for every channel."""
    value = spectrum[name].values if name in spectrum else spectrum.attrs.get(name, default)
    if not isinstance(value, (np.ndarray, int, float)):
        value = default
    return np.broadcast_to(np.asarray(value, np.float64), spectrum.sizes["channel"]).copy()


def _background(spectrum: xr.Dataset, background: Any, label: str) -> _Channels | None:
    if background is False:
        return None
    if background is None or background is True:
        background = linked_path(spectrum, "backfile")
    if background is None:
        return None
    if isinstance(background, (str, os.PathLike)):
        background = xr.open_dataset(background, engine="batx")
    require_kind(background, "spectrum", operation="fit, background")
    return _channels(background, f"background of {label}")


def _files(spectrum: xr.Dataset, response: Any, background: Any) -> dict[str, str]:
    """Return the paths of what a spectrum is fitted with."""
    if response is None:
        response = [linked_path(spectrum, key) for key in ("respfile", "ancrfile")]
    parts = list(response) if isinstance(response, (list, tuple)) else [response]
    if background is None or background is True:
        background = linked_path(spectrum, "backfile")
    names = {"data": spectrum, "response": parts[0], "arf": parts[1] if len(parts) > 1 else None}
    return {
        key: path for key, entry in (names | {"background": background}).items() if (path := _path(entry))
    }


def _path(entry: Any) -> str:
    """Return the path of a file, or that a Dataset was read from; nothing if there is none."""
    if isinstance(entry, xr.Dataset):
        return str(entry.encoding.get("source", ""))
    return os.fspath(entry) if isinstance(entry, (str, os.PathLike)) else ""


def _quality(spectrum: xr.Dataset) -> np.ndarray:
    size = spectrum.sizes["channel"]
    return spectrum["quality"].values if "quality" in spectrum else np.zeros(size, np.int64)


def _groups(spectrum: xr.Dataset, label: str) -> _Grouping:
    """Return how channels are grouped: a group starts wherever grouping is not -1, and is as bad as the
    worst of its channels.
    """
    size, quality = spectrum.sizes["channel"], _quality(spectrum)
    kept = np.flatnonzero(quality != 1)
    if kept.size == 0:
        raise EmptySelectionError(f"fit: all {size} channels of spectrum {label!r} are bad (quality 1)")
    begins = np.ones(kept.size, bool)
    if "grouping" in spectrum:
        begins[1:] = spectrum["grouping"].values[kept][1:] != -1
    starts = np.flatnonzero(begins)
    return _Grouping(kept, starts, np.maximum.reduceat(quality[kept], starts))


def _noticed(bounds: np.ndarray, energy: Any) -> np.ndarray:
    """Return which bins lie inside the energies, by XSPEC's ``ignore **-low high-**``.

    The bin that contains, or ends at, either limit is left out; a lower limit at the start, or an upper
    one beyond the end of the spectrum, leaves nothing out.
    """
    used = np.ones(len(bounds), bool)
    if energy is None:
        return used
    low, high = energy
    order = np.arange(len(bounds))
    ends = bounds[:, 1]
    if low > bounds[0, 0] * (1 + 1e-12):
        inside = np.flatnonzero(ends >= low * (1 - 1e-12))
        used &= order > (inside[0] if inside.size else len(bounds))
    if high < ends[-1] * (1 + 1e-12):
        used &= order < np.flatnonzero(ends >= high * (1 - 1e-12))[0]
    return used


def _energies(response: xr.Dataset, spectrum: xr.Dataset, label: str) -> np.ndarray:
    for ds in (response, spectrum):
        if "energy_bnds" in ds.variables:
            return ds["energy_bnds"].values.astype(np.float64)
    raise ResponseError(f"fit: neither spectrum {label!r} nor its response says the energies of its channels")


def _statistic_of(wanted: str, own: _Channels, other: _Channels | None) -> str:
    """Return the statistic of a spectrum: the one that is asked for, or the one its counts call for."""
    if wanted not in (*STATISTICS, "auto"):
        raise ValueRangeError(
            f"statistic: found {wanted!r}, expected 'auto' or one of {', '.join(STATISTICS)}"
        )
    if wanted == "auto":
        if not own.poisson:
            return "chi2"
        wanted = "cstat" if other is None or other.poisson else "pgstat"
    if wanted == "cstat" and other is not None:
        return "wstat"
    if wanted == "wstat" and other is None:
        return "cstat"
    return wanted


# ---------------------------------------------------------------- incident energies


def _edges(response: xr.Dataset) -> np.ndarray:
    bounds = response["energy_in_bnds"].values
    if (bounds[:, 0] >= bounds[:, 1]).any() or (np.diff(bounds[:, 0]) <= 0).any():
        raise ResponseError("the energy bins of the response do not increase")
    return np.unique(np.concatenate([bounds[:, 0], _tops(bounds)]))


def _tops(bounds: np.ndarray) -> np.ndarray:
    """Return upper edges, those that are the next lower edge but for rounding being exactly that."""
    tops = bounds[:, 1].copy()
    near = np.abs(bounds[1:, 0] - tops[:-1]) <= 1e-5 * tops[:-1]
    tops[:-1][near] = bounds[1:, 0][near]
    return tops


def _on_bins(response: xr.Dataset) -> np.ndarray:
    """Return the matrix with a row for each bin of `_edges`, zero where the response has a gap."""
    edges = _edges(response)
    matrix = response["matrix"].values
    if edges.size == len(matrix) + 1:
        return matrix
    made = np.zeros((edges.size - 1, matrix.shape[1]))
    made[np.searchsorted(edges, response["energy_in_bnds"].values[:, 0])] = matrix
    return made
