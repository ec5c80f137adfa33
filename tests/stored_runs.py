"""Stored runs for tests: written as `lab.evidence.runs` writes them, whole or with odd contents."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

EVENT: dict[str, Any] = {
    "event": "ready",
    "pattern": "tcp_echo",
    "component": "server",
    "node": "n1",
    "t": 1.5,
}


def verdict(word: str = "holds", **fields: Any) -> dict[str, Any]:
    """A verdict as verdicts.json has it."""
    return {
        "pattern": "tcp_echo",
        "claim": "every reply matches its request",
        "kind": "promised",
        "verdict": word,
        "detail": "1000 of 1000 calls answered",
        "witness": [],
        **fields,
    }


def operation(op: str, since: float, until: float, outcome: str = "ok") -> list[dict[str, Any]]:
    """The two events of a client's call."""
    call = {**EVENT, "component": "client", "op": op, "f": "echo", "value": op}
    return [
        {**call, "event": "invoke", "t": since},
        {**call, "event": outcome, "t": until},
    ]


def inject(t: float, fault: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    """The event of an injected fault."""
    lab = {**EVENT, "event": "inject", "component": "lab", "node": "lab", "t": t}
    return {**lab, "id": f"f{t:g}", "fault": dict(fault), "seconds": 20.0, **fields}


def stored_run(
    root: Path,
    name: str,
    *,
    verdicts: Sequence[Mapping[str, Any]] = (),
    history: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    **manifest: Any,
) -> Path:
    """Write a run into a store; `manifest` replaces what a manifest says."""
    path = root / name
    path.mkdir(parents=True)
    said = {
        "what": name.partition("-")[2],
        "seed": 7,
        "command": "fab run-demo --seed 7",
        "patterns": ["tcp_echo"],
        "inventory": "/lab/inventory/local",
        "lab": "local",
        "hosts": {"n1": "198.18.0.11", "n2": "198.18.0.12"},
        "versions": {"distlab": "8c76401", "python": "3.11.7"},
        "state": "finished",
        "seconds": 11.3,
        "verdicts": {"holds": 1},
        **manifest,
    }
    (path / "manifest.json").write_text(json.dumps(said))
    (path / "verdicts.json").write_text(json.dumps(verdicts or [verdict()]))
    for pattern, events in (history or {}).items():
        (path / pattern / "journals").mkdir(parents=True)
        lines = "".join(f"{json.dumps(event)}\n" for event in events)
        (path / pattern / "history.jsonl").write_text(lines)
    return path
