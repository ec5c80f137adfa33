"""What the canonical server, the edges and the clients say to each other, over HTTP.

An image carries its digest (Content-Digest, RFC 9530), so that nobody passes on or keeps bytes
that are not the canonical ones; a validator (ETag) and the time that it stays fresh (RFC 9111);
and, from an edge, how the cache took part in the answer (Cache-Status, RFC 9211). What a leader
does for its followers carries the epoch that it leads in.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from apps.bully.messages import Epoch
from apps.edge_cache.images import media_type

LONGEST = 1 << 20
"""Bytes of an image."""
_ID = re.compile(r"0|[1-9][0-9]{0,8}")
_DIGEST = re.compile(r"sha-256=:([A-Za-z0-9+/]{43}=):")
_SECONDS = re.compile(r"(?:.*[ ,])?max-age=([0-9]{1,9})(?:[ ,].*)?")
_TAG = re.compile(r'"[!#-~]{1,100}"')
_EPOCH = re.compile(r"([0-9]{1,15})\.([0-9]{1,9})")


class BadImage(ValueError):
    """What came is no image, or not the one that it says it is: it is not kept, nor passed on."""


class BadRequest(ValueError):
    """What was asked for cannot be: the text says what can."""


@dataclass(frozen=True)
class Picture:
    """An image, and what the canonical server says of it."""

    body: bytes
    etag: str
    max_age: int
    """Seconds that it stays fresh, from when the canonical server gave it."""

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of its bytes, in hexadecimal digits."""
        return hashlib.sha256(self.body).hexdigest()

    @cached_property
    def headers(self) -> dict[str, str]:
        """What an answer that has it says of it."""
        digest = base64.b64encode(bytes.fromhex(self.digest)).decode()
        return {
            "ETag": self.etag,
            "Cache-Control": f"max-age={self.max_age}",
            "Content-Digest": f"sha-256=:{digest}:",
        }

    @property
    def content_type(self) -> str:
        """What its bytes say that it is."""
        return media_type(self.body) or "application/octet-stream"


def picture_of(body: bytes, headers: Mapping[str, str]) -> Picture:
    """Make a picture of an answer, or of a replica; BadImage if it is not what it says."""
    said = _DIGEST.fullmatch(headers.get("Content-Digest", ""))
    if said is None:
        raise BadImage(
            "it has no Content-Digest with a SHA-256, so nobody knows whether it is whole"
        )
    if base64.b64decode(said[1]) != hashlib.sha256(body).digest():
        raise BadImage("its bytes are not those of its Content-Digest")
    if media_type(body) is None:
        raise BadImage("it is neither PNG nor JPEG")
    etag = headers.get("ETag", "")
    if not _TAG.fullmatch(etag):
        raise BadImage(f"it has no strong ETag: {etag!r:.60}")
    return Picture(body, etag, max_age_of(headers))


def max_age_of(headers: Mapping[str, str]) -> int:
    """Give the seconds that an answer stays fresh; 0 if it does not say."""
    found = _SECONDS.fullmatch(headers.get("Cache-Control", ""))
    return int(found[1]) if found else 0


def age_of(headers: Mapping[str, str]) -> int:
    """Give the seconds since the canonical server gave it; 0 if an answer does not say."""
    age = headers.get("Age", "0")
    return int(age) if age.isdecimal() and age.isascii() and len(age) < 10 else 0


def image_id(text: str) -> int:
    """Read an image's id; BadRequest says what one is."""
    if not _ID.fullmatch(text):
        raise BadRequest(
            f"{text!r:.80} is no image's id: that is a whole number from 0 to 999999999"
        )
    return int(text)


def epoch_text(epoch: Epoch) -> str:
    """Write an epoch as the header `Epoch` has it: `7.2`."""
    return f"{epoch[0]}.{epoch[1]}"


def read_epoch(headers: Mapping[str, str]) -> Epoch:
    """Read the header `Epoch`; BadRequest if there is none."""
    text = headers.get("Epoch", "")
    found = _EPOCH.fullmatch(text)
    if found is None:
        raise BadRequest(f"the header Epoch must be NUMBER.RANK, as in 7.2, not {text!r:.60}")
    return int(found[1]), int(found[2])
