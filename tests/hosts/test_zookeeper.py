"""zookeeper on the lab: ZooKeeper's own client and four-letter words, beside ours."""

from __future__ import annotations

import json
import re
from functools import partial
from typing import Any

import pytest

from apps.zookeeper.server import CLASSPATH
from lab.hosts.inventory import Inventory
from tests.conftest import eventually

testinfra_hosts = ["ansible://zookeeper_client"]
CLIENT = "timeout 60 /opt/distlab/bin/python -m apps.zookeeper client"
CLI = f"timeout 60 java -Xmx64m -cp {CLASSPATH}:/usr/share/java/commons-cli.jar"
CLI += " org.apache.zookeeper.ZooKeeperMain -server"
PATH = "/distlab/host-test"


@pytest.fixture
def servers(inventory: Inventory) -> tuple[str, ...]:
    """The servers, by the names that every host knows."""
    return inventory.groups["zookeeper_server"]


@pytest.fixture
def ensemble(host: Any, servers: tuple[str, ...]) -> Any:
    """Our client's command; what a test makes goes again."""
    command = f"{CLIENT} {','.join(servers)} --timeout 30"
    host.check_output(f"{command} clear {PATH}")
    yield command
    host.check_output(f"{command} clear {PATH}")


def four_letters(host: Any, server: str, word: str) -> str:
    told: str = host.run(f"echo {word} | timeout 10 nc -N {server} 2181").stdout
    return told


def test_one_leads_and_the_others_follow(host: Any, servers: tuple[str, ...]) -> None:
    def modes() -> list[str]:
        told = [four_letters(host, server, "srvr") for server in servers]
        return sorted(mode for one in told for mode in re.findall("Mode: (.+)", one))

    eventually(lambda: modes() == ["follower"] * (len(servers) - 1) + ["leader"], "a leader")


def test_its_own_client_and_ours_see_one_ensemble(
    host: Any, ensemble: str, servers: tuple[str, ...]
) -> None:
    host.check_output(f"{ensemble} create {PATH}/ours hello")
    theirs = host.check_output(f"{CLI} {servers[0]}:2181 get -s {PATH}/ours 2>&1")
    assert "hello" in theirs
    assert "dataVersion = 0" in theirs
    host.check_output(f"{CLI} {servers[-1]}:2181 create {PATH}/theirs world 2>&1")
    assert host.check_output(f"{ensemble} get {PATH}/theirs").startswith("world  (version 0")


def says(host: Any, server: str, word: str, what: str) -> bool:
    # ZooKeeper closes the connection at once: a reset may overtake what it said.
    return what in four_letters(host, server, word)


@pytest.mark.parametrize(
    ("word", "what"),
    [
        ("ruok", "imok"),
        ("mntr", "zk_version"),
        *((word, "not in the whitelist") for word in ("envi", "dump", "crst")),
    ],
)
def test_the_words_are_limited(host: Any, servers: tuple[str, ...], word: str, what: str) -> None:
    eventually(partial(says, host, servers[0], word, what), f"{word} is answered with {what}")


def test_a_failed_call_says_what_is_known(host: Any, ensemble: str) -> None:
    host.check_output(f"{ensemble} create {PATH}/node a")
    host.check_output(f"{ensemble} set {PATH}/node b 0")
    for words, said in (
        (f"set {PATH}/node c 0", "rejected: BadVersion"),
        (f"create {PATH}/node", "rejected: NodeExists"),
        (f"get {PATH}/nothing", "rejected: NoNode"),
    ):
        failed = host.run(f"{ensemble} {words}")
        assert (failed.rc, said in failed.stderr) == (4, True), failed
    assert host.run(f"{ensemble} paint /x").rc == 2
    nobody = host.run(f"{CLIENT} 127.0.0.1:2 ls / --timeout 1")
    assert (nobody.rc, "no server with a quorum answered" in nobody.stderr) == (3, True)


def test_a_conversation_goes_on_after_a_mistake(host: Any, ensemble: str) -> None:
    typed = rf"create {PATH}/a x\nget {PATH}/b\npaint\nls {PATH}\n"
    told = host.check_output(f"printf '{typed}' | {ensemble}").splitlines()
    assert told[0] == f"created {PATH}/a"
    assert told[1].startswith("rejected: NoNode")
    assert told[2].startswith("say one of")
    assert told[3] == "a"


def test_garbage_and_a_flood_harm_nobody(
    host: Any, ensemble: str, servers: tuple[str, ...]
) -> None:
    host.run(f"head -c 65536 /dev/urandom | timeout 10 nc -N {servers[0]} 2181")
    host.run(f"printf '\\x7f\\xff\\xff\\xff' | timeout 10 nc -N {servers[0]} 2181")
    flood = f"for i in $(seq 100); do timeout 3 nc {servers[0]} 2181 </dev/null & done; wait"
    host.run(flood)
    assert host.run(f"{ensemble} create {PATH}/after").rc == 0


def test_a_load_sums_up(host: Any, ensemble: str) -> None:
    command = ensemble.replace(" client ", " load ")
    told = host.check_output(f"{command} {PATH}/load --count 60 --callers 3 --json --brief")
    summary = json.loads(told)
    assert (summary["answered"], summary["failed"]) == (60, 0)


def test_an_even_ensemble_does_not_begin(host: Any) -> None:
    members = "--member a=127.0.0.1:1 --member b=127.0.0.1:2"
    failed = host.run(
        f"cd /tmp && /opt/distlab/bin/python -m apps.zookeeper server --node a {members}"
    )
    assert failed.rc == 1
    assert "place an odd number of servers" in failed.stderr
