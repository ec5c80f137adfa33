"""The client: have numbers squared one by one, or hand in a request for the workers to share."""

from __future__ import annotations

import os
import random
import secrets
import time
from collections.abc import Iterable, Sequence

from apps.kit.address import Address
from apps.kit.caller import Caller
from apps.kit.events import Events
from apps.kit.framing import Lines
from apps.kit.outcome import CallFailed, Refused, Rejected, Unknown
from apps.kit.retry import Backoff, Deadline
from apps.kit.summary import Load, crowd
from apps.tcp_squares.wire import LONGEST_LINE

SERIES = tuple(map(str, range(1, 11)))
"""What is squared when no number is given."""
ROUND = 3.0
"""Seconds that the server is asked to wait at a time: nobody waits longer on a dead connection."""
GRACE = 2.0
"""Seconds that an answer may take beyond those that it waits for."""


def connect(
    server: Address,
    events: Events,
    patience: float,
    *,
    backoff: Backoff | None = None,
    rng: random.Random | None = None,
) -> Caller:
    """Give a caller of the server; each of its calls may take `patience` seconds."""
    return Caller(
        server,
        events,
        timeout=patience,
        attempt=ROUND + GRACE,
        backoff=backoff,
        rng=rng,
        framing=lambda: Lines(LONGEST_LINE),
    )


async def ask(caller: Caller, line: str) -> list[str]:
    """Send a line and give the words of the answer; Rejected if the server complains.

    Every line may be repeated: squares are pure, a submit has its request's id, a lost take ends
    with its lease, and of a result sent twice the first counts.
    """
    answer = (await caller.call(os.fsencode(line), idempotent=True)).decode(errors="replace")
    if answer.startswith("error: "):
        raise Rejected(answer.removeprefix("error: "))
    return answer.split()


def misunderstood(words: Sequence[str]) -> Rejected:
    """Give the error of an answer that is none of this protocol."""
    return Rejected(f"{' '.join(words)[:60]!r} is no answer; is this the server of tcp_squares?")


def failed(events: Events, error: CallFailed, op: str, **fields: object) -> None:
    """Record what is known of an operation that did not succeed."""
    how = type(error).__name__.lower()
    events.emit(error.event, op=op, **fields, how=how, error=str(error))


async def square(caller: Caller, events: Events, number: str) -> str:
    """Have the server square a number, both in decimal digits; record the operation."""
    op = events.operation()
    events.emit("invoke", op=op, f="square", value=number)
    try:
        result, *rest = await ask(caller, number) or [""]
        if rest or not result.isdecimal():
            raise misunderstood([result, *rest])
    except CallFailed as error:
        failed(events, error, op, f="square", value=number)
        raise
    events.emit("ok", op=op, f="square", value=result)
    return result


async def converse(
    server: Address, events: Events, numbers: Iterable[str], *, patience: float, persist: bool
) -> None:
    """Square each number and show the result; `persist` goes on after a call that failed."""
    async with connect(server, events, patience) as caller:
        for number in numbers:
            began = time.perf_counter()
            try:
                result = await square(caller, events, number)
            except CallFailed as error:
                if not persist:
                    raise
                events.say(f"{type(error).__name__.lower()}: {error}")
                continue
            took = (time.perf_counter() - began) * 1e3
            events.say(f"{number}² = {result}   ({took:.1f} ms)")


async def measure(server: Address, events: Events, load: Load, *, patience: float) -> None:
    """Let a crowd of callers ask made-up numbers, and sum up; `patience` is seconds per call."""

    async def one(caller: Caller, rng: random.Random) -> str:
        return await square(caller, events, str(rng.randrange(1_000_000)))

    await crowd(events, lambda rng: connect(server, events, patience, rng=rng), one, load)


async def submit(
    server: Address, events: Events, request: str, numbers: Sequence[str], *, patience: float
) -> None:
    """Hand in a request, wait until the workers have done it, and show the squares."""
    async with _patient(server, events, patience) as caller:
        squares = await have_done(caller, events, request, numbers, patience=patience)
    for number, result in zip(numbers, squares, strict=True):
        events.say(f"{number}² = {result}")


async def measure_requests(server: Address, events: Events, load: Load, *, patience: float) -> None:
    """Let a crowd hand in made-up requests, and sum up; `patience` is seconds per request."""

    async def one(caller: Caller, rng: random.Random) -> list[str]:
        numbers = [str(rng.randrange(1000)) for _ in range(rng.randint(1, 5))]
        return await have_done(caller, events, secrets.token_hex(8), numbers, patience=patience)

    await crowd(events, lambda rng: _patient(server, events, patience, rng), one, load)


def _patient(
    server: Address, events: Events, patience: float, rng: random.Random | None = None
) -> Caller:
    """Give a caller that is patient with a server that restarts: about a try a second."""
    steady = Backoff(retries=1 + int(patience), longest=2.0)
    return connect(server, events, patience + GRACE, backoff=steady, rng=rng)


async def have_done(
    caller: Caller, events: Events, request: str, numbers: Sequence[str], *, patience: float
) -> list[str]:
    """Hand in a request and give the squares once the workers have done it; record the operation.

    Unknown once `patience` seconds are over: the workers may still do it, and submitting the same
    request again waits on. A server that was restarted has lost it, and takes it anew.
    """
    op = events.operation()
    invoked = {"f": "submit", "request": request}
    events.emit("invoke", op=op, **invoked, value=list(numbers))
    try:
        squares = await _until_done(caller, request, numbers, Deadline(patience))
    except CallFailed as error:
        failed(events, error, op, **invoked, value=list(numbers))
        raise
    events.emit("ok", op=op, **invoked, value=squares)
    return squares


async def _until_done(
    caller: Caller, request: str, numbers: Sequence[str], deadline: Deadline
) -> list[str]:
    heard = False
    while True:
        wait = min(deadline.remaining, ROUND)
        try:
            words = await ask(caller, f"submit {request} {wait:.3f} {' '.join(numbers)}")
        except Refused as error:
            if heard:
                raise Unknown(f"{error}; the request was heard before, and may be done") from error
            raise
        match words:
            case ["squares", *squares] if len(squares) == len(numbers):
                return squares
            case ["none"]:
                heard = True
            case _:
                raise misunderstood(words)
        if deadline.passed:
            raise Unknown(f"not done in time; `--request {request}` with the same numbers waits on")
