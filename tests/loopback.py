"""What the kit's tests share: a strict event loop, events that are kept, ports, certificates."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import io
import ipaddress
import json
import os
import random
import socket
import ssl
import struct
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from apps.kit.address import Address
from apps.kit.events import Events

LOOPBACK = Address("127.0.0.1", 0)
PATIENCE = 10.0
"""Seconds that any condition may take to come true; none is expected to take one."""

T = TypeVar("T")

_ports = iter(random.sample(range(15000, 32000), 2000))


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run it, and let nothing be left: no error that only the loop saw, no task, no open file."""
    before = _open_files()
    complaints: list[dict[str, Any]] = []

    async def watched() -> T:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(context))
        async with asyncio.timeout(3 * PATIENCE):
            result = await main
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:  # those that were told to end may still do so
            await asyncio.wait(others, timeout=PATIENCE)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return result

    result = asyncio.run(watched())
    assert complaints == []
    assert _open_files() == before
    return result


def _open_files() -> set[tuple[str, str]]:
    found = set()
    for number in os.listdir("/proc/self/fd"):  # noqa: PTH208
        with contextlib.suppress(OSError):
            found.add((number, str(Path(f"/proc/self/fd/{number}").readlink())))
    return found


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition that nobody announces."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


class Record:
    """Events, and what they wrote."""

    def __init__(self, component: str = "server", node: str = "n1", **options: Any) -> None:
        self.out = io.StringIO()
        self.events = Events("p", component, node, out=self.out, **options)

    def seen(self, *names: str) -> list[dict[str, Any]]:
        """Give the events of these names, or all."""
        events = [json.loads(line) for line in self.out.getvalue().splitlines()]
        return [event for event in events if not names or event["event"] in names]


def free_port(host: str = "127.0.0.1") -> int:
    """Give a port that is free for TCP and for UDP, and that the kernel gives to nobody else.

    It lies below the range that outgoing connections take theirs from (ip_local_port_range), and
    is given once in this process.
    """
    for port in _ports:
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                tcp.bind((host, port))
                udp.bind((host, port))
                return port
    raise AssertionError("no port is free")


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with a reset, as a peer does that crashed."""
    end_by_reset(writer.get_extra_info("socket"))
    writer.transport.abort()


def end_by_reset(sock: socket.socket) -> None:
    """Have a socket's end be a reset, when it is closed."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def certified(directory: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Give two TLS contexts: one has a new certificate for 127.0.0.1, the other trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "loopback")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    chain = directory / "certificate.pem"
    chain.write_bytes(
        certificate.public_bytes(pem)
        + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    having = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    having.load_cert_chain(chain)
    return having, ssl.create_default_context(cafile=str(chain))
