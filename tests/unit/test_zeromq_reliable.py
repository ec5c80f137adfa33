"""zeromq_reliable without a network: frames, the queue, the broker, workers and Titanic."""

from __future__ import annotations

import ast
import contextlib
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.kit.effects import Emit, Persist, Send
from apps.zeromq_reliable import wire
from apps.zeromq_reliable.crew import Pace
from apps.zeromq_reliable.effects import Effect, Frames, Reopen, frames_of, peer_of
from apps.zeromq_reliable.majordomo import Broker, BrokerLimits
from apps.zeromq_reliable.paranoid import Queue, QueueLimits
from apps.zeromq_reliable.titanic import Titanic, TitanicLimits
from apps.zeromq_reliable.wire import BadFrames
from apps.zeromq_reliable.worker import Majordomo, ParanoidPirate, Talk, Worker
from lab.catalogue import ROOT

PACE = Pace(0.5, 3)
SHELLS = {"__init__", "__main__", "claims", "client", "demo", "journal", "pirates", "shell"}
PURE = sorted(
    path for path in (ROOT / "apps/zeromq_reliable").glob("*.py") if path.stem not in SHELLS
)
WORKER, CLIENT = "broker/w", "broker/c"
READY = (b"", b"MDPW01", b"\1", b"echo")
BEAT = (b"", b"MDPW01", b"\4")
BYE = (b"", b"MDPW01", b"\5")


def said(effects: Iterable[Effect], to: str) -> list[Frames]:
    """Give the frames that go to a peer."""
    return [frames_of(e.message) for e in effects if isinstance(e, Send) and e.to == to]


def told(effects: Iterable[Effect], event: str) -> list[dict[str, Any]]:
    return [dict(e.fields) for e in effects if isinstance(e, Emit) and e.event == event]


@pytest.mark.parametrize("path", PURE, ids=lambda path: path.stem)
def test_cores_are_pure(path: Path) -> None:
    impure = {"socket", "asyncio", "time", "threading", "os", "zmq", "secrets"}
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in getattr(node, "names", ())]
        if isinstance(node, ast.ImportFrom):
            names = [str(node.module)]
        if isinstance(node, ast.Import | ast.ImportFrom):
            assert not impure.intersection(name.split(".")[0] for name in names)


class TestFrames:
    """7/MDP, word for word."""

    def test_commands_are_those_of_the_rfc(self) -> None:
        assert wire.ready("echo") == READY
        assert wire.command(wire.HEARTBEAT) == BEAT
        assert wire.command(wire.DISCONNECT) == BYE
        assert wire.job(wire.REPLY, b"c", (b"hi",)) == (b"", b"MDPW01", b"\3", b"c", b"", b"hi")
        assert wire.client_request("echo", (b"hi",)) == (b"", b"MDPC01", b"echo", b"hi")
        assert wire.read_reply((b"", b"MDPC01", b"echo", b"hi", b"ho"), "echo") == (b"hi", b"ho")

    def test_an_envelope_of_a_correlating_client_is_kept(self) -> None:
        read = wire.read_at_broker((b"\0\0\0\7", b"", b"MDPC01", b"echo", b"hi"))
        assert isinstance(read, wire.ClientRequest)
        reply = wire.client_reply(read.envelope, read.service, (b"ho",))
        assert reply == (b"\0\0\0\7", b"", b"MDPC01", b"echo", b"ho")

    @pytest.mark.parametrize(
        "frames",
        [
            (),
            (b"",),
            (b"garbage",),
            (b"", b"MDPC02", b"echo", b"hi"),
            (b"", b"MDPC01", b"echo"),
            (b"", b"MDPC01", b"", b"hi"),
            (b"", b"MDPC01", b"a b", b"hi"),
            (b"", b"MDPC01", b"x" * 101, b"hi"),
            (b"", b"MDPW01"),
            (b"", b"MDPW01", b"\1"),
            (b"", b"MDPW01", b"\1", b"echo", b"more"),
            (b"", b"MDPW01", b"\2", b"c", b"", b"hi"),
            (b"", b"MDPW01", b"\3", b"c", b"x", b"hi"),
            (b"", b"MDPW01", b"\3", b"c", b""),
            (b"", b"MDPW01", b"\6"),
            (b"", b"MDPW01", b"\4", b"more"),
            (b"id", b"", b"MDPW01", b"\4"),
            (b"",) * 65,
            (b"x",) * 9 + (b"", b"MDPC01", b"echo", b"hi"),
        ],
    )
    def test_what_is_no_mdp_is_refused(self, frames: Frames) -> None:
        with pytest.raises(BadFrames):
            wire.read_at_broker(frames)

    @given(st.lists(st.binary(max_size=8) | st.sampled_from([b"", b"MDPW01", b"MDPC01"])))
    def test_anything_is_read_or_refused(self, given: list[bytes]) -> None:
        for read in (wire.read_at_broker, wire.read_at_worker, wire.read_pirate):
            with contextlib.suppress(BadFrames):
                read(tuple(given))


class Majordomos:
    """A broker whose time is told, and whom workers and clients speak to."""

    def __init__(self, **limits: Any) -> None:
        self.now = 0.0
        self.core = Broker(PACE, BrokerLimits(**limits))
        self.core.start(0.0)

    def hear(self, peer: str, *frames: bytes) -> list[Effect]:
        return list(self.core.receive(self.now, peer, {"frames": frames}))

    def ask(
        self, peer: str = CLIENT, text: bytes = b"hi", service: bytes = b"echo"
    ) -> list[Effect]:
        return self.hear(peer, b"", b"MDPC01", service, text)

    def reply(self, worker: str, client: bytes = b"c", text: bytes = b"hi") -> list[Effect]:
        return self.hear(worker, b"", b"MDPW01", b"\3", client, b"", text)

    def pass_(self, seconds: float, *alive: str) -> list[Effect]:
        effects: list[Effect] = []
        for _ in range(round(seconds / PACE.heartbeat)):
            self.now += PACE.heartbeat
            for peer in alive:
                self.hear(peer, *BEAT)
            effects += self.core.timer(self.now, "beat")
        return effects


def request(text: bytes = b"hi", client: bytes = b"c") -> Frames:
    return (b"", b"MDPW01", b"\2", client, b"", text)


class TestBroker:
    """7/MDP and 8/MMI, from the broker's side."""

    def test_a_request_goes_to_a_worker_and_its_reply_back(self) -> None:
        broker = Majordomos()
        broker.hear(WORKER, *READY)
        assert said(broker.ask(), WORKER) == [request()]
        assert said(broker.reply(WORKER), CLIENT) == [(b"", b"MDPC01", b"echo", b"hi")]

    def test_a_request_waits_for_its_service(self) -> None:
        broker = Majordomos()
        assert said(broker.ask(), WORKER) == []
        assert said(broker.hear(WORKER, *READY), WORKER) == [request()]

    def test_the_worker_that_waited_longest_is_next(self) -> None:
        broker = Majordomos()
        for worker in ("broker/1", "broker/2"):
            broker.hear(worker, *READY)
        assert said(broker.ask(), "broker/1")
        broker.reply("broker/1")
        assert said(broker.ask(), "broker/2")

    @pytest.mark.parametrize("how", ["silent", "bye", "unreachable", "slow", "garbage", "liar"])
    def test_what_a_lost_worker_had_goes_to_another(self, how: str) -> None:
        broker = Majordomos(patience=5.0)
        broker.hear(WORKER, *READY)
        broker.ask()
        broker.hear("broker/2", *READY)
        match how:
            case "silent":
                effects = broker.pass_(3, "broker/2")
            case "bye":
                effects = broker.hear(WORKER, *BYE)
            case "unreachable":
                effects = list(broker.core.undeliverable(0.0, WORKER))
            case "slow":
                effects = broker.pass_(7, WORKER, "broker/2")
            case "garbage":
                effects = broker.hear(WORKER, b"", b"MDPW01", b"?")
            case _:
                effects = broker.reply(WORKER, client=b"somebody else")
        assert request() in said(effects, "broker/2")
        late = broker.reply(WORKER)
        assert said(late, CLIENT) == []
        assert said(late, WORKER) == [BYE]

    def test_who_is_heard_of_is_not_lost(self) -> None:
        broker = Majordomos()
        broker.hear(WORKER, *READY)
        effects = broker.pass_(10, WORKER)
        assert told(effects, "lost") == []
        assert len(said(effects, WORKER)) == 20

    def test_a_broker_that_was_held_up_misses_nobody(self) -> None:
        broker = Majordomos()
        broker.hear(WORKER, *READY)
        broker.pass_(1, WORKER)
        broker.now += 30
        assert told(broker.core.timer(broker.now, "beat"), "lost") == []

    @pytest.mark.parametrize(
        "frames",
        [READY, BEAT, (b"", b"MDPW01", b"\3", b"c", b"", b"hi")],
        ids=["ready", "beat", "re"],
    )
    def test_what_is_not_expected_is_answered_with_disconnect(self, frames: Frames) -> None:
        broker = Majordomos()
        if frames == READY:
            broker.hear(WORKER, *READY)
        assert said(broker.hear(WORKER, *frames), WORKER) == [BYE]
        assert said(broker.ask(), WORKER) == []

    def test_the_broker_answers_for_itself(self) -> None:
        broker = Majordomos()
        broker.hear(WORKER, *READY)
        for service, name, code in [
            (b"mmi.service", b"echo", b"200"),
            (b"mmi.service", b"tea", b"404"),
            (b"mmi.echo", b"echo", b"501"),
        ]:
            answer = said(broker.ask(text=name, service=service), CLIENT)
            assert answer == [(b"", b"MDPC01", service, code)]
        assert said(broker.hear("broker/2", *READY[:3], b"mmi.service"), "broker/2") == [BYE]

    def test_it_is_bounded(self) -> None:
        broker = Majordomos(capacity=2, workers=1, expire=1.0, attempts=2)
        broker.ask()
        broker.ask()
        assert told(broker.ask(), "refused")
        assert len(told(broker.pass_(2), "expired")) == 2
        broker.ask()
        broker.hear(WORKER, *READY)
        assert said(broker.hear("broker/2", *READY), "broker/2") == [BYE]
        broker.hear(WORKER, *BYE)
        broker.hear(WORKER, *READY)
        assert told(broker.hear(WORKER, *BYE), "gave_up")


class TestQueue:
    """6/PPP, from the queue's side."""

    def test_requests_are_dealt_to_the_living(self) -> None:
        queue = Queue(PACE, QueueLimits())
        one, two, client = "workers/1", "workers/2", "clients/c"
        for worker in (one, two):
            queue.receive(0.0, worker, {"frames": (b"\1",)})
        for tick in range(1, 5):
            queue.receive(tick * 0.5, two, {"frames": (b"\2",)})
            queue.timer(tick * 0.5, "beat")
        asked = {"frames": (b"\0\0\0\1", b"", b"hi")}
        assert said(queue.receive(2.0, client, asked), two) == [(b"c", b"\0\0\0\1", b"", b"hi")]
        replied = {"frames": (b"c", b"\0\0\0\1", b"", b"ho")}
        assert said(queue.receive(2.0, two, replied), client) == [(b"\0\0\0\1", b"", b"ho")]
        assert told(queue.receive(2.0, two, replied), "refused")

    def test_it_is_bounded(self) -> None:
        queue = Queue(PACE, QueueLimits(capacity=1, expire=1.0, workers=1))
        asked = {"frames": (b"", b"hi")}
        assert told(queue.receive(0.0, "clients/c", asked), "refused") == []
        assert told(queue.receive(0.0, "clients/c", asked), "refused")
        assert told(queue.timer(2.0, "beat"), "expired")
        for worker, refused in (("workers/1", 0), ("workers/2", 1)):
            effects = queue.receive(2.0, worker, {"frames": (b"\1",)})
            assert len(told(effects, "refused")) == refused

    def test_a_liar_is_no_pirate(self) -> None:
        queue = Queue(PACE, QueueLimits())
        queue.receive(0.0, "workers/1", {"frames": (b"\1",)})
        queue.receive(0.0, "clients/c", {"frames": (b"", b"hi")})
        effects = queue.receive(0.0, "workers/1", {"frames": (b"d", b"", b"hi")})
        assert said(effects, "clients/d") == []
        assert told(effects, "lost")


class TestWorker:
    """Either protocol, from the worker's side."""

    @pytest.mark.parametrize("dialect", [Majordomo("echo"), ParanoidPirate()])
    def test_a_silent_broker_is_left(self, dialect: Any) -> None:
        talk = Talk("s", dialect, PACE)
        assert said(talk.open(0.0), "s") == [dialect.ready()]
        effects = [effect for tick in range(1, 5) for effect in talk.tick(tick * 0.5)]
        assert said(effects, "s") == [*[dialect.heartbeat()] * 3, dialect.ready()]
        assert Reopen("s") in effects

    def test_disconnect_begins_a_new_conversation_and_voids_the_old(self) -> None:
        worker = Worker({Talk("s", Majordomo("echo"), PACE): "echo"}, takes=1.0)
        worker.start(0.0)
        worker.receive(0.0, "s", {"frames": request()})
        effects = list(worker.receive(0.5, "s", {"frames": BYE}))
        assert effects.index(Reopen("s")) == 1
        done = worker.timer(1.0, "work s")
        assert said(done, "s") == []
        assert told(done, "too_late")

    @pytest.mark.parametrize("frames", [(), (b"x",), (b"", b"MDPC01", b"echo", b"hi"), READY])
    def test_nonsense_is_refused(self, frames: Frames) -> None:
        worker = Worker({Talk("s", Majordomo("echo"), PACE): "echo"})
        worker.start(0.0)
        assert told(worker.receive(0.0, "s", {"frames": frames}), "refused")
        reply = (b"", b"MDPW01", b"\3", b"c", b"", b"hi")
        assert said(worker.receive(0.0, "s", {"frames": request()}), "s") == [reply]


class Ship:
    """Titanic, its disk, and whom it speaks to."""

    def __init__(self, disk: dict[str, Any] | None = None, **limits: Any) -> None:
        self.disk = {} if disk is None else disk
        limits = {"sockets": 1, "lanes": 1, **limits}
        stored = dict(self.disk)
        self.core = Titanic(PACE, TitanicLimits(**limits), stored, random.Random(7))
        self.started = self.done(self.core.start(0.0))

    def done(self, effects: Iterable[Effect]) -> list[Effect]:
        kept = list(effects)
        for effect in kept:
            if isinstance(effect, Persist):
                self.disk.pop(effect.key, None)
                if effect.value is not None:
                    self.disk[effect.key] = effect.value
        return kept

    def serve(self, service: str, *body: bytes) -> tuple[Frames, list[Effect]]:
        socket = f"{service}.0"
        frames = (b"", b"MDPW01", b"\2", b"c", b"", *body)
        effects = self.done(self.core.receive(0.0, socket, {"frames": frames}))
        return said(effects, socket)[0][5:], effects

    def store(self, text: bytes = b"hi") -> bytes:
        (code, ticket), _ = self.serve("titanic.request", b"echo", text)
        assert code == b"200"
        return ticket

    def answer(self, text: bytes = b"ho", lane: str = "lane.0") -> list[Effect]:
        frames = (b"", b"MDPC01", b"echo", text)
        return self.done(self.core.receive(0.0, lane, {"frames": frames}))


class TestTitanic:
    """9/TSP, and what survives."""

    def test_a_request_is_kept_asked_answered_and_closed(self) -> None:
        ship = Ship()
        (_, ticket), effects = ship.serve("titanic.request", b"echo", b"hi")
        kinds = [type(effect) for effect in effects]
        assert kinds.index(Persist) < kinds.index(Send)
        assert said(effects, "lane.0") == [(b"", b"MDPC01", b"echo", b"hi")]
        assert ship.serve("titanic.reply", ticket)[0] == (b"300",)
        ship.answer()
        for _ in range(2):
            assert ship.serve("titanic.reply", ticket.upper())[0] == (b"200", b"ho")
        for _ in range(2):
            assert ship.serve("titanic.close", ticket)[0] == (b"200",)
        assert ship.serve("titanic.reply", ticket)[0][0].startswith(b"400")
        assert ship.disk == {}

    def test_another_life_asks_what_is_not_answered_in_order(self) -> None:
        ship = Ship()
        tickets = [ship.store(b"%d" % number) for number in range(3)]
        ship.answer(b"zero")
        again = Ship(ship.disk, lanes=8)
        asked = [said(again.started, f"lane.{lane}") for lane in range(3)]
        assert asked == [[(b"", b"MDPC01", b"echo", text)] for text in (b"1", b"2")] + [[]]
        assert again.serve("titanic.reply", tickets[0])[0] == (b"200", b"zero")

    def test_a_second_reply_is_not_accepted(self) -> None:
        ship = Ship()
        ticket = ship.store()
        ship.answer(b"first")
        assert told(ship.answer(b"second"), "refused")
        assert ship.serve("titanic.reply", ticket)[0] == (b"200", b"first")

    def test_what_nobody_answers_lets_others_pass_and_is_asked_again(self) -> None:
        ship = Ship()
        first, _ = ship.store(b"one"), ship.store(b"two")
        effects = ship.done(ship.core.timer(3.0, "attempt lane.0"))
        assert Reopen("lane.0") in effects
        assert said(effects, "lane.0") == [(b"", b"MDPC01", b"echo", b"two")]
        ship.done(ship.core.timer(3.5, f"again {first.decode()}"))
        assert said(ship.answer(), "lane.0") == [(b"", b"MDPC01", b"echo", b"one")]

    def test_a_reply_to_what_was_closed_is_dropped(self) -> None:
        ship = Ship()
        ship.serve("titanic.close", ship.store())
        assert told(ship.answer(), "answered") == []
        assert ship.disk == {}

    @pytest.mark.parametrize(
        ("service", "body", "code"),
        [
            ("titanic.request", (b"echo",), b"400"),
            ("titanic.request", (b"e cho", b"hi"), b"400"),
            ("titanic.request", (b"titanic.request", b"hi"), b"400"),
            ("titanic.reply", (b"x",), b"400"),
            ("titanic.reply", (b"0" * 32,), b"400"),
            ("titanic.close", (b"0" * 31,), b"400"),
            ("titanic.close", (b"0" * 32,), b"200"),
        ],
    )
    def test_a_bad_request_has_its_code(self, service: str, body: Frames, code: bytes) -> None:
        assert Ship().serve(service, *body)[0][0][:3] == code

    def test_it_is_bounded(self) -> None:
        ship = Ship(capacity=1)
        ticket = ship.store()
        assert ship.serve("titanic.request", b"echo", b"hi")[0][0].startswith(b"500")
        ship.answer()
        ship.done(ship.core.timer(9.0, f"keep {ticket.decode()}"))
        assert ship.store()
        big = Ship(room=100)
        assert big.serve("titanic.request", b"echo", b"x" * 101)[0][0].startswith(b"500")


def test_peers_names_are_the_routers_addresses() -> None:
    address = bytes(range(256))
    assert peer_of("broker", address).partition("/")[2].encode("latin-1") == address
