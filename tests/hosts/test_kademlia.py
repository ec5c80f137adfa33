"""kademlia on the lab: by hand, by a program that has the library alone, and against bad input."""

from __future__ import annotations

import json
import shlex
from typing import Any

from tests.conftest import eventually

testinfra_hosts = ["ansible://kademlia_client"]
PORT = 8468
JOURNAL = "journalctl --sync; journalctl --since=-1min -u lab-kademlia-node"
PROGRAM = """
import asyncio
from kademlia.network import Server

async def main():
    server = Server()
    await server.listen(0, "{here}")
    server.protocol._wait_timeout = 2
    await server.bootstrap([("{here}", {port})])
    await server.set("{key}", "{value}")
    print(await server.get("{ours}"))
    server.stop()

asyncio.run(main())
"""


def ask(host: Any, line: str) -> dict[str, Any]:
    """Ask the host's own node with nc: the protocol is a JSON object a line."""
    answer = host.check_output("printf '%%s\\n' %s | nc -N -w 20 $(hostname) %s", line, str(PORT))
    parsed: dict[str, Any] = json.loads(answer)
    return parsed


def status(host: Any) -> dict[str, Any]:
    """Give what the host's node says of itself."""
    result: dict[str, Any] = ask(host, '{"f": "status"}')["result"]
    return result


def knows_all(host: Any) -> bool:
    """Whether the host's node knows as many others as it can, of those that there are."""
    count = len(host.ansible.get_variables()["groups"]["kademlia_node"])
    told = status(host)
    return len(told["contacts"]) >= min(count - 1, int(told["k"]))


def test_all_know_each_other(host: Any) -> None:
    nodes = " ".join(host.ansible.get_variables()["groups"]["kademlia_node"])
    said = host.check_output(f"/opt/distlab/bin/python -m apps.kademlia meet {nodes} --within 30")
    assert "know each other" in said


def test_what_one_sets_is_found(host: Any) -> None:
    name = status(host)["node"]
    stored = ask(host, json.dumps({"f": "set", "key": f"of {name}", "value": name}))["result"]
    assert stored["stored"] == len(stored["holders"])
    assert ask(host, json.dumps({"f": "get", "key": f"of {name}"}))["result"]["value"] == name


def test_a_program_of_the_library_takes_part(host: Any) -> None:
    """`kademlia.network.Server` as it is: it joins, gets what we set, and sets what we get."""
    here = host.check_output("hostname -I").split()[0]
    ours, theirs = f"ours {here}", f"theirs {here}"
    ask(host, json.dumps({"f": "set", "key": ours, "value": "plain"}))
    told = {"here": here, "port": PORT, "key": theirs, "value": "from afar", "ours": ours}
    program = shlex.quote(PROGRAM.format(**told))
    assert host.check_output(f"/opt/distlab/bin/python -c {program}") == "plain"
    get = json.dumps({"f": "get", "key": theirs})
    eventually(lambda: ask(host, get).get("result", {}).get("value") == "from afar", "it is found")


def test_says_what_is_wrong(host: Any) -> None:
    assert "a JSON object" in ask(host, "garbage")["error"]
    assert "f must be one of" in ask(host, '{"f": "fly"}')["error"]
    assert "get needs key" in ask(host, '{"f": "get"}')["error"]
    missing = ask(host, '{"f": "get", "key": "nobody set this"}')
    assert "not found" in missing["error"]


def test_ignores_garbage(host: Any) -> None:
    garbage = "head -c 900 /dev/urandom | nc -u -q 0 $(hostname) %s"

    def told() -> bool:
        host.check_output(garbage, str(PORT))
        return '"event":"malformed"' in host.check_output(JOURNAL)

    eventually(told, "it is said that garbage came")
    assert status(host)["joined"]


def test_begins_anew_as_itself_and_is_handed_what_it_should_keep(host: Any) -> None:
    before = status(host)
    key = f"kept over {before['node']}'s end"
    ask(host, json.dumps({"f": "set", "key": key, "value": 1}))
    host.check_output("systemctl kill --signal=KILL lab-kademlia-node")
    # Restarting waits until the unit is ready, whether systemd was quicker or not.
    host.check_output("systemctl restart lab-kademlia-node")
    assert status(host)["id"] == before["id"]
    eventually(lambda: knows_all(host), "it knows the others again")
    eventually(
        lambda: ask(host, json.dumps({"f": "get", "key": key})).get("result") is not None,
        "the value outlived it",
    )
