"""The pipelines of Swift XRT and NuSTAR."""

from __future__ import annotations

from batx.heasoft.specs import Task

__all__ = ["MISSION_TASKS"]

_LONG = 21600.0
#: nupipeline works on both telescopes, for hours on a bright source
_DAY = 86400.0

#: xrtpipeline, xrtexpomap, xrtproducts, nupipeline, nuproducts
MISSION_TASKS = (
    Task(
        "xrtpipeline",
        "calibrated and screened events of Swift XRT",
        inputs=(
            "indir",
            "attfile",
            "stattfile",
            "hdfile",
            "trfile",
            "enfile",
            "usrgtifile",
            "userbpfile",
            "pcregionfile",
            "wtregionfile",
        ),
        outputs={"outdir": "folder"},
        products={"events": ("outdir/*.evt", "outdir/*.evt.gz", "outdir/*.img", "outdir/*.img.gz")},
        absolute=True,
        timeout=_LONG,
    ),
    Task(
        "xrtexpomap",
        "exposure map of Swift XRT",
        inputs=("infile", "attfile", "hdfile", "vigfile", "bpfile", "teldef"),
        outputs={"outdir": "folder"},
        products={"maps": ("outdir/*ex.img", "outdir/*ex.img.gz", "outdir/*.img")},
        absolute=True,
        timeout=_LONG,
        optional=("*",),
    ),
    Task(
        "xrtproducts",
        "spectra, light curves, images and ancillary responses of Swift XRT",
        inputs=(
            "infile",
            "regionfile",
            "bkgregionfile",
            "expofile",
            "attfile",
            "hdfile",
            "gtifile",
            "mirfile",
            "inarffile",
            "psffile",
            "vigfile",
            "rmffile",
        ),
        outputs={"outdir": "folder"},
        products={"products": ("outdir/*.pha", "outdir/*.lc", "outdir/*.img", "outdir/*.arf")},
        absolute=True,
        timeout=_LONG,
        optional=("*",),
    ),
    Task(
        "nupipeline",
        "calibrated and screened events of NuSTAR",
        inputs=(
            "indir",
            "fpma_infile",
            "fpmb_infile",
            "attfile",
            "usrgtifile",
            "orbitfile",
            "inmastaspectfile",
        ),
        outputs={"outdir": "folder"},
        products={"events": ("outdir/*.evt", "outdir/*.evt.gz")},
        absolute=True,
        timeout=_DAY,
        optional=("*",),
    ),
    Task(
        "nuproducts",
        "spectra, light curves, images and responses of NuSTAR",
        inputs=(
            "indir",
            "infile",
            "srcregionfile",
            "bkgregionfile",
            "usrgtifile",
            "mastaspectfile",
            "attfile",
            "det1reffile",
            "hkfile",
            "orbitfile",
        ),
        outputs={"outdir": "folder"},
        products={
            "products": ("outdir/*.pha", "outdir/*.lc", "outdir/*.img", "outdir/*.rmf", "outdir/*.arf")
        },
        absolute=True,
        timeout=_LONG,
        optional=("*",),
    ),
)
