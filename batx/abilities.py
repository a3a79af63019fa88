"""Which pipelines and features would run, judged from what `batx.doctor` found."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

__all__ = ["abilities"]

_HEASOFT = "install HEASoft with it and source its set-up script ($HEADAS)"
_SAS = "install SAS and source its set-up scripts ($SAS_DIR)"
_FETCH = "batx calibration --fetch"
#: name, tools, variable of their installation, folder of $CALDB, remedy
_NEEDS = (
    ("survey (batx survey) from observations", ("batsurvey",), "HEADAS", "swift/bat", _HEASOFT),
    ("XRT (batx xrt)", ("xrtpipeline", "xrtexpomap", "xrtproducts"), "HEADAS", "swift/xrt", _HEASOFT),
    ("NuSTAR (batx nustar)", ("nupipeline", "nuproducts"), "HEADAS", "nustar/fpm", _HEASOFT),
    (
        "XMM-Newton (batx xmm)",
        (
            *("cifbuild", "odfingest", "evselect", "tabgtigen", "merge", "backscale", "arfgen", "rmfgen"),
            *("epatplot", "epiclccorr"),
        ),
        "SAS_DIR",
        "",
        _SAS,
    ),
    (
        "other computations by HEASoft (engine='heasoft')",
        ("batbinevt", "batmaskwtevt", "batfftimage", "batcelldetect"),
        "HEADAS",
        "",
        _HEASOFT,
    ),
)


class _Finding(Protocol):
    @property
    def section(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def status(self) -> str: ...


def abilities(findings: Iterable[_Finding]) -> Iterator[tuple[str, str, str]]:
    """Yield name, what is lacking (empty if it runs), and the remedy, of every pipeline and feature.

    Parameters
    ----------
    findings
        Of `batx.doctor`: those of tools, calibration and network.

    Examples
    --------
    >>> name, lacking, remedy = next(abilities([]))
    >>> name, lacking, remedy
    ('events (batx run)', 'no coded mask: counts and light curves only', 'batx calibration --fetch')
    """
    good = {(one.section, one.name) for one in findings if one.status == "ok"}
    asked = {one.name for one in findings if one.section == "Network"}
    yield "events (batx run)", *_events(good)
    yield "fits, images, light curves, mosaics of batx itself", "", ""
    for name, tools, variable, caldb, remedy in _NEEDS:
        yield name, *_by_tools(tools, variable, caldb, remedy)
    lacking = "" if ("Tools", "xspec") in good else "no pyXspec"
    yield (
        "fits with XSPEC (engine='xspec')",
        lacking,
        lacking and "install pyXspec, or name its Python in $BATX_XSPEC_PYTHON",
    )
    if asked:
        reached = ("Network", "mirror") in good
        yield (
            "fetching (batx fetch)",
            "" if reached else "no way to the archive",
            "" if reached else "see the network above; what is in the data directory is used with --offline",
        )


def _events(good: set[tuple[str, str]]) -> tuple[str, str]:
    """Return what is lacking for events: the mask for anything weighted, pulser maps for good energies."""
    if _remote() or ("Calibration", "aperture") in good:
        energies = [
            name for name in ("pulser", "flight_pulser", "residual") if ("Calibration", name) not in good
        ]
        if _remote() or not energies:
            return "", ""
        return f"no {', '.join(energies)}: runs if the energies of the events are worked out", _FETCH
    return "no coded mask: counts and light curves only", _FETCH


def _remote() -> bool:
    return "://" in os.environ.get("CALDB", "")


def _by_tools(tools: tuple[str, ...], variable: str, caldb: str, remedy: str) -> tuple[str, str]:
    """Return what of an installation is lacking, and of the calibration that its tools read themselves."""
    place = os.environ.get(variable)
    if not place:
        return f"${variable} is not set", remedy
    folders = [Path(place) / folder for folder in ("bin", "binextra")]
    missing = [name for name in tools if not any((folder / name).exists() for folder in folders)]
    if missing:
        return f"${variable} has no {', '.join(missing)}", remedy
    there = os.environ.get("CALDB", "")
    if caldb and not _remote() and not (there and (Path(there) / "data" / caldb).is_dir()):
        return f"$CALDB has no data/{caldb}", "install it, or set $CALDB to the URL of HEASARC"
    return "", ""
