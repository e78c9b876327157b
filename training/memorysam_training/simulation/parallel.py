"""Work shared among processes, in order, with a progress bar and a clean end on Ctrl-C."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


def ordered(
    work: Callable[[Task], Result], tasks: Sequence[Task], processes: int
) -> Iterator[Result]:
    """Results of ``work`` on each task, in the order of the tasks; one process runs in place."""
    if processes <= 1 or len(tasks) <= 1:
        yield from map(work, tasks)
        return
    context = multiprocessing.get_context("spawn")  # forks of a process with threads may hang
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(min(processes, len(tasks)), context, _prepare)
    try:
        with _single_threaded(), _signals_later():  # processes start with their first task
            results = pool.map(work, tasks)
        yield from results
    except BrokenProcessPool as error:
        raise OSError(
            "a process was killed, perhaps for want of memory; use fewer of them (--jobs)"
        ) from error
    except BaseException:
        for child in set(multiprocessing.active_children()) - others:
            child.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _single_threaded() -> Iterator[None]:
    """Processes started here do their linear algebra on one thread: they are the parallelism."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _signals_later() -> Iterator[None]:
    """Ctrl-C and SIGTERM come at the end of the block: a process that is left half started tells
    of it in a traceback.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    ends = signal.SIGINT, signal.SIGTERM
    before = {number: signal.signal(number, lambda n, _: came.append(n)) for number in ends}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for number in came:
        signal.raise_signal(number)


def _prepare() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent answers to Ctrl-C
    import torch

    torch.set_num_threads(1)


class Progress:
    """A bar on a terminal, a line now and then elsewhere."""

    def __init__(self, total: int, what: str) -> None:
        self._total, self._what, self._done = total, what, 0
        self._start, self._said = time.monotonic(), 0.0
        self._live = sys.stderr.isatty()

    def advance(self, count: int = 1) -> None:
        """So many more are done."""
        self._done += count
        now = time.monotonic()
        finished = self._done >= self._total
        if not finished and now - self._said < (0.2 if self._live else 15.0):
            return
        self._said = now
        pace = self._done / max(now - self._start, 1e-6)
        left = f", {_clock((self._total - self._done) / max(pace, 1e-6))} left"
        if 20 * self._done < self._total:  # the first of them wait for Open3D to start
            left = ""
        width = 30
        full = width * self._done // max(self._total, 1)
        bar = "█" * full + "·" * (width - full)
        text = f"{bar} {self._done}/{self._total} {self._what}, {pace:.1f}/s{left}"
        end = "\n" if finished or not self._live else ""
        print(f"\r\033[K{text}" if self._live else text, end=end, file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"


@contextlib.contextmanager
def whole(target: Path) -> Iterator[Path]:
    """A temporary folder beside ``target`` to build it in, renamed to it once complete.

    The folder yielded does not exist yet; a file or a folder may be made there. Whatever ends the
    block early leaves nothing. Raises ValueError where the target exists.
    """
    if target.exists():
        raise ValueError(f"{target} exists already; give another name or remove it")
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    unfinished = scratch / target.name
    try:
        yield unfinished
        os.rename(unfinished, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
