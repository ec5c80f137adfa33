"""The real storage under drawn crashes, judged by the claims of the hosts; wrong ones are found.

The protocol of rest_api is its storage, its keys and its versions. So what is simulated is the
network, the clients and the crashes, and SQLite on a disk is real: a node answers after the commit,
and a crash may take the answer. A disk that forgets is simulated too, by a server that goes back to
what it synced last.
"""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from apps.kit.claims import Event, Finding, History
from apps.kit.effects import Effects, Message, Reject, Reply
from apps.rest_api.claims import acknowledged_writes_survive, keys_create_once
from apps.rest_api.core import entity_tag, validated
from apps.rest_api.storage import Conflict, NoSuchItem, Storage
from apps.rest_api.versions import items_are_linearizable
from lab.simulator.clients import Outcome
from lab.simulator.scenario import Scenario
from lab.simulator.simulation import Simulation

MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""A sync to a disk would be waited for; what is tested is what comes after it."""
CALLERS, OPERATIONS = 4, 15
CALM, END = 20.0, 40.0
LOST = "no acknowledged write is lost"
TWICE = "a repeated key creates once"
DIFFERENT = "each item is one to all clients"


class Server:
    """The core (see `apps.kit.effects.Core`) of a node: the storage, without HTTP."""

    def __init__(self, home: Path) -> None:
        self.path = home / "items.db"
        self.storage = Storage(self.path)

    def start(self, _now: float) -> Effects:
        return []

    def receive(self, _now: float, _sender: str, _message: Message) -> Effects:
        return []

    def timer(self, _now: float, _name: str) -> Effects:
        return []

    def request(self, now: float, request: str, body: Message) -> Effects:
        try:
            return [Reply(request, self.answer(now, body))]
        except (Conflict, NoSuchItem) as error:
            return [Reject(request, repr(error))]

    def answer(self, now: float, body: Message) -> Any:
        match body["f"]:
            case "create":
                return self.create(now, body)
            case "get":
                try:
                    return self.storage.get(body["id"]).document()
                except NoSuchItem:
                    return None
            case "list":
                return {"items": [item.document() for item in self.storage.page(0, 10_000)]}
            case "replace":
                content = validated(body["content"])
                return self.storage.change(
                    body["id"], self.matches(body["from"]), lambda _: content, str(now)
                ).document()
            case _:
                self.storage.delete(body["id"], self.matches(body["from"]))
                return {"id": body["id"]}

    def create(self, now: float, body: Message) -> Any:
        content = validated(body["content"])
        item, _ = self.storage.create(content, body["key"], now, str(now))
        return item.document()

    def matches(self, version: int) -> Any:
        return lambda etag: etag == entity_tag(version)


class Forgetful(Server):
    """Answers before it syncs: every third write is synced, and a restart finds no more."""

    def __init__(self, home: Path) -> None:
        self.synced = home / "synced.db"
        if self.synced.exists():
            for left in home.glob("items.db*"):
                left.unlink()
            shutil.copy(self.synced, home / "items.db")
        super().__init__(home)
        self.writes = 0

    def answer(self, now: float, body: Message) -> Any:
        answer = super().answer(now, body)
        self.writes += body["f"] in {"create", "replace", "delete"}
        if self.writes % 3 == 0:
            self.storage.close()
            shutil.copy(self.path, self.synced)
            self.storage = Storage(self.path)
        return answer


class Keyless(Server):
    """Forgets under which key an item was created."""

    def create(self, now: float, body: Message) -> Any:
        return super().create(now, {**body, "key": None})


class Heedless(Server):
    """Changes an item, whatever version the change was made from."""

    def matches(self, version: int) -> Any:
        del version
        return lambda _: True


class Caller:
    """Does one thing after the other, and knows the version of an item that it saw last."""

    def __init__(self, world: Simulation, name: str) -> None:
        self.world, self.rng = world, world.rng
        self.name = name
        self.left = OPERATIONS
        self.seen: dict[int, int] = {}
        self.next()

    def next(self) -> None:
        if not self.left:
            return
        self.left -= 1
        body = self.choose()
        delay = self.rng.uniform(0, 2.5)
        self.world.request("n1", body, after=delay, then=lambda end: self.ended(body, end))

    def choose(self) -> dict[str, Any]:
        what = self.rng.choice(("create", "get", "replace", "replace", "delete"))
        if what == "create" or not self.seen:
            key = f"{self.name}-{self.left}"
            return {"f": "create", "key": key, "content": self.content(key)}
        item_id = self.rng.choice(sorted(self.seen)) + self.rng.choice((0, 0, 0, 1, 2))
        if what == "get" or item_id not in self.seen:
            return {"f": "get", "id": item_id}
        change = {"f": what, "id": item_id, "from": self.seen[item_id]}
        return change if what == "delete" else {**change, "content": self.content("")}

    def content(self, key: str) -> dict[str, Any]:
        labels = {"labels": {"key": key}} if key else {}
        return {"name": "nut", "quantity": self.rng.randrange(10**6), **labels}

    def ended(self, body: dict[str, Any], end: Outcome) -> None:
        if end.kind == "ok" and end.value and "version" in end.value:
            self.seen[end.value["id"]] = end.value["version"]
        elif body["f"] != "create":
            self.seen.pop(body["id"], None)
        again = body["f"] == "create" and (end.kind != "ok" or self.rng.random() < 0.3)
        if again and self.left:
            self.world.request("n1", body, after=1.0, then=lambda end: self.ended(body, end))
        else:
            self.next()


def play(seed: int, kind: type[Server] = Server) -> Simulation:
    """Callers of one server that crashes up to four times; at the end all items are listed."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as home:
        servers: list[Server] = []

        def build(_name: str, _durable: Mapping[str, object], _rng: random.Random) -> Server:
            while servers:
                servers.pop().storage.close()
            servers.append(kind(Path(home)))
            return servers[0]

        world = Simulation(["n1"], build, seed=seed, pattern="rest_api", component="server")
        for number in range(CALLERS):
            Caller(world, f"c{number}")
        for _ in range(world.rng.randint(0, 4)):
            crash = world.rng.uniform(0, CALM)
            world.at(crash, world.crash, "n1", world.rng.choice((None, 0, 0)))
            world.at(crash + world.rng.uniform(0, 2), world.restart, "n1")
        world.at(END, world.restart, "n1")
        world.run(END)
        world.request("n1", {"f": "list", "path": "/items?after=0"})
        world.run(END + 1)
        servers.pop().storage.close()
        return world


def as_told_by_clients(history: History) -> list[Event]:
    """Give a simulated history as clients of hosts write it: a key beside its content."""
    told: list[Event] = []
    keys: dict[str, str] = {}
    for event in history:
        value: Any = event.get("value")
        if event.get("f") == "create" and event["event"] == "invoke":
            keys[event["op"]] = value["key"]
            value = value["content"]
        known = {"key": keys[event["op"]]} if event.get("op") in keys else {}
        told.append({**event, **known, "value": value})
    return told


def judge(history: History) -> dict[str, Finding]:
    events = as_told_by_clients(history)
    final = next(e for e in reversed(events) if e["event"] == "ok" and e["f"] == "list")
    items = final["value"]["items"]
    return {
        LOST: acknowledged_writes_survive(events, items),
        TWICE: keys_create_once(events, items),
        DIFFERENT: items_are_linearizable(events),
    }


crashes = Scenario(play, judge)


def test_no_acknowledged_write_is_lost_whenever_the_server_crashes() -> None:
    crashes.check(range(60))


@pytest.mark.parametrize("trouble", ["crash", "unknown", "fail"])
def test_the_troubles_are_real(trouble: str) -> None:
    seen = [sum(e["event"] == trouble for e in play(seed).trace) for seed in range(20)]
    assert sum(seen) > 10, f"{trouble} hardly ever happens: {seen}"


@pytest.mark.parametrize(
    ("kind", "claims"),
    [
        (Forgetful, {LOST, DIFFERENT}),
        (Keyless, {TWICE, DIFFERENT}),
        (Heedless, {DIFFERENT}),
    ],
)
def test_a_wrong_server_is_found_out(kind: type[Server], claims: set[str]) -> None:
    violated = {
        claim: finding
        for seed in range(30)
        for claim, finding in judge(play(seed, kind).trace).items()
        if finding.holds is False
    }
    assert claims <= violated.keys()
    assert all(finding.witness or finding.detail for finding in violated.values())
