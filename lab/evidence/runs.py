"""Runs: demos are played, and each run leaves its evidence in a directory of its own.

runs/<time>-<what>/
    manifest.json     seed, inventory, hosts, versions, when, how to play it again
    verdicts.json     every claim: its kind, its verdict, and the events that witness it
    <pattern>/schedule.yml       the faults that its workload was played under, if it was
    <pattern>/history.jsonl      all events, of clients and services, merged by time
    <pattern>/journals/<host>    what journald held for that window, as JSON
    <pattern>/samples.json       what InfluxDB had of that window, where the pattern metrics runs
    <pattern>/…                  what the demo attached
    report.html       the page to look at

A verdict is on disk from the moment that it is stated, and stands: what goes wrong afterwards, on
the hosts or here, is trouble, which the manifest records beside it.
"""

from __future__ import annotations

import importlib
import json
import platform
import subprocess
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from apps.kit.claims import Finding
from apps.kit.demo import Lab, Workload
from lab.catalogue import ROOT, Pattern
from lab.errors import LabError
from lab.evidence import samples
from lab.evidence.stage import Stage
from lab.evidence.store import RUNS
from lab.evidence.stored import hold
from lab.evidence.verdict import Verdict
from lab.faults.planned import Schedule
from lab.faults.schedule import dump
from lab.hosts.inventory import Inventory
from lab.hosts.remote import Remote
from lab.hosts.state import write_atomically

SCHEDULE = "schedule.yml"
HELD, VIOLATED, UNCLEAR = 0, 1, 2
"""Exit statuses of a run: all promised claims hold, one is violated, could not tell."""


class Run:
    """One run of some demos, and its directory."""

    def __init__(
        self, remote: Remote, seed: int, command: str, what: str, path: Path | None = None
    ) -> None:
        """Make the directory, if it is not given; `command` plays it again, `what` names it."""
        self._remote = remote
        self._began = datetime.now(UTC)
        self.seed = seed
        self.verdicts: list[Verdict] = []
        self.trouble: list[str] = []
        """What went wrong beside the claims; none of it changes a verdict."""
        self.manifest: dict[str, Any] = {
            "what": what,
            "seed": seed,
            "command": command,
            "began": self._began.isoformat(),
            "patterns": [],
            "figures": {},
            "trouble": self.trouble,
            **_circumstances(remote.inventory),
        }
        self.path = path or fresh_directory(f"{self._began:%Y%m%dT%H%M%SZ}-{what}")
        hold(self.path)
        self._write_manifest("running")

    def play(
        self, pattern: Pattern, tell: Callable[[str], None], schedule: Schedule | None = None
    ) -> None:
        """Play a pattern's demo, or its workload under a schedule of faults; keep its evidence.

        A demo that breaks off leaves the verdict `unknown` on its own running to the end, with
        the traceback beside it; a Ctrl-C keeps what there is, and goes on up.
        """
        self.manifest["patterns"].append(pattern.name)
        self._write_manifest("running")
        play = _demo(pattern) if schedule is None else _workload(pattern, schedule)
        began = time.time()
        try:
            stage = Stage(self._remote, pattern, self.seed, tell, self._stated)
        except LabError as error:  # a host's journal cannot be read
            self._stated(_broken(pattern, f"could not begin: {error}"))
            return
        if schedule is not None:
            (self.path / pattern.name).mkdir(exist_ok=True)
            (self.path / pattern.name / SCHEDULE).write_text(dump(schedule))
        try:
            play(stage)
        except Exception as error:
            stage.attach("broken.txt", traceback.format_exc())
            self._stated(_broken(pattern, f"broke off: {error}"))
        finally:
            self._keep(pattern, stage, began)

    def finish(self, state: str = "finished") -> int:
        """Write the manifest and the page; give the exit status."""
        self._write_manifest(state)
        with self._nonetheless("the page was not built"):
            from lab.evidence import report

            report.build(self.path)
        if self.trouble:
            self._write_manifest(state)
        return exit_status(self.verdicts)

    def _stated(self, verdict: Verdict) -> None:
        self.verdicts.append(verdict)
        with self._nonetheless("the verdicts were not written"):
            _write_json(self.path / "verdicts.json", [v.as_json() for v in self.verdicts])

    def _keep(self, pattern: Pattern, stage: Stage, began: float) -> None:
        home = self.path / pattern.name
        self.manifest["figures"][pattern.name] = stage.figures
        with self._nonetheless(f"{pattern.name}: an attachment was not written"):
            (home / "journals").mkdir(parents=True, exist_ok=True)
            for name, text in stage.attachments.items():
                (home / name).write_text(text)
        with self._nonetheless(f"{pattern.name}: the hosts are not as they were"):
            self.trouble += [
                f"{pattern.name}: not undone: {error.what}" for error in stage.restore()
            ]
        with self._nonetheless(f"{pattern.name}: the journals were not kept"):
            lost = stage.read()
            self.trouble += [
                f"{pattern.name}: {host}'s journal: {lost[host].what}" for host in lost
            ]
            for host, lines in stage.journals().items():
                _write_lines(home / "journals" / f"{host}.jsonl", lines)
        with self._nonetheless(f"{pattern.name}: the history was not kept"):
            _write_lines(home / "history.jsonl", map(json.dumps, stage.observed()))
        with self._nonetheless(f"{pattern.name}: the samples were not kept"):
            samples.keep(self._remote, pattern.name, (began, time.time()), home)

    @contextmanager
    def _nonetheless(self, what: str) -> Iterator[None]:
        """Record what goes wrong, and go on: no verdict is lost by what comes after it."""
        try:
            yield
        except Exception as error:
            self.trouble.append(f"{what}: {str(error) or type(error).__name__}")

    def _write_manifest(self, state: str) -> None:
        ended = datetime.now(UTC)
        self.manifest |= {
            "state": state,
            "ended": ended.isoformat(),
            "seconds": round((ended - self._began).total_seconds(), 1),
            "verdicts": _counted(self.verdicts),
        }
        with self._nonetheless("the manifest was not written"):
            _write_json(self.path / "manifest.json", self.manifest)


def exit_status(verdicts: Sequence[Verdict]) -> int:
    """Give 0 if all promised claims hold, 1 if one is violated, 2 if one could not be told."""
    promised = {verdict.verdict for verdict in verdicts if verdict.kind == "promised"}
    if "violated" in promised:
        return VIOLATED
    return UNCLEAR if "unknown" in promised or not promised else HELD


def playable(inventory: Inventory, chosen: Sequence[Pattern]) -> list[Pattern]:
    """Give the patterns that the inventory places; LabError if a placed one has no demo."""
    placed = [p for p in chosen if inventory.groups.get(p.name)]
    if not placed:
        names = ", ".join(pattern.name for pattern in chosen)
        raise LabError(
            f"inventory {inventory.path} places none of: {names}",
            "add them to its placement.yml",
        )
    return placed


def fresh_directory(name: str, parent: Path | None = None) -> Path:
    """Make a directory that was not there, in runs/ or elsewhere, numbered if need be."""
    home = parent or RUNS
    home.mkdir(exist_ok=True)
    for number in range(1000):
        path = home / (f"{name}-{number}" if number else name)
        try:
            path.mkdir()
        except FileExistsError:
            continue
        return path
    raise LabError(f"{home / name} exists a thousand times", "remove old runs")


def _circumstances(inventory: Inventory) -> dict[str, Any]:
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    libraries = ("ansible-core", "fabric", "paramiko", "click", "flask", "gunicorn")
    return {
        "inventory": str(inventory.path),
        "lab": inventory.lab,
        "hosts": {host.name: str(host.address) for host in inventory.hosts.values()},
        **_topology(inventory),
        "versions": {
            "distlab": commit.stdout.strip() or "not a git checkout",
            "python": platform.python_version(),
            "kernel": platform.release(),
            **{name: metadata.version(name) for name in libraries},
        },
    }


def _topology(inventory: Inventory) -> dict[str, Any]:
    """Give what befalls packets on the links of the lab, if a topology says so."""
    if inventory.topology is None:
        return {}
    from lab.topology import validate
    from lab.topology.told import links_as_json

    topology = validate.load(inventory.topology)
    return {"topology": {"name": topology.name, "links": links_as_json(topology.links)}}


def _counted(verdicts: Sequence[Verdict]) -> Mapping[str, int]:
    counts: dict[str, int] = {}
    for verdict in verdicts:
        counts[verdict.verdict] = counts.get(verdict.verdict, 0) + 1
    return counts


def workload(pattern: Pattern) -> Workload:
    """Give a pattern's workload; LabError if it has none."""
    found = _workload_of(pattern)
    if found is None:
        raise LabError(
            f"{pattern.name} has no workload to be played under faults",
            f"give apps/{pattern.name}/demo.py a WORKLOAD, or choose others: --only",
        )
    return found


def with_workload(chosen: Sequence[Pattern]) -> list[Pattern]:
    """Give those patterns that have a workload."""
    return [pattern for pattern in chosen if _workload_of(pattern) is not None]


def _workload_of(pattern: Pattern) -> Workload | None:
    module = importlib.import_module(f"apps.{pattern.name}.demo")
    found = getattr(module, "WORKLOAD", None)
    return found if isinstance(found, Workload) else None


def _demo(pattern: Pattern) -> Callable[[Stage], None]:
    demo: Callable[[Lab], None] = importlib.import_module(f"apps.{pattern.name}.demo").demo
    return demo


def _workload(pattern: Pattern, schedule: Schedule) -> Callable[[Stage], None]:
    play = workload(pattern).play

    def played(stage: Stage) -> None:
        stage.befall(schedule)
        play(stage, schedule.seconds)
        stage.conclude()

    return played


def _broken(pattern: Pattern, detail: str) -> Verdict:
    return Verdict.of(pattern.name, "the demo runs to its end", "promised", Finding(None, detail))


def _write_json(path: Path, value: object) -> None:
    write_atomically(path, json.dumps(value, indent=2) + "\n")


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines))
