"""Whether clients were told the truth: what they say they know, against the server's own account.

A client asks for something by a key of its own; the server keeps what it did as numbered entries.
An entry is what was asked for, and its `number`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from apps.kit.claims import Finding, History
from apps.kit.history import Operation, operations


def outcomes_are_true(history: History, f: str, kept: Iterable[Mapping[str, Any]]) -> Finding:
    """What was acknowledged is kept as it was told, what failed is not; what is unknown may be.

    A key is kept once, however often it was asked for. Entries that nobody in the history asked for
    are none of its business.
    """
    by_key: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for entry in kept:
        by_key[entry["key"]].append(entry)
    asked: dict[str, list[Operation]] = defaultdict(list)
    for op in operations(history, {f: f}):
        asked[op.value["key"]].append(op)
    count = {"ok": 0, "fail": 0, "unknown": 0}
    done = again = 0
    for key, ops in asked.items():
        fault = _fault(ops, by_key[key])
        if fault:
            return Finding(False, f"{key} {fault}", tuple(e for op in ops for e in op.events))
        for op in ops:
            count[op.outcome] += 1
        again += len(ops) > 1
        done += bool(by_key[key]) and all(op.outcome == "unknown" for op in ops)
    if not count["ok"]:
        return Finding(None, f"no {f} was acknowledged")
    told = (
        f"{count['ok']} acknowledged and kept; {count['fail']} failed and not kept;"
        f" {count['unknown']} unknown, of which {done} were done;"
        f" {again} asked for again and done once"
    )
    return Finding(True, told)


def _fault(ops: list[Operation], entries: list[Mapping[str, Any]]) -> str:
    """Say how the server's account contradicts what clients were told of one key."""
    if len(entries) > 1:
        return f"was done {len(entries)} times: {[entry['number'] for entry in entries]}"
    entry = entries[0] if entries else None
    for op in ops:
        if op.outcome == "ok" and entry is None:
            return "was acknowledged, and is not kept"
        if op.outcome == "ok" and op.result != entry:
            return f"was acknowledged as {op.result}, and is kept as {entry}"
        if entry is not None and {**op.value, "number": entry["number"]} != entry:
            return f"was asked for as {op.value}, and is kept as {entry}"
    if entry is not None and all(op.outcome == "fail" for op in ops):
        return "failed, and is kept all the same"
    return ""
