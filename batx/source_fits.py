"""Sources of one image: found, grouped, fitted in all bands and written down as columns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from batx import sky_coords
from batx.instrument.distortion import DistortionMap
from batx.instrument.sky import radec_to_vector
from batx.kernels.detect import Background, components, disk, find_pixels
from batx.kernels.psf import Fit, Guess, Parameters, Profile, SharedNoise, fit_sources
from batx.source_fields import Field, Targets, nearest, places_on, plane_scale

__all__ = ["Settings", "Sources", "background_of", "measure", "observe"]

#: bits of `flags`
HELD_IMX, HELD_IMY, HELD_RATE, HELD_WIDTH, GROUP, POOR = (1 << bit for bit in range(6))

#: groups of pixels larger than this many source circles squared are no point sources
_LARGE, _LARGEST = 16, 200
#: most sources that are fitted together
_TOGETHER = 12

#: geometry of mask and detectors in cm where the image does not give it (algorithms, section 1)
_GEOMETRY = {
    "maskbatz": 100.1, "maskoffz": 0.0, "maskcelx": 0.5, "maskcely": 0.5, "maskcelz": 0.1, "detbatz": 0.35,
    "detoffz": 0.0, "detcelx": 0.42, "detcely": 0.42, "detsizex": 0.4, "detsizey": 0.4,
}  # fmt: skip

#: variance of noise that each pixel has for itself, of the whole: little, but fits then do not hang on
#: structures finer than a source
_OWN_NOISE = 0.1
_PIXEL_CM, _HEIGHT_CM = 0.42, 99.7


@dataclass(frozen=True)
class Settings:
    """How sources are searched and fitted; angles in degrees, radii in pixels. See `batx.detect`."""

    snr: float = 6.0
    passes: int = 2
    min_pixels: int = 3
    window: str = "circle"
    background_radius: int = 30
    source_radius: int = 6
    min_weight: float = 20.0
    both_signs: bool = False
    poisson: bool = False
    edges: bool = False
    psf: str = "gaussian"
    fwhm: float | None = 0.37413
    top: float = 0.04584
    fit_width: bool = False
    fit_background: bool = True
    fit_positions: bool | float = False
    oversampling: tuple[float, float] | None = None
    find: bool = True
    together: bool = True
    tool: bool = False

    def profile(self, attrs: dict[str, Any]) -> Profile:
        """Return the shape of a point source on the tangent plane, of an image with these attributes."""
        if self.psf != "mask":
            return Profile(self.psf, float(np.deg2rad(self.top)))
        size = {name: float(attrs.get(name, default)) for name, default in _GEOMETRY.items()}
        mask = size["maskbatz"] + size["maskoffz"] - size["maskcelz"] / 2
        height = mask - size["detbatz"] - size["detoffz"]
        names = (
            ("maskcelx", "maskcelx", "detcelx", "detsizex"),
            ("maskcely", "maskcely", "detcely", "detsizey"),
        )
        boxes = [tuple(size[name] / height for name in axis) for axis in names]
        return Profile("mask", boxes=(boxes[0], boxes[1]))


@dataclass
class Sources:
    """Sources with the place at which they are looked for: column and row, and how many pixels found them."""

    targets: Targets
    known: np.ndarray
    x: np.ndarray
    y: np.ndarray
    n_pixels: np.ndarray

    def __len__(self) -> int:
        return len(self.x)


def background_of(field: Field, settings: Settings, x: Any, y: Any) -> Background:
    """Return the local background of an image, without the circles around known sources.

    It is measured in units of the noise that is expected of each pixel, which at the edge of the field
    changes much within the window; the tool measures it in units of flux.
    """
    counted = field.counted.copy()
    for column, row in zip(x, y, strict=True):
        _take_circle(counted, column, row, settings.source_radius)
    scale = np.ones_like(field.scale) if settings.tool or settings.poisson else field.scale
    result = find_pixels(
        field.values / scale,
        field.usable,
        counted,
        shape=settings.window,
        radius=settings.background_radius,
        source_radius=settings.source_radius,
        passes=settings.passes,
        threshold=settings.snr,
        min_weight=settings.min_weight,
        both_signs=settings.both_signs,
        poisson=settings.poisson,
    )
    return replace(result, mean=result.mean * scale, std=result.std * scale)


def _take_circle(counted: np.ndarray, x: float, y: float, radius: int) -> None:
    """Unmark the pixels within a radius of the pixel nearest to a place."""
    row, column, stamp = round(float(y)), round(float(x)), disk(radius) > 0
    top, left = max(row - radius, 0), max(column - radius, 0)
    bottom, right = min(row + radius + 1, counted.shape[0]), min(column + radius + 1, counted.shape[1])
    if top < bottom and left < right:
        counted[top:bottom, left:right] &= ~stamp[
            top - row + radius : bottom - row + radius, left - column + radius : right - column + radius
        ]


def measure(
    field: Field, targets: Targets, settings: Settings, distortion: DistortionMap | None
) -> dict[str, Any]:
    """Return the columns of the catalogue of one image: known sources that are in it, then new ones.

    Values that differ by band have shape ``(source, band)``.
    """
    return observe(field, targets, settings, distortion)[0]


def observe(
    field: Field, targets: Targets, settings: Settings, distortion: DistortionMap | None
) -> tuple[dict[str, Any], Background]:
    """Return what `measure` does, and the local background that the sources were found above."""
    x, y = places_on(field.image, targets, distortion, settings.tool)
    inside = field.holds(x, y)
    targets, x, y = targets.select(inside), x[inside], y[inside]
    sources = Sources(targets, np.ones(len(x), bool), x, y, np.zeros(len(x), np.int64))
    if settings.tool and len(field.values) > 1:
        background, sources = _band_by_band(field, settings, sources)
    else:
        background = background_of(field, settings, *((x, y) if settings.together else ([], [])))
        sources = _with_new(sources, _candidates(field, background, settings))
    columns = _Columns(field, background, settings, sources, distortion)
    reach = 2 * int(settings.source_radius * 5 / 4) if settings.together else 0
    for group, kept in _groups(sources, reach):
        columns.fit(group, kept)
    return columns.finished(inside), background


def _candidates(field: Field, background: Background, settings: Settings) -> list[Any]:
    """Return the groups of pixels that may be point sources, none where no sources are searched."""
    if not settings.find:
        return []
    excess = (field.values - background.mean).sum(axis=0)
    largest = max(_LARGEST, _LARGE * settings.source_radius**2)
    return [
        group
        for group in components(background.found, excess, field.usable)
        if settings.min_pixels <= group.n_pixels <= largest and (settings.edges or not group.touches)
    ]


def _band_by_band(field: Field, settings: Settings, sources: Sources) -> tuple[Background, Sources]:
    """Return background and sources as the tool has them: what a band shows is known in the next ones."""
    parts = []
    for band in field.values:
        single = replace(field, values=band[None], scale=np.ones_like(band[None]))
        parts.append(background_of(single, settings, sources.x, sources.y))
        sources = _with_new(sources, _candidates(single, parts[-1], settings))
    stacked = {
        name: np.concatenate([getattr(part, name) for part in parts]) for name in ("mean", "std", "snr")
    }
    found = np.logical_or.reduce([part.found for part in parts])
    return Background(weight=parts[0].weight, found=found, **stacked), sources


def _with_new(known: Sources, found: list[Any]) -> Sources:
    """Return known sources followed by new ones."""
    new = np.full(len(found), np.nan)
    targets = Targets(
        np.append(known.targets.name, np.array([""] * len(found), dtype=object)),
        *(np.append(getattr(known.targets, name), new) for name in ("ra", "dec", "imx", "imy", "error")),
    )
    return Sources(
        targets,
        np.append(known.known, np.zeros(len(found), bool)),
        np.append(known.x, [group.x for group in found]),
        np.append(known.y, [group.y for group in found]),
        np.append(known.n_pixels, np.array([group.n_pixels for group in found], np.int64)),
    )


def _groups(sources: Sources, reach: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the indices of sources that are fitted together, and which of them are kept, by place in them.

    Chains of less than `reach` pixels are fitted as a whole; of those with more than `_TOGETHER` sources each
    is fitted with its nearest neighbours. `reach` 0: each for itself.
    """
    if reach == 0:
        return [(np.array([number]), np.array([0])) for number in range(len(sources))]
    distance = np.maximum(np.abs(sources.x[:, None] - sources.x), np.abs(sources.y[:, None] - sources.y))
    _, label = connected_components(csr_matrix(distance < reach), directed=False)
    groups = []
    for chain in np.unique(label):
        members = np.flatnonzero(label == chain)
        if len(members) <= _TOGETHER:
            groups.append((members, np.arange(len(members))))
            continue
        for number in members:
            nearby = np.flatnonzero(distance[number] < reach)
            nearest_first = nearby[np.argsort(distance[number, nearby], kind="stable")]
            group = np.sort(nearest_first[:_TOGETHER])
            groups.append((group, np.flatnonzero(group == number)))
    return groups


class _Columns:
    """The catalogue of one image while it is filled."""

    def __init__(
        self,
        field: Field,
        background: Background,
        settings: Settings,
        sources: Sources,
        distortion: DistortionMap | None,
    ) -> None:
        self.field, self.background, self.settings = field, background, settings
        self.sources, self.distortion = sources, distortion
        self.profile = settings.profile(field.image.attrs)
        self.fwhm = self.profile.natural_width if settings.fwhm is None else float(np.deg2rad(settings.fwhm))
        step = field.step
        self.oversampling = settings.oversampling or _oversampling(field.image.attrs, step)
        self.correlation = self._correlation()
        self.noise_of: dict[bytes, SharedNoise] = {}
        bands, count = len(field.values), len(sources)
        self.by_source = {
            name: np.full(count, np.nan)
            for name in ("imx", "imy", "imx_err", "imy_err", "imxy_cov", "width", "width_err")
        }
        self.by_band = {
            name: np.full((count, bands), np.nan)
            for name in ("rate", "rate_err", "background", "background_err", "contamination", "chi2", "dof")
        }
        self.flags = np.full(count, POOR, np.int64)

    def fit(self, group: np.ndarray, kept: np.ndarray) -> None:
        """Fit the sources of a group and fill in the rows of some of them."""
        settings = self.settings
        rows, columns = self._pixels(group)
        if len(rows) < 1.4 * settings.source_radius**2:
            return
        data = self.field.values[:, rows, columns]
        sigma = self.background.std[:, rows, columns]
        if not (sigma > 0).all():
            return
        if not settings.fit_background:
            data = data - self.background.mean[:, rows, columns]
        imx, imy = sky_coords.pixel_to_tangent(self.field.image, columns, rows)
        guess = self._guess(group)
        together = guess.free.common.any() and not settings.tool
        bands = [slice(None)] if together else [slice(band, band + 1) for band in range(len(data))]
        noise = None if settings.tool else self._noise(rows, columns)
        fits = [
            fit_sources(
                imx,
                imy,
                data[band],
                sigma[band],
                guess.bands(band),
                self.profile,
                noise,
            )
            for band in bands
        ]
        for fit, band in zip(fits, bands, strict=True):
            self._bands(group[kept], kept, fit, band)
        self._places(group[kept], kept, fits, guess.free.common[kept])
        self.flags[group[kept]] |= GROUP if len(group) > 1 else 0

    def _pixels(self, group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return rows and columns of the pixels that a group is fitted to.

        In the square around each source, those in its circle and those that stand out.
        """
        radius = self.settings.source_radius
        x, y = self.sources.x[group], self.sources.y[group]
        top, left = (max(int(axis.min()) - radius - 1, 0) for axis in (y, x))
        box = np.s_[top : int(y.max()) + radius + 2, left : int(x.max()) + radius + 2]
        usable = self.field.usable[box]
        rows, columns = np.mgrid[top : top + usable.shape[0], left : left + usable.shape[1]]
        near, marked = np.zeros(rows.shape, bool), self.background.found[box].copy()
        for column, row in zip(x, y, strict=True):
            near |= (np.abs(columns - column) < radius + 1) & (np.abs(rows - row) < radius + 1)
            marked |= (columns - np.rint(column)) ** 2 + (rows - np.rint(row)) ** 2 <= radius**2
        chosen = near & marked & usable
        return rows[chosen], columns[chosen]

    def _guess(self, group: np.ndarray) -> Guess:
        """Return start values, which are free, and limits."""
        sources, settings, field = self.sources, self.settings, self.field
        n = len(group)
        x, y = sources.x[group], sources.y[group]
        imx, imy = sky_coords.pixel_to_tangent(field.image, x, y)
        known = sources.known[group]
        if isinstance(settings.fit_positions, bool):
            window = 3 * np.deg2rad(sources.targets.error[group]) * settings.fit_positions
        else:
            window = np.full(n, np.deg2rad(settings.fit_positions))
        reach = [np.where(known, window, 0.9 * settings.source_radius * step) for step in field.step]
        common = np.stack([imx, imy, np.full(n, self.fwhm)], axis=1)
        first = common.copy()
        searched = known & (reach[0] > 0) & (reach[1] > 0) & (not settings.tool)
        for number in np.flatnonzero(searched):
            first[number, :2] = self._brightest(common[number, :2], (reach[0][number], reach[1][number]))
        away = np.stack([*reach, np.full(n, np.inf)], axis=1)
        lowest, highest = common - away, common + away
        lowest[:, 2], highest[:, 2] = 0.6 * self.fwhm, 1.4 * self.fwhm
        vary = np.stack([reach[0] > 0, reach[1] > 0, np.full(n, settings.fit_width)], axis=1)
        column, row = (
            np.clip(np.rint(axis).astype(np.int64), 0, size - 1)
            for axis, size in zip(
                sky_coords.tangent_to_pixel(field.image, first[:, 0], first[:, 1]),
                field.usable.shape[::-1],
                strict=True,
            )
        )
        peak = field.values[:, row, column] - self.background.mean[:, row, column]
        band = np.stack([peak, np.zeros_like(peak)], axis=-1)
        free = np.ones_like(band, dtype=bool)
        free[..., 1] = settings.fit_background
        unlimited = np.full_like(band, np.inf)
        return Guess(
            Parameters(first, band),
            Parameters(vary, free),
            Parameters(lowest, -unlimited),
            Parameters(highest, unlimited),
        )

    def _brightest(self, place: np.ndarray, reach: tuple[float, float]) -> np.ndarray:
        """Return the place of the most significant pixel in a window.

        A fit that begins elsewhere may end at a fluctuation beside it.
        """
        imx, imy = self.field.image["imx"].values, self.field.image["imy"].values
        columns = np.flatnonzero(np.abs(imx - place[0]) <= reach[0])
        rows = np.flatnonzero(np.abs(imy - place[1]) <= reach[1])
        window = np.ix_(rows, columns)
        if not self.field.usable[window].any():
            return place
        snr = self.background.snr[:, rows[:, None], columns].sum(axis=0)
        snr[~self.field.usable[window]] = -np.inf
        row, column = np.unravel_index(np.argmax(snr), snr.shape)
        return np.array([imx[columns[column]], imy[rows[row]]])

    def _noise(self, rows: np.ndarray, columns: np.ndarray) -> SharedNoise:
        """Return the noise that pixels share; most sources are alone and have the same pattern of pixels."""
        pattern = (rows - rows.min()).tobytes() + (columns - columns.min()).tobytes()
        if pattern not in self.noise_of:
            self.noise_of[pattern] = SharedNoise(self.correlation, rows, columns, _OWN_NOISE)
        return self.noise_of[pattern]

    def _correlation(self) -> np.ndarray:
        """Return the correlation of the noise between pixels: it has the shape of a source."""
        step_x, step_y = self.field.step
        reach = [int(np.ceil(1.7 * self.fwhm / step)) for step in (step_y, step_x)]
        y, x = np.mgrid[-reach[0] : reach[0] + 1, -reach[1] : reach[1] + 1]
        values, _ = self.profile((x * step_x).ravel(), (y * step_y).ravel(), self.fwhm)
        return values.reshape(x.shape)

    def _bands(self, rows: np.ndarray, kept: np.ndarray, fit: Fit, band: slice) -> None:
        """Fill in what a fit says of the bands; `rows` are those of its sources `kept`."""
        by = self.by_band
        errors = np.sqrt(np.diagonal(fit.covariance)) * self._error_factor()
        errors = fit.values.filled(errors).band
        fitted = self.settings.fit_background
        by["rate"][rows, band] = fit.values.band[:, kept, 0].T
        by["rate_err"][rows, band] = errors[:, kept, 0].T
        by["background"][rows, band] = fit.values.band[:, kept, 1].T
        by["background_err"][rows, band] = errors[:, kept, 1].T if fitted else np.nan
        by["chi2"][rows, band] = fit.chi2
        by["dof"][rows, band] = fit.dof
        for number, row in zip(kept, rows, strict=True):
            dx, dy = (fit.values.common[number, axis] - fit.values.common[:, axis] for axis in (0, 1))
            shapes = [
                0.0 if other == number else self.profile(dx[[other]], dy[[other]], width)[0][0]
                for other, width in enumerate(fit.values.common[:, 2])
            ]
            by["contamination"][row, band] = fit.values.band[..., 0] @ np.array(shapes)

    def _error_factor(self) -> float:
        """Return the factor of the tool for errors of pixels that are not independent."""
        return float(np.sqrt(np.prod(self.oversampling))) if self.settings.tool else 1.0

    def _places(self, rows: np.ndarray, kept: np.ndarray, fits: list[Fit], free: np.ndarray) -> None:
        """Fill in positions and widths.

        From fits of single bands the tool takes the mean of the bands above the threshold, weighted with the
        square of their significance, and the errors of the last band.
        """
        weight = np.ones((len(rows), len(fits)))
        if len(fits) > 1:
            std = self._at_pixels(self.background.std, rows)
            snr = np.divide(self.by_band["rate"][rows], std, out=np.zeros_like(std), where=std > 0)
            squared = np.where(snr > self.settings.snr, snr, 0.0) ** 2
            weight = np.where(squared.any(axis=1, keepdims=True), squared, weight)
        common = np.stack([fit.values.common[kept] for fit in fits], axis=1)
        mean = (weight[..., None] * common).sum(axis=1) / weight.sum(axis=1)[:, None]
        last, factor = fits[-1], self._error_factor()
        error = last.values.filled(factor * np.sqrt(np.diagonal(last.covariance))).common[kept]
        # the tool does not say that a parameter ended at its limit
        held = ~free if self.settings.tool else ~free | last.at_limit.common[kept]
        if not self.settings.tool:
            error[held] = np.nan
        for axis, name in enumerate(("imx", "imy", "width")):
            self.by_source[name][rows] = mean[:, axis]
            self.by_source[f"{name}_err"][rows] = error[:, axis]
        first = 3 * kept
        self.by_source["imxy_cov"][rows] = factor**2 * last.covariance[first, first + 1]
        self.flags[rows] = held @ np.array([HELD_IMX, HELD_IMY, HELD_WIDTH])

    def _at_pixels(self, maps: np.ndarray, rows: Any = slice(None)) -> np.ndarray:
        """Return maps at the pixels nearest to fitted (else searched) places, shape ``(source, band)``."""
        x, y = self._fitted_pixels()
        ny, nx = self.field.usable.shape
        column, row = nearest(x, nx)[rows], nearest(y, ny)[rows]
        return maps[:, row, column].T

    def _fitted_pixels(self) -> tuple[np.ndarray, np.ndarray]:
        x, y = sky_coords.tangent_to_pixel(self.field.image, self.by_source["imx"], self.by_source["imy"])
        ny, nx = self.field.usable.shape
        good = (nearest(x, nx) >= 0) & (nearest(y, ny) >= 0)
        return np.where(good, x, self.sources.x), np.where(good, y, self.sources.y)

    def finished(self, inside: np.ndarray) -> dict[str, Any]:
        """Return the columns; new sources that could not be fitted are left out."""
        field, sources, settings = self.field, self.sources, self.settings
        x, y = self._fitted_pixels()
        noise = self._at_pixels(self.background.std)
        local = self._at_pixels(self.background.mean)
        centre = self._at_pixels(field.values)
        if not settings.fit_background:
            self.by_band["background"] = local
            self.by_band["background_err"] = noise.copy()
        constant = self.by_band["background"]
        self.by_band["contamination"] += constant
        with np.errstate(divide="ignore", invalid="ignore"):
            snr, centre_snr = self.by_band["rate"] / noise, (centre - constant) / noise
        columns: dict[str, Any] = {
            **self._positions(),
            **self.by_band,
            "snr": snr,
            "noise": noise,
            "local_background": local,
            "centre_rate": centre - constant,
            "centre_snr": centre_snr,
            "name": sources.targets.name,
            "known": sources.known,
            "imx_pixel": x,
            "imy_pixel": y,
            "fwhm": np.rad2deg(self.by_source["width"]),
            "fwhm_err": np.rad2deg(self.by_source["width_err"]),
            "n_pixels": sources.n_pixels,
            "n_background": self._at_pixels(self.background.weight[None])[:, 0].round(6),
            "pcode": self._at_pixels(field.pcode[None])[:, 0],
            "flags": self.flags,
        }
        kept = sources.known | (self.flags & POOR == 0)
        return {name: values[kept] for name, values in columns.items()} | {"inside": inside}

    def _positions(self) -> dict[str, np.ndarray]:
        """Return positions on the plane and on the sky, with errors and the distance from the catalogue's."""
        by, image = self.by_source, self.field.image
        imx, imy = by["imx"], by["imy"]
        missing = ~np.isfinite(imx)
        place = sky_coords.pixel_to_tangent(image, self.sources.x, self.sources.y)
        imx, imy = np.where(missing, place[0], imx), np.where(missing, place[1], imy)
        if self.distortion is not None:
            imx, imy = self.distortion.true(imx, imy)
        columns = {"imx": imx, "imy": imy, "imx_err": by["imx_err"], "imy_err": by["imy_err"]}
        unknown = np.full(len(imx), np.nan)
        names = ("ra", "dec", "ra_err", "dec_err", "err_rad", "separation")
        columns |= {name: unknown.copy() for name in names}
        if not sky_coords.has_sky(image) or not len(imx):
            return columns
        scale = plane_scale(image, self.settings.tool)
        ra, dec = sky_coords.tangent_to_sky(image, imx / scale[0], imy / scale[1])
        columns["ra"], columns["dec"] = ra, dec
        columns |= _sky_errors(image, by, ra, dec, imx, imy, self.settings.tool)
        known = self.sources.targets
        there, here = radec_to_vector(known.ra, known.dec), radec_to_vector(ra, dec)
        distance = 2 * np.arcsin(np.clip(np.linalg.norm(there - here, axis=-1) / 2, 0, 1))
        columns["separation"] = np.rad2deg(distance)
        same = columns["separation"] < 1e-9
        columns["ra"], columns["dec"] = np.where(same, known.ra, ra), np.where(same, known.dec, dec)
        return columns


def _oversampling(attrs: dict[str, Any], step: tuple[float, float]) -> tuple[float, float]:
    """Return pixels per detector along X and Y: from the header, else from the size of the pixels."""
    names = ("oversmpx", "oversmpy")
    if all(name in attrs for name in names):
        return float(attrs[names[0]]), float(attrs[names[1]])
    x, y = (max(1.0, float(np.rint(_PIXEL_CM / _HEIGHT_CM / size))) for size in step)
    return x, y


def _sky_errors(
    image: Any,
    by: dict[str, np.ndarray],
    ra: np.ndarray,
    dec: np.ndarray,
    imx: np.ndarray,
    imy: np.ndarray,
    tool: bool,
) -> dict[str, np.ndarray]:
    """Return errors of right ascension, declination and position, degrees.

    ``err_rad`` is the longer half axis of the error ellipse on the sky. The tool has ``atan(max(imx_err,
    imy_err))``, the same for ``dec_err``, and that times cos(dec) for ``ra_err``.
    """
    if tool:
        radius = np.rad2deg(np.arctan(np.maximum(by["imx_err"], by["imy_err"])))
        return {"err_rad": radius, "dec_err": radius, "ra_err": radius * np.cos(np.deg2rad(dec))}
    small = 1e-6
    derivative = np.empty((len(ra), 2, 2))
    for axis, (x, y) in enumerate(((imx + small, imy), (imx, imy + small))):
        ra_there, dec_there = sky_coords.tangent_to_sky(image, x, y)
        turn = (ra_there - ra + 180) % 360 - 180
        derivative[:, 0, axis] = turn * np.cos(np.deg2rad(dec)) / small
        derivative[:, 1, axis] = (dec_there - dec) / small
    covariance = np.empty_like(derivative)
    covariance[:, 0, 0], covariance[:, 1, 1] = by["imx_err"] ** 2, by["imy_err"] ** 2
    covariance[:, 0, 1] = covariance[:, 1, 0] = by["imxy_cov"]
    on_sky = derivative @ covariance @ derivative.swapaxes(1, 2)
    east, north, mixed = on_sky[:, 0, 0], on_sky[:, 1, 1], on_sky[:, 0, 1]
    longer = 0.5 * (east + north) + np.hypot(0.5 * (east - north), mixed)
    with np.errstate(divide="ignore"):
        ra_err = np.sqrt(east) / np.cos(np.deg2rad(dec))
    return {"ra_err": ra_err, "dec_err": np.sqrt(north), "err_rad": np.sqrt(longer)}
