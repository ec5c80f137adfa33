"""What the tests share: the lab that host tests run on, and a failed unit's journal.

Host tests run on the lab of `--ansible-inventory` (inventory/local if not given), which must be up
and deployed: `fab up && fab deploy`. Testinfra reaches its hosts with the native ssh client.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import pytest
import testinfra
from hypothesis import settings
from xdist.scheduler import LoadFileScheduling

from lab.catalogue import ROOT, Component, Pattern, patterns
from lab.hosts.inventory import Inventory, load
from lab.status import placed as placement

ON_HOSTS = {ROOT / "tests" / name for name in ("hosts", "demos", "vms")}
SHARES = {
    "tests/hosts/test_lifecycle*": "labs of their own",
    "tests/hosts/test_topology.py": "labs of their own",
    "tests/hosts/test_real_hosts.py": "labs of their own",
    "tests/hosts/test_fifty.py": "labs of their own",
    "tests/hosts/test_planted.py": "a lab with planted bugs",
    "tests/hosts/*": "the lab under test",
    "tests/demos/*": "the lab under test",
    "tests/vms/*": "the lab under test",
    "tests/pages/*": "a browser",
}
"""What tests have to themselves, by where they are; the first pattern counts."""
LAB = pytest.StashKey[Inventory]()
SOCKETS = Path("~/.ansible/cp").expanduser()

# No test asserts a wall-clock time. CI tries the same examples each time, people try new ones.
settings.register_profile("distlab", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("distlab")
os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # testinfra runs ansible
os.environ["ANSIBLE_CONFIG"] = str(ROOT / "ansible.cfg")
# Whatever a shell starts in the background ignores Ctrl-C, and so would all that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


DEADLINE = 30.0


def eventually(condition: Callable[[], bool], what: str) -> None:
    """Wait until it is so; fail with `what` was not. The last look begins when the time is over."""
    deadline = time.monotonic() + DEADLINE
    began = 0.0
    while began <= deadline:
        began = time.monotonic()
        if condition():
            return
        time.sleep(0.1)
    pytest.fail(f"after {DEADLINE:g} s: not {what}")


@dataclass(frozen=True)
class Placed:
    """A host, and what the inventory places there."""

    name: str
    """The host's name in the inventory."""
    components: list[Component]
    address: str
    host: Any
    """The host, to testinfra."""

    @property
    def units(self) -> list[str]:
        """The units' names, with their suffix."""
        return [component.unit for component in self.components]


def lab_under_test(config: pytest.Config) -> Inventory:
    """Read the inventory, once, and point testinfra at it.

    Testinfra takes an inventory's variables as they are written, so it gets one in which they are
    worked out.
    """
    if LAB not in config.stash:
        given = config.option.ansible_inventory or ROOT / "inventory" / "local"
        inventory = config.stash[LAB] = load(Path(given))
        inventory.directory.mkdir(parents=True, exist_ok=True)
        SOCKETS.mkdir(mode=0o700, parents=True, exist_ok=True)
        worker = os.environ.get("PYTEST_XDIST_WORKER", "alone")
        path = inventory.directory / f"testinfra-{worker}.json"
        path.write_text(json.dumps(worked_out(inventory)))
        config.option.ansible_inventory = str(path)
    return config.stash[LAB]


def worked_out(inventory: Inventory) -> dict[str, Any]:
    """Give an inventory in Ansible's form, with nothing left to template."""
    hosts = {
        host.name: {
            "ansible_host": host.login_host,
            "ansible_user": host.user,
            "ansible_port": host.port,
            "ansible_ssh_common_args": " ".join(host.ssh_args),
            # One connection per host for all tests; Ansible has chosen a place for sockets, too.
            "ansible_ssh_extra_args": f"-o ControlPath={SOCKETS}/distlab-%C",
            "ansible_become": True,
            **({"ansible_ssh_private_key_file": str(host.key)} if host.key else {}),
        }
        for host in inventory.hosts.values()
    }
    groups = {
        group: {"hosts": dict.fromkeys(members)} for group, members in inventory.groups.items()
    }
    return {"all": {"hosts": hosts, "children": groups}}


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a host test its lab; and if it asks for `placed`, every host that has units."""
    if not ON_HOSTS.intersection(metafunc.definition.path.parents):
        return
    inventory = lab_under_test(metafunc.config)
    if "placed" in metafunc.fixturenames:
        names = dict.fromkeys(host for host, _ in placement(inventory, patterns()))
        metafunc.parametrize("placed", names, indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip the tests of patterns that the lab's hosts cannot run or do not, with the reason."""
    known = {pattern.name for pattern in patterns()}
    for item in items:
        if not ON_HOSTS.intersection(item.path.parents):
            continue
        parameters = getattr(item, "callspec", None)
        pattern = parameters and parameters.params.get("pattern")
        name = pattern.name if isinstance(pattern, Pattern) else item.path.stem.partition("_")[2]
        inventory = lab_under_test(config)
        why = inventory.left_out.get(name)
        if name in known and name not in inventory.groups:
            why = f"{inventory.path.name}/placement.yml does not place it"
        if why:
            # Three VMs have no room for every pattern, and Debian 13 none for spyne. The lab of CI,
            # inventory/local, has them all: tests/unit/test_catalogue.py demands it.
            item.add_marker(pytest.mark.skip(reason=why))


class ByLab(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
    """Gives a file's tests to one worker, and all of those to the same one that share a lab."""

    def _split_scope(self, nodeid: str) -> str:
        file = PurePath(nodeid.partition("::")[0])
        for place, share in SHARES.items():
            if file.match(place):
                return share
        return str(file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Say how tests are dealt out to `--numprocesses`."""
    return ByLab(config, log)


@pytest.fixture(scope="session")
def inventory(pytestconfig: pytest.Config) -> Inventory:
    """The inventory of the lab under test."""
    return lab_under_test(pytestconfig)


@pytest.fixture
def placed(request: pytest.FixtureRequest, inventory: Inventory) -> Placed:
    """A host with its units; tests that ask for it run for every one."""
    name = request.param
    units = [component for host, component in placement(inventory, patterns()) if host == name]
    host = testinfra.get_host(
        f"ansible://{name}", ansible_inventory=request.config.option.ansible_inventory
    )
    return Placed(name, units, str(inventory.hosts[name].address), host)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Add the journal of the units under test to the report of a failure."""
    outcome: Any = yield
    report = outcome.get_result()
    placed = getattr(item, "funcargs", {}).get("placed")
    if report.failed and isinstance(placed, Placed):
        journal = placed.host.run("journalctl --no-pager -n 200 -u 'lab-*'")
        title = f"the end of the journal of {placed.name}'s units"
        report.sections.append((title, journal.stdout or journal.stderr))
