"""Patience with an end: backoff within its bounds, deadlines that do not move."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.kit.retry import Backoff, Deadline, set_within
from tests.loopback import PATIENCE, run

# Subnormal seconds (below 1e-307) have no bits left for a growth by half to be exact in.
seconds = st.floats(0, 1e6, allow_subnormal=False)


@given(st.integers(0, 50), seconds, st.floats(1, 10), seconds, st.integers())
def test_delays_stay_within_bounds_that_grow(
    retries: int, first: float, factor: float, longest: float, seed: int
) -> None:
    backoff = Backoff(retries, first, factor, longest)
    delays = list(backoff.delays(random.Random(seed)))
    assert len(delays) == retries
    for number, delay in enumerate(delays):
        assert 0 <= delay <= min(longest, first * factor**number) * (1 + 1e-9)
    assert delays == list(backoff.delays(random.Random(seed)))


def test_a_crowd_does_not_come_back_together() -> None:
    first = [next(Backoff().delays(random.Random(seed))) for seed in range(100)]
    assert min(first) < Backoff().first / 4
    assert max(first) > Backoff().first * 3 / 4


@given(seconds, st.lists(st.floats(0, 1e6), min_size=1))
def test_a_deadline_is_a_moment_that_stays(allowed: float, steps: list[float]) -> None:
    now = 100.0
    deadline = Deadline(allowed, clock=lambda: now)
    end = now + allowed
    for step in steps:
        now += step
        assert deadline.remaining == max(0.0, end - now)
        assert deadline.passed == (now >= end)


def test_an_event_is_waited_for_as_long_as_was_said() -> None:
    async def main() -> None:
        event = asyncio.Event()
        assert not await set_within(event, 0)
        asyncio.get_running_loop().call_soon(event.set)
        assert await set_within(event, None)
        assert await set_within(event, 0)

    run(main())


@pytest.mark.parametrize("turns", range(4))
def test_a_cancellation_that_comes_with_the_event_is_not_lost(turns: int) -> None:
    async def main() -> None:
        event = asyncio.Event()

        async def wait_twice() -> None:
            await set_within(event, PATIENCE)
            await asyncio.Event().wait()

        task = asyncio.create_task(wait_twice())
        await asyncio.sleep(0)
        event.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task], timeout=PATIENCE)
        assert task.cancelled()

    run(main())
