"""What the tests of virtual machines share: on a lab of any other kind they are skipped."""

from __future__ import annotations

import pytest

from lab.hosts.inventory import Inventory
from tests.hosts.conftest import faults, hosts, remote, to

__all__ = ["faults", "hosts", "on_virtual_machines", "remote", "to"]


@pytest.fixture(autouse=True)
def on_virtual_machines(inventory: Inventory) -> None:
    """Skip where there are none."""
    # `pytest tests`, in CI as well, meets them on embedded hosts: nothing to look at.
    if inventory.machines != "vagrant":
        pytest.skip("the hosts of this lab are no virtual machines: make test-vms")
