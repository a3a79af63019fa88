"""Run tools of HEASoft and SAS: one call, or thousands, each checked, private, timed, recorded and whole."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from threading import Event
from typing import Any

from batx.errors import BatxError, ParameterError
from batx.heasoft.backends import Backend, DryRun, Request, backend_for
from batx.heasoft.crowd import run_all
from batx.heasoft.making import Making
from batx.heasoft.parfiles import Parameter, ParFile
from batx.heasoft.planning import Plan, plan_files
from batx.heasoft.records import Checksums
from batx.heasoft.redact import redact
from batx.heasoft.results import Result
from batx.heasoft.specs import Task
from batx.heasoft.tasklist import known_task

__all__ = ["request", "run", "run_many"]


def request(
    task: str | Task,
    parameters: Mapping[str, Any] | None = None,
    /,
    *,
    backend: str | Backend | None = None,
    outputs: Mapping[str, str | os.PathLike[str]] | None = None,
    into: str | os.PathLike[str] | None = None,
    records: str | os.PathLike[str] | None = None,
    timeout: float | None = None,
    overwrite: bool = False,
    again: bool = False,
    options: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    log_limit: int = 2**20,
    file_limit: int = 0,
    **more: Any,
) -> Request:
    """Describe a call without making it, for `run_many`. The arguments are those of `run`.

    Raises
    ------
    ParameterError
        If the tool is unknown, a parameter is given twice, or the time limit is not positive.

    Examples
    --------
    >>> request("batbinevt", infile="a.evt", outfile="a.lc", timedel=1.0).task.name
    'batbinevt'
    """
    spec = known_task(task) if isinstance(task, str) else task
    for name, value, kind in (
        ("task", spec, Task),
        ("parameters", parameters or {}, Mapping),
        ("outputs", outputs or {}, Mapping),
        ("environment", environment or {}, Mapping),
        ("options", options, (list, tuple)),
    ):
        if not isinstance(value, kind):
            expected = kind.__name__ if isinstance(kind, type) else "list of texts"
            raise ParameterError(f"found {name} = {value!r}, expected a {expected}")
    if twice := sorted(set(parameters or {}) & set(more)):
        raise ParameterError(f"{spec.name}: {', '.join(twice)} is given twice")
    limit = _positive("timeout", spec.timeout if timeout is None else timeout)
    settings = dict(environment or {})
    for name, value in settings.items():
        if not (isinstance(name, str) and isinstance(value, str)) or not name or "=" in name:
            raise ParameterError(f"environment: found {name!r}, expected names and values that are text")
    return Request(
        spec,
        {**dict(parameters or {}), **more},
        backend=backend,
        outputs=dict(outputs or {}),
        into=into,
        records=records,
        timeout=limit,
        overwrite=overwrite,
        again=again,
        options=tuple(map(str, options)),
        environment=settings,
        log_limit=int(_positive("log_limit", log_limit)),
        file_limit=int(_positive("file_limit", file_limit) if file_limit else 0),
    )


def _positive(name: str, value: Any) -> float:
    """Return a number of seconds or bytes above 0."""
    try:
        number = 0.0 if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = 0.0
    if not number > 0:
        raise ParameterError(f"found {name} = {value!r}, expected a number above 0 (inf for no time limit)")
    return number


def run(task: str | Task, parameters: Mapping[str, Any] | None = None, /, **options: Any) -> Result:
    """Run one tool, and return when all that it promised is in its place.

    The parameters are checked by the tool's own parameter file before anything runs. The tool works in a
    private folder, on copies of the files that it reads or edits and on links to folders; what it made is
    moved to its place only if it ended well and every promised output opens. A call that was finished before
    (same parameters, same content of the inputs, same tool, outputs as they were written) is not made again.

    Parameters
    ----------
    task
        Name of a tool that batx knows, or a `Task`.
    parameters
        Parameters of the tool; a name that is an option here (``timeout``) can be given in this way.
    **options
        ``backend``, ``outputs`` (where the changed copies of edited files are to be), ``into`` (folder for
        files that the tool names), ``records`` (folder of records and logs, by default ``.batx`` beside the
        first output), ``timeout`` (seconds), ``overwrite``, ``again`` (make a finished call again),
        ``options`` (arguments before the parameters), ``environment`` (variables for the tool),
        ``log_limit``, ``file_limit`` (bytes); anything else is a parameter of the tool.

    Returns
    -------
    Result
        What was made, what the tool said, and its version.

    Raises
    ------
    ParameterError
        If a parameter is unknown, ill-typed, out of range or missing.
    MissingFileError
        If an input, or the folder of an output, is not there.
    ToolMissingError
        If the tool is not installed.
    ToolError
        If it fails, exceeds its time, changes an input, or does not make what it promised; ``error.result``
        has its log.
    WriteError
        If an output exists and is not to be replaced, or cannot be written.

    Examples
    --------
    >>> result = run("batbinevt", outtype="LC", timedel=1, backend="dry", infile="a.evt", outfile="a.lc")
    >>> result.command[0], result.parameters["timedel"]
    ('batbinevt', '1')
    """
    return perform(request(task, parameters, **options))


def perform(call: Request, checksums: Checksums | None = None, stop: Event | None = None) -> Result:
    """Make a call that was described by `request`; see `run`.

    Examples
    --------
    >>> perform(request("batdetmask", backend="dry", date="600000000", outfile="a.mask")).code
    0
    """
    backend = backend_for(call.backend, call.task)
    par = backend.parameters(call.task)
    given = _named(call, par)
    if isinstance(backend, DryRun):
        return _shown(call, backend, par, given)
    plan = plan_files(call.task, given, call.outputs, call.into)
    plan.texts = _checked(call.task, par, given, plan)
    return Making(call, backend, par, plan, checksums or Checksums(), stop).result()


def _named(call: Request, par: ParFile | None) -> dict[str, Any]:
    """Return what is given under the tool's own names, with the defaults of the specification."""
    named: dict[str, Any] = {}
    for name, value in call.given.items():
        if value is None:
            continue
        own = par[name].name if par is not None else name
        if own in named:
            raise ParameterError(f"{call.task.name} was given {own} twice, as {name!r} too")
        named[own] = value
    for name, value in call.task.defaults.items():
        if name not in named and (par is None or name in par):
            named[name] = value
    return named


def _checked(task: Task, par: ParFile | None, given: Mapping[str, Any], plan: Plan) -> dict[str, str]:
    """Return the parameters that are no files as the tool reads them; complain of what is missing."""
    if par is None:
        return {name: Parameter(name, "text").text(value) for name, value in plan.texts.items()}
    files = {name: "file" for name in given if name not in plan.texts}
    texts = par.checked({**plan.texts, **files}, task.optional)
    return {name: text for name, text in texts.items() if name in plan.texts}


def _shown(call: Request, backend: DryRun, par: ParFile | None, given: dict[str, Any]) -> Result:
    """Return the result of a dry run: the command with the names as they were given."""
    task = call.task
    files = {*task.inputs, *task.either, *task.edits, *task.copies, *task.outputs}
    known = {name: par[name] for name in given if name not in files} if par is not None else {}
    texts = {name: known.get(name, Parameter(name, "text")).text(value) for name, value in given.items()}
    command = (call.task.name, *call.options, *(f"{name}={text}" for name, text in texts.items()))
    return Result(
        call.task.name,
        command=tuple(redact(word, call.environment) for word in command),
        parameters=par.complete(texts) if par else texts,
        version=backend.version(call.task),
        backend=backend.name,
    )


def run_many(
    requests: Iterable[Request],
    *,
    workers: int | None = None,
    executor: Any = None,
    progress: Callable[[int, int, Result | BatxError], None] | None = None,
    errors: str = "raise",
) -> list[Any]:
    """Make many calls, several at a time; finished ones are not made again.

    Parameters
    ----------
    requests
        Calls described by `request`.
    workers
        Calls at a time; by default the number of processors.
    executor
        What runs them instead of threads here: anything with ``submit`` (`concurrent.futures`), or a
        `distributed.Client`, for the processes of a cluster that share the disk.
    progress
        Called with the number of finished calls, of all, and the `Result` or error of the last.
    errors
        ``"raise"``: the first failure ends what has not begun and is raised when what runs has ended;
        ``"return"``: errors take the place of results.

    Returns
    -------
    list
        A `Result` for each request, in their order.

    Raises
    ------
    ParameterError
        If `errors` or `workers` is not understood.
    BatxError
        The first failure, with ``errors="raise"``.

    Examples
    --------
    >>> calls = [request("batdetmask", backend="dry", date=str(i), outfile="m") for i in range(3)]
    >>> [result.parameters["date"] for result in run_many(calls)]
    ['0', '1', '2']
    """
    if errors not in ("raise", "return"):
        raise ParameterError(f'found errors = {errors!r}, expected "raise" or "return"')
    if workers is not None and workers < 1:
        raise ParameterError(f"found workers = {workers}, expected at least 1")
    # checksums of shared inputs are taken once; other processes take their own
    stop = Event()
    one = perform if executor is not None else partial(perform, checksums=Checksums(), stop=stop)
    return run_all(one, list(requests), workers, executor, progress, errors == "return", stop)
