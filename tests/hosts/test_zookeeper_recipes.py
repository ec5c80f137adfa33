"""zookeeper_recipes on the lab: ZooKeeper's own client sees the nodes, and takes part."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest
import testinfra

from apps.zookeeper.server import CLASSPATH
from lab.hosts.inventory import Inventory
from tests.conftest import eventually

CLIENT = "timeout 60 /opt/distlab/bin/python -m apps.zookeeper_recipes"
CLI = f"timeout 60 java -Xmx64m -cp {CLASSPATH}:/usr/share/java/commons-cli.jar"
CLI += " org.apache.zookeeper.ZooKeeperMain -server"
ROOT = "/distlab/recipes"


@pytest.fixture
def host(pytestconfig: pytest.Config, inventory: Inventory) -> Any:
    """One of the clients' hosts: the others' recipes are the demo's subject."""
    name = inventory.groups["zookeeper_recipes_client"][0]
    return testinfra.get_host(
        f"ansible://{name}", ansible_inventory=pytestconfig.option.ansible_inventory
    )


@pytest.fixture
def ensemble(inventory: Inventory) -> str:
    """The servers, as clients take them."""
    return ",".join(inventory.groups["zookeeper_server"])


@pytest.fixture
def own(host: Any) -> str:
    """A path of this host's own."""
    return f"{ROOT}/host-test-{host.check_output('hostname')}"


def recipe(host: Any, ensemble: str, name: str, *words: str) -> str:
    """Have a client play a recipe; give what it told a person."""
    said: str = host.check_output(f"{CLIENT} {name} {ensemble} {shlex.join(words)}")
    return said


def zookeepers(host: Any, ensemble: str, *words: str) -> str:
    """Ask ZooKeeper's own client."""
    said: str = host.run(f"{CLI} {ensemble} {shlex.join(words)} 2>&1").stdout
    return said


def test_its_own_client_sees_the_party_and_works_with_the_queue(
    host: Any, ensemble: str, inventory: Inventory
) -> None:
    members = sorted(inventory.groups["zookeeper_recipes_member"])
    assert recipe(host, ensemble, "party").split() == members
    assert f"[{', '.join(members)}]" in zookeepers(host, ensemble, "ls", f"{ROOT}/party")
    zookeepers(host, ensemble, "create", "-s", f"{ROOT}/queue/items/item-", "by zkCli")
    eventually(
        lambda: recipe(host, ensemble, "queue", "list").strip() == "nothing waits", "worked off"
    )


def test_its_own_client_is_in_our_way_in_a_line(host: Any, ensemble: str, own: str) -> None:
    recipe(host, ensemble, "lock", "--path", own, "--hold", "0")
    made = zookeepers(host, ensemble, "create", "-s", f"{own}/lock-zkcli-", "")
    (node,) = [line.split()[-1] for line in made.splitlines() if line.startswith("Created")]
    done = host.run(f"{CLIENT} lock {ensemble} --path {own} --timeout 1")
    assert done.rc == 3
    assert "it is still not so that we are let in" in done.stderr
    zookeepers(host, ensemble, "delete", node)
    assert "inside" in recipe(host, ensemble, "lock", "--path", own, "--hold", "0")


def test_a_session_is_walked_through(host: Any, ensemble: str, own: str) -> None:
    said = recipe(host, ensemble, "session", "-n", f"{own}-walk", "-v", "wörld")
    steps = [line.split()[0] for line in said.splitlines()]
    assert steps == ["connected", "created", "read", "watched", "set", "told", "ending", "gone"]


def test_threads_meet_at_a_barrier_and_nobody_alone(host: Any, ensemble: str, own: str) -> None:
    said = recipe(host, ensemble, "barrier", "--path", own, "--parties", "3", "--threads", "3")
    assert said.count("goes on, with all 3") == 3
    assert recipe(
        host, ensemble, "barrier", "--path", own, "--parties", "2", "--threads", "2", "--double",
        "--hold", "0",
    ).count("has left") == 2  # fmt: skip
    done = host.run(f"{CLIENT} barrier {ensemble} --path {own} --timeout 0.5")
    assert done.rc == 3


def test_who_died_inside_keeps_others_out_until_its_session_ends(
    host: Any, ensemble: str, own: str
) -> None:
    died = host.run(f"{CLIENT} lock {ensemble} write --path {own}-rw --crash --session 2")
    assert died.rc == 137
    said = recipe(host, ensemble, "lock", "read", "--path", f"{own}-rw", "--hold", "0")
    assert "read: inside" in said


def test_additions_count_and_are_watched(host: Any, ensemble: str, own: str) -> None:
    before = int(recipe(host, ensemble, "counter", "--path", f"{own}-counter"))
    after = recipe(host, ensemble, "counter", "2", "--times", "3", "--path", f"{own}-counter")
    assert [int(line) for line in after.split()] == [before + 2, before + 4, before + 6]
    said = recipe(host, ensemble, "watch", "--path", f"{own}-counter", "--for", "0", "--json")
    (seen,) = [e for e in map(json.loads, said.splitlines()) if e["event"] == "seen"]
    assert json.loads(seen["value"].partition(',"last"')[0].partition(', "last"')[0] + "}") == {
        "value": before + 6
    }


def test_garbage_in_the_nodes_is_told(host: Any, ensemble: str, own: str) -> None:
    zookeepers(host, ensemble, "create", f"{own}-garbage", "no-counter")
    done = host.run(f"{CLIENT} counter {ensemble} --path {own}-garbage")
    assert done.rc == 4
    assert "that is no counter" in done.stderr


def test_without_an_ensemble_it_is_refused(host: Any) -> None:
    done = host.run(f"{CLIENT} counter localhost:1 --timeout 0.5")
    assert done.rc == 3
    assert "no server with a quorum answered" in done.stderr
