"""Which hosts have no power is written down, and read while it changes."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from apps.kit.faults import PowerOff
from lab.catalogue import ROOT
from lab.faults import power
from lab.faults.power import Power
from lab.hosts.inventory import load


@pytest.fixture
def switches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Power:
    """The switches of a lab that nobody booted."""
    given = load(ROOT / "inventory" / "local")
    inventory = replace(given, directory=tmp_path)
    for name in ("power_off", "boot"):
        monkeypatch.setattr(power, name, lambda *_: None)
    monkeypatch.setattr("lab.faults.power.subprocess.run", lambda *_, **__: None)
    return Power(inventory, lambda _: None)


def test_who_asks_while_a_host_goes_off_and_on_is_told_all_or_nothing(switches: Power) -> None:
    done = threading.Event()

    def again_and_again() -> None:
        for _ in range(2000):
            switches.off("f1", PowerOff("n1"), 5.0)
            switches.on("n1")
        done.set()

    worker = threading.Thread(target=again_and_again)
    worker.start()
    told = []
    while not done.is_set():
        told.append(switches.without())
    worker.join()
    seen = {tuple(off) for off in told}
    assert seen == {(), ("n1",)}
    assert all(off["n1"]["id"] == "f1" for off in told if off)
