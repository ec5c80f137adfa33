"""The echo server: one line in, one line out, for many clients at once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from apps.kit.tcp import Answer


def stamp() -> str:
    """Give the server's time, RFC 3339 in UTC with microseconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def complain(why: str) -> bytes:
    """Give the line that says what was wrong; no echo begins so, for an echo begins with a year."""
    return f"error: {why}".encode()


def sessions(limit: int) -> Callable[[str], Answer]:
    """Give what opens a peer's session; `limit` is the longest line, a reply's too, in bytes."""

    async def answer(line: bytes) -> bytes:
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            return complain(f"not UTF-8 at byte {error.start} of the line")
        reply = f"{stamp()} {text}".encode()
        if len(reply) > limit:
            return complain(f"too long to echo: {len(reply)} bytes with its time, of {limit}")
        return reply

    return lambda _peer: answer
