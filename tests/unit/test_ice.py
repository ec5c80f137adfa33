"""ice: greetings, what the claims catch, and, where Ice is installed, a greeter on loopback."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from apps.ice import claims
from apps.ice.greetings import LONGEST_NAME, PHRASES, Unkind, greeting
from apps.kit.address import Address
from apps.kit.outcome import Refused, Rejected, Unknown
from apps.kit.summary import Load
from lab import interfaces
from tests.loopback import Record, free_port, run, until


def test_a_guest_is_greeted_as_it_wishes() -> None:
    assert greeting("Ada") == "Hello, Ada!"
    assert greeting("Ada", "de", 2) == "Hallo, Ada! Hallo, Ada!"
    assert greeting("Ådne", "fi", 1) == "Hei, Ådne!"


@pytest.mark.parametrize(
    "asked",
    [("",), (" ",), ("a\nb",), ("a" * (LONGEST_NAME + 1),), ("a", "xx"), ("a", ""), ("a", None, 0)],
)
def test_what_is_not_greeted_is_told_why(asked: tuple[Any, ...]) -> None:
    with pytest.raises(Unkind) as no:
        greeting(*asked)
    assert no.value.why
    assert (no.value.suggestion is not None) == (len(asked) == 2)
    assert all(word in (no.value.suggestion or word) for word in PHRASES)


def event(event: str, **fields: Any) -> dict[str, Any]:
    return {"event": event, "t": 0.0, "node": "n2", "component": "client", **fields}


def greeted(op: str, outcome: str, *texts: str) -> list[dict[str, Any]]:
    done = [event("executed", call=op, text=text) for text in texts]
    asked = event("invoke", op=op, f="greet", value={"name": "i"})
    return [asked, *done, event(outcome, op=op, f="greet", value="hi")]


@pytest.mark.parametrize(
    ("history", "holds"),
    [
        (greeted("x", "ok", "hi"), True),
        (greeted("x", "ok", "hi", "hi"), False),
        (greeted("x", "ok"), False),
        (greeted("x", "fail", "hi"), False),
        ([*greeted("x", "ok", "hi"), *greeted("y", "unknown", "hi"), *greeted("z", "fail")], True),
        (greeted("x", "unknown"), None),
    ],
)
def test_calls_are_held_against_the_servers_log(history: list[Any], holds: bool | None) -> None:
    assert claims.greeted_as_told(history).holds is holds


def test_anothers_answer_is_caught() -> None:
    assert claims.answers_are_theirs(greeted("x", "ok", "hi")).holds is True
    assert claims.answers_are_theirs(greeted("x", "ok", "ho")).holds is False
    stranger = [{**e, "value": {"name": "o"}} for e in greeted("x", "ok")[:1]]
    assert claims.answers_are_theirs([*stranger, *greeted("x", "ok")[1:]]).holds is False
    assert claims.answers_are_theirs([]).holds is None


def test_an_ear_that_misses_a_greeting_is_caught() -> None:
    def heard(*numbers: int) -> list[Any]:
        return [event("heard", by="n1:e1", number=number) for number in numbers]

    assert claims.ears_hear_all_in_order(heard(3, 4, 5)).holds is True
    assert claims.ears_hear_all_in_order([]).holds is None
    for numbers in ((1, 3), (2, 1), (1, 1)):
        assert claims.ears_hear_all_in_order(heard(*numbers)).holds is False
    assert claims.ears_hear_all_in_order([*heard(1, 3), event("left_out", events=9)]).holds is None


# From here on with Ice itself, which is Debian's.


@pytest.fixture
def ice() -> None:
    """Skip where Ice is not installed, or not for this Python; its definitions are made."""
    runtime = pytest.importorskip("apps.ice.runtime", exc_type=ImportError)
    runtime.Ice.generateUUID()  # it keeps a source of randomness open from then on
    interfaces.generate()


def greeter(record: Record, port: int, **limits: int) -> AbstractAsyncContextManager[Any]:
    from apps.ice.server import GreeterServer

    given = {"threads": 4, "idle": 60, "message": 64, "waiting": 10, "ears": 2, **limits}
    return GreeterServer(Address("127.0.0.1", port), record.events, **given)


def asking(record: Record, port: int, timeout: float = 5.0) -> Any:
    from apps.ice.client import Client

    return Client(Address("127.0.0.1", port), record.events, timeout=timeout)


@pytest.mark.usefixtures("ice")
def test_guests_are_greeted_and_every_word_is_recorded() -> None:
    server, client, port = Record(), Record("client"), free_port()

    async def main() -> None:
        from apps.ice.client import Guest

        async with (
            greeter(server, port),
            asking(client, port) as caller,
            asking(client, port, 0.3) as impatient,
        ):
            assert await caller.greet(Guest("Ada", "de", 2)) == "Hallo, Ada! Hallo, Ada!"
            assert await caller.greeted() == 1
            with pytest.raises(Rejected, match=r"'xx'; choose de, en"):
                await caller.greet(Guest("Ada", "xx"))
            with pytest.raises(Rejected, match="cannot be sent"):
                await caller.greet(Guest("a" * 100_000))
            with pytest.raises(Unknown, match="InvocationTimeoutException"):
                await impatient.greet(Guest("Ada"), 5000)

    run(main())
    assert [e["event"] for e in client.seen("ok", "fail", "unknown")] == [
        *("ok", "ok", "fail", "unknown")
    ]
    names = {e["id"] for e in client.seen("send")}
    assert names == {e["id"] for e in server.seen("recv")}
    assert {e["id"] for e in client.seen("recv")} == {e["id"] for e in server.seen("send")}
    assert claims.greeted_as_told([*client.seen(), *server.seen()]).holds is True


@pytest.mark.usefixtures("ice")
def test_many_greetings_wait_at_once_and_no_more_than_allowed() -> None:
    server, client, port = Record(), Record("client"), free_port()

    async def main() -> None:
        from apps.ice.client import measure

        async with greeter(server, port, threads=2):
            load = Load(count=20, callers=20)
            address = Address("127.0.0.1", port)
            await measure(address, client.events, load, after=500, patience=8)

    run(main())
    (summary,) = client.seen("summary")
    assert (summary["answered"], summary["failed"]) == (10, 10)
    assert all("10 greetings wait already" in e["error"] for e in client.seen("fail"))


@pytest.mark.usefixtures("ice")
def test_an_ear_hears_over_its_own_connection_and_notices_its_end() -> None:
    server, ear, guest, port = Record(), Record("listen"), Record("client"), free_port()

    async def main() -> None:
        from apps.ice.client import Guest, listen

        address = Address("127.0.0.1", port)
        hearing = asyncio.create_task(listen(address, ear.events, seconds=1e6, patience=20))
        for round_ in (1, 2):
            async with greeter(server, port), asking(guest, port) as caller:
                await until(lambda: len(server.seen("listens")) == round_)  # noqa: B023
                for _ in range(3):
                    await caller.greet(Guest("Ada"))
                await until(lambda: len(ear.seen("heard")) == 3 * round_)  # noqa: B023
            await until(lambda: len(ear.seen("deaf")) == round_)  # noqa: B023
        hearing.cancel()
        await asyncio.wait([hearing])

    run(main())
    assert [e["number"] for e in ear.seen("heard")] == [1, 2, 3, 1, 2, 3]
    assert claims.ears_hear_all_in_order(ear.seen()).holds is True


@pytest.mark.usefixtures("ice")
def test_without_a_greeter_a_call_is_refused() -> None:
    client = Record("client")

    async def main() -> None:
        from apps.ice.client import Guest

        async with asking(client, free_port(), 0.3) as caller:
            with pytest.raises(Refused, match="ConnectionRefusedException"):
                await caller.greet(Guest("Ada"))

    run(main())


@pytest.mark.usefixtures("ice")
@pytest.mark.parametrize("garbage", [b"IceP\1\0\1\0\0\0\377\377\377\177", os.urandom(5000)])
def test_garbage_harms_nobody(garbage: bytes) -> None:
    server, client, port = Record(), Record("client"), free_port()

    async def main() -> None:
        from apps.ice.client import Guest

        async with greeter(server, port), asking(client, port) as caller:
            half = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
            for sock in half:
                sock.sendall(b"IceP\1\0")
            with socket.create_connection(("127.0.0.1", port)) as sock:
                sock.sendall(garbage)
            assert await caller.greet(Guest("Ada")) == "Hello, Ada!"
            for sock in half:
                sock.close()

    run(main())
    json.dumps(server.seen())
