"""The tools of X-ray telescopes as the pipelines call them: what they read, and which files they promise."""

from __future__ import annotations

from batx.heasoft import Task

__all__ = ["TASKS", "tool"]

_SWIFT = (
    Task(
        "xrtpipeline",
        "cleaned events of an observation of Swift-XRT",
        inputs=("indir", "attfile", "hdfile", "mkffile"),
        outputs={"outdir": "folder"},
        products={"events": ("outdir/*_cl.evt", "outdir/*_cl.evt.gz")},
        absolute=True,
        defaults={"createexpomap": "no", "exitstage": "2", "clobber": "yes", "chatter": "2"},
        timeout=6 * 3600.0,
    ),
    Task(
        "xrtexpomap",
        "exposure map of an event list of Swift-XRT",
        inputs=("infile", "attfile", "hdfile"),
        outputs={"outdir": "folder"},
        products={"map": ("outdir/*_ex.img", "outdir/*_ex.img.gz")},
        absolute=True,
        defaults={"clobber": "yes", "chatter": "2"},
        timeout=2 * 3600.0,
    ),
    Task(
        "xrtproducts",
        "spectra, light curves and effective area of a region, Swift-XRT",
        inputs=(
            "infile",
            "regionfile",
            "bkgregionfile",
            "expofile",
            "attfile",
            "hdfile",
            "rmffile",
            "gtifile",
        ),
        outputs={"outdir": "folder"},
        products={
            "spectrum": ("outdir/*sr.pha",),
            "background": ("outdir/*bkg.pha",),
            "area": ("outdir/*sr.arf",),
            "curve": ("outdir/*sr.lc",),
        },
        absolute=True,
        named=("rmffile",),
        special=("NONE", "DEFAULT", "CALDB"),
        defaults={
            "bkgextract": "yes",
            "correctlc": "no",
            "plotdevice": "ps",
            "clobber": "yes",
            "chatter": "2",
        },
        timeout=2 * 3600.0,
    ),
)

_NUSTAR = (
    Task(
        "nupipeline",
        "cleaned events of an observation of NuSTAR",
        inputs=("indir",),
        outputs={"outdir": "folder"},
        products={
            "events_a": ("outdir/*A01_cl.evt", "outdir/*A01_cl.evt.gz"),
            "events_b": ("outdir/*B01_cl.evt", "outdir/*B01_cl.evt.gz"),
        },
        absolute=True,
        defaults={"clobber": "yes"},
        timeout=24 * 3600.0,
    ),
    Task(
        "nuproducts",
        "spectra, light curves and responses of a region, NuSTAR",
        inputs=("indir", "infile", "srcregionfile", "bkgregionfile", "usrgtifile"),
        outputs={"outdir": "folder"},
        products={
            "spectrum": ("outdir/*_sr.pha",),
            "background": ("outdir/*_bk.pha",),
            "area": ("outdir/*_sr.arf",),
            "redistribution": ("outdir/*_sr.rmf",),
            "curve": ("outdir/*_sr.lc",),
        },
        absolute=True,
        special=("NONE", "DEFAULT", "CALDB"),
        defaults={"clobber": "yes"},
        timeout=6 * 3600.0,
    ),
)


def _sas(name: str, summary: str, **more: object) -> Task:
    return Task(name, summary, "sas", **more)  # type: ignore[arg-type]


_XMM = (
    _sas("cifbuild", "index of the calibration files of an observation", outputs={"calindexset": "fits"}),
    _sas("odfingest", "summary of an observation", outputs={}, products={"summary": ("*SUM.SAS",)}),
    _sas(
        "epproc",
        "event lists of EPIC-pn, all exposures",
        products={"events": ("*EPN*ImagingEvts.ds",)},
        timeout=12 * 3600.0,
    ),
    _sas(
        "epchain",
        "event list of EPIC-pn, one exposure",
        products={"events": ("P*PNS*PIEVLI*", "P*PNU*PIEVLI*")},
        timeout=12 * 3600.0,
    ),
    _sas(
        "emproc",
        "event lists of EPIC-MOS, all exposures",
        products={"events": ("*EMOS*ImagingEvts.ds",)},
        timeout=12 * 3600.0,
    ),
    _sas("merge", "two event lists as one", inputs=("set1", "set2"), outputs={"outset": "fits"}),
    _sas(
        "evselect",
        "events chosen; their light curve, spectrum, image",
        inputs=("table",),
        outputs={"filteredset": "fits", "rateset": "fits", "spectrumset": "fits", "imageset": "fits"},
        timeout=2 * 3600.0,
    ),
    _sas("tabgtigen", "good time from a table", inputs=("table",), outputs={"gtiset": "fits"}),
    _sas(
        "epatplot",
        "patterns of events against their model",
        inputs=("backgroundset",),
        edits=("set",),
        outputs={"plotfile": "any"},
    ),
    _sas(
        "backscale", "area of a region, in its spectrum", inputs=("badpixlocation",), edits=("spectrumset",)
    ),
    _sas("rmfgen", "redistribution of a spectrum", inputs=("spectrumset",), outputs={"rmfset": "fits"}),
    _sas(
        "arfgen",
        "effective area of a spectrum",
        inputs=("spectrumset", "rmfset", "badpixlocation"),
        outputs={"arfset": "fits"},
    ),
    _sas(
        "epiclccorr",
        "light curve corrected, background subtracted",
        inputs=("srctslist", "bkgtslist", "eventlist"),
        outputs={"outset": "fits"},
        timeout=2 * 3600.0,
    ),
    _sas(
        "rgsproc",
        "spectra and responses of RGS",
        products={
            "spectrum": ("P*R?S*SRSPEC100*", "P*R?U*SRSPEC100*"),
            "background": ("P*R?S*BGSPEC100*", "P*R?U*BGSPEC100*"),
            "response": ("P*R?S*RSPMAT100*", "P*R?U*RSPMAT100*"),
        },
        timeout=12 * 3600.0,
    ),
    _sas(
        "rgscombine",
        "sum of spectra of RGS with background and response",
        inputs=("pha", "rmf", "bkg"),
        lists=("pha", "rmf", "bkg"),
        outputs={"filepha": "fits", "filermf": "fits", "filebkg": "fits"},
        timeout=2 * 3600.0,
    ),
)

#: name -> specification
TASKS = {task.name: task for task in (*_SWIFT, *_NUSTAR, *_XMM)}


def tool(name: str) -> Task:
    """Return the specification of a tool.

    Examples
    --------
    >>> tool("epatplot").edits
    ('set',)
    """
    return TASKS[name]
