"""The original images: PNG files, drawn from their numbers, alike wherever they are drawn.

A tartan with a field of noise below it. The noise does not compress, so an image has some tens of
kilobytes, as photographs for the web do. (PNG: W3C Recommendation, third edition, 2025.)
"""

from __future__ import annotations

import random
import struct
import zlib

WIDTH = 160
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"


def draw(number: int) -> bytes:
    """Give the image of this number as a PNG file."""
    rng = random.Random(number)
    height, plain = rng.randrange(64, 257), rng.randrange(32, 64)
    colours = [bytes(rng.randrange(256) for _ in range(3)) for _ in range(8)]
    stripes = [rng.choice(colours) * rng.randrange(4, 24) for _ in range(40)]
    thread = b"".join(stripes)[: 3 * WIDTH]
    rows = [thread if row // 4 % 2 else rng.choice(colours) * WIDTH for row in range(plain)]
    rows += [rng.randbytes(3 * WIDTH) for _ in range(height - plain)]
    header = struct.pack("!IIBBBBB", WIDTH, height, 8, 2, 0, 0, 0)  # 8 bits, RGB
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows), 1)
    chunks = [(b"IHDR", header), (b"IDAT", pixels), (b"IEND", b"")]
    return _SIGNATURE + b"".join(_chunk(*chunk) for chunk in chunks)


def media_type(body: bytes) -> str | None:
    """Give what an image's first bytes say that it is; None if they say nothing known."""
    if body.startswith(_SIGNATURE):
        return "image/png"
    return "image/jpeg" if body.startswith(_JPEG) else None


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack("!I", len(data)) + kind + data + struct.pack("!I", zlib.crc32(kind + data))
