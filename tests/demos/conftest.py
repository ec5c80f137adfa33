"""Where demos play: beside the host tests if there are several workers, else on their lab."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.hosts.inventory import Inventory
from tests.conftest import lab_under_test
from tests.throwaway_lab import ROOT, Lab


@pytest.fixture(scope="session")
def inventory(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Inventory]:
    """The lab under test; with several workers, and hosts that we boot, another one like it."""
    under_test = lab_under_test(pytestconfig)
    if "PYTEST_XDIST_WORKER" not in os.environ or under_test.machines != "nspawn":
        yield under_test
        return
    lab = Lab(tmp_path_factory.mktemp("demos"), "test-demos", "198.19.206", like=under_test)
    lab.reclaim()
    try:
        lab.up()
        fab = Path(sys.executable).with_name("fab")
        deploy = [str(fab), "deploy", "--inventory", str(lab.path)]
        done = subprocess.run(deploy, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        yield lab.inventory
    finally:
        lab.down(wipe=True)
