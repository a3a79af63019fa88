"""Where lazy results are computed: in threads, on a cluster of processes, or on one that runs elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from batx.errors import BatxError

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["THREADS", "computing", "connected"]

THREADS = "threads"
_TIMEOUT = "20s"
#: the places of cells go with the graph, once: some tens of MB for a fine grid
_QUIET = {"distributed.admin.large-graph-warning-threshold": "1GB"}

#: computes Datasets, and calls the function with the part that is done, 0 to 1
Compute = Callable[[Sequence["xr.Dataset"], Callable[[float], None]], "list[xr.Dataset]"]


@contextmanager
def computing(scheduler: str | None, workers: int | None = None) -> Iterator[Compute]:
    """Give a function that computes Datasets together.

    Parameters
    ----------
    scheduler
        Address of a dask scheduler; ``"threads"``; or `None` for processes of this machine if dask's
        distributed is there, threads otherwise.
    workers
        Number of processes or threads; by default one for each processor.

    Raises
    ------
    BatxError
        If an address is given but distributed is not installed, or workers died again and again.
    OSError
        If there is no scheduler at the address.
    """
    there = find_spec("distributed") is not None
    if scheduler == THREADS or (scheduler is None and not there):
        yield lambda datasets, done: _in_threads(datasets, done, workers)
        return
    _require_distributed()
    import dask
    from distributed import Client, LocalCluster
    from distributed.scheduler import KilledWorker

    if scheduler is None:
        with (
            dask.config.set(_QUIET),
            LocalCluster(
                n_workers=workers, threads_per_worker=1, dashboard_address=None, silence_logs=logging.ERROR
            ) as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            yield _Cluster(client, KilledWorker)
        return
    with dask.config.set(_QUIET), connected(scheduler) as client:
        yield _Cluster(client, KilledWorker)


@contextmanager
def connected(scheduler: str) -> Iterator[Any]:
    """Give the `distributed.Client` of a scheduler that runs elsewhere.

    Raises
    ------
    BatxError
        If distributed is not installed.
    OSError
        If there is no scheduler at the address.
    """
    _require_distributed()
    from distributed import Client

    address = scheduler if "://" in scheduler else f"tcp://{scheduler}"
    with Client(address, timeout=_TIMEOUT, set_as_default=False) as client:
        yield client


def _require_distributed() -> None:
    if find_spec("distributed") is None:
        raise BatxError(
            "--scheduler needs dask's distributed, which is not installed: pip install 'batx[cluster]', or "
            "leave the option out"
        )


def _in_threads(
    datasets: Sequence[xr.Dataset], done: Callable[[float], None], workers: int | None
) -> list[xr.Dataset]:
    import dask
    from dask.callbacks import Callback

    def after(_key: Any, _result: Any, _dsk: Any, state: Any, _worker: Any) -> None:
        finished = len(state["finished"])
        done(finished / max(finished + sum(len(state[name]) for name in ("ready", "waiting", "running")), 1))

    with Callback(posttask=after):
        return list(dask.compute(*datasets, scheduler=THREADS, num_workers=workers))


class _Cluster:
    """Computes on the workers of a client."""

    def __init__(self, client: Any, killed: type[Exception]) -> None:
        self.client = client
        self.killed = killed

    def __call__(self, datasets: Sequence[xr.Dataset], done: Callable[[float], None]) -> list[xr.Dataset]:
        from distributed import as_completed, futures_of

        kept = self.client.persist(list(datasets))
        futures = futures_of(kept)
        for number, _ in enumerate(as_completed(futures, loop=self.client.loop), 1):
            done(number / len(futures))
        try:
            return list(self.client.compute(kept, sync=True))
        except self.killed as error:
            raise BatxError(
                f"workers died while summing ({error}); give them more memory, or --resume FOLDER to keep "
                "what is finished"
            ) from error
