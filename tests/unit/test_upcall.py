"""Upcalls live over loopback, both ways; claims over histories that hold and that break them."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from apps.kit.address import Address
from apps.kit.claims import Event
from apps.kit.effects import Emit, Message, Reject, Reply, Send
from apps.kit.outcome import CallFailed, Refused, Rejected, Unknown
from apps.kit.summary import Load
from apps.upcall.__main__ import cli
from apps.upcall.claims import (
    called_back_in,
    delivered_once,
    evicted_in_time,
    evicted_miss,
    in_order,
    others_undisturbed,
    told_to_all,
)
from apps.upcall.client import callback, publish_all, publish_load, roundtrips, status
from apps.upcall.core import Registry
from apps.upcall.registration import Registration
from apps.upcall.server import UpcallServer
from apps.upcall.subscriber import Subscriber
from apps.upcall.subscription import Bounds
from tests.loopback import LOOPBACK, PATIENCE, Record, free_port, run, until

QUICK = Bounds(answer=1.0, silence=1.0, beat=0.25)

# The cores


def registry(bounds: Bounds = QUICK) -> Registry:
    made = Registry(bounds, random.Random(1))
    list(made.start(0.0))
    return made


def register(made: Registry, name: str, session: str = "s", now: float = 0.0) -> str:
    message = {"kind": "register", "session": session, "topic": "news", "attempt": 1}
    sent = [e.message for e in made.receive(now, name, message) if isinstance(e, Send)]
    return str(sent[0]["subscription"])


def publish(made: Registry, id_: str, **more: Any) -> list[Any]:
    body = {"f": "publish", "id": id_, "topic": "news", "value": id_, **more}
    return list(made.request(0.0, f"call-{id_}", body))


def test_a_publisher_is_answered_when_all_have_answered() -> None:
    made = registry()
    one, two = register(made, "n1"), register(made, "n2")
    assert not [e for e in publish(made, "a") if isinstance(e, Reply)]
    first = list(made.receive(0.1, "n1", {"kind": "ack", "subscription": one, "seq": 1}))
    assert not [e for e in first if isinstance(e, Reply)]
    second = list(made.receive(0.2, "n2", {"kind": "ack", "subscription": two, "seq": 1}))
    (reply,) = [e for e in second if isinstance(e, Reply)]
    assert reply.result["told"] == [one, two]


def test_a_full_queue_ends_its_own_subscription_alone() -> None:
    made = registry(Bounds(queue=2))
    slow = register(made, "slow")
    for id_ in "ab":
        publish(made, id_)
    quick = register(made, "quick")
    effects = publish(made, "c")
    told = [e.fields for e in effects if isinstance(e, Emit) and e.event == "evicted"]
    assert [(e["subscription"], e["why"]) for e in told] == [(slow, "too slow")]
    accepted = [e.fields for e in effects if isinstance(e, Emit) and e.event == "accepted"]
    assert accepted[0]["to"] == [quick]
    assert [e.result["missed"] for e in effects if isinstance(e, Reply)] == [[slow], [slow]]


def test_what_a_callback_publishes_is_answered_at_once() -> None:
    made = registry()
    one = register(made, "n1")
    (reply,) = [e for e in publish(made, "a", nested=True) if isinstance(e, Reply)]
    assert (reply.result["queued"], reply.result["told"]) == ([one], [])


def test_a_registry_that_was_held_up_evicts_nobody_for_it() -> None:
    made = registry()
    register(made, "n1")
    list(made.timer(0.25, "tick"))
    effects = list(made.timer(60.0, "tick"))
    assert not [e for e in effects if isinstance(e, Emit)]


@given(
    st.dictionaries(
        st.sampled_from(["f", "id", "topic", "value", "nested"]),
        st.none() | st.text(max_size=5) | st.integers() | st.lists(st.integers(), max_size=2),
    )
)
def test_a_request_is_answered_whatever_it_is(body: dict[str, Any]) -> None:
    effects = list(registry().request(1.0, "call", body))
    assert [type(e) for e in effects if isinstance(e, Reply | Reject)] in ([Reply], [Reject])


def test_an_upcall_of_an_earlier_subscription_is_not_taken() -> None:
    mine = Registration("hub", "news", "s")
    list(mine.start(0.0))
    answer = {"kind": "registered", "subscription": "x.1", "attempt": 1, "silence": 2.0}
    list(mine.receive(0.1, "hub", answer))
    upcall = {"kind": "upcall", "subscription": "x.0", "seq": 1, "id": "a", "value": ""}
    effects = list(mine.receive(0.2, "hub", upcall))
    assert effects == [Send("hub", {"kind": "gone", "subscription": "x.0"})]


# Live


class World:
    """A server over loopback, and what it and its clients wrote."""

    def __init__(self, bounds: Bounds = QUICK) -> None:
        self.record = Record("server", "hub")
        self.bounds = bounds
        self.clients: list[Record] = []

    def serving(self, at: Address = LOOPBACK, **more: Any) -> UpcallServer:
        options = {"connections": 100, "idle": 60.0, **more}
        core = Registry(self.bounds, random.Random())
        return UpcallServer(at, core, self.record.events, **options)

    def client(self, name: str) -> Record:
        self.clients.append(Record("client", name))
        return self.clients[-1]

    @property
    def history(self) -> list[Event]:
        """All events, by time."""
        found = [e for record in (self.record, *self.clients) for e in record.seen()]
        return sorted(found, key=lambda event: event["t"])


def subscriber(
    world: World, server: Address, name: str, *, dialled: bool = False, **options: Any
) -> Subscriber:
    record = world.client(name)
    called = callback(record.events, delay=options.get("delay", 0), reply=options.get("reply", ""))
    back = LOOPBACK if dialled else None
    return Subscriber(server, name, "news", called, record.events, back=back)


async def tell(world: World, server: Address, *values: str, topic: str = "news") -> None:
    publisher = world.client("p")
    await publish_all(server, publisher.events, topic, values, patience=PATIENCE, persist=False)


def holds(world: World) -> None:
    assert delivered_once(world.history).holds
    assert in_order(world.history).holds


@pytest.mark.parametrize("dialled", [False, True])
def test_each_event_calls_each_client_once(dialled: bool) -> None:
    async def main() -> None:
        world = World()
        async with (
            world.serving() as server,
            subscriber(world, server.address, "n1", dialled=dialled) as one,
            subscriber(world, server.address, "n2", dialled=dialled) as two,
        ):
            for each in (one, two):
                await each.registered(PATIENCE)
            load = Load(count=50, callers=3)
            publisher = world.client("p").events
            await publish_load(server.address, publisher, "news", load, patience=PATIENCE)
            await tell(world, server.address, "last")
        holds(world)
        assert told_to_all(world.history, {"n1", "n2"}).holds

    run(main())


@pytest.mark.parametrize("dialled", [False, True])
def test_a_callback_may_call_in(dialled: bool) -> None:
    async def main() -> None:
        world = World()
        async with (
            world.serving() as server,
            subscriber(world, server.address, "n1", dialled=dialled, reply="heard") as one,
        ):
            await one.registered(PATIENCE)
            await tell(world, server.address, *map(str, range(20)))
        assert called_back_in(world.history).holds
        holds(world)

    run(main())


def called_more_than(world: World, count: int) -> bool:
    return len(world.clients[0].seen("called")) > count


def test_a_connection_that_breaks_loses_nothing() -> None:
    async def main() -> None:
        world = World()
        async with (
            world.serving() as server,
            subscriber(world, server.address, "n1", delay=0.01) as one,
        ):
            await one.registered(PATIENCE)
            telling = asyncio.create_task(tell(world, server.address, *map(str, range(60))))
            for broken in range(1, 6):
                count = 8 * broken
                await until(partial(called_more_than, world, count))
                assert one._channel is not None
                one._channel.abort()
            await telling
        holds(world)
        assert not world.record.seen("evicted")
        assert len(world.clients[0].seen("called")) == 60

    run(main())


def test_who_does_not_answer_is_evicted_and_the_others_are_told() -> None:
    async def main() -> None:
        world = World()
        async with world.serving() as server:
            stuck = Subscriber(server.address, "stuck", "news", never, world.client("stuck").events)
            async with stuck, subscriber(world, server.address, "n1") as one:
                for each in (stuck, one):
                    await each.registered(PATIENCE)
                await tell(world, server.address, "a", "b")
        told = world.record.seen("evicted")
        assert {event["why"] for event in told} == {"no answer"}
        assert evicted_in_time(world.history).holds
        assert evicted_miss(world.history).holds
        assert others_undisturbed(world.history, {"stuck"}, 0, 1e12).holds
        assert delivered_once(world.history).holds

    async def never(_subscriber: Subscriber, _upcall: Message) -> None:
        await asyncio.Event().wait()

    run(main())


def test_clients_register_with_the_next_server() -> None:
    async def main() -> None:
        world = World()
        at = Address("127.0.0.1", free_port())
        async with world.serving(at) as server:
            both = [
                subscriber(world, server.address, "n1"),
                subscriber(world, server.address, "n2", dialled=True),
            ]
            for each in both:
                await each.__aenter__()
                await each.registered(PATIENCE)
            await tell(world, at, "before")
            before = {each.subscription for each in both}
        async with world.serving(at):
            await until(lambda: not before & {each.subscription for each in both})
            await tell(world, at, "after")
            for each in both:
                await each.__aexit__(None, None, None)
        holds(world)
        assert told_to_all(world.history, {"n1", "n2"}).holds

    run(main())


@pytest.mark.parametrize("dialled", [False, True])
def test_round_trips_are_measured(dialled: bool) -> None:
    async def main() -> None:
        world = World()
        async with world.serving() as server:
            record = world.client("n3")
            back = LOOPBACK if dialled else None
            load = Load(count=40, callers=2)
            await roundtrips(server.address, record.events, load, patience=PATIENCE, back=back)
        (summary,) = record.seen("summary")
        assert (summary["answered"], summary["failed"]) == (40, 0)

    run(main())


@pytest.mark.parametrize(
    ("sent", "complaint"),
    [
        (b"garbage\n", "not understood"),
        (b"[" * 50_000 + b"\n", "not understood"),
        (b'{"kind":"ack"}\n', "register first"),
        (b'{"kind":"register","name":"a b"}\n', "register first"),
        (b'{"f":[]}\n', "f is publish or status"),
        (b"x" * 70_000 + b"\n", "frame too long"),
        (b"x" * 3_000_000, "frame too long"),
        (b"half", "stream ended inside a frame"),
    ],
)
def test_bad_input_is_told_what_it_is(sent: bytes, complaint: str) -> None:
    async def main() -> None:
        world = World()
        async with world.serving() as server:
            reader, writer = await asyncio.open_connection(*server.address)
            writer.write(sent)
            writer.write_eof()
            assert complaint in json.loads(await reader.readline())["error"]
            writer.close()
            await writer.wait_closed()
            await status(server.address, world.client("p").events, patience=PATIENCE)

    run(main())


def test_a_full_house_says_so() -> None:
    async def main() -> None:
        world = World()
        async with (
            world.serving(connections=1) as server,
            subscriber(world, server.address, "n1") as one,
        ):
            await one.registered(PATIENCE)
            with pytest.raises(CallFailed, match="busy"):
                await status(server.address, world.client("p").events, patience=PATIENCE)

    run(main())


def test_what_is_known_of_a_call() -> None:
    async def main() -> None:
        world = World()
        nowhere = Address("127.0.0.1", free_port())
        with pytest.raises(Refused):
            await tell(world, nowhere, "x")
        async with world.serving() as server:
            with pytest.raises(Rejected, match="value is a text"):
                await tell(world, server.address, "x" * 20_000)
            stuck = Subscriber(server.address, "n1", "news", ages, world.client("n1").events)
            async with stuck:
                await stuck.registered(PATIENCE)
                events = world.client("q").events
                with pytest.raises(Unknown):
                    await publish_all(
                        server.address, events, "news", ["x"], patience=0.2, persist=False
                    )
        async with subscriber(world, nowhere, "n2") as lost:
            with pytest.raises(Refused, match="did not register"):
                await lost.registered(0.2)
            with pytest.raises(Refused, match="no connection"):
                await lost.call({"f": "status"}, 1.0)

    async def ages(_subscriber: Subscriber, _upcall: Message) -> None:
        await asyncio.sleep(0.5)

    run(main())


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def test_the_command_line_says_what_is_known() -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    for arguments in (("publish", nowhere, "x"), ("status", nowhere)):
        result = invoke(*arguments)
        assert result.exit_code == 3, result.output
        assert result.output.startswith("refused: ")
    assert invoke("listen", nowhere, "--timeout", 0.2).exit_code == 3
    assert invoke("publish", "n1:70000", "x").exit_code == 2
    result = invoke("listen", nowhere, "--back", "192.0.2.1")
    assert result.exit_code == 3
    assert "cannot listen" in result.output


# Claims


def event(name: str, **fields: Any) -> Event:
    return {"event": name, "pattern": "upcall", "component": "c", "node": "n1", "t": 1.0, **fields}


HISTORY = [
    event("registered", subscription="n1/1"),
    event("invoke", op="a", f="publish", value="x"),
    event("accepted", id="a", node="hub"),
    event("called", id="a", subscription="n1/1", seq=1),
    event("ok", op="a", f="publish", value={"told": ["n1/1"], "missed": []}),
    event("invoke", op="b", f="publish", value="y"),
    event("accepted", id="b", node="hub"),
    event("called", id="b", subscription="n1/1", seq=2),
    event("ok", op="b", f="publish", value={"told": ["n1/1"], "missed": []}),
]
Tamper = Callable[[list[Event]], list[Event]]


def test_claims_hold_of_what_is_well() -> None:
    assert delivered_once(HISTORY).holds
    assert in_order(HISTORY).holds
    assert told_to_all(HISTORY, {"n1"}).holds


@pytest.mark.parametrize(
    ("claim", "tamper"),
    [
        (delivered_once, lambda h: [*h, h[3]]),
        (delivered_once, lambda h: h[:3] + h[4:]),
        (delivered_once, lambda h: [*h, event("called", id="c", subscription="n1/1", seq=3)]),
        (delivered_once, lambda h: [*h[:4], event("fail", op="a", f="publish", value="x")]),
        (in_order, lambda h: h[:3] + h[4:]),
        (in_order, lambda h: [*h[5:7], *h[:5], *h[7:]]),
        (lambda h: told_to_all(h, {"n1", "n2"}), lambda h: h),
    ],
)
def test_claims_catch_what_is_not(claim: Callable[[list[Event]], Any], tamper: Tamper) -> None:
    assert claim(tamper(HISTORY)).holds is False


def test_a_subscription_may_be_older_than_its_history() -> None:
    assert in_order(HISTORY[5:]).holds


def test_an_eviction_out_of_time_is_caught() -> None:
    late = event("evicted", subscription="n1/1", why="silent", waited=9.0, bound=2.25)
    assert evicted_in_time([late]).holds is False
    assert evicted_in_time([{**late, "waited": 2.1}]).holds
    assert others_undisturbed([late], {"n2"}, 0, 2).holds is False
