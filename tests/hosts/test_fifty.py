"""Fifty-one hosts on one machine: every key is found from each after a third lost their power.

It takes minutes, so it is for whoever asks, and says how long each verb took:

    DISTLAB_FIFTY=1 pytest tests/hosts/test_fifty.py -s
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.catalogue import ROOT
from lab.hosts.inventory import Inventory, load
from tests.throwaway_lab import Lab

FAB = Path(sys.executable).with_name("fab")
# Its labs and their memory are no everyday test's, nor CI's: whoever wants the figures asks for it.
pytestmark = [
    pytest.mark.usefixtures("needs_root"),
    pytest.mark.skipif("DISTLAB_FIFTY" not in os.environ, reason="for minutes: DISTLAB_FIFTY=1"),
]


def fab(inventory: Inventory, verb: str, *options: str) -> str:
    """Run a verb that has to succeed; give what it printed, and say how long it took."""
    began = time.monotonic()
    done = subprocess.run(
        [str(FAB), verb, "--inventory", str(inventory.path), *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    print(f"\n{verb}: {time.monotonic() - began:.1f} s", end="")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def fifty(tmp_path: Path) -> Iterator[Inventory]:
    """A lab like inventory/fifty, whose hosts are all nodes of the hash table."""
    like = load(ROOT / "inventory" / "fifty")
    lab = Lab(tmp_path, "test-fifty", "198.19.206", like=like)
    lab.reclaim()
    try:
        yield lab.inventory
    finally:
        lab.down(wipe=True)


def test_every_key_is_found_from_every_host_without_a_third_of_them(fifty: Inventory) -> None:
    fab(fifty, "up")
    fab(fifty, "deploy", "--only", "kademlia")
    verdicts = json.loads(fab(fifty, "run-demo", "--only", "kademlia", "--seed", "1", "--json"))
    (found,) = [v for v in verdicts if v["claim"].startswith("with a third of the nodes gone")]
    assert found["verdict"] == "holds"
    assert "found from 34 nodes" in found["detail"]
    units = json.loads(fab(fifty, "status", "--only", "kademlia", "--json"))
    assert [unit["state"] for unit in units] == ["active"] * 51
    fab(fifty, "down")
