"""The tools that batx knows: those of BAT, of tables and spectra, of other missions, and of SAS."""

from __future__ import annotations

from batx.errors import ParameterError
from batx.heasoft.parfiles import nearest
from batx.heasoft.specs import Task
from batx.heasoft.tasklist_missions import MISSION_TASKS
from batx.heasoft.tasklist_sas import SAS_TASKS

__all__ = ["TASKS", "known_task"]

_FITS = {"outfile": "fits"}
_LONG = 86400.0

_EVENTS = (
    Task(
        "bateconvert",
        "energies of events from pulse heights",
        inputs=("calfile", "residfile", "pulserfile", "fltpulserfile"),
        edits=("infile",),
        outputs=_FITS,
        unless={"infile": "outfile"},
    ),
    Task(
        "batmaskwtevt",
        "mask weights of events for a position",
        inputs=("attitude", "aperture", "detmask", "teldef", "distfile"),
        edits=("infile",),
        outputs={"auxfile": "fits"},
    ),
    Task(
        "batmaskwtimg",
        "mask weight of every detector for a position",
        inputs=("attitude", "infile", "aperture", "incatalog", "detmask", "teldef", "distfile"),
        outputs=_FITS,
    ),
    Task(
        "batbinevt",
        "light curves, spectra and detector images from events or survey histograms",
        inputs=("infile", "gtifile", "maskwt", "detmask"),
        either=("energybins",),
        lists=("infile",),
        outputs=_FITS,
    ),
    Task(
        "battblocks",
        "Bayesian blocks and durations",
        inputs=("infile", "breakfile"),
        outputs={"outfile": "fits", "durfile": "fits", "diagfile": "fits"},
    ),
    Task("battsplit", "intervals of constant position", inputs=("infile", "gtifile"), outputs=_FITS),
    Task(
        "batgrbproduct",
        "standard products of a burst",
        inputs=("indir", "aperture"),
        outputs={"outdir": "folder"},
        products={"products": ("outdir/lc/*", "outdir/events/*", "outdir/gti/*")},
        absolute=True,
        timeout=_LONG,
    ),
)
_IMAGES = (
    Task("batdetmask", "detector mask for a time", inputs=("detmask",), either=("date",), outputs=_FITS),
    Task("bathotpix", "hot and cold detectors", inputs=("infile", "detmask"), outputs=_FITS),
    Task(
        "batclean",
        "background and bright sources fitted to a detector image and taken away",
        inputs=("infile", "incatalog", "aperture", "detmask", "wtmapin"),
        either=("bkgmodel",),
        outputs={"outfile": "fits", "wtmapout": "fits", "backexp": "fits"},
    ),
    Task(
        "batfftimage",
        "sky image from a detector image",
        inputs=("infile", "attitude", "aperture", "bkgfile", "detmask", "teldef"),
        outputs={"outfile": "fits", "bkgvarmap": "fits", "signifmap": "fits"},
    ),
    Task(
        "batcelldetect",
        "sources of a sky image",
        inputs=("infile", "incatalog", "pcodefile", "inbkgmap", "inbkgvarmap", "distfile"),
        outputs={
            "outfile": "fits",
            "regionfile": "text",
            "signifmap": "fits",
            "bkgmap": "fits",
            "bkgvarmap": "fits",
            "psfdebugfile": "any",
        },
        special=("zero",),
    ),
    Task("batwarpimg", "sky image with distortions taken out", inputs=("infile", "distfile"), outputs=_FITS),
    Task(
        "batoccultmap",
        "fraction of the exposure that each place of an image was not occulted",
        inputs=("infile", "saofile", "gtifile"),
        edits=("multfiles", "divfiles"),
        outputs=_FITS,
    ),
    Task(
        "batoccultgti",
        "times when a place is not occulted",
        inputs=("infile",),
        outputs={"outfile": "fits", "calcfile": "fits", "tempregionfile": "text", "tempexprfile": "text"},
    ),
)
_SPECTRA = (
    Task("batphasyserr", "systematic errors of a spectrum", inputs=("syserrfile",), edits=("infile",)),
    Task("batupdatephakw", "position of the source in a spectrum", inputs=("auxfile",), edits=("infile",)),
    Task(
        "batphasimerr",
        "errors of a simulated spectrum",
        inputs=("bkgfile", "eboundfile"),
        edits=("infile",),
    ),
    Task(
        "batdrmgen",
        "response of a spectrum",
        inputs=("hkfile", "calfile", "depthfile", "detmask", "efile"),
        copies=("infile",),
        outputs=_FITS,
    ),
    Task("batdph2dpi", "detector images from survey histograms", inputs=("infile",), outputs=_FITS),
    Task("batdph2pha", "spectrum of a survey histogram", inputs=("infile",), outputs=_FITS),
    Task("batsumdph", "sum of survey histograms", inputs=("infile",), lists=("infile",), outputs=_FITS),
    Task(
        "baterebin",
        "survey histograms on corrected energies",
        inputs=("infile", "calfile", "residfile", "pulserfile", "fltpulserfile", "detmask"),
        either=("ebins",),
        outputs={"outfile": "fits", "outmap": "fits"},
    ),
)
_SURVEY = (
    Task(
        "batsurvey",
        "survey data of an observation: sources, rates and images of every pointing",
        inputs=(
            "indir",
            "incatalog",
            "gtifile",
            "aperture",
            "mask_edge_aperture",
            "global_pattern_map",
            "global_pattern_mask",
            "alignfile",
            "pulserfile",
            "fltpulserfile",
            "residfile",
            "offcorrfile",
        ),
        either=("batclean_bkgmodel", "eff_area_map"),
        outputs={"outdir": "folder"},
        products={"statistics": ("outdir/stats_*.fits", "outdir/stats_*.dat")},
        absolute=True,
        timeout=_LONG,
    ),
    Task(
        "batsurvey-gti",
        "good times of survey histograms",
        inputs=("indir", "dphfiles", "gtifile"),
        lists=("dphfiles",),
        outputs={"outdir": "folder"},
        products={"gti": ("outdir/master.gti",)},
        absolute=True,
    ),
    Task(
        "batsurvey-aspect",
        "steady attitude of a pointing",
        inputs=("gtifile", "attfile", "alignfile"),
        outputs={"outattfile": "fits", "outgtifile": "fits"},
        absolute=True,
    ),
    Task(
        "batsurvey-detmask",
        "detector mask of a survey image",
        inputs=("infile", "detflagfile", "patternmask", "detmask"),
        outputs={"outfile": "fits", "outenamask": "fits", "outcaldbmask": "fits"},
        absolute=True,
    ),
    Task(
        "batsurvey-erebin",
        "survey histograms of an observation on corrected energies",
        inputs=("indir", "infile"),
        outputs=_FITS,
        absolute=True,
    ),
    Task(
        "batsurvey-catmux",
        "catalogues of pointings as one table for each source; outfile is a pattern such as '%s.cat'",
        inputs=("infile",),
        lists=("infile",),
        outputs={"logfile": "text"},
        products={"catalogs": ("*.cat", "*.fits")},
        absolute=True,
    ),
)
_TABLES = (
    Task("swifttime", "times in other systems; the answer is in Result.values", inputs=("swcofile",)),
    Task(
        "barycorr",
        "times as at the barycentre of the Solar System",
        inputs=("infile", "orbitfiles", "clockfile"),
        lists=("orbitfiles",),
        outputs=_FITS,
        absolute=True,
        optional=("*",),
    ),
    Task(
        "aspect",
        "mean attitude",
        inputs=("attfile", "alignfile", "gtis"),
        outputs={"newattfile": "fits"},
        optional=("*",),
    ),
    Task("maketime", "good times from an expression", inputs=("infile",), outputs=_FITS, optional=("*",)),
    Task("ftmerge", "rows of several tables in one", inputs=("infile",), lists=("infile",), outputs=_FITS),
    Task(
        "ftcoco",
        "coordinates in another system",
        edits=("infile",),
        outputs=_FITS,
        unless={"infile": "outfile"},
    ),
    Task("ftsort", "rows of a table in order", inputs=("infile",), outputs=_FITS),
    Task("ftcopy", "copy of a file or a part of it", inputs=("infile",), outputs=_FITS),
    Task("ftselect", "rows of a table that fit an expression", inputs=("infile",), outputs=_FITS),
    Task("fthedit", "keywords of a header", edits=("infile",), either=("keyword",), optional=("value",)),
    Task(
        "ftgrouppha",
        "channels of a spectrum in groups",
        inputs=("infile", "backfile", "respfile", "templatefile"),
        outputs=_FITS,
        optional=("*",),
    ),
    Task(
        "grppha",
        "channels of a spectrum in groups, by commands: comm='group min 20 & exit'",
        inputs=("infile",),
        outputs=_FITS,
        optional=("tempc",),
    ),
)

#: name -> specification
TASKS: dict[str, Task] = {
    task.name: task
    for task in (*_EVENTS, *_IMAGES, *_SPECTRA, *_SURVEY, *_TABLES, *MISSION_TASKS, *SAS_TASKS)
}


def known_task(name: str) -> Task:
    """Return the specification of a tool that batx knows.

    Parameters
    ----------
    name
        As the tool is called (``batsurvey-gti``), or as Python spells it (``batsurvey_gti``).

    Raises
    ------
    ParameterError
        If batx does not know it; any other tool runs from a `Task` of your own.

    Examples
    --------
    >>> known_task("batphasyserr").edits
    ('infile',)
    """
    if name in TASKS:
        return TASKS[name]
    for other in TASKS:
        if other.replace("-", "_") == name:
            return TASKS[other]
    raise ParameterError(
        f"batx knows no tool {name!r}{nearest(name, TASKS)}; give a batx.heasoft.Task that says what it "
        "reads and writes"
    )
