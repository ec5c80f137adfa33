"""The log on a disk: what a crash, a full disk and a damaged one do to it."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.kit.store import NoRoom
from apps.replicated_log.entries import Entry, decode, encode
from apps.replicated_log.storage import Damaged, LogFile

LOG = "ab" * 16
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""A sync to a disk would be waited for a hundred times."""
entries = st.builds(Entry, st.text(max_size=50), st.text(max_size=5), st.integers(0, 2**63 - 1))


def some(count: int, start: int = 0) -> list[Entry]:
    return [Entry(f"message {number}", "c", number) for number in range(start, start + count)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def written(path: Path) -> Path:
    """Three writes of two entries each."""
    with LogFile(path) as log:
        for start in (0, 2, 4):
            log.append(some(2, start), LOG)
    return path


def used(path: Path) -> int:
    """Give where the zeros begin into which the log will grow."""
    return len(path.read_bytes().rstrip(b"\0"))


@given(st.lists(entries, max_size=10))
def test_entries_come_back_from_their_bytes(given: list[Entry]) -> None:
    assert decode(encode(given)) == given


@given(st.lists(entries, min_size=1, max_size=3), st.data())
def test_a_part_of_the_bytes_is_refused(given: list[Entry], data: st.DataObject) -> None:
    whole = encode(given)
    cut = data.draw(st.integers(1, len(whole) - 1))
    with contextlib.suppress(ValueError):  # it may end where an entry does
        found = decode(whole[:cut])
        assert found == given[: len(found)]


def test_what_was_appended_is_there_when_it_is_opened_again(written: Path) -> None:
    seen: list[tuple[int, Entry]] = []
    with LogFile(written, lambda offset, entry: seen.append((offset, entry))) as log:
        assert (log.length, log.identity, log.repaired) == (6, LOG, 0)
        assert log.read(0, 100) == some(6)
        assert log.read(3, 2) == some(2, 3)
        assert log.read(6, 100) == []
    assert seen == list(enumerate(some(6)))


def test_what_is_found_is_synced_before_anybody_is_told(
    written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is killed may leave what the kernel shows, and no disk has."""
    synced: list[Path] = []
    monkeypatch.setattr(
        os, "fsync", lambda file: synced.append(Path(f"/proc/self/fd/{file}").readlink())
    )
    with LogFile(written) as log:
        assert log.length == 6
        assert written in synced


def test_a_new_log_keeps_its_identity(path: Path) -> None:
    with LogFile(path) as log:
        assert (log.identity, log.length) == ("", 0)
        log.append((), LOG)
    with LogFile(path) as log:
        log.append(some(1), "cd" * 16)
        assert (log.identity, log.length) == (LOG, 1)


@given(st.randoms(use_true_random=False))
def test_a_torn_tail_is_cut_off_and_nothing_else(rng: random.Random) -> None:
    """A crash leaves any bytes of the last write, and of these any are zeros still."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as home:
        path = Path(home) / "log"
        with LogFile(path) as log:
            log.append(some(3), LOG)
            before = used(path)
            log.append([Entry(rng.randbytes(200).hex(), "", 0)], LOG)
        data = bytearray(path.read_bytes())
        torn = rng.randrange(before, used(path))
        data[torn:] = bytes(len(data) - torn)
        for place in range(before, torn):
            data[place] *= rng.random() < 0.9
        path.write_bytes(data)
        with LogFile(path) as log:
            assert log.read(0, 10) == some(3)
            log.append(some(1, 3), LOG)
            assert log.read(0, 10) == some(4)


def test_damage_in_the_middle_is_refused_and_nothing_changed(written: Path) -> None:
    data = bytearray(written.read_bytes())
    data[data.index(b"message 2") + 8] ^= 1
    written.write_bytes(data)
    with pytest.raises(Damaged, match="good records follow"):
        LogFile(written)
    assert written.read_bytes() == data


def test_a_damaged_header_is_refused(written: Path) -> None:
    data = bytearray(written.read_bytes())
    data[20] ^= 1
    written.write_bytes(data)
    with pytest.raises(Damaged, match="does not begin"):
        LogFile(written)


def test_a_torn_header_is_begun_anew(path: Path) -> None:
    path.write_bytes(b"distlab log 1\n\0\0torn")
    with LogFile(path) as log:
        assert (log.identity, log.length) == ("", 0)
        log.append(some(1), LOG)
        assert log.read(0, 10) == some(1)


def test_somebody_elses_file_is_left_alone(path: Path) -> None:
    path.write_text("a shopping list, and a long one: " + "bread, butter, " * 10)
    with pytest.raises(Damaged):
        LogFile(path)


def test_a_record_in_a_message_is_no_record(path: Path, tmp_path: Path) -> None:
    """A client that knows the format, and not the identity, cannot forge one."""
    with LogFile(tmp_path / "other") as other:
        other.append(some(1), "00" * 16)
    forged = (tmp_path / "other").read_bytes()[36:100].decode("latin-1")
    with LogFile(path) as log:
        log.append(some(1), LOG)
        before = used(path)
        log.append([Entry("x" * 100 + forged)], LOG)
    data = bytearray(path.read_bytes())
    data[before + 30] ^= 1
    path.write_bytes(data)
    with LogFile(path) as log:
        assert log.read(0, 10) == some(1)
        assert log.repaired


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """A disk that takes so many bytes of a file; a write that reaches beyond is short."""
    room = {"left": 4096}
    pwrite = os.pwrite

    def bounded(file: int, data: Any, place: int) -> int:
        if place >= room["left"]:
            raise OSError(errno.ENOSPC, "no space")
        return pwrite(file, bytes(data)[: room["left"] - place], place)

    monkeypatch.setattr(os, "pwrite", bounded)
    return room


def test_a_full_disk_refuses_an_append_and_loses_nothing(path: Path, small: dict[str, int]) -> None:
    with LogFile(path) as log:
        log.append(some(2), LOG)
        with pytest.raises(NoRoom):
            log.append([Entry("x" * 5000)], LOG)
        assert log.read(0, 10) == some(2)
        assert path.stat().st_size == used(path)
        log.append(some(1, 2), LOG)
        small["left"] = 1 << 30
        log.append([Entry("x" * 5000)], LOG)
    with LogFile(path) as log:
        assert log.read(0, 10) == [*some(3), Entry("x" * 5000)]


def test_a_long_log_is_read_by_offset(path: Path) -> None:
    """Longer than any index step, so that the index is used."""
    with LogFile(path) as log:
        for start in range(0, 3000, 100):
            log.append([Entry("y" * 100 + str(n)) for n in range(start, start + 100)], LOG)
        for offset in (0, 1, 99, 100, 1234, 2999):
            assert log.read(offset, 2)[0].message.endswith(f"y{offset}")
        assert len(log._points) > 3
        assert len(log.read(0, 10_000, 20_000)) < 400
