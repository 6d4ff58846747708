"""Where groups of trainings run: here, in processes of this machine, or on a Dask cluster.

Results come as they are ready, and are kept by the process that asked for them alone.
"""

import json
import multiprocessing
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any, TypeVar

from l1scout import __version__
from l1scout.dataset.matched import Dataset
from l1scout.errors import InputError

Run = TypeVar("Run")
Results = list[dict[str, Any]]
Work = Callable[[Dataset, Run], Results]

_DATA: list[Dataset] = []
"""Of a worker process."""


def here(work: Work[Run], data: Dataset, runs: Sequence[Run]) -> Iterator[tuple[Run, Results]]:
    """Do the runs one after the other."""
    for run in runs:
        yield run, work(data, run)


def processes(
    work: Work[Run], data: Dataset, runs: Sequence[Run], number: int
) -> Iterator[tuple[Run, Results]]:
    """Do the runs in `workers` processes, one processor each, so that two do not hinder each other."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    for k in range(number):
        queue.put(k)
    pool = ProcessPoolExecutor(number, context, _start, (data, queue))
    try:
        waiting = {pool.submit(_work, work, run): run for run in runs}
        for future in as_completed(waiting):
            yield waiting[future], future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _start(data: Dataset, queue: Any) -> None:
    if hasattr(os, "sched_setaffinity"):
        mine = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {mine[queue.get() % len(mine)]})
    _DATA.append(data)


def _work(work: Work[Run], run: Run) -> Results:
    return work(_DATA[0], run)


def dask(
    work: Work[Run], data: Dataset, runs: Sequence[Run], scheduler: str
) -> Iterator[tuple[Run, Results]]:
    """Do the runs on the workers of a Dask cluster, which get the data from here.

    Raises
    ------
    InputError
        If Dask is not installed here, the scheduler does not answer, has no workers or ones without this
        version of l1scout, or a run failed there.
    """
    try:
        import distributed
    except ImportError:
        msg = "a scheduler needs Dask, which is not installed: pip install 'l1scout[distributed]'"
        raise InputError(msg) from None
    try:
        client = distributed.Client(scheduler, timeout=10)
    except (OSError, ValueError, TypeError) as error:
        msg = f"{scheduler}: no Dask scheduler answers there ({_line(error)}); an address is tcp://host:8786"
        raise InputError(msg) from error
    with client:
        _same_version(client, scheduler)
        try:
            held = client.scatter(data, broadcast=True, hash=False)
            waiting = {client.submit(_remote, work, held, run, pure=False): run for run in runs}
            for future in distributed.as_completed(list(waiting)):
                yield waiting[future], future.result()
        except (OSError, distributed.scheduler.KilledWorker) as error:
            msg = f"{scheduler}: the cluster failed ({_line(error)}); the same command goes on where it was"
            raise InputError(msg) from error


def _same_version(client: Any, scheduler: str) -> None:
    try:
        found = client.run(_version)
    except Exception as error:  # whatever a worker without l1scout raises
        msg = f"{scheduler}: its workers cannot run l1scout {__version__} ({_line(error)}); install it there"
        raise InputError(msg) from error
    other = {f"{worker} {version}" for worker, version in found.items() if version != __version__}
    if other or not found:
        what = (
            f"other versions of l1scout than {__version__}: {', '.join(sorted(other))}" if other else "none"
        )
        msg = f"{scheduler}: needs workers with this l1scout, but has {what}"
        raise InputError(msg)


def _version() -> str:
    return __version__


def _remote(work: Work[Run], data: Dataset, run: Run) -> Results:
    """Do a run in a process of its own: Dask's threads draw from Python's random numbers, as Keras does."""
    done = subprocess.run(
        [sys.executable, "-m", __name__],
        input=pickle.dumps((work, data, run)),
        capture_output=True,
        check=False,
    )
    if done.returncode:
        said = done.stderr.decode(errors="replace").split("\n")
        msg = f"a training failed: {next((line for line in reversed(said) if line), done.returncode)}"
        raise OSError(msg)
    return list(json.loads(done.stdout.splitlines()[-1]))


def _line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


if __name__ == "__main__":
    asked, muons, one = pickle.load(sys.stdin.buffer)
    print(json.dumps(asked(muons, one)))
