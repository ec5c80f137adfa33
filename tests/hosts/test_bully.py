"""bully on the lab: asked by hand, and what a node remembers of an election after a kill."""

from __future__ import annotations

import json
from typing import Any

from tests.conftest import eventually

testinfra_hosts = ["ansible://bully_node"]
PORT = 7200


def ask(host: Any, line: str) -> dict[str, Any]:
    """Ask the host's own node with nc: the protocol is a JSON object a line."""
    answer = host.check_output("printf '%%s\\n' %s | nc -N -w 20 $(hostname) %s", line, str(PORT))
    parsed: dict[str, Any] = json.loads(answer)
    return parsed


def who(host: Any) -> dict[str, Any]:
    """Give who leads, as the host's node knows it."""
    result: dict[str, Any] = ask(host, '{"f": "who"}')["result"]
    return result


def test_follows_the_highest(host: Any) -> None:
    nodes = host.ansible.get_variables()["groups"]["bully_node"]
    assert who(host)["nodes"] == nodes
    eventually(lambda: who(host)["leader"] == nodes[-1], f"{nodes[-1]} leads")


def test_says_what_is_wrong(host: Any) -> None:
    assert "not understood" in ask(host, "garbage")["error"]
    assert "f must be one of" in ask(host, '{"f": "fly"}')["error"]
    assert "text must be" in ask(host, '{"f": "order"}')["error"]
    if who(host)["leader"] != who(host)["node"]:
        assert "does not lead" in ask(host, '{"f": "order", "text": "go"}')["error"]


def test_ignores_strangers(host: Any) -> None:
    """A node is none of its own peers, so what its host sends to it comes from a stranger."""
    garbage = "head -c 900 /dev/urandom | nc -u -q 0 $(hostname) %s"
    journal = "journalctl --sync; journalctl --since=-1min -u lab-bully-node"

    def said() -> bool:
        host.check_output(garbage, str(PORT))
        return '"event":"stranger"' in host.check_output(journal)

    eventually(said, "said that a stranger sent something")


def test_epoch_survives_a_kill(host: Any) -> None:
    before = who(host)
    host.check_output("systemctl kill --signal=KILL lab-bully-node")
    # Restarting waits until the unit is ready, whether systemd was quicker or not.
    host.check_output("systemctl restart lab-bully-node")
    after = who(host)
    assert after["epoch"] >= before["epoch"]
    eventually(lambda: who(host)["leader"] == before["nodes"][-1], "the highest leads again")
