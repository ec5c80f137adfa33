"""The echo server: one line in, one line out, for many clients at once."""

from __future__ import annotations

from datetime import UTC, datetime

from apps.kit.tcp import Answer


def stamp() -> str:
    """Give the server's time, RFC 3339 in UTC with microseconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def complain(why: str) -> bytes:
    """Give the line that says what was wrong; no echo begins so, for an echo begins with a year."""
    return f"error: {why}".encode()


def session(_peer: str) -> Answer:
    """Give what answers the lines of one connection; connections share nothing."""

    async def answer(line: bytes) -> bytes:
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            return complain(f"not UTF-8 at byte {error.start} of the line")
        return f"{stamp()} {text}".encode()

    return answer
