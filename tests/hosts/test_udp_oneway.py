"""udp_oneway on the lab: nc -u takes part, garbage is counted, every datagram is accounted for."""

from __future__ import annotations

import json
from typing import Any

from tests.conftest import eventually

testinfra_hosts = ["ansible://udp_oneway_receiver"]
TCP = "timeout 10 nc -N $(hostname) 12345"
UDP = "timeout 10 nc -u -q 0 $(hostname) 12345"
CLIENT = "/opt/distlab/bin/python -m apps.udp_oneway"


def ask(host: Any, question: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(host.check_output(f"echo '{question}' | {TCP}"))
    return answer


def total(host: Any, name: str) -> int:
    return int(ask(host, "counts")["totals"][name])


def test_plain_text_of_nc_is_counted(host: Any) -> None:
    before = total(host, "unnumbered")
    host.check_output(f"echo hello | {UDP}")
    eventually(lambda: total(host, "unnumbered") == before + 1, "counted it")


def test_garbage_is_corrupt_and_harms_nobody(host: Any) -> None:
    before = total(host, "corrupt")
    host.check_output(f"head -c 1000 /dev/zero | {UDP}; printf '\\377\\321cut short' | {UDP}")
    eventually(lambda: total(host, "corrupt") == before + 2, "counted both")
    assert "ask `counts`" in ask(host, "what?")["error"]


def test_a_run_is_counted_to_its_end(host: Any) -> None:
    said = host.check_output(
        f"{CLIENT} send $(hostname) --count 300 --rate 3000 --corrupt 0.1 --duplicate 0.1 "
        "--reorder 0.1 --confirm --json --brief --node host-test"
    )
    summary = json.loads(said)
    assert summary["sent"] == 300
    assert summary["received"] + summary["lost"] == 300
    assert summary["lost"] == summary["corrupted"] > 0
    assert summary["duplicated"] == summary["copies"] > 0
    assert summary["reordered"] == summary["late"] > 0
    assert ask(host, "counts host-test")["streams"][-1]["stream"] == summary["stream"]


def test_a_killed_receiver_counts_anew(host: Any) -> None:
    host.check_output(f"{CLIENT} send $(hostname) before --confirm")
    host.check_output("systemctl kill --signal=KILL lab-udp-oneway-receiver")
    # Restarting waits until the unit is ready, whether systemd was quicker or not.
    host.check_output("systemctl restart lab-udp-oneway-receiver")
    assert ask(host, "counts")["streams"] == []
    assert "received 1, lost 0" in host.check_output(f"{CLIENT} send $(hostname) after --confirm")
