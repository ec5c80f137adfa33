"""Host tests need a Linux machine and root on it; continuous integration must provide both."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

from lab.faults.control import Faults
from lab.hosts.inventory import Inventory
from lab.hosts.remote import Remote


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
def faults(inventory: Inventory) -> Iterator[Faults]:
    """The lab's faults; what a test injects is healed after it, whatever becomes of the test."""
    with Remote(inventory) as remote:
        faults = Faults(remote)
        yield faults
        faults.heal()
