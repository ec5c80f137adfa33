"""A bad disk without a mount: what it holds, what room it has, and what it forgets."""

from __future__ import annotations

import errno
import itertools
import math
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from lab.faults.onhost.passthrough import Passthrough
from lab.faults.onhost.space import BLOCK, Space
from lab.faults.onhost.unsynced import Unsynced

OFFSETS = st.integers(0, 40)
WRITES = st.tuples(OFFSETS, st.binary(max_size=12))


def patched(content: bytes, offset: int, data: bytes) -> bytes:
    """The model of a write: a file is its bytes, and a hole is zeros."""
    if not data:
        return content
    return content[:offset].ljust(offset, b"\0") + data + content[offset + len(data) :]


@given(synced=st.binary(max_size=20), steps=st.lists(WRITES | OFFSETS), at=OFFSETS, n=OFFSETS)
def test_unsynced_pieces_are_seen_over_the_file(
    synced: bytes, steps: list[tuple[int, bytes] | int], at: int, n: int
) -> None:
    """Writes, and truncations, which cut or lengthen the file below at once."""
    unsynced, below, expected = Unsynced(), synced, synced
    for step in steps:
        if isinstance(step, int):
            unsynced.truncate(step)
            below, expected = below[:step].ljust(step, b"\0"), expected[:step].ljust(step, b"\0")
        else:
            unsynced.write(*step)
            expected = patched(expected, *step)
    assert max(len(below), unsynced.end) == len(expected)
    assert unsynced.merged(at, n, below[at : at + n]) == expected[at : at + n]
    pieces = list(unsynced.pieces())
    assert all(a + len(data) <= b for (a, data), (b, _) in itertools.pairwise(pieces))
    assert len(unsynced) == sum(len(data) for _, data in pieces)
    for offset, data in pieces:
        below = patched(below, offset, data)
    assert below == expected


def test_appended_data_stay_one_piece() -> None:
    unsynced = Unsynced()
    for number in range(1000):
        unsynced.write(number, b"x")
    assert [len(data) for _, data in unsynced.pieces()] == [1000]


@given(free=st.integers(0, 10 * BLOCK), sizes=st.lists(st.integers(0, 12 * BLOCK)))
def test_room_is_what_is_free_less_what_is_taken(free: int, sizes: list[int]) -> None:
    space, size = Space(free), 0
    for wanted in sizes:
        reach = space.reach(size)
        if wanted <= reach:
            space.resize(size, wanted)
            size = wanted
        else:
            with pytest.raises(OSError, match="No space left"):
                space.resize(size, wanted)
    assert space.left == free // BLOCK * BLOCK - -(-size // BLOCK) * BLOCK


def test_room_that_is_given_back_can_be_taken_again() -> None:
    space = Space(2 * BLOCK)
    space.add_name()
    space.resize(0, 1)
    with pytest.raises(OSError, match="No space left"):
        space.add_name()
    space.remove_name(1)
    assert space.left == 2 * BLOCK


def test_endless_space_does_not_end() -> None:
    space = Space(math.inf)
    space.add_name()
    space.resize(0, 2**60)
    assert space.left == math.inf


class Below:
    """A directory, the disk over it, and one open file."""

    def __init__(self, path: Path, **bad: object) -> None:
        self.path = path
        root = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        caller = (os.getuid(), os.getgid(), os.getpid())
        settings = {"free": math.inf, "delay": 0.0, "forgets": False, **bad}
        self.disk = Passthrough(root, lambda: caller, **settings)  # type: ignore[arg-type]
        self.file = self.disk.create("/f", 0o600, os.O_RDWR)

    def seen(self) -> bytes:
        """The file through the disk, in pieces as a kernel asks for them."""
        size = self.disk.getattr("/f")["st_size"]
        parts = [self.disk.read("/f", 7, at, self.file) for at in range(0, size, 7)]
        return b"".join(parts)

    def synced(self) -> bytes:
        return (self.path / "f").read_bytes()

    def close(self) -> None:
        self.disk.release("/f", self.file)
        self.disk.mend()
        os.close(self.disk.root)


@pytest.fixture
def forgetful(tmp_path: Path) -> Iterator[Below]:
    below = Below(tmp_path, forgets=True)
    yield below
    below.close()


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Below]:
    below = Below(tmp_path, free=2 * BLOCK)
    yield below
    below.close()


class ForgetfulDisk(RuleBasedStateMachine):
    """One file against two byte strings: what is seen, and what a loss leaves."""

    @initialize()
    def begin(self) -> None:
        self.directory = tempfile.TemporaryDirectory()
        self.below = Below(Path(self.directory.name), forgets=True)
        self.content = self.durable = b""

    @rule(offset=OFFSETS, data=st.binary(min_size=1, max_size=12))
    def write(self, offset: int, data: bytes) -> None:
        assert self.below.disk.write("/f", data, offset, self.below.file) == len(data)
        self.content = patched(self.content, offset, data)

    @rule(size=OFFSETS)
    def truncate(self, size: int) -> None:
        self.below.disk.truncate("/f", size)
        self.content = self.content[:size].ljust(size, b"\0")
        self.durable = self.durable[:size].ljust(size, b"\0")

    @rule()
    def sync(self) -> None:
        self.below.disk.fsync("/f", 0, self.below.file)
        self.durable = self.content

    @rule()
    def lose(self) -> None:
        """The component is killed, and opens its file anew."""
        self.below.disk.forget()
        self.below.disk.release("/f", self.below.file)
        self.below.file = self.below.disk.open("/f", os.O_RDWR)
        self.content = self.durable

    @invariant()
    def reads_what_was_written(self) -> None:
        assert self.below.seen() == self.content
        assert self.below.synced() == self.durable

    def teardown(self) -> None:
        self.below.close()
        self.directory.cleanup()


TestForgetfulDisk = ForgetfulDisk.TestCase


def test_what_comes_late_from_the_killed_is_lost(forgetful: Below) -> None:
    """The kernel writes a killed process' mappings back when it ends: after the loss."""
    forgetful.disk.write("/f", b"early", 0, forgetful.file)
    assert forgetful.disk.forget() == 5
    assert forgetful.disk.write("/f", b"late", 0, forgetful.file) == 4
    forgetful.disk.fsync("/f", 0, forgetful.file)
    assert forgetful.seen() == forgetful.synced() == b""


def test_unsynced_data_outlive_their_file_s_closing(forgetful: Below) -> None:
    forgetful.disk.write("/f", b"kept", 0, forgetful.file)
    forgetful.disk.release("/f", forgetful.file)
    forgetful.file = forgetful.disk.open("/f", os.O_RDWR)
    assert forgetful.seen() == b"kept"
    assert forgetful.synced() == b""
    forgetful.disk.mend()
    assert forgetful.synced() == b"kept"


def test_unsynced_data_go_with_their_file(forgetful: Below) -> None:
    other = forgetful.disk.create("/g", 0o600, os.O_RDWR)
    forgetful.disk.write("/g", b"over", 0, other)
    forgetful.disk.release("/g", other)
    forgetful.disk.write("/f", b"gone", 0, forgetful.file)
    forgetful.disk.rename("/g", "/f")
    assert forgetful.disk.state()["unsynced"] == 4
    forgetful.disk.unlink("/f")
    assert forgetful.disk.state()["unsynced"] == 0


def test_full_disk_takes_what_fits_and_then_nothing(full: Below) -> None:
    assert full.disk.write("/f", b"x" * 3 * BLOCK, 0, full.file) == BLOCK
    for refused in (
        lambda: full.disk.write("/f", b"x", BLOCK, full.file),
        lambda: full.disk.truncate("/f", BLOCK + 1),
        lambda: full.disk.create("/g", 0o600, os.O_RDWR),
        lambda: full.disk.mkdir("/d", 0o700),
        lambda: full.disk.symlink("/s", "f"),
    ):
        with pytest.raises(OSError, match="No space left") as raised:
            refused()
        assert raised.value.errno == errno.ENOSPC
    assert full.disk.statfs("/")["f_bavail"] == 0
    assert full.disk.write("/f", b"y" * BLOCK, 0, full.file) == BLOCK  # in its place
    assert full.synced() == b"y" * BLOCK


def test_deleting_and_cutting_give_room(full: Below) -> None:
    full.disk.write("/f", b"x" * BLOCK, 0, full.file)
    full.disk.truncate("/f", 0)
    full.disk.mkdir("/d", 0o700)
    full.disk.rmdir("/d")
    other = full.disk.create("/g", 0o600, os.O_RDWR)
    full.disk.release("/g", other)
    full.disk.rename("/g", "/f")
    assert full.disk.state()["left"] == BLOCK


def test_mended_disk_has_room(full: Below) -> None:
    full.disk.mend()
    assert full.disk.write("/f", b"x" * 9 * BLOCK, 0, full.file) == 9 * BLOCK


def test_two_who_make_a_file_at_once_open_the_same(forgetful: Below) -> None:
    again = forgetful.disk.create("/f", 0o600, os.O_RDWR)
    forgetful.disk.write("/f", b"x", 0, again)
    forgetful.disk.release("/f", again)
    assert forgetful.seen() == b"x"
    with pytest.raises(FileExistsError):
        forgetful.disk.create("/f", 0o600, os.O_RDWR | os.O_EXCL)


def test_directory_names_what_is_in_it(full: Below) -> None:
    full.disk.symlink("/s", "f")
    listed = {name: entry["st_ino"] for name, entry, _ in full.disk.readdir("/", 0)}
    assert sorted(listed) == [".", "..", "f", "s"]
    assert all(listed.values())
    assert full.disk.readlink("/s") == "f"


def test_times_can_be_left_or_be_now(full: Below) -> None:
    now, omit = 2**30 - 1, 2**30 - 2
    full.disk.utimens("/f", (5, 6))
    full.disk.utimens("/f", (omit, 7))
    assert (full.path / "f").stat().st_atime_ns == 5
    assert full.disk.getattr("/f")["st_mtime"] == 7
    full.disk.utimens("/f", (now, omit))
    assert (full.path / "f").stat().st_atime_ns > 5
    assert full.disk.getattr("/f")["st_mtime"] == 7
