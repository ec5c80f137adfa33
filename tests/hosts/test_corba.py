"""corba on the lab: omniORB's own tools find the ledger, bad input harms nobody, names return."""

from __future__ import annotations

from typing import Any

import pytest

from apps.kit.faults import Kill
from lab.faults.control import Faults
from lab.hosts.inventory import Inventory
from tests.conftest import eventually

testinfra_hosts = ["ansible://corba_client"]
CLIENT = "/opt/distlab/bin/python -m apps.corba"
TOOLS = "$(echo /opt/distlab/lib/python3*/site-packages/jeteve_omniorb/bin)"


@pytest.fixture
def naming(inventory: Inventory) -> str:
    """The naming service's host, by the name that every host knows."""
    return inventory.groups["corba_naming"][0]


@pytest.fixture
def server(inventory: Inventory) -> str:
    """The servant's host, likewise."""
    return inventory.groups["corba_server"][0]


def call(host: Any, naming: str, *words: str) -> Any:
    return host.run(f"timeout 30 {CLIENT} client {naming} {' '.join(words)}")


def nameclt(naming: str, words: str) -> str:
    reference = f"NameService=corbaloc::{naming}:2809/NameService"
    return f"timeout 10 {TOOLS}/nameclt -ORBInitRef {reference} {words}"


def test_nameclt_lists_the_ledger(host: Any, naming: str) -> None:
    assert "Ledger.Book" in host.check_output(nameclt(naming, "list")).split()


def test_catior_reads_its_reference(
    host: Any, naming: str, server: str, inventory: Inventory
) -> None:
    resolved = nameclt(naming, "resolve Ledger.Book")
    told = host.check_output(f"timeout 10 {TOOLS}/catior $({resolved})")
    assert 'Type ID: "IDL:Ledger/Book:1.0"' in told
    assert f"{inventory.hosts[server].address} 2810" in told


def test_a_client_posts_and_reads(host: Any, naming: str) -> None:
    assert call(host, naming, "post", "host-test", "50", "memo").rc == 0
    assert call(host, naming, "recent", "host-test").stdout.splitlines()[-1] == "+50  memo"


def test_words_and_statuses_say_what_is_known(host: Any, naming: str) -> None:
    overdrawn = call(host, naming, "post", "nobody-at-all", "-1")
    assert (overdrawn.rc, overdrawn.stderr) == (
        4,
        "rejected: nobody-at-all holds 0, and 1 were to go out\n",
    )
    assert call(host, naming, "post", "$(head -c 65 /dev/zero | tr '\\0' a)", "1").rc == 4
    assert call(host, f"{naming}:1", "balance", "a", "--timeout", "1").rc == 3
    assert call(host, naming, "post", "a", "x").rc == 2


@pytest.mark.parametrize(
    "sent",
    [
        "head -c 300000 /dev/urandom",
        "printf 'GIOP\\001\\002\\001\\000\\377\\377\\377\\177'",
        "printf 'GIOP\\001\\002\\001\\000\\000\\001\\000\\000'",
        "head -c 100000 /dev/zero",
        "true",
    ],
    ids=["garbage", "too long", "half a message", "zeros", "nothing"],
)
def test_bad_input_harms_nobody(host: Any, naming: str, server: str, sent: str) -> None:
    for peer, port in ((naming, 2809), (server, 2810)):
        host.run(f"{sent} | timeout 5 nc -N {peer} {port}")
    assert call(host, naming, "balance", "a").rc == 0


@pytest.mark.parametrize("which", ["naming", "server"])
def test_silence_and_a_flood_are_survived(host: Any, naming: str, server: str, which: str) -> None:
    peer, port = {"naming": (naming, 2809), "server": (server, 2810)}[which]
    flood = (
        "import socket\n"
        f"held = [socket.create_connection(('{peer}', {port}), 10) for _ in range(1500)]\n"
        "for number, one in enumerate(held):\n"
        "    if number % 50 == 0:\n"
        "        one.sendall(b'GIOP\\x01\\x02\\x01\\x00\\x00\\x01\\x00\\x00')\n"
        "import subprocess, sys\n"
        "sys.exit(subprocess.run(sys.argv[1:]).returncode)\n"
    )
    command = f"{CLIENT} client {naming} balance a --timeout 20"
    done = host.run(f"ulimit -n 4096; timeout 60 python3 -c {_quoted(flood)} {command}")
    assert done.rc == 0, done.stderr


def test_a_new_naming_service_is_told_the_name(host: Any, naming: str, faults: Faults) -> None:
    faults.inject(Kill(naming, "corba_naming"), 5.0)
    listed = nameclt(naming, "list")
    eventually(lambda: "Ledger.Book" in host.run(listed).stdout.split(), "it knows the ledger")
    assert call(host, naming, "balance", "a").rc == 0


def _quoted(script: str) -> str:
    return "'" + script.replace("'", "'\\''") + "'"
