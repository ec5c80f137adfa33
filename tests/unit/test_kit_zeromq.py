"""The kit's ZeroMQ sockets: their bounds, what their monitors tell, their end."""

from __future__ import annotations

import asyncio
import contextlib
import socket as net

import pytest
import zmq
import zmq.asyncio

from apps.kit.address import Address
from apps.kit.lifecycle import running
from apps.kit.zeromq import Bounds, asynchronous, blocking, bursts, peer_of, seen
from tests.conftest import eventually
from tests.loopback import PATIENCE, Record, free_port, run


def told(record: Record, what: str) -> list[str]:
    """Give the sockets of the `link` events of this kind."""
    return [event["socket"] for event in record.seen("link") if event["what"] == what]


def test_bounds_are_set() -> None:
    bounds = Bounds(waiting=7, message=999, linger=0.5, buffer=4096)
    with blocking(Record().events, bounds) as sockets:
        socket = sockets.open("a", zmq.PUSH)
        assert (socket.sndhwm, socket.rcvhwm, socket.maxmsgsize) == (7, 7, 999)
        assert (socket.linger, socket.sndbuf, socket.rcvbuf) == (500, 4096, 4096)
        assert socket.handshake_ivl == 3000


def test_connections_are_told_at_both_ends() -> None:
    at, record = Address("127.0.0.1", free_port()), Record()
    with blocking(record.events) as sockets:
        answers = sockets.open("answers", zmq.REP, bind=[at])
        asks = sockets.open("asks", zmq.REQ, connect=[at])
        asks.send(b"hello")
        (frame,) = answers.recv_multipart(copy=False)
        assert (frame.bytes, peer_of(frame)) == (b"hello", "127.0.0.1")
        answers.send(b"world")
        assert asks.recv() == b"world"
        sockets.drop(asks)
        eventually(lambda: told(record, "disconnected") == ["answers"], "the end is told")
    assert told(record, "accepted") == ["answers"]
    assert told(record, "connected") == ["asks"]
    assert sorted(told(record, "handshake_succeeded")) == ["answers", "asks"]


def test_who_speaks_no_zmtp_is_told_and_harms_nobody() -> None:
    at, record = Address("127.0.0.1", free_port()), Record()
    with blocking(record.events, Bounds(handshake=0.1)) as sockets:
        answers = sockets.open("answers", zmq.REP, bind=[at])
        with net.create_connection(at) as silent, net.create_connection(at) as http:
            http.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert silent.recv(1000)[:1] == b"\xff"  # its greeting
            while silent.recv(1000):
                pass
        asks = sockets.open("asks", zmq.REQ, connect=[at])
        asks.send(b"hello")
        assert answers.recv() == b"hello"
        eventually(
            lambda: any(w["what"].startswith("handshake_failed") for w in record.seen("link")),
            "the failure is told",
        )


@pytest.mark.parametrize("sent", [b"GET / HTTP/1.0\r\n\r\n", b"\1\0", b"\0", b"\xff" * 12])
def test_garbage_is_dealt_no_message(sent: bytes) -> None:
    at, record = Address("127.0.0.1", free_port()), Record()
    with blocking(record.events) as sockets:
        push = sockets.open("push", zmq.PUSH, bind=[at])
        with net.create_connection(at) as garbage:
            garbage.sendall(sent)
            with contextlib.suppress(ConnectionError):
                garbage.recv(1)  # by now it was judged
            pull = sockets.open("pull", zmq.PULL, connect=[at], watched=False)
            pull.rcvtimeo = round(PATIENCE * 1000)
            for number in range(20):
                push.send(b"%d" % number)
            assert [pull.recv() for _ in range(20)] == [b"%d" % n for n in range(20)]


def test_a_longer_frame_ends_the_connection() -> None:
    at, record = Address("127.0.0.1", free_port()), Record()
    with blocking(record.events, Bounds(message=100)) as sockets:
        pull = sockets.open("pull", zmq.PULL, bind=[at])
        long = sockets.open("long", zmq.PUSH, connect=[at])
        short = sockets.open("short", zmq.PUSH, connect=[at])
        long.send(b"x" * 101)
        short.send(b"y" * 100)
        assert pull.recv() == b"y" * 100
        eventually(lambda: "long" in told(record, "disconnected"), "the long one is cut off")


def test_a_program_can_read_a_monitor_itself() -> None:
    at = Address("127.0.0.1", free_port())
    with blocking(Record().events) as sockets:
        push = sockets.open("push", zmq.PUSH, bind=[at], watched=False)
        monitor = sockets.monitor(push)
        sockets.open("pull", zmq.PULL, connect=[at], watched=False)
        found = [seen(monitor.recv_multipart())["what"] for _ in range(2)]
        assert found == ["accepted", "handshake_succeeded"]


def test_what_cannot_be_bound_or_connected_is_an_oserror() -> None:
    with net.create_server(("127.0.0.1", 0)) as taken:
        at = Address(*taken.getsockname())
        with blocking(Record().events) as sockets:
            with pytest.raises(OSError, match="Address already in use"):
                sockets.open("a", zmq.REP, bind=[at])
            with pytest.raises(OSError, match="tcp://-:1"):
                sockets.open("b", zmq.REQ, connect=[Address("-", 1)])


def test_closing_drops_what_nobody_took_when_its_linger_is_over() -> None:
    with blocking(Record().events, Bounds(linger=0.05)) as sockets:
        push = sockets.open("push", zmq.PUSH, connect=[Address("127.0.0.1", free_port())])
        push.send(b"for nobody")


def test_bursts_are_bounded_and_leave_nothing_out() -> None:
    async def main() -> list[int]:
        at, sizes = Address("127.0.0.1", free_port()), []
        with asynchronous(Record().events) as sockets:
            pull = sockets.open("pull", zmq.PULL, bind=[at])
            push = sockets.open("push", zmq.PUSH, connect=[at])
            for number in range(250):
                await push.send(b"%d" % number)
            had: list[bytes] = []
            async for burst in bursts(pull, most=100):
                had += [frames[0] for frames in burst]
                sizes.append(len(burst))
                if len(had) == 250:
                    break
            assert had == [b"%d" % number for number in range(250)]
        return sizes

    assert max(run(main())) <= 100


def test_a_loop_that_fails_ends_the_service() -> None:
    async def fails() -> None:
        await asyncio.sleep(0)
        raise ZeroDivisionError

    async def main() -> None:
        async with running(fails(), asyncio.sleep(3600)):
            await asyncio.sleep(3600)

    with pytest.raises(ExceptionGroup) as found:
        run(main())
    assert found.group_contains(ZeroDivisionError)


def test_loops_end_with_the_service() -> None:
    async def main() -> None:
        async with running(asyncio.sleep(3600)):
            await asyncio.sleep(0)

    run(main())


def test_an_ipv6_address_will_do() -> None:
    with blocking(Record().events) as sockets:
        at = Address("::1", free_port("127.0.0.1"))
        try:
            pull = sockets.open("pull", zmq.PULL, bind=[at])
        except OSError as error:
            # Containers are often made without IPv6; there is nothing to connect to then.
            pytest.skip(f"no IPv6 here: {error}")
        push = sockets.open("push", zmq.PUSH, connect=[at])
        push.send(b"six")
        assert pull.recv() == b"six"
