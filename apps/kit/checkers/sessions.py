"""What one client sees over time: the session guarantees (Terry et al. 1994)."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Hashable, Iterable
from typing import Any

from apps.kit.claims import Finding
from apps.kit.history import Operation


def monotonic_reads(
    reads: Iterable[Operation],
    *,
    version: Callable[[Any], Any] = lambda result: result,
    client: Callable[[Operation], Hashable] = lambda op: op.node,
) -> Finding:
    """No client reads an older version of a key after a newer one.

    `reads` are `operations` of a history that read, and `version` takes out of a result what grows:
    a number, the length of a log. Of a client with several callers only reads are compared of which
    one ended before the other began; its own clock tells.
    """
    told = 0
    newest: dict[Hashable, Operation] = {}
    ended: dict[Hashable, list[tuple[float, int, Operation]]] = {}
    answered = [op for op in reads if op.outcome == "ok"]
    for number, op in enumerate(sorted(answered, key=lambda op: op.start)):
        told += 1
        session = client(op), op.key
        waiting = ended.setdefault(session, [])
        while waiting and waiting[0][0] < op.start:
            done = heapq.heappop(waiting)[2]
            best = newest.setdefault(session, done)
            if version(done.result) > version(best.result):
                newest[session] = done
        before = newest.get(session)
        if before is not None and version(op.result) < version(before.result):
            what = f"{client(op)} read version {version(op.result)}"
            what += f" after {version(before.result)}"
            return Finding(False, what, (*before.events, *op.events))
        heapq.heappush(waiting, (op.end, number, op))
    if not told:
        return Finding(None, "nothing was read")
    return Finding(True, f"{told} reads in {len(ended)} sessions, none older than one before")
