"""What is known of a tool beyond its parameter file: which parameters name files, and what it promises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Task"]


@dataclass(frozen=True)
class Task:
    """One tool of a mission's software.

    Attributes
    ----------
    name
        Of the executable.
    summary
        What it does, in a line.
    suite
        ``"heasoft"`` or ``"sas"``.
    inputs
        Parameters that name a file or folder to be read; a word such as ``NONE`` or ``CALDB`` is left alone.
    either
        Parameters that name a file, or say the same as text (energy bins): a file if there is one.
    lists
        Those inputs that also take several files.
    edits
        Parameters whose file the tool changes: it is given a copy, which becomes the output.
    copies
        Parameters whose file the tool may change by the way: it is given a copy, which is kept only if the
        caller says where.
    unless
        Edited parameter to the output parameter that makes it a plain input: a tool that edits its file
        unless it is told where to write.
    outputs
        Parameters that name what the tool writes, each with what that is: ``"fits"``, ``"text"``,
        ``"picture"``, ``"any"`` (a file that is not empty) or ``"folder"``. One that is not given, or is
        a word such as ``NONE``, is not expected.
    products
        Files that are promised under names that the tool chooses: a name for `Result.outputs`, and patterns
        below the working folder (or below an output folder: ``"outdir/*.img"``), any of which may be there.
    absolute
        Whether files and folders are given by full names, for scripts that change their folder.
    named
        Inputs whose names the tool writes into what it makes (the response of a spectrum): there, those of
        the private copies are replaced by their own.
    optional
        Parameters without default that the tool does not ask for in every case; ``"*"`` stands for all.
    special
        Words that an output parameter takes in place of a name.
    defaults
        Parameters that are given unless the caller gives them.
    timeout
        Seconds that it may take, unless the caller says otherwise.
    """

    name: str
    summary: str = ""
    suite: str = "heasoft"
    inputs: tuple[str, ...] = ()
    either: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()
    edits: tuple[str, ...] = ()
    copies: tuple[str, ...] = ()
    unless: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    products: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    absolute: bool = False
    named: tuple[str, ...] = ()
    special: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    defaults: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 3600.0
