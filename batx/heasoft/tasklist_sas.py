"""Tasks of XMM-Newton's SAS.

``SAS_CCF``, ``SAS_ODF`` and ``SAS_CCFPATH`` come from the environment of batx, or with a call:
``environment={"SAS_CCF": ...}``.
"""

from __future__ import annotations

from typing import Any

from batx.heasoft.specs import Task

__all__ = ["SAS_TASKS"]

_LONG = 21600.0
#: of the chains, which make event lists of all exposures
_CHAIN = 43200.0
_IMAGING = ("*ImagingEvts.ds", "*TimingEvts.ds", "*BurstEvts.ds", "P*IEVLI*.FIT", "P*TIEVLI*.FIT")


def _sas(name: str, summary: str, **facts: Any) -> Task:
    return Task(name, summary, suite="sas", absolute=True, **facts)


#: what makes events, and what makes products of them
SAS_TASKS = (
    _sas(
        "cifbuild",
        "index of the calibration files for an observation",
        outputs={"calindexset": "fits"},
    ),
    _sas(
        "odfingest",
        "summary of the observation data files",
        inputs=("odfdir",),
        named=("odfdir",),
        products={"summary": ("*SUM.SAS",)},
        optional=("*",),
    ),
    _sas(
        "epchain", "events of EPIC pn", products={"events": ("P*EVLI*.FIT",)}, timeout=_CHAIN, optional=("*",)
    ),
    _sas(
        "emchain",
        "events of EPIC MOS",
        products={"events": ("P*EVLI*.FIT",)},
        timeout=_CHAIN,
        optional=("*",),
    ),
    _sas("epproc", "events of EPIC pn", products={"events": _IMAGING}, timeout=_CHAIN, optional=("*",)),
    _sas("emproc", "events of EPIC MOS", products={"events": _IMAGING}, timeout=_CHAIN, optional=("*",)),
    _sas("merge", "two event lists as one", inputs=("set1", "set2"), outputs={"outset": "fits"}),
    _sas(
        "evselect",
        "events chosen, and spectra, light curves, images and histograms of them",
        copies=("table",),
        outputs={
            "filteredset": "fits",
            "spectrumset": "fits",
            "rateset": "fits",
            "imageset": "fits",
            "histogramset": "fits",
        },
        timeout=_LONG,
        optional=("*",),
    ),
    _sas("tabgtigen", "good times from an expression", inputs=("table",), outputs={"gtiset": "fits"}),
    _sas(
        "backscale",
        "area of a spectrum's region",
        inputs=("badpixlocation",),
        edits=("spectrumset",),
        timeout=_LONG,
    ),
    _sas(
        "arfgen",
        "ancillary response",
        inputs=("rmfset", "badpixlocation", "detmaparray"),
        copies=("spectrumset",),
        outputs={"arfset": "fits"},
        timeout=_LONG,
        optional=("*",),
    ),
    _sas(
        "rmfgen",
        "redistribution matrix",
        inputs=("spectrumset", "detmaparray"),
        outputs={"rmfset": "fits"},
        timeout=_LONG,
        optional=("*",),
    ),
    _sas(
        "specgroup",
        "channels of a spectrum in groups, with its background and responses",
        inputs=("spectrumset", "backgndset", "rmfset", "arfset", "grouptemplate"),
        named=("backgndset", "rmfset", "arfset"),
        outputs={"groupedset": "fits"},
        optional=("*",),
    ),
    _sas(
        "epatplot",
        "patterns of events against those expected: pile-up, also as keywords of the copy of its events",
        inputs=("backgroundset",),
        copies=("set",),
        outputs={"plotfile": "any"},
        optional=("*",),
    ),
    _sas(
        "epiclccorr",
        "light curve corrected for the instrument and the background",
        inputs=("srctslist", "eventlist", "bkgtslist"),
        lists=("srctslist",),
        outputs={"outset": "fits"},
        timeout=_LONG,
        optional=("*",),
    ),
    _sas(
        "rgsproc",
        "events, spectra and responses of RGS",
        inputs=("auxgtitables", "epicset"),
        products={
            "events": ("P*EVENLI*.FIT", "P*merged*.FIT"),
            "files": ("P*R1*.FIT", "P*R2*.FIT"),
        },
        timeout=_CHAIN,
        optional=("*",),
    ),
    _sas(
        "rgscombine",
        "spectra and responses of several RGS exposures or orders as one",
        inputs=("pha", "rmf", "bkg"),
        lists=("pha", "rmf", "bkg"),
        outputs={"filepha": "fits", "filermf": "fits", "filebkg": "fits"},
        timeout=_LONG,
        optional=("*",),
    ),
)
