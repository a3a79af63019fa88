"""The tools of X-ray telescopes as the pipelines call them: what is promised beyond any call of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from batx.heasoft import Task
from batx.heasoft.tasklist import known_task

__all__ = ["tool"]

#: products by what they are, each of which must be there; how a tool is called for that; and what it reads
#: only, with the parameters that it is given here
_PROMISED: Mapping[str, Mapping[str, Any]] = {
    "xrtpipeline": {
        "products": {"events": ("outdir/*_cl.evt", "outdir/*_cl.evt.gz")},
        "defaults": {"createexpomap": "no", "exitstage": "2", "clobber": "yes", "chatter": "2"},
    },
    "xrtexpomap": {
        "products": {"map": ("outdir/*_ex.img", "outdir/*_ex.img.gz")},
        "defaults": {"clobber": "yes", "chatter": "2"},
    },
    "xrtproducts": {
        "products": {
            "spectrum": ("outdir/*sr.pha",),
            "background": ("outdir/*bkg.pha",),
            "area": ("outdir/*sr.arf",),
            "curve": ("outdir/*sr.lc",),
        },
        "defaults": {
            "bkgextract": "yes",
            "correctlc": "no",
            "plotdevice": "ps",
            "clobber": "yes",
            "chatter": "2",
        },
    },
    "nupipeline": {
        "products": {
            "events": ("outdir/*[AB]01_cl.evt", "outdir/*[AB]01_cl.evt.gz"),
        },
        "defaults": {"clobber": "yes"},
    },
    "nuproducts": {
        "products": {
            "spectrum": ("outdir/*_sr.pha",),
            "background": ("outdir/*_bk.pha",),
            "area": ("outdir/*_sr.arf",),
            "redistribution": ("outdir/*_sr.rmf",),
            "curve": ("outdir/*_sr.lc",),
        },
        "defaults": {"bkgextract": "yes", "clobber": "yes"},
    },
    "epproc": {"products": {"events": ("*EPN*ImagingEvts.ds", "*EPN*TimingEvts.ds", "*EPN*BurstEvts.ds")}},
    "emproc": {"products": {"events": ("*EMOS*ImagingEvts.ds", "*EMOS*TimingEvts.ds")}},
    "epchain": {"products": {"events": ("P*PN[SU]*[PT]IEVLI*",)}},
    "evselect": {"inputs": ("table",), "copies": ()},
    "rgsproc": {
        "products": {
            "spectrum": ("P*R?S*SRSPEC[12]0*", "P*R?U*SRSPEC[12]0*"),
            "background": ("P*R?S*BGSPEC[12]0*", "P*R?U*BGSPEC[12]0*"),
            "response": ("P*R?S*RSPMAT[12]0*", "P*R?U*RSPMAT[12]0*"),
        },
    },
}


def tool(name: str) -> Task:
    """Return the specification of a tool, with what the pipelines ask of it.

    Examples
    --------
    >>> tool("xrtexpomap").inputs[:2], list(tool("xrtexpomap").products)
    (('infile', 'attfile'), ['map'])
    """
    return replace(known_task(name), **_PROMISED.get(name, {}))
