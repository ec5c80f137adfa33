"""rest_api on the lab: curl walks through it, schemathesis judges it, kill -9 loses nothing."""

from __future__ import annotations

import http.client
import json
import urllib.request
import uuid
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import testinfra

from lab.hosts.inventory import Inventory
from tests.openapi_judge import judge

testinfra_hosts = ["ansible://rest_api_client"]
PORT = 5151
UNIT = "lab-rest-api-server.service"
JSON = ("-H", "Content-Type: application/json")
NUT = '{"name": "nut", "quantity": 7}'


@pytest.fixture
def server(inventory: Inventory) -> str:
    """The server's name, as its clients know it."""
    return inventory.groups["rest_api_server"][0]


@pytest.fixture
def server_host(server: str, request: pytest.FixtureRequest) -> Any:
    """The server's host, to testinfra."""
    inventory = request.config.option.ansible_inventory
    return testinfra.get_host(f"ansible://{server}", ansible_inventory=inventory)


@pytest.fixture
def url(inventory: Inventory, server: str) -> Iterator[str]:
    """The server's address, as the controller knows it; what a test creates there goes again."""
    url = f"http://{inventory.hosts[server].address}:{PORT}"
    before = {item["id"] for item in items_at(url)}
    yield url
    for item in items_at(url):
        if item["id"] not in before:
            headers = {"If-Match": "*"}
            path = f"{url}/items/{item['id']}"
            request = urllib.request.Request(path, method="DELETE", headers=headers)
            urllib.request.urlopen(request, timeout=30).close()


def items_at(url: str) -> list[dict[str, Any]]:
    """Give all items of a server."""
    items: list[dict[str, Any]] = []
    path: str | None = "/items?limit=100"
    while path:
        with urllib.request.urlopen(url + path, timeout=30) as answer:
            page = json.load(answer)
        items += page["items"]
        path = page.get("next")
    return items


class Curled(NamedTuple):
    """What curl was answered."""

    status: int
    headers: dict[str, str]
    document: Any


def curl(host: Any, address: str, *words: str) -> Curled:
    """Ask with curl, from a client host."""
    quoted = " ".join(["%s"] * len(words))
    command = f"curl --silent --include --max-time 30 %s {quoted}"
    said: str = host.check_output(command, address, *words)
    head, _, body = said.replace("\r", "").partition("\n\n")
    status, *headers = head.splitlines()
    pairs = (line.partition(": ") for line in headers)
    return Curled(
        int(status.split()[1]),
        {name.lower(): value for name, _, value in pairs},
        json.loads(body) if body.strip() else None,
    )


def create(host: Any, url: str, *more: str) -> Curled:
    return curl(host, f"{url}/items", *JSON, *more, "-d", NUT)


def test_curl_walks_through(host: Any, url: str) -> None:
    made = create(host, url)
    assert made.status == 201
    path = url + made.headers["location"]
    assert curl(host, path).document == made.document

    merge = ("-X", "PATCH", "-H", "Content-Type: application/merge-patch+json")
    patch = (*merge, "-H", f"If-Match: {made.headers['etag']}", "-d", '{"quantity": 8}')
    patched = curl(host, path, *patch)
    assert (patched.status, patched.document["quantity"]) == (200, 8)
    stale = curl(host, path, *patch)
    assert (stale.status, stale.headers["etag"]) == (412, patched.headers["etag"])

    assert curl(host, path, "-X", "DELETE").status == 428
    gone = curl(host, path, "-X", "DELETE", "-H", f"If-Match: {patched.headers['etag']}")
    assert gone.status == 204
    assert curl(host, path).status == 404


def test_a_repeated_key_creates_once_over_a_kill(host: Any, url: str, server_host: Any) -> None:
    key = ("-H", f'Idempotency-Key: "{uuid.uuid4()}"')
    first = create(host, url, *key)
    server_host.check_output("systemctl kill --signal=KILL %s", UNIT)
    # Restarting waits until the unit is ready, whether systemd was quicker or not.
    server_host.check_output("systemctl restart %s", UNIT)
    again = create(host, url, *key)
    assert (again.status, again.document) == (201, first.document)
    assert again.headers["idempotency-replayed"] == "true"


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("-d", "{"), 400),
        (("-d", "{}"), 422),
        (("-d", '{"name": "' + "x" * 100_000 + '"}'), 413),
        (("-d", NUT, "-H", "Content-Type: text/plain"), 415),
        (("-X", "PUT", "-d", NUT), 405),
    ],
    ids=lambda value: str(value)[:30],
)
def test_bad_input_is_a_problem(host: Any, url: str, words: tuple[str, ...], status: int) -> None:
    typed = "-H" in words
    answer = curl(host, f"{url}/items", *words, *(() if typed else JSON))
    assert (answer.status, answer.document["status"]) == (status, status)
    assert answer.headers["content-type"] == "application/problem+json"


def test_what_is_no_http_is_a_problem(host: Any, server: str) -> None:
    garbage = "printf 'garbage\\r\\n\\r\\n' | timeout 20 nc -N %s %s"
    said = host.check_output(garbage, server, str(PORT))
    assert said.startswith("HTTP/1.1 400 ")
    assert '"status": 400' in said


def test_the_openapi_document_is_true(url: str) -> None:
    judge(url, examples=12)


@pytest.mark.usefixtures("url")  # which takes away what is created here
def test_the_client_works(host: Any, server: str) -> None:
    client = f"/opt/distlab/bin/python -m apps.rest_api client http://{server}:{PORT}"
    shown = host.check_output(f"{client} create %s", NUT)
    assert '"name": "nut"' in shown
    item_id = shown.split()[0]
    patched = host.check_output(f"{client} patch {item_id} %s", '{"note": "x"}')
    assert patched.endswith("(version 2)")
    assert host.run(f"{client} get 999999999").rc == 4
    assert host.run(f"{client} paint 1").rc == 2
    summed = host.check_output(f"{client} --count 20 --callers 2 --json --brief")
    assert json.loads(summed)["answered"] == 20


def test_the_controller_reaches_it(url: str) -> None:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)
    connection.request("GET", "/health")
    assert json.load(connection.getresponse())["status"] == "ok"
    connection.close()
