"""The resource without a lab: the application by its test client, the storage, a live server."""

from __future__ import annotations

import io
import json
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from apps.kit.events import Events
from apps.rest_api.app import create_app
from apps.rest_api.core import parse_tags
from apps.rest_api.openapi import document
from apps.rest_api.storage import Bounds, Conflict, Full, KeyReused, NoSuchItem, Storage

NUT = {"name": "nut", "quantity": 7, "labels": {"size": "m8"}}
STAMP = "2025-01-01T00:00:00Z"


def anything(_etag: str) -> bool:
    return True


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    storage = Storage(tmp_path / "items.db")
    yield storage
    storage.close()


@pytest.fixture
def app(storage: Storage) -> Flask:
    events = Events("rest_api", "server", "n1", out=io.StringIO())
    return create_app(storage, events, body_limit=4096)


@pytest.fixture
def http(app: Flask) -> FlaskClient:
    return app.test_client()


def problem(answer: TestResponse, status: int) -> Any:
    """Check that an answer is a problem document of this status (RFC 9457); give it."""
    assert answer.status_code == status
    assert answer.content_type == "application/problem+json"
    found = answer.json
    assert found
    assert found["status"] == status
    assert found["detail"]
    assert set(found) <= {"title", "status", "detail", "errors"}
    return found


# The methods


def test_an_item_is_created_read_replaced_patched_and_deleted(http: FlaskClient) -> None:
    made = http.post("/items", json=NUT)
    assert made.status_code == 201
    assert made.headers["ETag"] == '"1"'
    path = made.headers["Location"]
    assert http.get(path).json == made.json

    put = http.put(path, json={"name": "bolt"}, headers={"If-Match": '"1"'})
    assert put.status_code == 200
    assert put.json
    assert (put.json["name"], put.json["quantity"], put.json["version"]) == ("bolt", 0, 2)

    patched = http.patch(
        path,
        data=json.dumps({"quantity": 3, "labels": {"a": "b"}}),
        content_type="application/merge-patch+json",
        headers={"If-Match": put.headers["ETag"]},
    )
    assert patched.status_code == 200
    assert patched.json
    assert patched.json["labels"] == {"a": "b"}
    assert patched.json["name"] == "bolt"

    assert http.delete(path, headers={"If-Match": "*"}).status_code == 204
    problem(http.get(path), 404)
    problem(http.delete(path, headers={"If-Match": "*"}), 404)


def test_a_client_that_has_the_version_already_is_told_so(http: FlaskClient) -> None:
    http.post("/items", json=NUT)
    same = http.get("/items/1", headers={"If-None-Match": 'W/"1"'})
    assert (same.status_code, same.data, same.headers["ETag"]) == (304, b"", '"1"')
    assert http.get("/items/1", headers={"If-None-Match": '"2"'}).status_code == 200


def test_a_change_needs_the_version_that_it_was_made_from(http: FlaskClient) -> None:
    http.post("/items", json=NUT)
    problem(http.put("/items/1", json=NUT), 428)
    problem(http.delete("/items/1"), 428)
    late = http.put("/items/1", json=NUT, headers={"If-Match": '"7"'})
    problem(late, 412)
    assert late.headers["ETag"] == '"1"'
    problem(http.put("/items/1", json=NUT, headers={"If-Match": 'W/"1"'}), 412)
    problem(http.put("/items/1", json=NUT, headers={"If-Match": "1"}), 400)


def test_of_two_changes_from_one_version_one_is_made(http: FlaskClient) -> None:
    http.post("/items", json=NUT)
    header = {"If-Match": '"1"'}
    statuses = [http.put("/items/1", json=NUT, headers=header).status_code for _ in range(2)]
    assert statuses == [200, 412]


@pytest.mark.parametrize(
    ("patch", "pointer", "complaint"),
    [
        ({"name": None}, "/name", "must be a string of 1 to 200 characters"),
        ({"": None}, "/", "an item has no such member"),
        ({"color": "red"}, "/color", "an item has no such member"),
        ({"labels": {"No Name": None}}, "/labels/No Name", "a label's name must match"),
        ({"labels": {"size": 8}}, "/labels/size", "must be a string of 0 to 256 characters"),
    ],
)
def test_a_patch_that_breaks_the_item_changes_nothing(
    http: FlaskClient, patch: dict[str, Any], pointer: str, complaint: str
) -> None:
    http.post("/items", json=NUT)
    answer = http.patch(
        "/items/1",
        data=json.dumps(patch),
        content_type="application/merge-patch+json",
        headers={"If-Match": '"1"'},
    )
    (fault,) = problem(answer, 422)["errors"]
    assert fault["pointer"] == pointer
    assert fault["detail"].startswith(complaint)
    assert http.get("/items/1").headers["ETag"] == '"1"'


def test_a_patch_removes_what_an_item_may_be_without(http: FlaskClient) -> None:
    http.post("/items", json=NUT)
    answer = http.patch(
        "/items/1",
        data=json.dumps({"quantity": None, "note": None, "labels": {"size": None, "hue": "red"}}),
        content_type="application/merge-patch+json",
        headers={"If-Match": '"1"'},
    )
    assert answer.status_code == 200
    assert answer.json is not None
    assert (answer.json["quantity"], answer.json["labels"]) == (0, {"hue": "red"})


def test_pages_follow_each_other_while_items_come_and_go(http: FlaskClient) -> None:
    for number in range(5):
        http.post("/items", json={"name": str(number)})
    first = http.get("/items?limit=2").json
    assert first
    http.delete("/items/2", headers={"If-Match": "*"})
    http.post("/items", json={"name": "5"})
    seen = [item["name"] for item in first["items"]]
    path = first["next"]
    while path:
        page = http.get(path)
        assert page.json
        seen += [item["name"] for item in page.json["items"]]
        path = page.json.get("next")
        assert ("Link" in page.headers) == bool(path)
    assert seen == ["0", "1", "2", "3", "4", "5"]


# Idempotency keys


def test_a_repeated_key_creates_once_and_answers_the_same(http: FlaskClient) -> None:
    first = http.post("/items", json=NUT, headers={"Idempotency-Key": '"k"'})
    http.put("/items/1", json={"name": "changed since"}, headers={"If-Match": "*"})
    again = http.post("/items", json=dict(reversed(NUT.items())), headers={"Idempotency-Key": "k"})
    assert (again.status_code, again.json) == (201, first.json)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers
    assert http.get("/health").json == {"status": "ok", "items": 1}


def test_a_key_with_another_body_is_refused(http: FlaskClient) -> None:
    http.post("/items", json=NUT, headers={"Idempotency-Key": '"k"'})
    answer = http.post("/items", json={"name": "bolt"}, headers={"Idempotency-Key": '"k"'})
    assert problem(answer, 422)["errors"][0]["header"] == "Idempotency-Key"


def test_a_key_of_a_request_that_failed_is_free(http: FlaskClient) -> None:
    problem(http.post("/items", json={}, headers={"Idempotency-Key": '"k"'}), 422)
    assert http.post("/items", json=NUT, headers={"Idempotency-Key": '"k"'}).status_code == 201


def test_one_key_at_once_from_many_threads_creates_once(storage: Storage) -> None:
    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(lambda _: storage.create(NUT, "k", 0.0, STAMP), range(64)))
    assert {item.id for item, _ in made} == {1}
    assert [replayed for _, replayed in made].count(False) == 1
    assert storage.count() == 1


def test_a_key_is_forgotten_after_its_life(tmp_path: Path) -> None:
    storage = Storage(tmp_path / "items.db", Bounds(key_life=10.0))
    storage.create(NUT, "k", 0.0, STAMP)
    with pytest.raises(KeyReused):
        storage.create({"name": "other"}, "k", 9.0, STAMP)
    item, replayed = storage.create({"name": "other"}, "k", 10.0, STAMP)
    assert (item.id, replayed) == (2, False)
    storage.close()


# What can be wrong with a request


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/items/0x1", 404),
        ("GET", "/items/-1", 404),
        ("GET", "/items/99999999999999999999999", 404),
        ("GET", "//items", 404),
        ("PUT", "/items", 405),
        ("POST", "/items/1", 405),
        ("TRACE", "/health", 405),
        ("GET", "/items?limit=0", 400),
        ("GET", "/items?limit=101", 400),
        ("GET", "/items?limit=1&limit=2", 400),
        ("GET", "/items?after=-1", 400),
        ("GET", "/items?after=%D9%A1", 400),
        ("GET", "/items?offset=3", 400),
        ("GET", "/items/1?deep=1", 400),
    ],
)
def test_a_wrong_address_is_a_problem(
    http: FlaskClient, method: str, path: str, status: int
) -> None:
    answer = http.open(path, method=method)
    problem(answer, status)
    assert ("Allow" in answer.headers) == (status == 405)


@pytest.mark.parametrize(
    ("body", "media_type", "status"),
    [
        (b"{}", "application/json", 422),
        (b"{", "application/json", 400),
        (b"\xff", "application/json", 400),
        (b'{"name": "nut"}', "text/plain", 415),
        (b'{"name": "nut"}', None, 415),
        (b'"' + b"x" * 5000 + b'"', "application/json", 413),
    ],
)
def test_a_wrong_body_is_a_problem(
    http: FlaskClient, body: bytes, media_type: str | None, status: int
) -> None:
    problem(http.post("/items", data=body, content_type=media_type), status)
    assert http.get("/health").json == {"status": "ok", "items": 0}


def test_a_patch_says_what_it_takes(http: FlaskClient) -> None:
    http.post("/items", json=NUT)
    answer = http.patch("/items/1", json={}, headers={"If-Match": "*"})
    problem(answer, 415)
    assert answer.headers["Accept-Patch"] == "application/merge-patch+json"


def test_half_a_body_is_not_taken_for_a_whole_one(http: FlaskClient) -> None:
    data = io.BytesIO(b'{"name": "nut"}')
    answer = http.post(
        "/items",
        input_stream=data,
        content_type="application/json",
        environ_overrides={"CONTENT_LENGTH": "100", "wsgi.input_terminated": True},
    )
    problem(answer, 408)


def test_an_error_of_ours_is_a_problem_and_an_event(app: Flask, storage: Storage) -> None:
    storage._connection().execute("DROP TABLE items")
    problem(app.test_client().get("/items"), 500)


# The storage


def test_bounds_are_kept(tmp_path: Path) -> None:
    storage = Storage(tmp_path / "items.db", Bounds(items=2, keys=1))
    storage.create(NUT, "k", 0.0, STAMP)
    with pytest.raises(Full, match="keys"):
        storage.create(NUT, "l", 0.0, STAMP)
    storage.create(NUT, None, 0.0, STAMP)
    with pytest.raises(Full, match="items"):
        storage.create(NUT, None, 0.0, STAMP)
    assert storage.create(NUT, "k", 0.0, STAMP)[1]
    storage.delete(1, anything)
    storage.create(NUT, None, 0.0, STAMP)
    storage.close()


def test_a_second_process_finds_what_the_first_acknowledged(tmp_path: Path) -> None:
    first = Storage(tmp_path / "items.db")
    first.create(NUT, "k", 0.0, STAMP)
    first.change(1, anything, lambda old: {**old, "quantity": 8}, STAMP)
    second = Storage(tmp_path / "items.db")
    assert second.get(1).content["quantity"] == 8
    again, replayed = second.create(NUT, "k", 0.0, STAMP)
    assert (again.version, again.content, replayed) == (1, NUT, True)
    first.close()
    second.close()


def test_a_change_that_fails_leaves_the_item_alone(storage: Storage) -> None:
    storage.create(NUT, None, 0.0, STAMP)

    def fail(_old: dict[str, Any]) -> dict[str, Any]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        storage.change(1, anything, fail, STAMP)
    with pytest.raises(Conflict):
        storage.change(1, parse_tags("If-Match", '"2"').match, fail, STAMP)
    with pytest.raises(NoSuchItem):
        storage.delete(2, anything)
    assert storage.get(1).version == 1


def test_changes_from_many_threads_are_all_made(storage: Storage) -> None:
    storage.create({"name": "n", "quantity": 0, "labels": {}}, None, 0.0, STAMP)

    def add(_: int) -> None:
        storage.change(1, anything, lambda old: {**old, "quantity": old["quantity"] + 1}, STAMP)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(200)))
    assert (storage.get(1).content["quantity"], storage.get(1).version) == (200, 201)


def test_writes_are_synced_before_they_are_acknowledged(storage: Storage) -> None:
    connection = storage._connection()
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


def test_a_file_that_is_no_database_is_refused_with_advice(tmp_path: Path) -> None:
    (tmp_path / "items.db").write_bytes(b"no database" * 1000)
    with pytest.raises(ValueError, match="move the file away"):
        Storage(tmp_path / "items.db")
    with pytest.raises(ValueError, match="directory"):
        Storage(tmp_path / "nowhere" / "items.db")


def test_a_busy_database_is_a_problem_that_says_try_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apps.rest_api.storage._BUSY_TIMEOUT", 0.01)
    storage = Storage(tmp_path / "items.db")
    app = create_app(storage, Events("rest_api", "server", "n1", out=io.StringIO()))
    other = sqlite3.connect(tmp_path / "items.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    answer = app.test_client().post("/items", json=NUT)
    problem(answer, 503)
    assert answer.headers["Retry-After"] == "1"
    other.close()
    storage.close()


# The description and the events


def test_every_route_is_described_and_every_description_is_a_route(app: Flask) -> None:
    routes = {
        (str(rule).replace("<int:item_id>", "{item_id}"), method.lower())
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    described = {
        (path, method)
        for path, methods in document(1)["paths"].items()
        for method in methods
        if method != "parameters"
    }
    assert described == routes


def test_each_request_is_two_events_with_the_clients_id(storage: Storage) -> None:
    out = io.StringIO()
    app = create_app(storage, Events("rest_api", "server", "n1", out=out))
    answer = app.test_client().get("/health", headers={"X-Request-ID": "n2:17"})
    app.test_client().get("/nothing", headers={"X-Request-ID": "not an id"})
    assert answer.headers["X-Request-ID"] == "n2:17"
    events = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [(e["event"], e.get("status")) for e in events] == [
        ("recv", None),
        ("send", 200),
        ("recv", None),
        ("send", 404),
    ]
    assert [e["id"] for e in events[:2]] == ["n2:17", "n2:17/answer"]
    assert events[2]["id"].startswith("n1-")
