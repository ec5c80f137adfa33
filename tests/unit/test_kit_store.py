"""The store: whatever moment the machine stops at, the old value is there or the new one."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.kit.store import Store, state_directory

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@settings(max_examples=20)
@given(st.lists(st.tuples(st.text(max_size=3), json_values), max_size=8))
def test_what_was_put_is_read_back(puts: list[tuple[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "state.json"
        store = Store(path)
        for key, value in puts:
            store.put(key, value)
        assert store.values == dict(puts)
        assert Store(path).values == dict(puts)


class PowerLoss(BaseException):
    """The machine stops here."""


class Disk:
    """Counts what is done to files, and stops the machine at one of these steps.

    When power is lost, all that was written and not yet synced is gone: the worst that can happen.
    """

    def __init__(self, stop_at: int) -> None:
        self.steps = 0
        self._stop_at = stop_at
        self._unsynced: set[int] = set()

    def step(self) -> None:
        self.steps += 1
        if self.steps == self._stop_at:
            raise PowerLoss

    def wrote(self, file: io.IOBase) -> None:
        self._unsynced.add(os.fstat(file.fileno()).st_ino)

    def synced(self, number: int) -> None:
        self._unsynced.discard(os.fstat(number).st_ino)

    def lose(self, directory: Path) -> None:
        for path in directory.iterdir():
            if path.stat().st_ino in self._unsynced:
                path.write_bytes(b"\0garbage")


@contextmanager
def watched(disk: Disk) -> Iterator[None]:
    """Let every operation on files pass by the disk, before and after it is done."""
    with pytest.MonkeyPatch.context() as patch:

        def stepped(module: Any, name: str, then: Callable[..., None] | None = None) -> None:
            real = getattr(module, name)

            def call(*args: Any, **kwargs: Any) -> Any:
                disk.step()
                result = real(*args, **kwargs)
                if then:
                    then(result, *args)
                try:
                    disk.step()
                except PowerLoss:
                    if isinstance(result, io.IOBase):
                        result.close()
                    elif name == "open":
                        os.close(result)
                    raise
                return result

            patch.setattr(module, name, call)

        stepped(io, "open", lambda file, *_: disk.wrote(file))
        stepped(os, "fsync", lambda _, number: disk.synced(number))
        for name in ("open", "close", "replace", "rename"):
            stepped(os, name)
        yield


def put_until(path: Path, stop_at: int, value: Any) -> int | None:
    """Put a value, and lose power at a step; give the number of steps if there were fewer."""
    store = Store(path)
    disk = Disk(stop_at)
    try:
        with watched(disk):
            store.put("key", value)
    except PowerLoss:
        disk.lose(path.parent)
        return None
    return disk.steps


@pytest.mark.parametrize("old", [None, "old"])
def test_power_lost_at_any_step_leaves_the_old_value_or_the_new(tmp_path: Path, old: Any) -> None:
    path = tmp_path / "state.json"
    if old:
        Store(path).put("key", old)
        Store(path).put("other", 1)
    was_new = False
    for stop_at in range(1, 100):
        steps = put_until(path, stop_at, "new")
        now = Store(path).values
        assert now.get("key") in (("new",) if was_new or steps else (old, "new"))
        assert now.get("other") == (1 if old else None)
        was_new = was_new or now.get("key") == "new"
        if steps is not None:
            assert steps >= 10, "open, sync, replace, open, sync, close: were they watched?"
            return
    pytest.fail("it never came to an end")


def test_kill_9_at_any_moment_loses_nothing_that_was_put(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    code = (
        "import sys; from pathlib import Path; from apps.kit.store import Store\n"
        "store = Store(Path(sys.argv[1]))\n"
        "for n in range(10**9): store.put('n', n); print(n, flush=True)\n"
    )
    for _ in range(3):
        child = subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE)
        assert child.stdout is not None
        with child, child.stdout:
            told = [int(child.stdout.readline()) for _ in range(30)]
            child.send_signal(signal.SIGKILL)
            told += [int(line) for line in child.stdout.read().split()]
        assert Store(path).values["n"] in (told[-1], told[-1] + 1)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "Expecting value"),
        (b'{"a": 1', "Expecting ',' delimiter"),
        (b'{"a": 1}{"b": 2}', "Extra data"),
        (b"[1, 2]", "it holds no JSON object"),
        (b"\xff\0\x12garbage", "can't decode byte 0xff"),
        (b"[" * 100_000, "recursion"),
    ],
)
def test_a_file_that_is_no_store_is_refused_and_left_as_it_is(
    tmp_path: Path, content: bytes, says: str
) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is not a store") as refused:
        Store(path)
    assert str(path) in str(refused.value)
    assert says in str(refused.value)
    assert "move it away" in str(refused.value)
    assert path.read_bytes() == content


def test_what_cannot_be_written_leaves_everything_as_it_was(tmp_path: Path) -> None:
    store = Store(tmp_path / "state.json")
    store.put("a", 1)
    with pytest.raises(TypeError, match="not JSON serializable"):
        store.put("b", {1, 2})
    assert store.values == Store(tmp_path / "state.json").values == {"a": 1}


def test_its_values_change_by_put_alone(tmp_path: Path) -> None:
    store = Store(tmp_path / "state.json")
    value = [1]
    store.put("list", value)
    value.append(2)
    store.values["list"].append(3)
    store.put("other", 1)
    assert store.values["list"] == Store(tmp_path / "state.json").values["list"] == [1]


def test_stores_side_by_side_do_not_share_a_temporary_file(tmp_path: Path) -> None:
    for name in ("a.json", "a.db"):
        (tmp_path / f"{name}.new").mkdir()
        with pytest.raises(IsADirectoryError, match=name):
            Store(tmp_path / name).put("a", 1)


def test_the_state_directory_is_the_units_or_the_working_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    assert state_directory() == Path()
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/x")
    assert state_directory() == Path("/var/lib/x")
