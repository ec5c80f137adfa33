"""Every demo of every pattern that is placed, on the lab under test: its promises hold."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lab.catalogue import ROOT, Pattern, patterns
from lab.hosts.inventory import Inventory


@pytest.mark.parametrize("pattern", patterns(), ids=lambda pattern: pattern.name)
def test_promises_hold(pattern: Pattern, inventory: Inventory) -> None:
    fab = Path(sys.executable).with_name("fab")
    command = [str(fab), "run-demo", "--json", "--only", pattern.name, "--seed", "1"]
    done = subprocess.run(
        [*command, "--inventory", str(inventory.path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    verdicts = json.loads(done.stdout)
    assert {"promised"} <= {verdict["kind"] for verdict in verdicts}
    assert {v["verdict"] for v in verdicts if v["kind"] == "promised"} == {"holds"}
    assert {v["verdict"] for v in verdicts if v["kind"] == "limit"} <= {"shown"}
