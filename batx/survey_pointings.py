"""A survey snapshot: from its detector image to images of the sky and rates of sources."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from batx.calibration_inputs import alignment_for, aperture_for, records
from batx.cleaning import clean
from batx.errors import AttitudeError, EmptySelectionError, MissingVariableError, ValueRangeError
from batx.grids import warn
from batx.instrument.detector import DETECTOR
from batx.instrument.mask import FAR, MaskGeometry, illumination
from batx.kernels.precision import keep_bits
from batx.kernels.residuals import copy_discs, outlying_detectors
from batx.occultations import occultation
from batx.plane_inputs import usable_detectors
from batx.provenance import calibration_of, with_calibration
from batx.reduction import compat_of
from batx.schema import build, require_bat, require_kind
from batx.schema.attributes import ORIGIN, kept_attrs, with_history
from batx.sky_images import sky_image
from batx.survey_catalogs import require_unique
from batx.survey_inputs import number
from batx.survey_results import in_all_bands, pointing_row, snapshot_name, survey_columns
from batx.survey_searches import searched

__all__ = ["survey_pointing"]

#: binary digits that batfftimage leaves of the noise of an image
_TOOL_BITS = 7
#: how the position of the spacecraft must change before the limb of the Earth is worked out again, arcmin
_LIMB_TOLERANCE = 5.0
#: new sources of iteration n are numbered from this times (n - 1), plus 1
_NUMBERS = 10


def survey_pointing(
    plane: xr.Dataset,
    catalog: xr.Dataset | None = None,
    *,
    detector_mask: Any = None,
    attitude: xr.Dataset | None = None,
    aperture: xr.Dataset | None = None,
    mask_edges: xr.Dataset | None = None,
    alignment: Any = None,
    orbit: Any = None,
    distortion: Any = None,
    pattern: Any = None,
    iterations: int = 2,
    snr: float = 5.0,
    clean_snr: float = 9.0,
    clean_flagged: bool | None = None,
    bright_rate: float = 0.017,
    pcode_min: float = 0.05,
    bkg_pcode_min: float = 0.01,
    max_residual: float = 4.0,
    min_detectors: int = 16000,
    balance: Any = ("shortedges", "longedges", "inout"),
    copy_radius: float = 0.008,
    image_id: str | None = None,
    maps: bool = True,
    compat: str | None = None,
) -> xr.DataTree:
    """Return rates of sources in a survey snapshot, with the images of the sky that they are measured in.

    A background is fitted and taken off, the sky imaged, sources measured and new ones found. Detectors in
    the shadow of the mask's edge of very bright sources and those that stand out from the fit are then left
    out, bright sources fitted along with the background, and all is done once more.

    Parameters
    ----------
    plane
        Result of `batx.survey_plane`: kind ``detector_plane`` with ``rate`` or ``counts`` along energy, and
        ``exposure``.
    catalog
        Known sources, kind ``catalog``: those in the field are measured at their places. Its other columns
        are kept.
    detector_mask
        Good detectors: result of `batx.survey_mask`. Those of which a rate is not finite are none.
    attitude
        That of the snapshot: result of `batx.steady_attitude`.
    aperture, alignment
        As for `batx.sky_image`; from the calibration database if not given.
    mask_edges
        Kind ``aperture``: the cells at the edge of the mask, for the shadows that it casts; without it those
        shadows stay, with a warning if a source is bright enough to cast one.
    orbit
        Prefilter table, as for `batx.occultation`; without it nothing is done about the Earth's limb.
    distortion
        As for `batx.detect`.
    pattern
        Rate of a pattern of the detectors that is in every image, count/s: kind ``detector_plane`` or an
        array of its shape (energy, 173, 286).
    iterations
        How often the sky is imaged. With 1 the sources are measured before anything is cleaned.
    snr
        Significance of new sources.
    clean_snr
        Sources above this significance, in the sum of the bands or any of them, are cleaned.
    clean_flagged
        Whether sources with ``always_clean`` are cleaned however faint: if not given, they are without
        `compat`.
    bright_rate
        Rate above which a source casts a shadow of the mask's edge, count/s for a fully open detector.
    pcode_min, bkg_pcode_min
        As for `batx.detect`.
    max_residual
        Detectors that are further off the fit than this, in standard deviations, are left out.
    min_detectors
        Fewer good detectors than this are an error.
    balance
        As for `batx.clean`.
    copy_radius
        Cleaned sources are absent from the later images: what is nearer to them than this, in the tangent
        plane, is taken from an image above the background alone; with `compat` from the image before.
    image_id
        Name of the snapshot; ``point_YYYYDDDhhmm`` by its start if not given.
    maps
        Whether the noise around each pixel is wanted (of the last image).
    compat
        ``"heasoft"`` as batsurvey: images and fits as those of its tools (see `batx.sky_image` and
        `batx.detect`), images rounded to 7 binary digits of their noise.

    Returns
    -------
    xarray.DataTree
        ``/catalog`` (kind ``catalog``): columns as in the files of batsurvey, by source and energy: ``rate``,
        ``rate_err``, ``cent_rate`` (image at the source less the constant under it), ``bkg_var`` (noise
        around it), ``vectsnr``, ``bkg``, ``contam_rate``, ``chi2``, ``dof``; by source: ``totsnr``, ``snr``
        (the greatest of all), ``cleaned``, ``imx``, ``imy``, ``pcodefr``, ``time``, ``time_stop``,
        ``exposure``, ``ngoodpix``, and those of `catalog`. ``/image`` (kind ``sky_image``): ``rate``,
        ``pcode``, and ``noise`` around each pixel. ``/background`` (kind ``detector_plane``): the last fit.
        ``/detector_mask``: the detectors that were left. ``/pointing`` (kind ``table``): a row as in the
        table of pointings of `batx.open_survey`, with ``chi2`` and ``bkg_counts`` of each band. Bands without
        any count are left out of all that is done, and NaN (``bkg_counts`` 0).

    Raises
    ------
    KindError, MissingVariableError, ValueRangeError
        If arguments are of the wrong kind.
    EmptySelectionError
        If fewer than `min_detectors` detectors are left, or all counts of the lowest band are 0.
    AttitudeError, OrbitError
        If there is no attitude, or it or the orbit do not cover the snapshot.

    Warns
    -----
    BatxWarning
        If a bright source casts a shadow of the mask's edge and `mask_edges` is not given.

    Notes
    -----
    Balancing takes 2 to 4 % of the rate of a source that was not fitted along with the background: of faint
    ones, of all with ``iterations=1``, and of all with `compat`, where discs around cleaned sources hold the
    image before and the noise around them is that of the last one. A source near `clean_snr` steps by that
    much between snapshots. Simulated sources of 0.3 count/s per detector, fitted along, have 0.98 to 0.995 of
    the counts put in at three places, 0.94 to 0.97 with ``iterations=1``, and 0.97 to 1.01 with `compat`.
    Source: algorithms of the survey, 1.6 and 1.7. With `compat` the rates of batsurvey are met to 1e-3
    of their noise, the noise to 3e-5, and masks but for detectors at the very limit.

    Examples
    --------
    >>> import batx
    >>> from batx.instrument.sky import NOMINAL_ALIGNMENT
    >>> events = batx.simulate.events(batx.simulate.Source(0.05, imx=0.2, imy=0.1), duration=40.0)
    >>> plane = batx.detector_plane(events, energy=[15, 25, 50, 150])
    >>> path = batx.simulate.attitude(plane.attrs["tstart"], 40.0, (150, 30, 40))
    >>> steady = batx.steady_attitude(path, plane)
    >>> sky = {"attitude": steady, "alignment": NOMINAL_ALIGNMENT, "aperture": batx.simulate.aperture()}
    >>> made = survey_pointing(plane, maps=False, **sky)
    >>> made["catalog"].sizes["source"], dict(made["image"].rate.sizes)["energy"]
    (1, 3)
    """
    mode = compat_of(compat)
    settings = _Settings(
        snr=number(snr, "snr"),
        clean_snr=number(clean_snr, "clean_snr"),
        clean_flagged=mode is None if clean_flagged is None else bool(clean_flagged),
        bright_rate=number(bright_rate, "bright_rate"),
        pcode_min=number(pcode_min, "pcode_min"),
        bkg_pcode_min=number(bkg_pcode_min, "bkg_pcode_min"),
        max_residual=number(max_residual, "max_residual"),
        min_detectors=number(min_detectors, "min_detectors"),
        copy_radius=number(copy_radius, "copy_radius"),
        balance=balance,
        compat=mode,
    )
    if not isinstance(iterations, (int, np.integer)) or iterations < 1:
        raise ValueRangeError(f"iterations: found {iterations!r}, expected a whole number of at least 1")
    plane = _checked(plane).copy()
    if catalog is not None:
        require_kind(catalog, "catalog", operation="survey_pointing (catalog=)")
        require_unique(catalog["name"].values if "name" in catalog else (), "survey_pointing (catalog=)")
    if attitude is None:
        raise AttitudeError(
            "survey_pointing: found no attitude, by which sources have their places; give attitude= "
            "(batx.steady_attitude)"
        )
    name = image_id or snapshot_name(float(plane["gti_start"].values[0]))
    telescope = _Telescope(
        aperture_for(aperture, plane, "survey_pointing"),
        mask_edges,
        attitude,
        alignment_for(alignment, attitude, plane),
        orbit,
        distortion,
        _pattern(pattern, plane),
    )
    served = records(
        aperture=telescope.aperture,
        alignment=telescope.alignment,
        mask_edges=mask_edges,
        distortion=distortion,
        detector_mask=detector_mask,
    )
    plane.attrs = with_calibration(
        plane.attrs,
        {**calibration_of(detector_mask), **served} if isinstance(detector_mask, xr.Dataset) else served,
    )
    filled = plane["rate"].any(("dety", "detx")).values
    counted = telescope.in_bands(filled)
    finite = np.isfinite(plane["rate"].transpose("energy", "dety", "detx").values).all(axis=0)
    good = usable_detectors(detector_mask) & finite
    snapshot = _Snapshot(plane.isel(energy=filled), name, catalog, counted, settings, good)
    for iteration in range(1, iterations + 1):
        last = iteration == iterations
        snapshot.observe(iteration, maps=maps and last)
        if not last or iterations == 1:
            snapshot.improve(iteration)
    made = snapshot.result()
    return made if filled.all() else made.map_over_datasets(in_all_bands, kwargs={"plane": plane})


def _checked(plane: xr.Dataset) -> xr.Dataset:
    """Return a plane of rates along energy, with good time."""
    require_bat(plane, "detector_plane", operation="survey_pointing")
    if "exposure" not in plane.variables or not ({"counts", "rate"} & set(plane.data_vars)):
        raise MissingVariableError(
            "survey_pointing: found a plane without rate or exposure (batx.survey_plane)"
        )
    if "time" in plane.dims or "energy" not in plane.dims:
        raise ValueRangeError(
            f"survey_pointing: found a plane along {', '.join(map(str, plane.sizes))}, expected one image "
            "for each of several energies (batx.survey_plane)"
        )
    if "rate" not in plane:
        rate = (plane["counts"] / plane["exposure"]).astype(np.float32).assign_attrs(units="count/s")
        plane = plane.drop_vars("counts").assign(rate=rate)
    if not plane["rate"].isel(energy=0).values.any():
        raise EmptySelectionError("survey_pointing: all rates of the lowest band are 0 (zero_counts)")
    if "gti_start" not in plane:
        if "time_bnds" not in plane.variables:
            raise MissingVariableError("survey_pointing: found a plane without good time or time_bnds")
        start, stop = plane["time_bnds"].values.ravel()[[0, -1]]
        plane = plane.assign(gti_start=(("gti",), [start]), gti_stop=(("gti",), [stop]))
    return plane


def _pattern(pattern: Any, plane: xr.Dataset) -> np.ndarray | None:
    if pattern is None:
        return None
    values = pattern["rate"].values if isinstance(pattern, xr.Dataset) else np.asarray(pattern)
    shape = plane["rate"].transpose("energy", "dety", "detx").shape
    if values.shape not in (shape, shape[1:]):
        raise ValueRangeError(f"pattern: found rates of shape {values.shape}, expected {shape}")
    return np.nan_to_num(np.broadcast_to(values, shape))


@dataclass(frozen=True)
class _Settings:
    """Limits, as the keywords of `survey_pointing`."""

    snr: float
    clean_snr: float
    clean_flagged: bool
    bright_rate: float
    pcode_min: float
    bkg_pcode_min: float
    max_residual: float
    min_detectors: float
    copy_radius: float
    balance: Any
    compat: str | None


@dataclass(frozen=True)
class _Telescope:
    """What all images of a snapshot are made with."""

    aperture: xr.Dataset
    mask_edges: xr.Dataset | None
    attitude: xr.Dataset | None
    alignment: Any
    orbit: Any
    distortion: Any
    pattern: np.ndarray | None

    def in_bands(self, chosen: np.ndarray) -> _Telescope:
        """Return what is needed for some bands."""
        return self if self.pattern is None else replace(self, pattern=self.pattern[chosen])

    def edge_shadow(self, imx: float, imy: float) -> np.ndarray:
        """Return which detectors the edge of the mask shadows for a source."""
        assert self.mask_edges is not None
        require_kind(self.mask_edges, "aperture", operation="survey_pointing (mask_edges=)")
        cells = (self.mask_edges["mask"].transpose("mask_y", "mask_x").values > 0).astype(np.int8)
        geometry = MaskGeometry.from_attrs(self.mask_edges.attrs, cells.shape)
        lit = illumination(cells, geometry, (imx * FAR, imy * FAR, FAR), unbalanced=True)
        return np.asarray(lit != 0)


class _Snapshot:
    """A snapshot while it is worked on: its mask, background, image and catalogue so far."""

    def __init__(
        self,
        plane: xr.Dataset,
        name: str,
        catalog: xr.Dataset | None,
        telescope: _Telescope,
        settings: _Settings,
        good: np.ndarray,
    ) -> None:
        self.plane, self.name, self.given = plane, name, catalog
        self.telescope, self.settings, self.good = telescope, settings, good
        self.seconds = float(plane["exposure"])
        self.known = catalog
        self.cleaned: xr.Dataset | None = None
        self.image: xr.Dataset | None = None
        self.catalog: xr.Dataset | None = None
        self.free: np.ndarray | None = None
        self.background = self._fitted()

    def observe(self, iteration: int, maps: bool) -> None:
        """Image the sky and measure the sources."""
        settings = self.settings
        image = self._imaged(self.background)
        if self.cleaned is not None and self.cleaned.sizes["source"]:
            places = np.stack([self.cleaned["imx"].values, self.cleaned["imy"].values], axis=1)
            axes = image["imx"].values, image["imy"].values
            shown = self._with_sources()["rate"].values
            rates = copy_discs(image["rate"].values, shown, axes, places, settings.copy_radius)
            image = image.assign(rate=image["rate"].copy(data=rates))
        found, noise = searched(
            image,
            self.known,
            snr=settings.snr,
            pcode_min=settings.pcode_min,
            bkg_pcode_min=settings.bkg_pcode_min,
            distortion=self.telescope.distortion,
            tool=settings.compat is not None,
        )
        self.image = image
        self.catalog = survey_columns(
            found,
            self.given,
            self.plane,
            self.name,
            first=_NUMBERS * (iteration - 1) + 1,
            detectors=int(self.good.sum()),
        )
        if self.cleaned is not None:
            before = np.isin(self.catalog["name"].values, self.cleaned["name"].values)
            self.catalog["cleaned"] = (("source",), before)
        if maps:
            rate = image["rate"]
            self.image = image.assign(noise=(rate.dims, noise, {"units": rate.attrs.get("units", "count/s")}))

    def improve(self, iteration: int) -> None:
        """Leave out detectors that spoil the image, choose the sources to be cleaned, and fit again."""
        assert self.catalog is not None
        if iteration == 1:
            self.good = self.good & ~self._edge_shadows()
        chosen = self.catalog["snr"].values > self.settings.clean_snr
        if self.settings.clean_flagged and "always_clean" in self.catalog:
            chosen |= self.catalog["always_clean"].values.astype(bool)
        self.catalog["cleaned"] = (("source",), chosen)
        self.known = self.catalog
        self.cleaned = self.catalog.isel(source=chosen)
        self._require_detectors()
        self._refit(iteration)

    def _require_detectors(self) -> None:
        if self.good.sum() < self.settings.min_detectors:
            raise EmptySelectionError(
                f"survey_pointing: {self.good.sum()} good detectors are left, expected at least "
                f"{self.settings.min_detectors:g} (min_detectors=; ndets_low)"
            )

    def _refit(self, iteration: int) -> None:
        self.background = self._fitted()
        if iteration != 1:
            return
        model = self.background["rate"].values
        pattern = 0.0 if self.telescope.pattern is None else self.telescope.pattern
        rate = self.plane["rate"].transpose("energy", "dety", "detx").values.astype(np.float64)
        away = outlying_detectors(rate - pattern, model - pattern, self.seconds, self.settings.max_residual)
        self.good = self.good & ~away
        self._require_detectors()
        self.background = self._fitted()

    def _with_sources(self) -> xr.Dataset:
        """Return the image that shows the sources that are cleaned.

        It is above the background that was fitted along with them: balancing an image takes 2 to 4 % of
        sources that are in it. The tool takes the image of before.
        """
        if self.settings.compat:
            assert self.image is not None
            return self.image
        sources = self._cleaned("srcfit", balance=None)["rate"]
        return self._imaged(self.background.assign(rate=self.background["rate"] - sources))

    def _fitted(self) -> xr.Dataset:
        """Return the fit of the background and of the sources that are cleaned, balanced."""
        made = self._cleaned("fit", self.settings.balance)
        if (pattern := self.telescope.pattern) is not None:
            made["rate"] = made["rate"].copy(data=np.where(DETECTOR, made["rate"].values + pattern, 0.0))
        return made.drop_vars(["source_rate", "source_rate_err", "variance"], errors="ignore")

    def _cleaned(self, version: str, balance: Any) -> xr.Dataset:
        """Return a version of `batx.clean`, of the image without the pattern."""
        catalog = self.cleaned if self.cleaned is not None and self.cleaned.sizes["source"] else None
        pattern, plane = self.telescope.pattern, self.plane
        if pattern is not None:
            shifted = plane["rate"].transpose("energy", "dety", "detx") - pattern
            plane = plane.assign(rate=shifted.assign_attrs(units="count/s"))
        return clean(
            plane,
            catalog,
            aperture=self.telescope.aperture if catalog is not None else None,
            detector_mask=self.good,
            min_snr=-np.inf,
            balance=balance,
            version=version,
            mask_fit=True,
        )

    def _imaged(self, background: xr.Dataset) -> xr.Dataset:
        """Return the image of the sky above a background, corrected for the Earth."""
        telescope, compat = self.telescope, self.settings.compat
        image = sky_image(
            self.plane,
            aperture=telescope.aperture,
            detector_mask=self.good,
            attitude=telescope.attitude,
            alignment=telescope.alignment,
            background=background,
            pcode_min=self.settings.bkg_pcode_min,
            noise=compat is not None,
            compat=compat,
        )
        rate, pcode = image["rate"].values, image["pcode"].values
        if compat:
            rate = keep_bits(rate, _TOOL_BITS, image["noise"].values)
            pcode = keep_bits(pcode, _TOOL_BITS)
        if telescope.orbit is not None:
            if self.free is None:  # the same for all images of a snapshot
                self.free = self._free_of_earth(image)
            rate, pcode = (rate / self.free).astype(rate.dtype), (pcode * self.free).astype(pcode.dtype)
        made = image.drop_vars(["noise", "snr"], errors="ignore")
        return made.assign(rate=image["rate"].copy(data=rate), pcode=image["pcode"].copy(data=pcode))

    def _free_of_earth(self, image: xr.Dataset) -> np.ndarray:
        """Return the part of the exposure in which the Earth left a pixel free, NaN where it never did."""
        compat = self.settings.compat
        drawn: dict[str, Any] = {"algorithm": "contour" if compat else "image", "compat": compat}
        limb: dict[str, Any] = {"method": "position", "tolerance": _LIMB_TOLERANCE, **drawn}
        free = occultation(image, self.telescope.orbit, constraints="earth", **limb).values
        return np.where(free > 0, free, np.nan)

    def _edge_shadows(self) -> np.ndarray:
        """Return the detectors that the edge of the mask shadows for any very bright source."""
        assert self.catalog is not None
        rate = self.catalog["rate"].values
        bright = self.catalog["pcodefr"].values > self.settings.pcode_min
        bright &= (rate.sum(axis=1) > self.settings.bright_rate) | (
            rate.max(axis=1, initial=-np.inf) > self.settings.bright_rate
        )
        shadow = np.zeros(self.good.shape, bool)
        if not bright.any():
            return shadow
        if self.telescope.mask_edges is None:
            warn(
                f"survey_pointing: {', '.join(self.catalog['name'].values[bright][:3])} is brighter than "
                f"{self.settings.bright_rate:g} count/s; without mask_edges= the shadow of the edge stays"
            )
            return shadow
        for row in np.flatnonzero(bright):
            place = (float(self.catalog[name].values[row]) for name in ("imx", "imy"))
            shadow |= self.telescope.edge_shadow(*place)
        return shadow

    def result(self) -> xr.DataTree:
        """Return what was made, as a tree."""
        assert self.image is not None
        assert self.catalog is not None
        attrs = kept_attrs(self.plane.attrs, *ORIGIN, "tstart", "tstop", "history", "provenance")
        line = f"batx.survey_pointing: {self.name}, {self.catalog.sizes['source']} source(s)"
        attrs = with_history(attrs, line) | {"n_good": int(self.good.sum())}
        model = self.background["rate"].values
        nodes = {
            "catalog": self.catalog,
            "image": self.image.assign_attrs(image_id=self.name),
            "background": self.background,
            "detector_mask": build("detector_mask", {"good": self.good}, attrs),
            "pointing": pointing_row(
                self.plane, self.name, self.telescope.attitude, model=model, good=self.good
            ),
        }
        tree = xr.DataTree.from_dict({f"/{name}": ds for name, ds in nodes.items()})
        tree.attrs = attrs | {"image_id": self.name}
        return tree
