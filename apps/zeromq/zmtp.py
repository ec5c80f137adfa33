"""ZMTP 3.1 by hand: the bytes of a connection, for peers that know no library, or mean no good.

A connection is greeting, READY command, frames, in both directions; the NULL mechanism has no
secrets. Both ends must be ready before the first frame: who sends blindly rests before it.

Source: rfc.zeromq.org/spec/37 (ZMTP 3.1).
"""

from __future__ import annotations

from collections.abc import Sequence

GREETING = b"\xff" + bytes(8) + b"\x7f" + b"\x03\x01" + b"NULL".ljust(20, b"\0") + bytes(32)
"""Signature, version, mechanism, as-server, filler."""

_MORE, _LONG, _COMMAND = 1, 2, 4


def ready(kind: str) -> bytes:
    """Give the READY command of a socket of this type, such as `REQ`."""
    body = b"\x05READY" + _property("Socket-Type", kind) + _property("Identity", "")
    return bytes([_COMMAND, len(body)]) + body


def message(frames: Sequence[bytes]) -> bytes:
    """Give a message; that of a REQ begins with an empty frame."""
    last = len(frames) - 1
    return b"".join(_frame(frame, more=place < last) for place, frame in enumerate(frames))


def huge(size: int) -> bytes:
    """Give the head of a frame of so many bytes, which need not follow."""
    return bytes([_LONG]) + size.to_bytes(8, "big")


def shell(*parts: bytes) -> str:
    """Give the shell's command that writes these bytes, with a rest between the parts."""
    written = ("printf '" + "".join(f"\\{b:03o}" for b in part) + "'" for part in parts)
    return f"({'; sleep 0.5; '.join(written)})"


def _property(name: str, value: str) -> bytes:
    return bytes([len(name)]) + name.encode() + len(value).to_bytes(4, "big") + value.encode()


def _frame(data: bytes, *, more: bool) -> bytes:
    flag = _MORE if more else 0
    if len(data) < 256:
        return bytes([flag, len(data)]) + data
    return bytes([flag | _LONG]) + len(data).to_bytes(8, "big") + data
