"""metrics' spool: what was appended is there after a crash at any byte, and never too much."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.metrics import spool as module
from apps.metrics.spool import Full, Spool

MOST = 1 << 16


def held(spool: Spool) -> list[bytes]:
    return [payload for _, payload in spool.after(0, MOST)]


def test_it_is_a_queue_that_outlives_its_process(tmp_path: Path) -> None:
    with Spool(tmp_path / "spool", MOST) as spool:
        spool.append([b"one", b"two"])
        spool.append([b"three"])
        (first, _), *_ = spool.after(0, MOST)
        spool.drop([first])
        assert held(spool) == [b"two", b"three"]
        assert spool.after(first, 1) == [(first + 1, b"two")]
    with Spool(tmp_path / "spool", MOST) as spool:
        # What was dropped of a segment that is still there comes once more.
        assert held(spool) == [b"one", b"two", b"three"]
        assert spool.last == b"three"
        spool.append([b"four"])
        assert held(spool)[-1] == b"four"


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_a_torn_tail_is_cut_away(data: st.DataObject, tmp_path_factory: Any) -> None:
    home = tmp_path_factory.mktemp("spool")
    with Spool(home, MOST) as spool:
        spool.append([b"kept"])
        whole = spool.taken
        spool.append([b"under way", b"when the power failed"])
    (path,) = home.glob("*.spool")
    size = path.stat().st_size
    cut = data.draw(st.integers(whole, size - 1))
    if data.draw(st.booleans()):
        os.truncate(path, cut)
    else:  # the size was written, the data was not
        with path.open("r+b") as file:
            file.seek(cut)
            file.write(bytes(size - cut))
    with Spool(home, MOST) as spool:
        assert held(spool)[0] == b"kept"
        assert held(spool)[1:] in ([], [b"under way"])
        assert not spool.damaged
        spool.append([b"again"])
    with Spool(home, MOST) as spool:
        assert held(spool)[-1] == b"again"


def test_above_its_bound_it_is_full_and_nothing_of_it_is_kept(tmp_path: Path) -> None:
    with Spool(tmp_path, 100) as spool:
        spool.append([b"x" * 50])
        with pytest.raises(Full, match="58 of 100 bytes"):
            spool.append([b"y", b"z" * 50])
        assert held(spool) == [b"x" * 50]


def test_segments_go_when_all_of_them_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SEGMENT", 20)
    with Spool(tmp_path, MOST) as spool:
        for number in range(10):
            spool.append([f"record {number}".encode()])
        assert len(list(tmp_path.iterdir())) == 5
        spool.drop(number for number, _ in spool.after(0, MOST))
        assert len(list(tmp_path.iterdir())) == 1
        assert len(spool) == 0
        spool.append([b"next"])
        assert len(list(tmp_path.iterdir())) == 1
        assert held(spool) == [b"next"]
    with Spool(tmp_path, MOST) as spool:
        assert held(spool) == [b"next"]


def test_a_damaged_segment_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SEGMENT", 20)
    with Spool(tmp_path, MOST) as spool:
        for number in range(4):
            spool.append([f"record {number}".encode()])
    first = min(tmp_path.iterdir())
    first.write_bytes(first.read_bytes()[:-1] + b"?")
    with Spool(tmp_path, MOST) as spool:
        assert spool.damaged == 1
        assert held(spool) == [b"record 0", b"record 2", b"record 3"]


def test_what_the_disk_does_not_take_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_file: int) -> None:
        raise OSError(28, "No space left on device")

    with Spool(tmp_path, MOST) as spool:
        spool.append([b"one"])
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", fails)
            with pytest.raises(OSError, match="No space"):
                spool.append([b"two"])
        assert held(spool) == [b"one"]
        spool.append([b"three"])
    with Spool(tmp_path, MOST) as spool:
        assert held(spool) == [b"one", b"three"]
