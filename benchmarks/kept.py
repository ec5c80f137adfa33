"""What was measured last of each part: figures.json, from which README's tables are written.

A part is kept as soon as it is measured, so that one that is interrupted costs the others nothing,
and each can be measured again by itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.figures import Figure, Peer
from lab.hosts.state import write_atomically

KEPT = Path(__file__).with_name("figures.json")
Measured: TypeAlias = tuple[Mapping[str, str], Sequence[Figure]]
"""Under what circumstances, and what was found."""


def keep(part: str, on: Mapping[str, str], found: Sequence[Figure], path: Path = KEPT) -> None:
    """Keep a part's figures in the place of those before."""
    known = _read(path)
    known[part] = {"on": dict(on), "figures": [figure.as_json() for figure in found]}
    write_atomically(path, json.dumps(known, indent=1) + "\n")


def kept(order: Sequence[str], path: Path = KEPT) -> dict[str, Measured]:
    """Give what is kept of these parts, in this order."""
    known = _read(path)
    return {
        part: (known[part]["on"], [_figure(told) for told in known[part]["figures"]])
        for part in order
        if part in known
    }


def _read(path: Path) -> dict[str, Any]:
    known: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return known


def _figure(told: Mapping[str, Any]) -> Figure:
    known = {field.name: told[field.name] for field in fields(Figure) if field.name in told}
    known["runs"] = tuple(told["runs"])
    if peer := told.get("peer"):
        known["peer"] = Peer(peer["name"], tuple(peer["runs"]))
    return Figure(**known)
