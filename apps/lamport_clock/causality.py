"""Happened-before among the stamped events of a run; the stamps themselves are not looked at.

A process here is an incarnation, one life of a node between two starts: a node that lost its memory
in a crash does not know its own past, so an event before the crash is in the past of one after it
only where a message carried the news. (`lives` is there for claims that need more.)

Only events with a vector count; a history may hold any others besides.
"""

from __future__ import annotations

from apps.kit import causality
from apps.kit.claims import History
from apps.lamport_clock.clocks import process_of


class Causality(causality.Causality):
    """The stamped events of a history, whose messages are said and heard."""

    def __init__(self, history: History) -> None:
        """Read the whole history once."""
        stamped = [event for event in history if "vector" in event]
        super().__init__(stamped, process=process_of, sent="say", received="hear")

    def lives(self) -> dict[str, list[list[int]]]:
        """Give the events of each node, one list per incarnation, in order."""
        nodes: dict[str, dict[int, list[int]]] = {}
        for line in self.lines.values():
            first = self.events[line[0]]
            nodes.setdefault(first["node"], {})[first["incarnation"]] = line
        return {node: [lives[n] for n in sorted(lives)] for node, lives in nodes.items()}
