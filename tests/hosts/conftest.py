"""What host tests share: a machine that can, the hosts' command lines, faults that are healed.

They need Linux and root on it; continuous integration must provide both.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from lab.faults.control import Faults
from lab.hosts.inventory import Inventory
from lab.hosts.remote import Remote
from tests.conftest import eventually
from tests.hosts.fault_traces import clean

ALIEN = "distlab_test_alien"
"""A table of somebody else's, who marks all packets as the emulator and undoes netem's class."""
ALIEN_TABLE = """
table netdev {name} {{
  chain before {{
    type filter hook egress device "{device}" priority -10
    meta mark set 0xd157
  }}
  chain after {{
    type filter hook egress device "{device}" priority 10
    meta priority set 0:0
  }}
}}
"""


@pytest.fixture(scope="session")
def needs_root() -> None:
    """Skip without Linux or root, with the reason; under CI=true that is a failure instead."""
    if sys.platform != "linux":
        reason = f"the embedded hosts need Linux, and this is {sys.platform}"
    elif os.geteuid() != 0:
        reason = "this test looks at what only root sees: sudo make test"
    else:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
def remote(inventory: Inventory) -> Iterator[Remote]:
    """The hosts' command lines."""
    with Remote(inventory) as connected:
        yield connected


@pytest.fixture
def faults(remote: Remote) -> Iterator[Faults]:
    """The lab's faults; after the test nothing of one is left, whatever becomes of the test."""
    tools = Faults(remote)
    try:
        yield tools
    finally:
        tools.heal()
    for host in remote.inventory.hosts:
        eventually(partial(clean, remote, host), f"nothing left on {host}")


@pytest.fixture
def hosts(inventory: Inventory) -> tuple[str, ...]:
    """The hosts' names; these tests need three."""
    return tuple(inventory.hosts)


@pytest.fixture
def to(inventory: Inventory) -> Callable[[str], str]:
    """Give a host's address."""
    return lambda host: str(inventory.hosts[host].address)


@pytest.fixture
def alien(remote: Remote, hosts: tuple[str, ...], to: Callable[[str], str]) -> Iterator[str]:
    """A table on the first host that keeps faults of links from taking; gone afterwards."""
    device = json.loads(remote.must(hosts[0], f"ip -json route get {to(hosts[1])}"))[0]["dev"]
    text = ALIEN_TABLE.format(name=ALIEN, device=device)
    remote.must(hosts[0], f"echo {shlex.quote(text)} | sudo -n nft -f -")
    yield remote.must(hosts[0], f"sudo -n nft list table netdev {ALIEN}")
    remote.must(hosts[0], f"sudo -n nft delete table netdev {ALIEN}")
