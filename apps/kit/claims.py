"""What a claim finds in a history: does it hold, why, and which few events show it.

A claim is a pure function over a history, an iterable of event dicts in the order in which each
node wrote them. The simulator's trace and the merged journals of real hosts are both histories, so
one claim judges both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

Event: TypeAlias = Mapping[str, Any]
"""A line of a journal: `event`, `pattern`, `component`, `node`, `t` and the event's own fields.

`t` is in seconds, by the host's clock. Where a fault had turned the component's own clock, what the
component took the time to be stands beside it in `t_said`.
"""

History: TypeAlias = Iterable[Event]


@dataclass(frozen=True, slots=True)
class Finding:
    """The verdict on one statement over one history.

    `holds` is whether the statement is true of this history; None where the history cannot tell
    (nothing of the kind happened, or events are missing). `detail` says so in one sentence.
    `witness` is the few events that show it: the violation, or the example that was asked for.
    """

    holds: bool | None
    detail: str
    witness: tuple[Event, ...] = ()
