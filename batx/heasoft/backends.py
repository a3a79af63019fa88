"""Where tools run: as programs of HEASoft or SAS, from recordings, or not at all."""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from threading import Event
from typing import Any, Protocol, runtime_checkable

from batx.errors import BatxWarning, FileFormatError, MissingFileError, ParameterError, ToolMissingError
from batx.heasoft.parfiles import ParFile, nearest, read_par, read_sas_par
from batx.heasoft.processes import Ending, supervise
from batx.heasoft.specs import Task

__all__ = ["Backend", "Call", "DryRun", "Request", "Sas", "Subprocess", "backend_for"]

#: built-in name -> where it is made; others come by entry point
_BUILT_IN = {
    "subprocess": "batx.heasoft.backends:Subprocess",
    "sas": "batx.heasoft.backends:Sas",
    "dry": "batx.heasoft.backends:DryRun",
    "replay": "batx.heasoft.replay:Replay",
    "heasoftpy": "batx.heasoft.heasoftpy_worker:Heasoftpy",
}
_GROUP = "batx.backends"
#: variables that reach a tool: what finds its libraries and scripts, the way out of a closed network, and
#: where the software and its calibration are
_COMMON: tuple[str, ...] = (
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "PERL5LIB",
    "PERLLIB",
    "PYTHONPATH",
    "SSL_CERT_FILE",
)
_COMMON = (*_COMMON, "TZ", "USER", "LOGNAME", "http_proxy", "https_proxy", "no_proxy")
_COMMON = (*_COMMON, "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_HEASOFT: tuple[str, ...] = (
    "HEADAS",
    "LHEASOFT",
    "FTOOLS",
    "LHEA_DATA",
    "LHEA_HELP",
    "LHEAPERL",
    "XANADU",
    "XANBIN",
    "XSELECT",
)
_HEASOFT = (*_HEASOFT, "CALDB", "CALDBCONFIG", "CALDBALIAS", "EXT", "TCLRL_LIBDIR", "XRDEFAULTS", "SYSPFILES")
_HEASOFT = (*_HEASOFT, "PGPLOT_DIR", "PGPLOT_FONT", "PGPLOT_RGB", "PGPLOT_TYPE", "POW_LIBRARY", "XPA_METHOD")


@dataclass(frozen=True)
class Call:
    """One run of a tool, ready to be made: everything a backend needs.

    Attributes
    ----------
    task
        The tool.
    parameters
        Name to text, as the tool reads them; names of files are as seen from `folder`.
    folder
        Private working folder (mode 0700); the tool runs there, and `pfiles` and `tmp` lie in it.
    log
        File to be made for the tool's output.
    options
        Arguments that are no parameters, before them (SAS: ``-V 4``).
    environment
        What is added to the environment.
    outputs
        Output parameter to the name of its file, as seen from `folder`.
    originals
        Names of inputs as seen from `folder` to the files themselves.
    timeout, log_limit, file_limit
        Seconds, and bytes; 0 means no limit (of time and files).
    stop
        Set when the call is no longer wanted; a backend that looks at it may end early.
    """

    task: Task
    parameters: Mapping[str, str]
    folder: Path
    log: Path
    options: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    originals: Mapping[str, Path] = field(default_factory=dict)
    timeout: float = 0.0
    log_limit: int = 2**20
    file_limit: int = 0
    stop: Event | None = None

    @property
    def arguments(self) -> list[str]:
        """The options and ``name=value`` for every parameter."""
        return [*self.options, *(f"{name}={value}" for name, value in self.parameters.items())]


@dataclass(frozen=True)
class Request:
    """A call that is to be made: the tool, its parameters and how it is run. Made by `request`.

    Attributes
    ----------
    task
        The tool.
    given
        Parameters as they were given.
    backend
        A backend, its name, or `None` for that of the tool's software.
    outputs, into
        Where changed copies, and files named by the tool, are to be.
    records
        Folder of records and logs; by default ``.batx`` beside the first output.
    timeout
        Seconds; infinite means no limit.
    overwrite
        Whether outputs that are there may be replaced.
    again
        Whether a finished call is made again.
    options
        Arguments before the parameters.
    environment
        Variables added to the environment of the tool.
    log_limit, file_limit
        Bytes of the log, and of any file of the tool; 0 means no limit of files.
    """

    task: Task
    given: Mapping[str, Any]
    backend: str | Backend | None = None
    outputs: Mapping[str, str | os.PathLike[str]] = field(default_factory=dict)
    into: str | os.PathLike[str] | None = None
    records: str | os.PathLike[str] | None = None
    timeout: float = 3600.0
    overwrite: bool = False
    again: bool = False
    options: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    log_limit: int = 2**20
    file_limit: int = 0


@runtime_checkable
class Backend(Protocol):
    """What runs tools. Third parties offer theirs by an entry point of the group ``batx.backends``."""

    name: str

    def parameters(self, task: Task) -> ParFile | None:
        """Return the parameters of the tool; `None` if they are not known: then nothing is checked."""

    def version(self, task: Task) -> str:
        """Return what tells one version of the tool from another."""

    def execute(self, call: Call) -> Ending:
        """Run the tool in `call.folder` and write what it says to `call.log`."""


class Subprocess:
    """The programs of HEASoft below ``$HEADAS``, each in a process of its own.

    Parameters
    ----------
    headas
        Folder with ``bin`` and ``syspfiles``; by default ``$HEADAS``.
    environment
        Variables that are added to the environment of every call, for instance ``CALDB``.

    Examples
    --------
    >>> Subprocess(headas="/nowhere").name
    'subprocess'
    """

    name = "subprocess"
    suite = "HEASoft"
    deciding: tuple[str, ...] = ("CALDB", "CALDBCONFIG", "CALDBALIAS")

    def __init__(
        self,
        headas: str | os.PathLike[str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.place = _place(headas, "HEADAS")
        self.environment = dict(environment or {})
        self._versions: dict[str, str] = {}

    def program(self, task: Task) -> Path:
        """Return the executable; raise `ToolMissingError` if it is not there."""
        if self.place is None:
            raise ToolMissingError(
                f"{task.name} belongs to {self.suite}, which is not set up: {self._remedy()}"
            )
        path = self.place / "bin" / task.name
        if not path.is_file():
            raise ToolMissingError(f"there is no program {path}: {self._remedy()}")
        if not os.access(path, os.X_OK):
            raise ToolMissingError(f"{path} may not be executed: {self._remedy()}, or allow it (chmod +x)")
        return path

    def _remedy(self) -> str:
        return (
            "install HEASoft and source its headas-init.sh ($HEADAS names its folder), "
            'or use engine="native" where there is one'
        )

    def parameters(self, task: Task) -> ParFile | None:
        """Return what ``syspfiles`` says of the tool."""
        self.program(task)
        assert self.place is not None
        return read_par(self.place / "syspfiles" / f"{task.name}.par")

    def version(self, task: Task) -> str:
        """Return the version of the software, and the checksum of the program."""
        if task.name not in self._versions:
            digest = hashlib.sha256(self.program(task).read_bytes()).hexdigest()[:12]
            self._versions[task.name] = f"{self._release()} {digest}"
        return self._versions[task.name]

    def _release(self) -> str:
        """Return the release that the path or a file of the installation names."""
        assert self.place is not None
        found = re.findall(r"heasoft[-_]?v?(\d+\.[\d.]*\d)", str(self.place.resolve()), re.IGNORECASE)
        return f"{self.suite} {found[-1] if found else 'of unknown release'}"

    def execute(self, call: Call) -> Ending:
        """Run the program; see `batx.heasoft.processes.supervise`."""
        return supervise(
            self.program(call.task),
            call.arguments,
            environment=self.surroundings(call),
            folder=call.folder,
            log=call.log,
            timeout=call.timeout,
            log_limit=call.log_limit,
            file_limit=call.file_limit,
            stop=call.stop,
        )

    def context(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Return the variables that decide what a call gives: its own, and where the calibration is."""
        settings = {**os.environ, **self.environment, **environment}
        return {**environment, **{name: settings[name] for name in self.deciding if name in settings}}

    def surroundings(self, call: Call) -> dict[str, str]:
        """Return all of the environment of a call: what the tools need, and nothing else."""
        names = (*_COMMON, *_HEASOFT)
        kept = {name: os.environ[name] for name in names if name in os.environ}
        assert self.place is not None
        kept |= {"HEADAS": str(self.place), "PATH": f"{self.place}/bin:{os.defpath}"}
        system = self.place / "syspfiles"
        return kept | self.environment | dict(call.environment) | _private(call, str(system))


def _private(call: Call, system_pfiles: str) -> dict[str, str]:
    """What keeps a call to itself: its own parameter files, home and temporary folder; and no questions."""
    return {
        "PFILES": f"{call.folder / 'pfiles'};{system_pfiles}",
        "HOME": str(call.folder),
        "TMPDIR": str(call.folder / "tmp"),
        "HEADASNOQUERY": "1",
        "HEADASPROMPT": "/dev/null",
        "LC_ALL": "C",
    }


def _place(given: str | os.PathLike[str] | None, variable: str) -> Path | None:
    text = os.fspath(given) if given is not None else os.environ.get(variable, "")
    return Path(os.path.expanduser(text)).absolute() if text else None


class Sas(Subprocess):
    """The tasks of XMM-Newton's SAS below ``$SAS_DIR``.

    Parameters
    ----------
    sas_dir
        By default ``$SAS_DIR``.
    environment
        Variables that are added to the environment of every call: ``SAS_CCF``, ``SAS_ODF``, ``SAS_CCFPATH``.

    Examples
    --------
    >>> Sas(sas_dir="/nowhere").suite
    'SAS'
    """

    name = "sas"
    suite = "SAS"
    deciding = ("SAS_CCF", "SAS_CCFPATH", "SAS_ODF")

    def __init__(
        self, sas_dir: str | os.PathLike[str] | None = None, environment: Mapping[str, str] | None = None
    ) -> None:
        super().__init__("", environment)
        self.place = _place(sas_dir, "SAS_DIR")

    def _remedy(self) -> str:
        return (
            "install SAS and source its setsas.sh ($SAS_DIR names its folder) after HEASoft's headas-init.sh"
        )

    def program(self, task: Task) -> Path:
        """Return the executable, from ``bin`` or ``binextra``; raise `ToolMissingError` without it."""
        if self.place is not None:
            extra = self.place / "binextra" / task.name
            if extra.is_file() and os.access(extra, os.X_OK):
                return extra
        return super().program(task)

    def parameters(self, task: Task) -> ParFile | None:
        """Return what ``config`` says of the task; where that cannot be read, a warning says so."""
        self.program(task)
        assert self.place is not None
        try:
            return read_sas_par(self.place / "config" / f"{task.name}.par")
        except (MissingFileError, FileFormatError) as error:
            warnings.warn(
                f"the parameters of {task.name} are not checked: {error}", BatxWarning, stacklevel=2
            )
            return None

    def _release(self) -> str:
        assert self.place is not None
        found = re.findall(r"xmmsas_[\w.-]+", str(self.place.resolve()))
        return f"SAS {found[-1] if found else 'of unknown release'}"

    def surroundings(self, call: Call) -> dict[str, str]:
        """Return all of the environment of a call: every ``SAS_`` variable, and what HEASoft needs."""
        place = self.place
        assert place is not None
        kept = {name: value for name, value in os.environ.items() if name.startswith("SAS_")}
        kept |= {name: os.environ[name] for name in (*_COMMON, *_HEASOFT) if name in os.environ}
        headas = os.environ.get("HEADAS")
        paths = [f"{place}/bin", f"{place}/binextra", *([f"{headas}/bin"] if headas else []), os.defpath]
        libraries = [f"{place}/lib", f"{place}/libextra", kept.get("LD_LIBRARY_PATH", "")]
        kept |= {"SAS_DIR": str(place), "PATH": ":".join(paths)}
        kept |= {"LD_LIBRARY_PATH": ":".join(filter(None, libraries))}
        for name, folder in (("PERL5LIB", "lib/perl5"), ("PYTHONPATH", "lib/python")):
            kept[name] = ":".join(filter(None, [f"{place}/{folder}", kept.get(name, "")]))
        kept.setdefault("SAS_PATH", str(place))
        kept.setdefault("SAS_SUPPRESS_WARNING", "1")
        system = f"{headas}/syspfiles" if headas else ""
        return kept | self.environment | dict(call.environment) | _private(call, system)


class DryRun:
    """Runs nothing: a call is checked as far as it can be, and its command is in the `Result`.

    Parameters
    ----------
    like
        The backend whose parameter files are used; without one nothing is known of the parameters.

    Examples
    --------
    >>> DryRun().name
    'dry'
    """

    name = "dry"

    def __init__(self, like: Backend | None = None) -> None:
        self.like = like

    def parameters(self, task: Task) -> ParFile | None:
        """Return those of the other backend."""
        return self.like.parameters(task) if self.like else None

    def version(self, task: Task) -> str:
        """Return that of the other backend."""
        return self.like.version(task) if self.like else ""

    def execute(self, call: Call) -> Ending:
        """Do nothing."""
        call.log.write_text("not run: this is a dry run\n")
        return Ending(0)


def backend_for(choice: str | Backend | None, task: Task) -> Backend:
    """Return the backend of that name, or for the tool's software if none is chosen.

    Parameters
    ----------
    choice
        A backend, a name (``"subprocess"``, ``"sas"``, ``"heasoftpy"``, ``"dry"``, or that of an entry point
        of the group ``batx.backends``), or `None`.
    task
        The tool.

    Raises
    ------
    ParameterError
        If there is no backend of that name.

    Examples
    --------
    >>> backend_for("dry", Task("fdump")).name
    'dry'
    """
    if choice is not None and not isinstance(choice, str):
        if not isinstance(choice, Backend):
            raise ParameterError(f"found backend {choice!r}, expected a name or a batx.heasoft.Backend")
        return choice
    name = choice or ("sas" if task.suite == "sas" else "subprocess")
    if name in _BUILT_IN:
        module, _, attribute = _BUILT_IN[name].partition(":")
        return getattr(import_module(module), attribute)()
    made = _entry_point(name)
    if not isinstance(made, Backend):
        raise ParameterError(f"the entry point {name!r} gave {made!r}, expected a batx.heasoft.Backend")
    return made


def _entry_point(name: str) -> Any:
    from importlib.metadata import entry_points

    found = {entry.name: entry for entry in entry_points(group=_GROUP)}
    if name not in found:
        names = [*_BUILT_IN, *found]
        raise ParameterError(
            f"there is no backend {name!r}{nearest(name, names)} (there are {', '.join(names)})"
        )
    return found[name].load()()
