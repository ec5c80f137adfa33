"""The three stages in which the log is taught, each a policy that the master follows.

Stage 1: every message goes to every node before it is acknowledged. Links are taken for perfect and
nodes for immortal, so nothing is sent twice and nobody is watched: one node that is away stops all
writes, and what it missed it never gets.

Stage 2: the client says how many nodes have to have its message: the write concern, from 1 to all.

Stage 3: what is not acknowledged is sent again, with a growing patience, until it is; a node that
returns, or is new, gets what it lacks; a client's message that comes again is the same message;
nodes are watched by heartbeats; without a majority of them nothing is written.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stage:
    """What the master does, besides appending and sending each entry once."""

    number: int
    chooses: bool
    """A client may choose its write concern; otherwise it is all nodes."""
    repeats: bool
    """What is not acknowledged is sent again, and what a node lacks is sent at all."""
    recognises: bool
    """A client's request that comes again gets the offset that it got."""
    watches: bool
    """Nodes are healthy, suspected or unhealthy; without a majority nothing is written."""


STAGES = {
    1: Stage(1, chooses=False, repeats=False, recognises=False, watches=False),
    2: Stage(2, chooses=True, repeats=False, recognises=False, watches=False),
    3: Stage(3, chooses=True, repeats=True, recognises=True, watches=True),
}
