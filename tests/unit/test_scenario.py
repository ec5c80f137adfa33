"""Scenarios: their faults end, a violation says all, and a seed brings a run back."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner

from apps.kit.claims import Finding, History
from lab.errors import LabError
from lab.simulator.network import Wire
from lab.simulator.replay import find, main
from lab.simulator.scenario import Violated, inject, random_faults, scenario
from lab.simulator.simulation import Simulation
from tests.unit.test_simulator import heard, send, world


@pytest.mark.parametrize("seed", range(50))
def test_random_faults_end_in_a_whole_world(seed: int) -> None:
    simulation = world(seed, nodes="abcd")
    for n in range(100):
        body = {"f": "send", "to": "bcd"[n % 3], "n": n}
        simulation.request("a", body, after=n / 10)
    inject(simulation, random_faults(simulation.rng, "abcd", 9.0, crashes=8, cuts=8))
    simulation.run(9.0)
    assert all(map(simulation.running, "abcd"))
    simulation.run(20.0)
    assert heard(simulation)[-9:] == list(range(91, 100))


def nothing_gets_lost(history: History) -> dict[str, Finding]:
    lost = [event for event in history if event["event"] == "lost"]
    return {"nothing_gets_lost": Finding(not lost, f"{len(lost)} lost", tuple(lost[:1]))}


@scenario(nothing_gets_lost)
def lossy(seed: int) -> Simulation:
    simulation = world(seed, wire=Wire(loss=0.0 if seed < 3 else 1.0))
    send(simulation, 1)
    simulation.run(1.0)
    return simulation


def test_violation_says_all_and_how_to_replay_it() -> None:
    lossy.check(range(3))
    with pytest.raises(Violated) as caught:
        lossy.check(range(10))
    first, witness, replay = str(caught.value).splitlines()
    assert first == "seed 3 violates nothing_gets_lost: 1 lost"
    assert json.loads(witness)["why"] == "loss"
    address = "tests.unit.test_scenario:lossy"
    assert replay == f"replay: python -m lab.simulator.replay {address} --seed 3 --trace"


@scenario(nothing_gets_lost)
def rarely_lossy(seed: int) -> Simulation:
    simulation = world(seed, wire=Wire(loss=1.0 if seed % 2000 == 1999 else 0.0))
    send(simulation, 1)
    simulation.run(1.0)
    return simulation


def test_of_many_that_processes_share_the_first_is_told() -> None:
    rarely_lossy.check([0] * 2500)
    with pytest.raises(Violated, match="seed 1999 violates nothing_gets_lost"):
        rarely_lossy.check(range(4500))


def lossy_here(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.setattr("lab.simulator.replay.find", lambda _: lossy)
    return lambda *arguments: CliRunner().invoke(main, ["m:lossy", *arguments])


def test_command_replays_a_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    run = lossy_here(monkeypatch)
    result = run("--seed", "3", "--trace")
    assert result.exit_code == 1
    assert [json.loads(line) for line in result.stdout.splitlines()] == lossy.play(3).trace
    assert "seed 3 violates nothing_gets_lost" in result.stderr
    assert run("--count", "3").exit_code == 0
    assert run("--count", "9").exit_code == 1


@pytest.mark.parametrize("address", ["no.such.module:x", "json:dumps", "json:nothing", "json"])
def test_address_that_is_no_scenario_is_refused(address: str) -> None:
    with pytest.raises(LabError, match="no scenario"):
        find(address)
    assert CliRunner().invoke(main, [address]).exit_code == 2


def test_seed_brings_a_run_back_in_another_process() -> None:
    """Whatever the hash seed: nothing depends on the order of a set of strings."""
    command = "tests.simulation.test_lamport_clock:mutex_under_faults --seed 11 --trace"
    runs = [
        subprocess.run(
            [sys.executable, "-m", "lab.simulator.replay", *command.split()],
            env={"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    ]
    assert runs[0] == runs[1]
    assert len(runs[0].splitlines()) > 100
