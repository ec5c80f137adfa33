"""The claims of rest_api, over histories that keep them and that break them."""

from __future__ import annotations

from typing import Any

import pytest

from apps.kit.claims import Event
from apps.rest_api.claims import acknowledged_writes_survive, every_outcome_known, keys_create_once


def item(item_id: int, version: int, quantity: int = 0, key: str = "k1") -> dict[str, Any]:
    return {
        "id": item_id,
        "version": version,
        "name": "nut",
        "quantity": quantity,
        "labels": {"key": key},
        "created": "",
        "updated": "",
    }


def content(quantity: int, key: str = "k1") -> dict[str, Any]:
    return {"name": "nut", "quantity": quantity, "labels": {"key": key}}


class History:
    """Writes histories as the client does."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def record(self, event: str, op: str, f: str, value: Any, **fields: Any) -> History:
        self.events.append({"event": event, "op": op, "f": f, "value": value, **fields})
        return self

    def create(self, item_id: int, key: str = "k1") -> History:
        made = item(item_id, 1, key=key)
        self.record("invoke", f"c{len(self.events)}", "create", content(0, key), key=key)
        return self.record("ok", self.events[-1]["op"], "create", made, key=key)

    def patch(self, item_id: int, from_version: int, quantity: int, outcome: str) -> History:
        op = f"p{len(self.events)}"
        value = {"id": item_id, "from": from_version, "content": content(quantity)}
        self.record("invoke", op, "patch", value)
        if outcome == "ok":
            value = item(item_id, from_version + 1, quantity)
        return self.record(outcome, op, "patch", value)

    def delete(self, item_id: int, from_version: int, outcome: str) -> History:
        op = f"d{len(self.events)}"
        value = {"id": item_id, "from": from_version}
        return self.record("invoke", op, "delete", value).record(outcome, op, "delete", value)


@pytest.mark.parametrize(
    ("history", "final"),
    [
        (History().create(1), [item(1, 1)]),
        (History().create(1), [item(1, 1), item(2, 9, 5, "other")]),
        (History().create(1).patch(1, 1, 5, "ok"), [item(1, 2, 5)]),
        (History().create(1).patch(1, 1, 5, "fail"), [item(1, 1)]),
        (History().create(1).patch(1, 1, 5, "unknown"), [item(1, 1)]),
        (History().create(1).patch(1, 1, 5, "unknown"), [item(1, 2, 5)]),
        (History().create(1).delete(1, 1, "ok"), []),
        (History().create(1).delete(1, 1, "unknown"), []),
        (History().create(1).delete(1, 1, "unknown"), [item(1, 1)]),
    ],
)
def test_what_may_be_there_is_accepted(history: History, final: list[dict[str, Any]]) -> None:
    assert acknowledged_writes_survive(history.events, final).holds is True


@pytest.mark.parametrize(
    ("history", "final", "says"),
    [
        (History().create(1), [], "nobody deleted"),
        (History().create(1).patch(1, 1, 5, "ok"), [item(1, 1)], "version 2 was acknowledged"),
        (History().create(1).patch(1, 1, 5, "ok"), [item(1, 2, 6)], "another content"),
        (History().create(1).patch(1, 1, 5, "fail"), [item(1, 2, 5)], "no write of unknown"),
        (History().create(1).patch(1, 1, 5, "unknown"), [item(1, 2, 6)], "no write of unknown"),
        (History().create(1).delete(1, 1, "fail"), [], "nobody deleted"),
        (History().create(1).delete(1, 1, "ok"), [item(1, 1)], "deletion was acknowledged"),
    ],
)
def test_a_lost_or_invented_write_is_found(
    history: History, final: list[dict[str, Any]], says: str
) -> None:
    finding = acknowledged_writes_survive(history.events, final)
    assert finding.holds is False
    assert says in finding.detail
    assert finding.witness


def test_a_client_that_died_has_an_unknown_outcome() -> None:
    history = History().create(1).patch(1, 1, 5, "ok")
    del history.events[-1]
    assert acknowledged_writes_survive(history.events, [item(1, 2, 5)]).holds is True


def test_without_writes_nothing_can_be_told() -> None:
    assert acknowledged_writes_survive([], []).holds is None
    assert keys_create_once(History().create(1).events, [item(1, 1)]).holds is None


def test_a_repeated_key_with_one_item_holds() -> None:
    history = History().create(1).create(1).create(2, "k2")
    finding = keys_create_once(history.events, [item(1, 1), item(2, 1, key="k2")])
    assert finding.holds is True
    assert "1 of 2 keys" in finding.detail


def test_two_answers_with_different_items_break_the_claim() -> None:
    assert keys_create_once(History().create(1).create(2).events, []).holds is False


def test_two_items_of_one_key_break_the_claim() -> None:
    history = History().create(1).create(1)
    finding = keys_create_once(history.events, [item(1, 1), item(2, 1)])
    assert finding.holds is False


def test_outcomes_are_counted_with_the_answers_that_were_lost() -> None:
    events = History().create(1).events
    events += [{"event": "send", "id": "a"}, {"event": "recv", "id": "a/answer"}]
    events.append({"event": "send", "id": "b"})
    finding = every_outcome_known(events)
    assert finding.holds is True
    assert "1 operations answered, 0 not; 1 requests got no answer" in finding.detail
    assert every_outcome_known(History().patch(1, 1, 5, "unknown").create(2).events).holds is False
    assert every_outcome_known([]).holds is None
