r"""Framing: cut a stream of bytes into messages, without ever holding more than one frame's limit.

TCP carries bytes, not messages: one `recv` may hold half a message or three. A decoder is fed
whatever arrived and gives back the frames that are whole. It refuses a frame that is too long as
soon as that is known: at the length prefix, or when the line passes the limit, never after
reading it all.
"""

from __future__ import annotations

import struct
from typing import Protocol


class FrameError(Exception):
    """The peer broke the framing; the stream cannot be trusted after it."""


class FrameTooLong(FrameError):
    """A frame is longer than the limit."""

    def __init__(self, limit: int) -> None:
        """`limit` is in bytes."""
        super().__init__(f"frame too long: the limit is {limit} bytes")


class Truncated(FrameError):
    """The stream ended in the middle of a frame."""

    def __init__(self, held: int) -> None:
        """`held` bytes of an unfinished frame were there."""
        super().__init__(f"stream ended inside a frame, after {held} bytes of it")


class Framing(Protocol):
    """How messages are cut out of one stream, and put on one. One object serves one stream."""

    def encode(self, frame: bytes) -> bytes:
        """Give the bytes that carry this frame; FrameError if it cannot be carried."""

    def feed(self, data: bytes) -> list[bytes]:
        """Take what arrived, give the frames that are whole now; FrameTooLong if one cannot be."""

    def end(self) -> None:
        """Take note that the stream ended; Truncated if it ended inside a frame."""


class Lines:
    r"""Frames end with `\n`; every `\r` before it is dropped, so that `nc -C` and telnet work."""

    def __init__(self, limit: int = 65536) -> None:
        """`limit` is the longest line in bytes, without its end."""
        self._limit = limit
        self._held = bytearray()

    def encode(self, frame: bytes) -> bytes:
        r"""Append `\n`; a frame that holds one, or ends like a line's end, cannot be a line."""
        if b"\n" in frame or frame.endswith(b"\r"):
            raise FrameError("a line cannot hold a line break")
        if len(frame) > self._limit:
            raise FrameTooLong(self._limit)
        return frame + b"\n"

    def feed(self, data: bytes) -> list[bytes]:
        """See `Framing.feed`."""
        lines: list[bytes] = []
        *ends, rest = data.split(b"\n")
        for end in ends:
            self._hold(end)
            lines.append(bytes(self._held).rstrip(b"\r"))
            self._held.clear()
        self._hold(rest)
        return lines

    def end(self) -> None:
        """See `Framing.end`."""
        if self._held:
            raise Truncated(len(self._held))

    def _hold(self, part: bytes) -> None:
        r"""Add to the line that is under way; beyond the limit there may only be one `\r`."""
        length = len(self._held) + len(part)
        allowed = self._limit + (part or self._held).endswith(b"\r")
        if length > allowed:
            raise FrameTooLong(self._limit)
        self._held += part


class LengthPrefixed:
    """Frames follow their length, four bytes, big-endian (network byte order, RFC 1700)."""

    _PREFIX = struct.Struct("!I")

    def __init__(self, limit: int = 1 << 20) -> None:
        """`limit` is the longest frame in bytes, without its prefix."""
        self._limit = limit
        self._held = bytearray()

    def encode(self, frame: bytes) -> bytes:
        """Prepend the length."""
        if len(frame) > self._limit:
            raise FrameTooLong(self._limit)
        return self._PREFIX.pack(len(frame)) + frame

    def feed(self, data: bytes) -> list[bytes]:
        """See `Framing.feed`."""
        self._held += data
        frames: list[bytes] = []
        at = 0
        while len(self._held) - at >= self._PREFIX.size:
            (length,) = self._PREFIX.unpack_from(self._held, at)
            if length > self._limit:
                raise FrameTooLong(self._limit)
            end = at + self._PREFIX.size + length
            if len(self._held) < end:
                break
            frames.append(bytes(self._held[at + self._PREFIX.size : end]))
            at = end
        del self._held[:at]
        return frames

    def end(self) -> None:
        """See `Framing.end`."""
        if self._held:
            raise Truncated(len(self._held))
