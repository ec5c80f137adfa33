"""The ledger: once for each key, no total below zero, and all of it there after another opening."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from apps.kit.ledger import Entry, KeyReused, Ledger, NoRoom, NoSuch, Short

OPENING = {"a": 100, "b": 0}


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "ledger.db", OPENING, most=50)
    yield ledger
    ledger.close()


def test_a_key_makes_one_entry(ledger: Ledger) -> None:
    first = ledger.add("k", {"x": 1}, {"a": -10, "b": 10})
    assert first == (Entry(1, "k", {"x": 1}), False)
    assert ledger.add("k", {"x": 1}, {"a": -10, "b": 10}) == (first[0], True)
    assert (ledger.total("a"), ledger.total("b"), ledger.count()) == (90, 10, 1)


def test_what_cannot_be_added_changes_nothing(ledger: Ledger) -> None:
    ledger.add("k", 1, {})
    with pytest.raises(KeyReused):
        ledger.add("k", 2, {})
    with pytest.raises(Short) as short:
        ledger.add("l", 1, {"b": 5, "a": -101})
    assert (short.value.name, short.value.left) == ("a", 100)
    with pytest.raises(NoSuch):
        ledger.add("l", 1, {"a": -1, "c": 1})
    assert (ledger.total("a"), ledger.total("b"), ledger.count()) == (100, 0, 1)


def test_it_is_there_after_another_opening(ledger: Ledger, tmp_path: Path) -> None:
    for number in range(5):
        ledger.add(str(number), number, {"a": -1, "b": 1})
    ledger.close()
    again = Ledger(tmp_path / "ledger.db", OPENING)
    assert [entry.document for entry in again.entries(1, 3)] == [1, 2, 3]
    assert again.total("b") == 5
    again.close()


def test_it_is_bounded(ledger: Ledger) -> None:
    for number in range(50):
        ledger.add(str(number), None, {})
    with pytest.raises(NoRoom, match="50"):
        ledger.add("more", None, {})
    assert ledger.add("7", None, {})[1]


def test_of_many_writers_of_one_key_one_adds(ledger: Ledger) -> None:
    with ThreadPoolExecutor(8) as pool:
        added = list(pool.map(lambda n: ledger.add(str(n % 5), n % 5, {"a": -1}), range(40)))
    assert sum(not again for _, again in added) == 5
    assert ledger.total("a") == 95


def test_a_broken_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"x" * 5000)
    with pytest.raises(ValueError, match="move the file away"):
        Ledger(tmp_path / "ledger.db", OPENING)
