"""Framing: however the stream is cut into chunks, the frames are the same, and none is too long."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.kit.framing import (
    FrameError,
    FrameTooLong,
    Framing,
    LengthPrefixed,
    Lines,
    Truncated,
)

LIMIT = 8
KINDS: list[Callable[[], Framing]] = [lambda: Lines(LIMIT), lambda: LengthPrefixed(LIMIT)]
both = pytest.mark.parametrize("kind", KINDS, ids=["lines", "length-prefixed"])

frames = st.lists(st.binary(max_size=LIMIT))
streams = st.one_of(
    st.binary(max_size=100),
    st.lists(st.sampled_from([b"\n", b"\r", b"\r\n", b"x", b"x" * (LIMIT - 1)])).map(b"".join),
    st.lists(st.sampled_from([b"\0\0\0", b"\1", b"\0\0\0\x08", b"x" * LIMIT])).map(b"".join),
)


def cut(data: bytes, at: Iterable[int]) -> list[bytes]:
    """Cut where `at` says; every chunk is at least a byte, as a read is."""
    edges = sorted({0, len(data), *(n % len(data) for n in at if data)})
    return [data[a:b] for a, b in itertools.pairwise(edges)]


def read(framing: Framing, chunks: Iterable[bytes]) -> tuple[list[bytes], type[FrameError] | None]:
    """Give the frames, and the error that ended them."""
    got: list[bytes] = []
    try:
        for chunk in chunks:
            got += framing.feed(chunk)
            assert held(framing) <= LIMIT + 4
        framing.end()
    except FrameError as error:
        return got, type(error)
    return got, None


def held(framing: Framing) -> int:
    """Give how many bytes are kept for later; what is refused does not count."""
    return len(framing._held)  # type: ignore[attr-defined]


@both
@given(frames, st.lists(st.integers(0)))
def test_frames_come_back_however_the_stream_is_cut(
    kind: Callable[[], Framing], sent: list[bytes], at: list[int]
) -> None:
    out = kind()
    carried: list[bytes] = []
    stream = b""
    for frame in sent:
        try:
            stream += out.encode(frame)
        except FrameError:
            assert isinstance(out, Lines)
            assert b"\n" in frame or frame.endswith(b"\r")
        else:
            carried.append(frame)
    assert read(kind(), cut(stream, at)) == (carried, None)


@both
@given(streams, st.lists(st.integers(0)))
def test_any_stream_ends_alike_however_it_is_cut(
    kind: Callable[[], Framing], stream: bytes, at: list[int]
) -> None:
    whole, error = read(kind(), cut(stream, range(len(stream))))
    got, other = read(kind(), cut(stream, at))
    assert other is error
    assert got == whole[: len(got)], "what came in one chunk with an error is lost with it"
    assert error or got == whole
    for frame in got:
        assert len(frame) <= LIMIT
        assert read(kind(), [kind().encode(frame)]) == ([frame], None), "it can be passed on"


@given(streams)
def test_lines_are_what_a_plain_reader_would_see(stream: bytes) -> None:
    *lines, rest = stream.split(b"\n")
    got, error = read(Lines(LIMIT), cut(stream, range(len(stream))))
    fit = [len(line) <= LIMIT + line.endswith(b"\r") for line in lines]
    if all(fit):
        assert got == [line.rstrip(b"\r") for line in lines]
        assert error in ((Truncated, FrameTooLong) if rest else (None,))
    else:
        assert got == [line.rstrip(b"\r") for line in lines[: fit.index(False)]]
        assert error is FrameTooLong


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_the_longest_line_is_exactly_the_limit(end: bytes) -> None:
    assert Lines(LIMIT).feed(b"x" * LIMIT + end) == [b"x" * LIMIT]
    with pytest.raises(FrameTooLong, match="the limit is 8 bytes"):
        Lines(LIMIT).feed(b"x" * (LIMIT + 1) + end)
    assert Lines(LIMIT).encode(b"x" * LIMIT) == b"x" * LIMIT + b"\n"
    with pytest.raises(FrameTooLong):
        Lines(LIMIT).encode(b"x" * (LIMIT + 1))


def test_a_line_is_refused_before_its_end_comes() -> None:
    lines = Lines(LIMIT)
    assert lines.feed(b"x" * LIMIT) == []
    with pytest.raises(FrameTooLong):
        lines.feed(b"x")


def test_a_length_is_refused_before_its_frame_comes() -> None:
    with pytest.raises(FrameTooLong):
        LengthPrefixed(LIMIT).feed(b"\0\0\0\x09")
    with pytest.raises(FrameTooLong):
        LengthPrefixed(LIMIT).encode(b"x" * 9)


@pytest.mark.parametrize("frame", [b"a\nb", b"\n", b"a\r"])
def test_a_line_break_cannot_be_hidden_in_a_line(frame: bytes) -> None:
    with pytest.raises(FrameError, match="cannot hold a line break"):
        Lines(LIMIT).encode(frame)


@both
def test_a_stream_that_stops_inside_a_frame_is_truncated(kind: Callable[[], Framing]) -> None:
    framing = kind()
    framing.end()
    framing.feed(b"\0\0")
    with pytest.raises(Truncated, match="after 2 bytes of it"):
        framing.end()
