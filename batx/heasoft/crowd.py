"""Many things at a time, in threads, processes or a cluster: results in order, progress, errors kept."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from threading import Event
from typing import Any

from batx.errors import BatxError

__all__ = ["run_all"]


def run_all(
    function: Callable[[Any], Any],
    items: list[Any],
    workers: int | None,
    executor: Any,
    progress: Callable[[int, int, Any], None] | None,
    keep_errors: bool,
    stop: Event | None = None,
) -> list[Any]:
    """Apply a function to every item; see `batx.heasoft.run_many`.

    `stop` is set when this ends before its time, by an interrupt.

    Examples
    --------
    >>> run_all(abs, [-1, 2], None, None, None, False)
    [1, 2]
    """
    results: list[Any] = [None] * len(items)
    first: BatxError | None = None
    with ExitStack() as stack:
        pool = _pool(stack, executor, workers, len(items))
        places: dict[Future[Any], int] = {pool.submit(function, item): i for i, item in enumerate(items)}
        try:
            for done, future in enumerate(as_completed(places), 1):
                outcome = _outcome(future)
                results[places[future]] = outcome
                if isinstance(outcome, BatxError) and not keep_errors and first is None:
                    first = outcome
                    _cancel(places)
                if progress is not None and outcome is not None:
                    progress(done, len(items), outcome)
            stop = None
        finally:
            # after an interrupt what has not begun must not begin, and what runs must end
            _cancel(places)
            if stop is not None:
                stop.set()
    if first is not None:
        raise first
    return results


def _outcome(future: Future[Any]) -> Any:
    """Return the result or the error of what has ended; `None` if it was cancelled."""
    try:
        return future.result()
    except BatxError as error:
        return error
    except CancelledError:
        return None


def _cancel(places: dict[Future[Any], int]) -> None:
    for future in places:
        future.cancel()


def _pool(stack: ExitStack, executor: Any, workers: int | None, items: int) -> Executor:
    if executor is None:
        count = workers or min(32, os.cpu_count() or 1)
        return stack.enter_context(ThreadPoolExecutor(max(1, min(count, items))))
    if hasattr(executor, "get_executor"):
        # a distributed.Client: calls have effects, so that equal ones are not the same to it
        return executor.get_executor(pure=False)
    return executor
