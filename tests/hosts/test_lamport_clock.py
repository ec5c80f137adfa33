"""lamport_clock on the lab: clients ask by hand, strangers are ignored, a hold outlives a crash."""

from __future__ import annotations

import json
from typing import Any

from tests.conftest import eventually

testinfra_hosts = ["ansible://lamport_clock_node"]
PORT = 7000


def ask(host: Any, line: str) -> dict[str, Any]:
    """Ask the host's own node with nc: the protocol is a JSON object a line."""
    answer = host.check_output("printf '%%s\\n' %s | nc -N -w 20 $(hostname) %s", line, str(PORT))
    parsed: dict[str, Any] = json.loads(answer)
    return parsed


def state(host: Any) -> dict[str, Any]:
    """Give what a node says of itself."""
    result: dict[str, Any] = ask(host, '{"f": "state"}')["result"]
    return result


def test_knows_all_its_peers(host: Any) -> None:
    told = state(host)
    others = set(host.ansible.get_variables()["groups"]["lamport_clock_node"]) - {told["node"]}
    assert set(told["peers"]) == others
    assert not told["silent"]


def test_grants_and_takes_back(host: Any) -> None:
    granted = ask(host, '{"f": "acquire", "hold": 5, "wait": 20}')["result"]
    released = ask(host, json.dumps({"f": "release", "fence": granted["fence"]}))
    assert released == {"result": {"released": True}}


def test_says_what_is_wrong(host: Any) -> None:
    assert "not understood" in ask(host, "garbage")["error"]
    assert "f must be one of" in ask(host, '{"f": "fly"}')["error"]
    assert "hold must be" in ask(host, '{"f": "acquire", "hold": -1}')["error"]


def test_ignores_strangers(host: Any) -> None:
    """A node is none of its own peers, so what its host sends to it comes from a stranger."""
    before = state(host)["incarnation"]
    garbage = "head -c 900 /dev/urandom | nc -u -q 0 $(hostname) %s"
    journal = "journalctl --sync; journalctl --since=-1min -u lab-lamport-clock-node"

    def said() -> bool:
        host.check_output(garbage, str(PORT))
        return '"event":"stranger"' in host.check_output(journal)

    eventually(said, "said that a stranger sent something")
    assert state(host)["incarnation"] == before


def test_clock_survives_a_kill(host: Any) -> None:
    before = state(host)
    host.check_output("systemctl kill --signal=KILL lab-lamport-clock-node")
    # Restarting waits until the unit is ready, whether systemd was quicker or not.
    host.check_output("systemctl restart lab-lamport-clock-node")
    after = state(host)
    assert after["incarnation"] > before["incarnation"]
    assert after["lamport"] > before["lamport"]
