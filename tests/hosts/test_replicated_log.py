"""replicated_log on the lab, by curl: the seed's old clients, what is refused, and kill -9 of all.

`DISTLAB_KILLS=100 pytest tests/hosts/test_replicated_log.py -k all_at_once` kills by hand as often
as the project's issue demands.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable
from typing import Any

import pytest

from apps.kit.history import operations
from apps.replicated_log.claims import acknowledged_survive, every_message_once
from lab.catalogue import Pattern
from lab.evidence.client import events_in
from lab.evidence.stage import PYTHON
from lab.hosts.remote import Remote
from lab.status import option
from tests.conftest import eventually

KILLS = int(os.environ.get("DISTLAB_KILLS", "2"))
MASTER, SECONDARY = "replicated_log_master", "replicated_log_secondary"
UNIT = "lab-replicated-log-*.service"
CURL = "curl --silent --max-time 15 --write-out '\\n%{http_code}'"


class Log:
    """The log's nodes, asked from the hosts themselves."""

    def __init__(self, remote: Remote) -> None:
        self.remote = remote
        groups = remote.inventory.groups
        (self.master,) = groups[MASTER]
        self.nodes = (self.master, *groups[SECONDARY])
        self.client = groups["replicated_log_client"][0]

    def url(self, node: str) -> str:
        """Give where a node listens, as the inventory has it."""
        group = MASTER if node == self.master else SECONDARY
        inventory = self.remote.inventory
        port = option(inventory, node, Pattern("replicated_log"), f"{group}_port")
        return f"{inventory.hosts[node].address}:{port}"

    def curl(self, node: str, path: str, body: Any = None) -> tuple[int, dict[str, Any]]:
        """Ask a node; the status, and the JSON that came."""
        sent = "" if body is None else f"--data-binary '{json.dumps(body)}'"
        said = self.remote.must(self.client, f"{CURL} {sent} http://{self.url(node)}{path}")
        text, _, status = said.rpartition("\n")
        return int(status), json.loads(text)

    def append(self, **body: Any) -> dict[str, Any]:
        """Append; what came with 201."""
        status, told = self.curl(self.master, "/messages", body)
        assert status == 201, told
        return told

    def all(self, node: str, first: int) -> list[str]:
        """Give a node's messages from an offset on."""
        found: list[str] = []
        while True:
            _, page = self.curl(node, f"/messages?offset={first + len(found)}")
            found += page["messages"]
            if page["next"] == page["total"]:
                return found

    def length(self, node: str) -> int:
        """Give how many messages a node has."""
        return int(self.curl(node, "/health")[1]["length"])

    def whole(self) -> bool:
        """Whether the master takes messages, and all nodes have all."""
        healths = [self.curl(node, "/health")[1] for node in self.nodes]
        same = len({told["length"] for told in healths}) == 1
        return same and all(told["status"] == "ok" for told in healths)


@pytest.fixture
def log(remote: Remote) -> Log:
    return Log(remote)


def test_an_old_client_appends_and_every_node_shows_it(log: Log) -> None:
    message = secrets.token_hex(8)
    offset = log.append(message=message, w="all")["offset"]
    for node in log.nodes:
        _, page = log.curl(node, f"/messages?offset={offset}")
        assert page["messages"][0] == message


def test_what_comes_again_is_the_same_message(log: Log) -> None:
    request = {"message": "once", "client": secrets.token_hex(8), "seq": 2}
    first, again = log.append(**request), log.append(**request)
    assert first == again
    assert log.curl(log.master, "/messages", {**request, "seq": 1})[0] == 409


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/messages", {"message": 5}),
        ("/messages", {"message": "x", "w": 99}),
        ("/messages", ["x"]),
        ("/messages?offset=-1", None),
        ("/messages?limit=0", None),
        ("/messages?offset=1e3", None),
    ],
)
def test_says_what_is_wrong(log: Log, path: str, body: Any) -> None:
    status, told = log.curl(log.master, path, body)
    assert status == 400
    assert told["detail"]


def test_a_secondary_can_only_be_read(log: Log) -> None:
    status, _ = log.curl(log.nodes[1], "/messages", {"message": "x"})
    assert status == 405


def test_survives_garbage_and_silence_on_both_ports(log: Log) -> None:
    for node in log.nodes[:2]:
        host, port = log.url(node).split(":")
        for at in (port, "5100"):
            log.remote.run(
                log.client, f"head -c 300000 /dev/urandom | timeout 3 nc -w 1 {host} {at}"
            )
            log.remote.run(log.client, f"printf 'POST /mess' | timeout 3 nc -w 1 {host} {at}")
    eventually(log.whole, "the log is whole")


def test_a_new_secondary_gets_all_while_the_log_goes_on(log: Log) -> None:
    node = log.nodes[-1]
    state = "/var/lib/private/lab-replicated-log-secondary"
    log.remote.must(node, f"sudo -n systemctl stop '{UNIT}' && sudo -n rm {state}/log")
    log.append(message="meanwhile")
    log.remote.must(node, "sudo -n systemctl start lab-replicated-log-secondary")
    log.append(message="and on")
    eventually(log.whole, "the new secondary has all")
    assert log.all(node, 0) == log.all(log.master, 0)


def test_kill_of_all_at_once_loses_nothing_and_doubles_nothing(log: Log) -> None:
    """Under load; no acknowledged message is missing, none is there twice, each node serves."""
    eventually(log.whole, "the log is whole")
    first = log.length(log.master)
    load = "--for 3600 --callers 8 --timeout 60 --json"
    started = log.remote.start(
        log.client,
        f"{PYTHON} -m apps.replicated_log client {log.url(log.master)} {load}",
        3600,
    )
    kill = f"sudo -n systemctl kill --signal=KILL '{UNIT}'"
    for _ in range(KILLS):
        before = log.length(log.master)
        eventually(grown(log, before + 20), "clients are acknowledged")
        log.remote.each(log.nodes, lambda node: log.remote.must(node, kill))
        eventually(lambda: log.remote.run(log.client, serving(log)).exit_status == 0, "all serve")
    history = events_in(started.stop().stdout)
    eventually(log.whole, "all nodes have all")
    final = log.all(log.master, first)
    survived = acknowledged_survive(history, final, first)
    assert survived.holds, survived
    assert every_message_once(final).holds
    for node in log.nodes[1:]:
        assert log.all(node, first) == final
    ends = [op.outcome for op in operations(history, {"append": "append"})]
    print(f"{KILLS} kills of all: {ends.count('ok')} acknowledged, {survived.detail}")


def grown(log: Log, length: int) -> Callable[[], bool]:
    return lambda: log.length(log.master) >= length


def serving(log: Log) -> str:
    """Give the command that succeeds if every node answers."""
    return " && ".join(f"curl --silent --fail http://{log.url(node)}/health" for node in log.nodes)
