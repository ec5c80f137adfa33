"""Lamport's mutual exclusion: the rules by which one process knows that it is its turn.

The problem: processes share one resource, with no coordinator. It must be granted to one at a time,
in the order in which it was asked for.

The rule: events are totally ordered by (clock, process name). Every process keeps a queue of all
requests. A process asks by a timestamped request to all, is answered by all, and tells all when it
is done. It may enter when its own request is the first of the queue, and it has heard something
later than that request from every other process: messages are FIFO, so no earlier request can still
be on its way.

What it costs: 3(n-1) messages an entry, and nobody can enter while one process is silent. That is
the algorithm's known limit: it waits for all, and a dead process says nothing.

Restarts, which the paper leaves out: a new incarnation of a peer has asked for nothing and has
promised nothing, so its predecessor's request is dropped, and what the predecessor was heard to say
no longer counts. The owner sends its own outstanding request to the newcomer first of all, so that
FIFO order puts it before any later word that would let the newcomer enter.

Source: Lamport 1978, section "Ordering the Events Totally", rules 1 to 5.
"""

from __future__ import annotations

from collections.abc import Iterable


class RequestQueue:
    """The request queue of process `me`, and the last word of each peer."""

    def __init__(self, me: str, peers: Iterable[str]) -> None:
        """Begin with an empty queue, having heard of nobody."""
        self._me = me
        self._requests: dict[str, int] = {}
        self._heard = dict.fromkeys(peers, 0)

    @property
    def mine(self) -> int | None:
        """The time of this process's own request, if one is in the queue."""
        return self._requests.get(self._me)

    @property
    def requests(self) -> list[tuple[int, str]]:
        """The requests in the queue, in their total order."""
        return sorted((time, process) for process, time in self._requests.items())

    def ask(self, time: int) -> None:
        """Put this process's own request into its queue (rule 1)."""
        self._requests[self._me] = time

    def asked(self, peer: str, time: int) -> None:
        """Put a peer's request into the queue (rule 2)."""
        self._requests[peer] = time

    def done(self) -> None:
        """Take this process's own request out (rule 3)."""
        del self._requests[self._me]

    def released(self, peer: str, time: int) -> None:
        """Take a peer's request of that time out (rule 4)."""
        if self._requests.get(peer) == time:
            del self._requests[peer]

    def heard(self, peer: str, time: int) -> None:
        """Note the sender's clock on a message of a peer, of any kind."""
        self._heard[peer] = time

    def last_heard(self, peer: str) -> int:
        """Give the sender's clock on the last message of a peer's living incarnation, or 0."""
        return self._heard[peer]

    def forget(self, peer: str) -> None:
        """A new incarnation of the peer lives: nothing of the dead one counts any more."""
        self._requests.pop(peer, None)
        self._heard[peer] = 0

    def my_turn(self) -> bool:
        """Whether this process may enter (rule 5)."""
        mine = self._requests.get(self._me)
        if mine is None:
            return False
        ticket = (mine, self._me)
        return all(
            (time, peer) > ticket and (peer not in self._requests or self._after(ticket, peer))
            for peer, time in self._heard.items()
        )

    def obstacles(self) -> list[str]:
        """Say in words what this process waits for, for a person who waits as well."""
        ticket = (self._requests.get(self._me, 0), self._me)
        silent = [peer for peer, time in self._heard.items() if (time, peer) <= ticket]
        ahead = [process for time, process in self.requests if (time, process) < ticket]
        reasons = [f"no answer of {', '.join(silent)}"] if silent else []
        reasons += [f"{', '.join(ahead)} asked before"] if ahead else []
        return reasons

    def _after(self, ticket: tuple[int, str], peer: str) -> bool:
        return (self._requests[peer], peer) > ticket
