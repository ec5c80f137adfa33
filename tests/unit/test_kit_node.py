"""A pure core, live: two nodes on loopback, over UDP and over TCP, and what they are sent."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from apps.kit.address import Address
from apps.kit.caller import Caller
from apps.kit.effects import (
    CancelTimer,
    Effects,
    Emit,
    Message,
    Persist,
    Reject,
    Reply,
    Send,
    SetTimer,
)
from apps.kit.events import Events
from apps.kit.lifecycle import run_service
from apps.kit.node import DEEPEST, LONGEST_REQUEST, Node
from apps.kit.store import Store
from apps.kit.transport import TcpTransport, Transport, UdpTransport
from tests.loopback import LOOPBACK, PATIENCE, Record, free_port, run, until

ROOT = Path(__file__).parents[2]
Places = Mapping[str, Address]


class Ping:
    """A core that counts its pings durably, answers those of others, and fails on demand."""

    def __init__(self, stored: Mapping[str, Any]) -> None:
        self._count = stored.get("count", 0)
        self._asked: dict[int, str] = {}

    def start(self, now: float) -> Effects:
        """Say where the count stands."""
        yield Emit("started", {"count": self._count, "now": now})

    def receive(self, now: float, sender: str, message: Message) -> Effects:  # noqa: ARG002
        """Answer a ping; pass a pong on to who asked."""
        number = message.get("number")
        if message.get("kind") == "ping":
            yield Send(sender, {**message, "kind": "pong"})
        elif number in self._asked:
            yield Reply(self._asked.pop(number), {"number": number, "from": sender})
        else:
            yield Emit("ignored", message)

    def request(self, now: float, request: str, body: Message) -> Effects:  # noqa: ARG002
        """Do what the client says."""
        match body:
            case {"ping": peer}:
                self._count += 1
                self._asked[self._count] = request
                yield Persist("count", self._count)
                carried = {"number": self._count, "body": body}
                yield Send(peer, {"kind": "ping", **carried})
            case {"after": seconds, "name": name}:
                yield SetTimer(f"{name} {request}", 3600.0)
                yield SetTimer(f"other {request}", seconds)
                yield SetTimer(f"{name} {request}", seconds)
                yield CancelTimer(f"other {request}")
                yield CancelTimer("no such timer")
            case {"reject": why}:
                yield Reject(request, why)
                yield Reply("no such request", {})
            case {"reply": result}:
                yield Reply(request, {"result": result})
                yield Reply(request, {"result": "a second one"})
            case {"do": what}:
                yield from self._do(what)
            case _:
                yield Reject(request, "no such thing")

    def _do(self, what: str) -> Effects:
        match what:
            case "raise":
                raise AssertionError("two leaders")
            case "raise later":
                yield SetTimer("raise", 0.0)
            case "send nonsense":
                yield Send("b", {"nonsense": {1, 2}})
            case "send to nobody":
                yield Send("nobody", {})
            case "no effect":
                yield "no effect"  # type: ignore[misc]
            case "persist nowhere":
                yield Persist("count", 1)

    def timer(self, now: float, name: str) -> Effects:  # noqa: ARG002
        """Answer the request that set it."""
        what, _, request = name.partition(" ")
        if what == "raise":
            raise AssertionError("two leaders")
        yield Emit("fired", {"name": what})
        yield Reply(request, {"fired": what})


class Watched:
    """A node, and in which order it wrote and sent."""

    def __init__(self, kind: str, name: str, at: Places, directory: Path) -> None:
        self.record = Record(node=name)
        self.done: list[tuple[str, Any]] = []
        peers = {other: address for other, address in at.items() if other != name}
        transport: Transport
        if kind == "udp":
            transport = UdpTransport(at[name], peers, self.record.events)
            clients = at[name]
        else:
            transport = TcpTransport(name, at[name], peers, self.record.events)
            clients = LOOPBACK
        store = Store(directory / f"{name}.json")
        self._spy(store, "put")
        self._spy(transport, "send")
        self.node = Node(
            Ping(store.values), name, clients, transport, events=self.record.events, store=store
        )

    def _spy(self, what: Any, name: str) -> None:
        real = getattr(what, name)

        def noted(*args: Any) -> None:
            self.done.append((name, args))
            real(*args)

        setattr(what, name, noted)

    async def __aenter__(self) -> Watched:
        await self.node.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.node.__aexit__(None, None, None)

    async def ask(self, body: Any) -> Any:
        """Ask once, as a client does; bytes go as they are."""
        line = body if isinstance(body, bytes) else json.dumps(body).encode()
        async with Caller(self.node.address, Record().events, timeout=PATIENCE) as caller:
            return json.loads(await caller.call(line, idempotent=False))

    async def pings(self, peer: str) -> dict[str, Any]:
        """Ping until it is answered; a message may be lost."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.5):
                    answer: dict[str, Any] = await self.ask({"ping": peer})
                    return answer


def places() -> dict[str, Address]:
    return {name: Address("127.0.0.1", free_port()) for name in ("a", "b")}


both = pytest.mark.parametrize("kind", ["udp", "tcp"])


@both
def test_two_nodes_ping_each_other(kind: str, tmp_path: Path) -> None:
    async def main() -> None:
        at = places()
        async with Watched(kind, "a", at, tmp_path) as a, Watched(kind, "b", at, tmp_path) as b:
            for _ in range(3):
                assert (await a.pings("b"))["result"]["from"] == "b"
                assert (await b.pings("a"))["result"]["from"] == "a"
            sent = {e["id"]: e for e in a.record.seen("send")}
            heard = [e for e in b.record.seen("recv") if "kind" in e]  # clients' have none
            assert {e["kind"] for e in heard} == {"ping", "pong"}
            for event in heard:
                assert sent[event["id"]]["kind"] == event["kind"]
                assert (event["peer"], sent[event["id"]]["peer"]) == ("a", "b")
            assert a.record.seen("started")[0]["count"] == 0

    run(main())


@both
def test_what_is_persisted_is_on_the_disk_before_a_word_is_sent(kind: str, tmp_path: Path) -> None:
    async def main() -> None:
        at = places()
        async with Watched(kind, "a", at, tmp_path) as a, Watched(kind, "b", at, tmp_path):
            for _ in range(5):
                await a.pings("b")
        durable = 0
        for what, arguments in a.done:
            if what == "put":
                durable = arguments[1]
            elif json.loads(arguments[1])["m"]["kind"] == "ping":
                assert json.loads(arguments[1])["m"]["number"] == durable
        assert durable >= 5
        async with Watched(kind, "a", at, tmp_path) as again:
            assert again.record.seen("started")[0]["count"] == durable

    run(main())


def test_clients_are_answered(tmp_path: Path) -> None:
    async def main() -> None:
        async with Watched("udp", "a", places(), tmp_path) as a:
            assert await a.ask({"reply": [1, "ü"]}) == {"result": {"result": [1, "ü"]}}
            assert await a.ask({"reject": "not so"}) == {"error": "not so"}
            assert await a.ask({"after": 0.0, "name": "t"}) == {"result": {"fired": "t"}}
            assert await a.ask({"after": 0.01, "name": "u"}) == {"result": {"fired": "u"}}
            assert [e["name"] for e in a.record.seen("fired")] == ["t", "u"]
            at_once = (a.ask({"after": 0.01, "name": str(n)}) for n in range(50))
            answers = await asyncio.gather(*at_once)
            assert [answer["result"]["fired"] for answer in answers] == [str(n) for n in range(50)]

    run(main())


def nested(levels: int) -> bytes:
    return b'{"reply":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        (b"", "not understood: Expecting value"),
        (b"garbage", "not understood: Expecting value"),
        (b"\xff\xfe\xfd", "not understood: "),
        (b"[1]", "not understood: it is no JSON object"),
        (b'{"reply":1', "not understood: Expecting ',' delimiter"),
        (b'{"reply":NaN}', "not understood: nan is no number in JSON"),
        (b'{"reply":[1e999]}', "not understood: inf is no number in JSON"),
        (b'{"reply":' + b"9" * 5000 + b"}", "not understood: Exceeds the limit"),
        (nested(DEEPEST // 2 + 1), f"it nests more than {DEEPEST // 2} levels deep"),
        (nested(LONGEST_REQUEST // 2 - 10), f"it nests more than {DEEPEST // 2} levels deep"),
        (b" " * (LONGEST_REQUEST + 1), f"it has {LONGEST_REQUEST + 1} bytes, the most is"),
        (b"{}", "no such thing"),
    ],
    ids=lambda value: str(value[:20]),
)
def test_what_is_no_request_is_told_so(tmp_path: Path, sent: bytes, says: str) -> None:
    async def main() -> None:
        async with Watched("udp", "a", places(), tmp_path) as a:
            assert says in (await a.ask(sent))["error"]
            assert await a.ask({"reply": 1}) == {"result": {"result": 1}}

    run(main())


@both
def test_whatever_a_client_asks_can_be_passed_on(kind: str, tmp_path: Path) -> None:
    """The longest, deepest and oddest request that is taken fits a message that is taken."""
    odd = [
        nested(DEEPEST // 2).replace(b"reply", b"ping", 1).replace(b":[", b':"b","x":[', 1),
        json.dumps({"ping": "b", "x": "\udcff\0" * 100}).encode(),
        b'{"ping":"b","x":"' + "ü€".encode() * 1900 + b'"}',
        b'{"ping":"b","x":[1E15' + b",1E15" * ((LONGEST_REQUEST - 30) // 5) + b"]}",
    ]

    async def main() -> None:
        at = places()
        async with Watched(kind, "a", at, tmp_path) as a, Watched(kind, "b", at, tmp_path) as b:
            await a.pings("b")
            for sent in odd:
                assert LONGEST_REQUEST // 50 < len(sent) <= LONGEST_REQUEST or b"[[" in sent
                assert (await a.ask(sent))["result"]["from"] == "b"
            assert not a.record.seen("unsent", "malformed")
            assert not b.record.seen("unsent", "malformed")

    run(main())


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        b"garbage\xff",
        b"[]",
        b"{}",
        b'{"id":1,"m":{}}',
        b'{"id":"x","m":[]}',
        b'{"id":"x","m":{"number":Infinity}}',
        b'{"id":"x","m":' + b'{"m":' * 10_000,
        b'{"id":"x","m":{"x":' + b"[" * DEEPEST + b"]" * DEEPEST + b"}}",
    ],
    ids=lambda value: str(value[:20]),
)
def test_what_is_no_message_is_said_and_ignored(tmp_path: Path, datagram: bytes) -> None:
    async def main() -> None:
        at = places()
        async with Watched("udp", "a", at, tmp_path) as a:
            with socket.socket(type=socket.SOCK_DGRAM) as b:
                b.bind(at["b"])
                b.sendto(datagram, at["a"])
                b.sendto(b'{"id":"good","m":{"kind":"x"}}', at["a"])
            await until(lambda: a.record.seen("ignored"))
            (event,) = a.record.seen("malformed")
            assert (event["peer"], event["bytes"]) == ("b", len(datagram))
            assert [e["id"] for e in a.record.seen("recv")] == ["good"]

    run(main())


def test_what_a_peer_says_does_not_fill_the_journal(tmp_path: Path) -> None:
    async def main() -> None:
        at = places()
        async with Watched("udp", "a", at, tmp_path) as a:
            message = {"id": "i" * 20_000, "m": {"kind": "k" * 20_000}}
            with (
                socket.socket(type=socket.SOCK_DGRAM) as b,
                socket.socket(type=socket.SOCK_DGRAM) as stranger,
            ):
                stranger.sendto(b"x" * 60_000, at["a"])
                b.bind(at["b"])
                b.sendto(json.dumps(message).encode(), at["a"])
            await until(lambda: a.record.seen("recv"))
            assert a.record.seen("stranger")[0]["bytes"] == 60_000
            (line,) = [x for x in a.record.out.getvalue().splitlines() if '"recv"' in x]
            assert len(line) < 500

    run(main())


def test_it_ends_though_a_request_is_never_answered(tmp_path: Path) -> None:
    async def main() -> None:
        async with Watched("udp", "a", places(), tmp_path) as a:
            reader, writer = await asyncio.open_connection(*a.node.address)
            writer.write(b'{"do":"nothing"}\n{"after":3600,"name":"t"}\n')
            await until(lambda: a.node._waiting)
        assert await reader.read() == b""
        assert not a.node._waiting
        assert not a.node._timers
        writer.close()

    run(main())


def test_a_port_that_is_taken_leaves_nothing_open(tmp_path: Path) -> None:
    async def main() -> None:
        at = places()
        with socket.create_server(at["a"]), pytest.raises(OSError, match="in use"):
            await Watched("udp", "a", at, tmp_path).__aenter__()
        async with Watched("udp", "a", at, tmp_path) as a:
            assert await a.ask({"reply": 1})

    run(main())


# A core that breaks its own rules


def serve(directory: str, port: str) -> None:
    """Be a node in a process of its own."""
    events = Events("p", "node", "a")
    here = Address("127.0.0.1", int(port))
    store = Store(Path(directory) / "a.json")
    transport = UdpTransport(here, {"b": Address("127.0.0.1", 1)}, events)
    run_service(events, Node(Ping(store.values), "a", here, transport, events=events, store=store))


@pytest.mark.parametrize(
    ("what", "error"),
    [
        ("raise", "AssertionError: two leaders"),
        ("raise later", "AssertionError: two leaders"),
        ("send nonsense", "TypeError: Object of type set is not JSON serializable"),
        ("send to nobody", "KeyError: 'nobody'"),
        ("no effect", "'no effect'"),
        ("persist nowhere", "No such file or directory"),
    ],
)
def test_a_core_that_fails_ends_the_process(tmp_path: Path, what: str, error: str) -> None:
    port = free_port()
    code = f"from tests.unit.test_kit_node import serve; serve({str(tmp_path)!r}, {port!r})"
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert "started" in process.stdout.readline()
            assert "ready" in process.stdout.readline()
            if what == "persist nowhere":
                tmp_path.rmdir()
            with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
                client.sendall(json.dumps({"do": what}).encode() + b"\n")
                with contextlib.suppress(ConnectionError):
                    assert client.recv(100) == b"", "what became of it is not known"
            assert process.wait(PATIENCE) == 70
            events = [json.loads(line) for line in process.stdout]
            assert events[-1]["event"] == "core_failed"
            assert error in events[-1]["error"]
        finally:
            process.kill()
