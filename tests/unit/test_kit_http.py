"""HTTP for clients: what an answer that is none leaves known, and what is asked for again."""

from __future__ import annotations

import random
import select
import socket
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from apps.kit import http
from apps.kit.address import Address
from apps.kit.http import Http, Reply
from apps.kit.outcome import Refused, Unknown
from apps.kit.retry import Deadline
from tests.loopback import PATIENCE, Record

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
TORN = b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhi"
BUSY = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"


@contextmanager
def answering(answers: Sequence[bytes]) -> Iterator[Http]:
    """Give a client of a server that gives these answers, each over a connection that it closes."""

    def serve() -> None:
        for answer in answers:
            peer, _ = listening.accept()
            with peer:
                peer.recv(65536)
                peer.sendall(answer)

    def judge(reply: Reply) -> None:
        if reply.status == 503:
            raise Refused("busy")

    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as pool:
        served = pool.submit(serve)
        client = Http(Address(*listening.getsockname()), Record().events, random.Random(1), judge)
        yield client
        client.close()
        served.result(timeout=30)


def call(client: Http, *, idempotent: bool = True) -> Reply:
    return client.call("POST", "/", Deadline(30), b"x", {}, idempotent=idempotent)


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1", TORN, b"hello\r\n\r\n"])
def test_half_an_answer_is_none(answer: bytes) -> None:
    with answering([answer]) as client, pytest.raises(Unknown):
        call(client, idempotent=False)
    with answering([answer, OK]) as client:
        assert call(client) == Reply(200, b"hi", after_unknown=True)


def test_what_was_refused_is_asked_again_in_any_case() -> None:
    with answering([BUSY, BUSY, OK]) as client:
        assert call(client, idempotent=False) == Reply(200, b"hi")


def test_what_is_unknown_stays_so_over_a_later_refusal() -> None:
    with answering([TORN, BUSY]) as client, pytest.raises(Unknown):
        client.call("POST", "/", Deadline(1), b"x", {})


def test_a_connection_that_was_closed_meanwhile_is_not_used() -> None:
    with answering([OK, OK]) as client:
        call(client, idempotent=False)
        idle = client._connection
        assert idle
        select.select([idle.sock], [], [], PATIENCE)  # until its end has come
        assert call(client, idempotent=False) == Reply(200, b"hi")


def test_an_answer_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "ANSWER_MOST", 1)
    with answering([OK]) as client, pytest.raises(Unknown, match="above 1 bytes"):
        call(client, idempotent=False)
