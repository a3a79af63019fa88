"""Which pipelines and features would run, judged from what the other checks found."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from batx.doctor.finding import Finding
from batx.doctor.tools import SUITES, ccf_problem, problem

__all__ = ["abilities"]

_FETCH = "batx calibration --fetch"
#: what observations of the survey are processed with by batx itself, and do not bring
_SURVEY = ("aperture", "alignment", "pulser", "flight_pulser", "residual")


class _Need(NamedTuple):
    """A pipeline of tools: the set they belong to, and the folder of $CALDB that they read themselves."""

    name: str
    suite: str
    tools: tuple[str, ...]
    caldb: str = ""


_NEEDS = (
    _Need("survey by batsurvey (batx survey --engine heasoft)", "HEASoft", ("batsurvey",), "swift/bat"),
    _Need("XRT (batx xrt)", "HEASoft", ("xrtpipeline", "xrtexpomap", "xrtproducts"), "swift/xrt"),
    _Need("NuSTAR (batx nustar)", "HEASoft", ("nupipeline", "nuproducts"), "nustar/fpm"),
    _Need(
        "XMM-Newton (batx xmm)",
        "SAS",
        (
            *("cifbuild", "odfingest", "evselect", "tabgtigen", "merge", "backscale", "arfgen", "rmfgen"),
            *("epatplot", "epiclccorr"),
        ),
    ),
    _Need(
        "other computations by HEASoft (engine='heasoft')",
        "HEASoft",
        ("batbinevt", "batmaskwtevt", "batfftimage", "batcelldetect"),
    ),
)


def abilities(findings: Iterable[Finding]) -> Iterator[tuple[str, str, str]]:
    """Yield name, what is lacking (empty if it runs), and the remedy, of every pipeline and feature.

    Parameters
    ----------
    findings
        Of `batx.doctor`: those of packages, tools, calibration and network.

    Examples
    --------
    >>> name, lacking, remedy = next(abilities([]))
    >>> name, lacking, remedy
    ('events (batx run)', 'no coded mask: counts and light curves only', 'batx calibration --fetch')
    """
    seen = list(findings)
    good = {(one.section, one.name) for one in seen if one.status == "ok"}
    remote = "://" in os.environ.get("CALDB", "").removeprefix("file://")
    served = remote and ("Calibration", "CALDB") in good
    yield "events (batx run)", *_events(good, served)
    yield "survey (batx survey)", *_survey(good, served)
    broken = [one.name for one in seen if one.section == "Python" and one.status == "broken"]
    yield (
        "fits, images, light curves, mosaics of batx itself",
        f"packages are missing or too old: {', '.join(broken)}" if broken else "",
        "see Python above" if broken else "",
    )
    for need in _NEEDS:
        yield need.name, *_by_tools(need, remote and not served)
    lacking = "" if ("Tools", "xspec") in good else "no pyXspec"
    yield (
        "fits with XSPEC (engine='xspec')",
        lacking,
        lacking and "install pyXspec, or name its Python in $BATX_XSPEC_PYTHON",
    )
    if any(one.section == "Network" for one in seen):
        reached = ("Network", "mirror") in good
        yield (
            "fetching (batx fetch)",
            "" if reached else "no mirror of the archive answered",
            "" if reached else "see the network above; what is in the data directory is used with --offline",
        )


def _events(good: set[tuple[str, str]], served: bool) -> tuple[str, str]:
    """Return what is lacking for events: the mask for anything weighted, pulser maps for good energies.

    `served` says that a server answers, which has whatever is not here.
    """
    if served:
        return "", ""
    if ("Calibration", "aperture") not in good:
        return "no coded mask: counts and light curves only", _FETCH
    energies = [name for name in ("pulser", "flight_pulser", "residual") if ("Calibration", name) not in good]
    if energies:
        return f"no {', '.join(energies)}: runs if the energies of the events are worked out", _FETCH
    return "", ""


def _survey(good: set[tuple[str, str]], served: bool) -> tuple[str, str]:
    """Return what is lacking for the histograms of the survey, by batx itself; `served` as for events."""
    lacking = [] if served else [name for name in _SURVEY if ("Calibration", name) not in good]
    return (f"no {', '.join(lacking)}", _FETCH) if lacking else ("", "")


def _by_tools(need: _Need, silent: bool) -> tuple[str, str]:
    """Return what of an installation is lacking, and of the calibration that its tools read themselves.

    `silent` says that $CALDB is a server that did not answer.
    """
    one = SUITES[need.suite]
    if not os.environ.get(one.variable):
        return f"${one.variable} is not set", one.install
    missing = [tool for tool in need.tools if problem(need.suite, tool)]
    if missing:
        return f"${one.variable} has no {', '.join(missing)} that can be called", one.install
    if need.suite == "SAS" and (lacking := ccf_problem()):
        return lacking, "get the current calibration files, and name their folder with $SAS_CCFPATH"
    if not need.caldb:
        return "", ""
    if silent:
        return "$CALDB did not answer", "see CALDB above; or install it, and set $CALDB to its folder"
    place = os.environ.get("CALDB", "").removeprefix("file://")
    if "://" not in place and not (place and os.path.isdir(os.path.join(place, "data", need.caldb))):
        return f"$CALDB has no data/{need.caldb}", "install it, or set $CALDB to the URL of HEASARC"
    if not os.path.isfile(os.environ.get("CALDBCONFIG", "")):
        text = "$CALDBCONFIG names no file, without which the tools find no calibration"
        return text, "source caldbinit.sh of the database (software/tools)"
    return "", ""
