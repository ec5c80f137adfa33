"""paxos on the lab: asked by hand with nc, over kills, with bad input."""

from __future__ import annotations

import json
import secrets
from typing import Any

import pytest

from tests.conftest import eventually

testinfra_hosts = ["ansible://paxos_proposer"]
ACCEPTOR, LEARNER, PROPOSER = 7300, 7301, 7302


def ask(host: Any, server: str, port: int, line: str) -> dict[str, Any]:
    """Ask a component with nc: the protocol is a JSON object a line."""
    answer = host.check_output("printf '%%s\\n' %s | nc -N -w 20 %s %s", line, server, str(port))
    parsed: dict[str, Any] = json.loads(answer)
    return parsed


def body(f: str, decree: str, **fields: str) -> str:
    return json.dumps({"f": f, "decree": decree, **fields})


def members(host: Any, component: str) -> list[str]:
    named: list[str] = host.ansible.get_variables()["groups"][f"paxos_{component}"]
    return named


@pytest.fixture
def decree() -> str:
    """A decree that nobody has used."""
    return f"test/{secrets.token_hex(6)}"


def test_what_is_chosen_stays_chosen_at_every_proposer_and_learner(host: Any, decree: str) -> None:
    first, *others = members(host, "proposer")
    assert ask(host, first, PROPOSER, body("propose", decree, value="v"))["result"]["value"] == "v"
    for proposer in others:
        answer = ask(host, proposer, PROPOSER, body("propose", decree, value="w"))
        assert answer["result"]["value"] == "v"
    for learner in members(host, "learner"):
        assert ask(host, learner, LEARNER, body("chosen", decree))["result"]["value"] == "v"


def test_nothing_is_chosen_that_nobody_proposed(host: Any, decree: str) -> None:
    for learner in members(host, "learner"):
        assert ask(host, learner, LEARNER, body("chosen", decree))["result"]["value"] is None


@pytest.mark.parametrize(
    ("component", "port", "line", "why"),
    [
        ("proposer", PROPOSER, "garbage", "not understood"),
        ("proposer", PROPOSER, '{"f": "fly"}', "f must be propose"),
        ("proposer", PROPOSER, '{"f": "propose", "decree": 7, "value": "v"}', "decree must be"),
        ("proposer", PROPOSER, '{"f": "propose", "decree": "d", "value": ""}', "value must be"),
        ("learner", LEARNER, '{"f": "chosen"}', "decree must be"),
        ("acceptor", ACCEPTOR, '{"f": "vote", "decree": ""}', "decree must be"),
    ],
)
def test_says_what_is_wrong(host: Any, component: str, port: int, line: str, why: str) -> None:
    assert why in ask(host, members(host, component)[0], port, line)["error"]


def test_a_client_converses(host: Any, decree: str) -> None:
    typed = f"{decree} 'two words'\n{decree}\n"
    client = "/opt/distlab/bin/python -m apps.paxos propose"
    told = host.check_output(f"printf %s | {client} %s", typed, members(host, "proposer")[0])
    assert f"{decree}: two words (proposal " in told
    assert "that is 1 words, not 2" in told


def test_a_vote_survives_a_kill(host: Any, decree: str) -> None:
    """Lamport 2001, section 2.5: what an acceptor may not forget is in stable storage."""
    here = host.check_output("hostname")
    ask(host, here, PROPOSER, body("propose", decree, value="kept"))
    eventually(lambda: voted(host, here, decree) is not None, f"{here} has accepted")
    before = ask(host, here, ACCEPTOR, body("vote", decree))
    host.check_output("systemctl kill --signal=KILL lab-paxos-acceptor")
    # Restarting waits until the unit is ready, whether systemd was quicker or not.
    host.check_output("systemctl restart lab-paxos-acceptor")
    assert ask(host, here, ACCEPTOR, body("vote", decree)) == before


def voted(host: Any, acceptor: str, decree: str) -> Any:
    """Give what an acceptor has accepted."""
    return ask(host, acceptor, ACCEPTOR, body("vote", decree))["result"]["accepted"]


def test_ignores_strangers(host: Any) -> None:
    """What nobody of the inventory sent is said and ignored."""
    here = host.check_output("hostname")
    journal = "journalctl --sync; journalctl --since=-1min -u lab-paxos-acceptor"

    def said() -> bool:
        host.check_output("head -c 900 /dev/urandom | nc -u -q 0 %s %s", here, str(ACCEPTOR))
        return '"event":"stranger"' in host.check_output(journal)

    eventually(said, "said that a stranger sent something")
