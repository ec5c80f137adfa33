"""tcp_squares on the lab: nc is a client, bad lines harm nobody, a request outlives its server."""

from __future__ import annotations

from typing import Any

import pytest

testinfra_hosts = ["ansible://tcp_squares_server"]
NC = "timeout 10 nc -N $(hostname) 8081"
CLIENT = "/opt/distlab/bin/python -m apps.tcp_squares"


def test_nc_is_a_client(host: Any) -> None:
    assert host.check_output(f"printf '12\\n -3 \\r\\n' | {NC}") == "144\n9"


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        ("printf 'twelve\\n'", "error: 'twelve' is not an integer"),
        ("printf '\\n'", "error: an empty line; send an integer"),
        ("printf '\\377\\376\\n'", "error: '\\\\xff\\\\xfe' is not an integer"),
        ("(head -c 1001 /dev/zero | tr '\\0' 9; echo)", "error: a number of 1001 digits; at most"),
        ("head -c 300000 /dev/zero", "error: frame too long"),
        ("printf 12", "error: stream ended inside a frame"),
        ("printf 'submit r1 1\\n'", "error: submit needs: submit REQUEST SECONDS N…"),
        ("printf 'done x 1\\n'", "dropped: this bag knows no such lease"),
    ],
)
def test_a_bad_line_is_told_what_is_wrong(host: Any, sent: str, answer: str) -> None:
    assert host.check_output(f"{sent} | {NC}").startswith(answer)
    assert host.check_output(f"echo 12 | {NC}") == "144"


def test_a_refused_number_ends_the_client_with_its_status(host: Any) -> None:
    ended = host.run(f"{CLIENT} client $(hostname) 3 x")
    assert ended.rc == 4
    assert ended.stdout.startswith("3² = 9")
    assert ended.stderr == "rejected: 'x' is not an integer\n"


def test_a_worker_does_what_a_client_submits(host: Any) -> None:
    script = (
        f"{CLIENT} work $(hostname) --follow & worker=$!; "
        f"{CLIENT} submit $(hostname) 3 -4; status=$?; kill $worker; exit $status"
    )
    said = host.check_output(script).splitlines()
    assert {"3² = 9", "-4² = 16"} <= set(said)


def test_a_request_outlives_its_server(host: Any) -> None:
    """The client submits it again; restarting waits until the unit is ready."""
    script = (
        f"{CLIENT} submit $(hostname) 5 6 --request host-test-$$ & client=$!; "
        "until journalctl --unit=lab-tcp-squares-server --since=-1min | "
        'grep -q \'"event":"submitted".*"request":"host-test-\'$$\\"; do sleep 0.1; done; '
        "systemctl kill --signal=KILL lab-tcp-squares-server; "
        "systemctl restart lab-tcp-squares-server; "
        f"{CLIENT} work $(hostname) --follow & worker=$!; "
        "wait $client; status=$?; kill $worker; exit $status"
    )
    said = host.check_output(f"timeout 60 sh -c {_quoted(script)}").splitlines()
    assert {"5² = 25", "6² = 36"} <= set(said)


def _quoted(script: str) -> str:
    return "'" + script.replace("'", "'\\''") + "'"
