"""What pictures of the sky share: lines of longitude and latitude, sources by name, pieces of titles."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batx.errors import PositionError, ValueRangeError
from batx.instrument.sky import radec_to_vector, vector_to_radec
from batx.plots.canvas import LABEL_SIZE, PALETTE, TICK_SIZE, band_label
from batx.positions import sky_position
from batx.schema import require_kind
from batx.sky_grids import frame_to_icrs
from batx.units import to_value

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "NO_DATA",
    "Box",
    "SkyPlane",
    "band_of",
    "circle",
    "colour_bar",
    "draw_graticule",
    "draw_sources",
    "robust_limits",
    "span_of",
    "trigger_of",
    "zoom_centre",
    "zoom_radius",
]

#: colour of places without a value
NO_DATA = "#e9e9e9"
_GRID_COLOUR = "#7a7a7a"
_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 45.0)
_LINES = 6
_POINTS = 721
#: lines flatter than this along a side get no label there
_GRAZING = 0.15
_NAMES = {
    "icrs": ("Right ascension", "Declination"),
    "galactic": ("Galactic longitude", "Galactic latitude"),
}
#: sides on which the lines are labelled that go up the picture, and those that go across, best first
_ACROSS, _UP = ("bottom", "top", "left", "right"), ("left", "right", "bottom", "top")
_OPPOSITE = {"bottom": "top", "top": "bottom", "left": "right", "right": "left"}
#: left, right, bottom, top
Box = tuple[float, float, float, float]
_Line = tuple[float, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class SkyPlane:
    """How the sky lies on the axes of a picture.

    Attributes
    ----------
    to_plane
        Longitude and latitude (degrees) to x and y; NaN where there is no place for them.
    to_sky
        x and y to longitude and latitude; NaN outside the sky.
    frame
        ``"icrs"`` or ``"galactic"``.
    """

    to_plane: Callable[[Any, Any], tuple[np.ndarray, np.ndarray]]
    to_sky: Callable[[Any, Any], tuple[np.ndarray, np.ndarray]]
    frame: str = "icrs"

    def of_icrs(self, ra: Any, dec: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return x and y of ICRS positions (degrees)."""
        return self.to_plane(*self.frame_of_icrs(ra, dec))

    def frame_of_icrs(self, ra: Any, dec: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return longitude and latitude of ICRS positions (degrees)."""
        if self.frame == "icrs":
            return np.asarray(ra, float), np.asarray(dec, float)
        return vector_to_radec(radec_to_vector(ra, dec) @ frame_to_icrs(self.frame))


def circle(lon: float, lat: float, radius: float, points: int = 73) -> tuple[np.ndarray, np.ndarray]:
    """Return a small circle (degrees) around a position.

    Examples
    --------
    >>> lon, lat = circle(10.0, 0.0, 1.0, points=5)
    >>> lat.round(6).tolist()
    [1.0, 0.0, -1.0, -0.0, 1.0]
    """
    centre = radec_to_vector(lon, lat)
    east = radec_to_vector(lon + 90.0, 0.0)
    north = np.cross(centre, east)
    angle, opening = np.linspace(0.0, 2.0 * np.pi, points)[:, None], np.deg2rad(radius)
    around = np.sin(angle) * east + np.cos(angle) * north
    return vector_to_radec(np.cos(opening) * centre + np.sin(opening) * around)


def zoom_centre(center: Any) -> tuple[float, float]:
    """Return right ascension and declination (degrees) of ``(ra, dec)`` or a SkyCoord.

    Raises
    ------
    PositionError
        If it is not one position.
    """
    ra, dec = sky_position(center) if hasattr(center, "icrs") else sky_position(*center)
    if np.size(ra) != 1:
        raise PositionError(f"center: found {np.size(ra)} positions, expected one")
    return float(np.squeeze(ra)), float(np.squeeze(dec))


def zoom_radius(radius: Any) -> float:
    """Return the radius of a zoom in degrees.

    Raises
    ------
    ValueRangeError
        If it is not between 0 and 60 degrees.
    """
    value = float(to_value(radius, "deg", "radius"))
    if not 0.0 < value <= 60.0:
        raise ValueRangeError(f"radius: found {value:g} deg, expected more than 0 and at most 60 deg")
    return value


def robust_limits(values: np.ndarray, name: str, peak: bool = False) -> tuple[float, float]:
    """Return the ends of a colour scale for the finite `values` of a variable.

    Significances are symmetric, 5 to 8 sigma to either side, or up to the `peak`; other signed quantities
    are symmetric about zero; coding is 0 to 1, exposures from 0 to their greatest; the rest is from 0 to the
    99.5 percentile.
    """
    if name == "snr":
        limit = float(np.clip(np.abs(values).max(), 5.0, None if peak else 8.0))
        return -limit, limit
    if name == "pcode":
        return 0.0, 1.0
    if name in ("exposure", "pcode_exposure", "n_images"):
        return 0.0, float(values.max())
    low, high = (float(end) for end in np.percentile(values, [0.5, 99.5]))
    if low < 0.0:
        high = max(abs(low), abs(high))
        return -high, high
    return (0.0, high) if high > 0.0 else (0.0, 1.0)


def colour_bar(
    panels: np.ndarray, drawn: Any, label: str, values: np.ndarray, limits: tuple[float, float]
) -> None:
    """Draw the colour bar of all panels, with arrows where `values` are beyond its ends."""
    ends = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}
    panels.flat[0].figure.colorbar(
        drawn,
        ax=list(panels.flat),
        label=label,
        extend=ends[bool(values.min() < limits[0]), bool(values.max() > limits[1])],
        shrink=0.85,
        aspect=22 * len(panels),
        pad=0.015,
    )


def band_of(ds: xr.Dataset, index: int = 0) -> str:
    """Return ``15-50 keV`` for one of the bands, nothing where they are unknown."""
    if "energy_bnds" not in ds.variables:
        return ""
    bounds = ds["energy_bnds"].values.reshape(-1, 2)
    return band_label(*bounds[index]) if index < len(bounds) else ""


def span_of(ds: xr.Dataset, index: int = 0) -> str:
    """Return the time of an image: from the trigger where there is one, else the date and the length."""
    span = _span(ds, index)
    if span is None:
        return ""
    start, stop = span
    if _from_trigger(ds, start):
        trigger = ds.attrs["trigger_time"]
        return f"{start - trigger:.5g} to {stop - trigger:.5g} s from the trigger"
    if "utcf" not in ds.attrs:
        return f"MET {start:.1f}, {stop - start:.5g} s"
    return f"{_utc(ds, start)} UTC, {stop - start:.5g} s"


def trigger_of(ds: xr.Dataset) -> str:
    """Return when the trigger was, where times are given from it; empty otherwise."""
    span = _span(ds, 0)
    if span is None or not _from_trigger(ds, span[0]):
        return ""
    date = f"{_utc(ds, ds.attrs['trigger_time'])} UTC, " if "utcf" in ds.attrs else ""
    return f"trigger {date}MET {ds.attrs['trigger_time']:.1f}"


def _span(ds: xr.Dataset, index: int) -> tuple[float, float] | None:
    if "time_bnds" in ds.variables:
        start, stop = ds["time_bnds"].values.reshape(-1, 2)[index]
        return float(start), float(stop)
    if {"tstart", "tstop"} <= set(ds.attrs):
        return float(ds.attrs["tstart"]), float(ds.attrs["tstop"])
    return None


def _from_trigger(ds: xr.Dataset, start: float) -> bool:
    trigger = ds.attrs.get("trigger_time")
    return trigger is not None and abs(start - trigger) < 1e5


def _utc(ds: xr.Dataset, met: float) -> str:
    from batx.met import met_to_utc

    return str(met_to_utc(met, attrs=ds.attrs)).replace("T", " ")[:19]


# --- lines of longitude and latitude -------------------------------------------------------------------


def draw_graticule(
    panel: Axes,
    plane: SkyPlane,
    box: Box,
    *,
    lines: int = _LINES,
    apart: float = 0.06,
) -> None:
    """Draw lines of longitude and latitude inside a box, with their degrees where they leave it.

    Parameters
    ----------
    panel
        Axes that show the box; x may increase to the left.
    plane
        How the sky lies on them.
    box
        Left, right, bottom and top of the axes.
    lines
        About how many lines there should be each way.
    apart
        Least distance of two labels on a side, as a fraction of the width.
    """
    panel.set_xlim(box[:2])
    panel.set_ylim(box[2:])
    longitudes, latitudes = _lines(plane, box, lines)
    for _, x, y in (*longitudes, *latitudes):
        panel.plot(x, y, color=_GRID_COLOUR, linewidth=0.5, alpha=0.75, zorder=2.5)
    _label_sides(panel, longitudes, latitudes, box, _NAMES[plane.frame], apart)


def _lines(plane: SkyPlane, box: Box, count: int) -> tuple[list[_Line], list[_Line]]:
    """Return lines of longitude and of latitude: value, x, y."""
    left, right, bottom, top = box
    x, y = np.meshgrid(np.linspace(left, right, 61), np.linspace(bottom, top, 61))
    lon, lat = plane.to_sky(x, y)
    seen = np.isfinite(lon) & np.isfinite(lat)
    lon, lat = lon[seen], lat[seen]
    poles = [pole for pole in (-90.0, 90.0) if _inside(*plane.to_plane(0.0, pole), box)]
    lat_low, lat_high = _ends(np.append(lat, poles))
    middle = float(vector_to_radec(radec_to_vector(lon, lat).mean(axis=0))[0])
    offset = (lon - middle + 180.0) % 360.0 - 180.0
    low, high = (-180.0, 180.0) if poles or np.ptp(offset) > 330.0 else _ends(offset)
    step_lat, step_lon = _step((lat_high - lat_low) / count), _step((high - low) / count)
    reach = 89.999 if not poles else 90.0 - step_lat
    along_lat = np.linspace(max(lat_low - step_lat, -reach), min(lat_high + step_lat, reach), _POINTS)
    along_lon = middle + np.linspace(max(low - step_lon, -180.0), min(high + step_lon, 180.0), _POINTS)
    meridians = [
        (value % 360.0, *_path(plane, np.full(_POINTS, value), along_lat, box))
        for value in _multiples(middle + low, middle + high, step_lon)
        if not (high - low == 360.0 and value - (middle + low) >= 360.0 - 1e-6)
    ]
    parallels = [
        (value, *_path(plane, along_lon, np.full(_POINTS, value), box))
        for value in _multiples(max(lat_low, -89.9), min(lat_high, 89.9), step_lat)
    ]
    return meridians, parallels


def _ends(values: np.ndarray) -> tuple[float, float]:
    return float(values.min()), float(values.max())


def _inside(x: Any, y: Any, box: Box) -> bool:
    left, right, bottom, top = box
    return bool(min(left, right) <= x <= max(left, right) and min(bottom, top) <= y <= max(bottom, top))


def _step(wanted: float) -> float:
    return next((step for step in _STEPS if step >= 0.8 * wanted), _STEPS[-1])


def _multiples(low: float, high: float, step: float) -> np.ndarray:
    return step * np.arange(np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9) + 1)


def _path(plane: SkyPlane, lon: np.ndarray, lat: np.ndarray, box: Box) -> tuple[np.ndarray, np.ndarray]:
    """Return a line on the plane, broken where it jumps across it."""
    x, y = (np.array(value, float) for value in plane.to_plane(lon, lat))
    jump = np.hypot(np.diff(x), np.diff(y)) > 0.5 * np.hypot(box[1] - box[0], box[3] - box[2])
    x[1:][jump] = np.nan
    return x, y


def _crossings(lines: Iterable[_Line], box: Box, side: str) -> list[tuple[float, float]]:
    """Return where lines cross a side of the box: coordinate along the side, and value of the line.

    Lines that only graze the side are left out.
    """
    left, right, bottom, top = box
    level = {"left": left, "right": right, "bottom": bottom, "top": top}[side]
    first, last = (left, right) if side in ("bottom", "top") else (bottom, top)
    found = []
    for value, x, y in lines:
        along, across = (x, y) if side in ("bottom", "top") else (y, x)
        with np.errstate(invalid="ignore"):
            here = np.flatnonzero((across[:-1] - level) * (across[1:] - level) <= 0)
        for i in here:
            rise, run = across[i + 1] - across[i], along[i + 1] - along[i]
            if abs(rise) <= _GRAZING * abs(run):
                continue
            place = float(along[i] + (level - across[i]) / rise * run)
            if min(first, last) <= place <= max(first, last):
                found.append((place, value))
    return found


def _label_sides(
    panel: Axes,
    longitudes: list[_Line],
    latitudes: list[_Line],
    box: Box,
    names: tuple[str, str],
    apart: float,
) -> None:
    """Write the degrees of the lines where they leave the box: latitudes with their sign.

    The lines that go up are labelled below, else above, else at the sides, those across likewise on the
    left; the other end of a line is labelled too unless it is on the opposite side.
    """
    upright = len(_crossings(longitudes, box, "bottom")) >= len(_crossings(latitudes, box, "bottom"))
    families = [(names[0], longitudes), (names[1], latitudes)][:: 1 if upright else -1]
    taken: dict[str, list[tuple[float, str]]] = {side: [] for side in _ACROSS}
    titles: dict[str, list[str]] = {side: [] for side in _ACROSS}
    done: dict[tuple[str, float], set[str]] = {}
    for pair in zip(_ACROSS, _UP, strict=True):
        for side, (name, lines) in zip(pair, families, strict=True):
            for place, value in _crossings(lines, box, side):
                ends = done.setdefault((name, value), set())
                if not ends & {side, _OPPOSITE[side]} and _free(place, taken[side], box, side, apart):
                    taken[side].append((place, _degrees(value, signed=name == names[1])))
                    titles[side] += [name] if name not in titles[side] else []
                    ends.add(side)
    for side in _ACROSS:
        _write(panel, side, taken[side])
    panel.set_xlabel(_joined(titles["bottom"]), fontsize=LABEL_SIZE)
    panel.set_ylabel(_joined(titles["left"]), fontsize=LABEL_SIZE)
    panel.minorticks_off()
    panel.tick_params(which="both", length=0)


def _free(place: float, taken: list[tuple[float, str]], box: Box, side: str, apart: float) -> bool:
    """Return whether there is room for a label."""
    width, height = abs(box[1] - box[0]), abs(box[3] - box[2])
    room = apart * (1.0 if side in ("bottom", "top") else 0.7) * width
    ends = abs(np.subtract(box[:2] if side in ("bottom", "top") else box[2:], place))
    return all(abs(place - other) > room for other, _ in taken) and ends.min() > 0.03 * height


def _degrees(value: float, signed: bool) -> str:
    value = round(value, 6) + 0.0
    return f"{value:+g}°" if signed else f"{value:g}°"


def _joined(names: list[str]) -> str:
    return ", ".join(names[:1] + [name[:1].lower() + name[1:] for name in names[1:]])


def _write(panel: Axes, side: str, labels: list[tuple[float, str]]) -> None:
    places, texts = [place for place, _ in labels], [text for _, text in labels]
    if side == "bottom":
        panel.set_xticks(places, texts, fontsize=TICK_SIZE)
    elif side == "left":
        panel.set_yticks(places, texts, fontsize=TICK_SIZE)
    elif labels:
        axis = panel.secondary_xaxis("top") if side == "top" else panel.secondary_yaxis("right")
        (axis.set_xticks if side == "top" else axis.set_yticks)(places, texts, fontsize=TICK_SIZE)
        axis.tick_params(length=0)


# --- sources -------------------------------------------------------------------------------------------


def draw_sources(
    panel: Axes, plane: SkyPlane, catalog: xr.Dataset, box: Box, *, errors: bool = False
) -> None:
    """Mark the sources of a catalogue inside a box, with their names.

    Parameters
    ----------
    panel, plane, box
        As for `draw_graticule`.
    catalog
        Kind ``catalog`` with `ra` and `dec` (ICRS). Where it has `known`, known sources are squares and new
        ones circles, else all are circles.
    errors
        Draw the 1-sigma error circle where `err_rad` is known.
    """
    from matplotlib.patheffects import withStroke

    require_kind(catalog, "catalog", operation="plot")
    stroke = [withStroke(linewidth=2.0, foreground="white")]
    sides: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    for source in _sources(catalog):
        x, y = (float(value) for value in plane.of_icrs(source["ra"], source["dec"]))
        if not _inside(x, y, box):
            continue
        sides[source["known"]].append((x, y))
        if errors and np.isfinite(source["err_rad"]) and source["err_rad"] > 0:
            lon, lat = plane.frame_of_icrs(source["ra"], source["dec"])
            panel.plot(
                *plane.to_plane(*circle(float(lon), float(lat), source["err_rad"])),
                color=PALETTE[0],
                linewidth=1.0,
                zorder=4,
            )
        right = (x - box[0]) / (box[1] - box[0]) > 0.8
        panel.annotate(
            source["name"],
            (x, y),
            xytext=(-7 if right else 7, 6),
            textcoords="offset points",
            ha="right" if right else "left",
            fontsize=8.5,
            path_effects=stroke,
            zorder=5,
        )
    for known, places in sides.items():
        if places:
            panel.plot(
                *np.transpose(places),
                linestyle="none",
                marker="s" if known else "o",
                markersize=11,
                markerfacecolor="none",
                markeredgecolor=PALETTE[0],
                markeredgewidth=1.1,
                label="known" if known else "detected",
                path_effects=[withStroke(linewidth=2.6, foreground="white")],
                zorder=4,
            )


def _sources(catalog: xr.Dataset) -> Iterator[dict[str, Any]]:
    """Yield name, ra, dec, err_rad and known of each source."""
    count = catalog["ra"].size
    defaults: dict[str, Any] = {"name": "", "match_name": "", "err_rad": np.nan, "known": False}
    columns = {name: np.atleast_1d(catalog[name].values) for name in ("ra", "dec")}
    for name, default in defaults.items():
        given = name in catalog.variables
        columns[name] = np.atleast_1d(catalog[name].values) if given else np.full(count, default)
    for i in range(count):
        if np.isfinite(columns["ra"][i]) and np.isfinite(columns["dec"][i]):
            yield {
                "name": str((columns["known"][i] and columns["match_name"][i]) or columns["name"][i]),
                "ra": float(columns["ra"][i]),
                "dec": float(columns["dec"][i]),
                "err_rad": float(columns["err_rad"][i]),
                "known": bool(columns["known"][i]),
            }
