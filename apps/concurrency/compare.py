"""Threads against processes, on work that computes and on work that waits: a small measurement.

CPython's global interpreter lock lets one thread at a time run bytecode. Threads that compute take
turns and gain nothing; threads that wait (for a disk, a peer, a clock) let the lock go, and gain
all there is to gain. Processes have an interpreter each, and pay for it when they start and with
every object that crosses between them.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor

from apps.kit.events import Events

_CALIBRATION = 200_000


def compute(steps: float) -> float:
    """Compute in Python: so many multiplications modulo a prime; the CPU's seconds it took."""
    began = time.thread_time()
    value = 1
    for step in range(1, int(steps)):
        value = value * step % 1_000_003 or 1
    return time.thread_time() - began


def wait(seconds: float) -> float:
    """Wait, as for a disk or a peer; the CPU's seconds it took."""
    began = time.thread_time()
    time.sleep(seconds)
    return time.thread_time() - began


def compare(events: Events, *, tasks: int, workers: int, seconds: float) -> None:
    """Do `tasks` of about `seconds` each: one by one, by threads, by processes; tell how long.

    And how many cores that used on the average, which on a busy machine tells more.
    """
    cores = len(os.sched_getaffinity(0))
    events.say(f"{tasks} tasks of {seconds:g} s each, {workers} workers, {cores} cores")
    steps = max(1, int(_CALIBRATION * seconds / compute(_CALIBRATION)))
    with (
        ThreadPoolExecutor(workers) as threads,
        ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as processes,
    ):
        started, _ = _timed(lambda: processes.map(wait, [0.05] * workers))
        for kind, task, amount in (("computing", compute, steps), ("waiting", wait, seconds)):
            alone = 0.0
            for way, took, used in _each_way(task, [amount] * tasks, threads, processes):
                alone = alone or took
                speedup = round(alone / took, 2)
                fields = {"work": kind, "way": way, "seconds": round(took, 3), "speedup": speedup}
                events.emit("measured", **fields, cores_used=round(used, 2), workers=workers)
                told = f"{speedup:5.2f} times as fast, {used:.2f} cores used"
                events.say(f"{kind:<10} {way:<12} {took:7.3f} s  {told}")
    events.emit("summary", workers=workers, cores=cores, start_of_processes=round(started, 3))
    events.say(f"to start the {workers} processes took {started:.3f} s")


def _each_way(
    task: Callable[[float], float], amounts: list[float], threads: Executor, processes: Executor
) -> Iterator[tuple[str, float, float]]:
    yield "one by one", *_timed(lambda: map(task, amounts))
    yield "threads", *_timed(lambda: threads.map(task, amounts))
    yield "processes", *_timed(lambda: processes.map(task, amounts))


def _timed(play: Callable[[], Iterable[float]]) -> tuple[float, float]:
    """Give the seconds that some tasks took together, and how many cores they used meanwhile."""
    began = time.perf_counter()
    used = sum(play())
    took = time.perf_counter() - began
    return took, used / took
