"""One node of Lamport's system: the shared resource by turns, and the clients who ask for it.

It is composed of `process` (stamps and links) and `mutex` (the paper's rules). Clients ask:

    {"f": "acquire", "hold": 2.0, "wait": 10}   answered when granted: {"fence": [17, "n1"], …}
    {"f": "release", "fence": [17, "n1"]}       gives the resource back
    {"f": "event", "name": "lunch"}             an event of this process alone
    {"f": "tell", "to": "n2", "text": "hi"}     a message to another process: it makes causality
    {"f": "state"}                              clock, queue, who was heard; not an event

A hold ends by `release` or after `hold` seconds, whichever is first, so a client that dies holds
nobody up for longer. `wait` (optional) bounds the waiting: then the request is withdrawn. The fence
is the request's place in the total order, (number, name), and grows with every grant: a resource
that refuses a fence lower than one it has seen is safe even from a client that sleeps through the
end of its hold.

Crash and restart: `process` says how the clock survives, and `mutex` how a peer takes it. A dead
life's request is gone, and its client's outcome unknown. But its client may still hold, so `lease`,
the seconds of a hold, is durable before the grant is told to anyone: a process that died in a hold
stays silent for as long after its restart, as if it were still down; then the hold is surely over.

Known limit: while one process is down, silent or cut off, nobody enters.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from apps.kit.effects import CancelTimer, Effect, Message, Persist, Reject, Reply, SetTimer
from apps.kit.link import Pace, PeerUp
from apps.lamport_clock.messages import BadMessage, Stamped, number_of, text_of
from apps.lamport_clock.mutex import RequestQueue
from apps.lamport_clock.process import Process

LONGEST_HOLD = 60.0
"""Seconds; also the longest silence after a restart."""
LONGEST_WAIT = 3600.0
"""Seconds."""
MOST_WAITING = 64
"""Acquires that wait at one node; more are rejected."""
RESERVE = 512
"""Room that a link keeps for the algorithm's own messages: those of the waiting acquires (a request
and a release each) and the answers to a window of the peer's. Clients cannot use it up."""


@dataclass(frozen=True, slots=True)
class _Acquire:
    request: str
    hold: float


class LamportNode:
    """The core of one node; see `apps.kit.effects.Core`."""

    def __init__(
        self,
        node: str,
        peers: Iterable[str],
        stored: Mapping[str, Any],
        *,
        pace: Pace | None = None,
    ) -> None:
        """`peers` are the other nodes, all of them; `stored` is what an earlier life persisted."""
        self._process = Process(node, peers, stored, pace)
        self._mutex = RequestQueue(node, self._process.links)
        self._waiting: deque[_Acquire] = deque()  # while nothing is held, the first has asked
        self._held_until: float | None = None
        self._silence: float = stored.get("lease", 0.0)
        self._now = 0.0
        self._functions: dict[object, Callable[[str, Message], None]] = {
            "acquire": self._acquire,
            "release": self._release,
            "event": self._event,
            "tell": self._tell,
            "state": self._state,
        }

    # What the shell calls

    def start(self, now: float) -> list[Effect]:
        """Begin this life; after a crash in a hold, silently."""
        self._now = now
        self._process.begin()
        if self._silence > 0:
            self._process.note("lease_wait", seconds=self._silence)
            self._process.do(SetTimer("lease", self._silence))
        else:
            self._process.join()
        return self._process.finish()

    def receive(self, now: float, sender: str, message: Message) -> list[Effect]:
        """Take a frame of a peer's link."""
        self._now = now
        for news in self._process.receive(sender, message):
            if isinstance(news, PeerUp):
                self._meet(sender, news)
            else:
                self._hear(sender, news)
        return self._process.finish()

    def request(self, now: float, request: str, body: Message) -> list[Effect]:
        """Take a client's request, see the module."""
        self._now = now
        try:
            f = body.get("f")
            if not isinstance(f, str) or f not in self._functions:
                raise BadMessage(f"f must be one of {', '.join(map(str, self._functions))}")
            if self._silence > 0 and f != "state":
                raise BadMessage(
                    f"{self._process.node} restarted while a client held the resource; ask again "
                    f"when that hold is surely over, in at most {self._silence:g} s"
                )
            self._functions[f](request, body)
        except BadMessage as error:
            self._process.do(Reject(request, str(error)))
        return self._process.finish()

    def timer(self, now: float, name: str) -> list[Effect]:
        """Take note of a timer: a link's, the end of a hold, of a wait, or of the silence."""
        self._now = now
        kind, _, of = name.partition(":")
        if kind == "link":
            self._process.links[of].timer()
        elif kind == "wait":
            self._give_up(of)
        elif kind == "hold":
            self._leave("expired")
        elif kind == "lease":
            self._silence = 0.0
            self._process.do(Persist("lease", 0.0))
            self._process.join()
        return self._process.finish()

    # Peers

    def _meet(self, peer: str, up: PeerUp) -> None:
        """A new life of a peer: it knows nothing of us, so our request goes before all else."""
        self._process.note("peer_up", peer=peer, life=up.incarnation, restarted=up.restarted)
        self._mutex.forget(peer)
        if up.restarted and self._mutex.mine is not None:
            self._process.say(peer, "request", time=self._mutex.mine)

    def _hear(self, peer: str, message: Stamped) -> None:
        self._process.hear(peer, message)
        self._mutex.heard(peer, message.lamport)
        if message.kind == "request":
            self._mutex.asked(peer, message.time)
            self._process.say(peer, "ack")
        elif message.kind == "release":
            self._mutex.released(peer, message.time)
        self._enter_if_my_turn()

    # Mutual exclusion

    def _acquire(self, request: str, body: Message) -> None:
        hold = number_of(body, "hold", LONGEST_HOLD)
        wait = number_of(body, "wait", LONGEST_WAIT) if "wait" in body else None
        if len(self._waiting) >= MOST_WAITING:
            raise BadMessage(f"{MOST_WAITING} clients wait here already: ask again later")
        self._check_room(self._process.links)
        self._waiting.append(_Acquire(request, hold))
        if wait is not None:
            self._process.do(SetTimer(f"wait:{request}", wait))
        if self._mutex.mine is None:
            self._ask()

    def _ask(self) -> None:
        """Rule 1, for the first of the waiting."""
        time = self._process.event("request")
        self._mutex.ask(time)
        for peer in self._process.links:
            self._process.say(peer, "request", time=time)
        self._enter_if_my_turn()

    def _enter_if_my_turn(self) -> None:
        """Rule 5. What makes the hold outlive a crash is durable before anyone knows of it."""
        if self._held_until is not None or not self._mutex.my_turn():
            return
        acquire = self._waiting.popleft()
        fence = [self._mutex.mine, self._process.node]
        self._held_until = self._now + acquire.hold
        self._process.do(CancelTimer(f"wait:{acquire.request}"))
        self._process.do(Persist("lease", acquire.hold))
        self._process.event("enter", fence=fence)
        self._process.do(SetTimer("hold", acquire.hold))
        self._process.do(Reply(acquire.request, {"fence": fence, "hold": acquire.hold}))

    def _release(self, request: str, body: Message) -> None:
        fence = [self._mutex.mine, self._process.node]
        if self._held_until is None or body.get("fence") != fence:
            raise BadMessage("nothing is held under this fence: it was released, or its hold ended")
        self._process.do(Reply(request, {"released": True}))
        self._leave("released")

    def _leave(self, why: str) -> None:
        self._held_until = None
        self._process.do(CancelTimer("hold"))
        self._retire("exit", why=why)
        self._process.do(Persist("lease", 0.0))
        if self._waiting:
            self._ask()

    def _retire(self, event: str, **fields: Any) -> None:
        """Rule 3: the own request goes, here and everywhere."""
        time = self._mutex.mine
        self._process.event(event, fence=[time, self._process.node], **fields)
        self._mutex.done()
        for peer in self._process.links:
            self._process.say(peer, "release", time=time)

    def _give_up(self, request: str) -> None:
        """The client's wait is over: withdraw what was asked for it."""
        place = [acquire.request for acquire in self._waiting].index(request)
        asked = place == 0 and self._held_until is None
        reasons = [] if asked else ["other clients of this node are before it"]
        reasons += self._mutex.obstacles() if self._held_until is None else []
        del self._waiting[place]
        self._process.do(Reject(request, f"not granted in the time to wait: {'; '.join(reasons)}"))
        if asked:
            self._retire("withdraw")
            if self._waiting:
                self._ask()

    # Other requests

    def _event(self, request: str, body: Message) -> None:
        lamport = self._process.event("local", name=text_of(body, "name"))
        self._process.do(Reply(request, {"lamport": lamport}))

    def _tell(self, request: str, body: Message) -> None:
        peer, text = text_of(body, "to"), text_of(body, "text")
        if peer not in self._process.links:
            peers = ", ".join(self._process.links)
            raise BadMessage(f"{peer!r} is no peer of this node: its peers are {peers}")
        self._check_room([peer])
        name = self._process.say(peer, "tell", text=text)
        self._process.do(Reply(request, {"id": name, "lamport": self._process.clock.time}))

    def _state(self, request: str, _: Message) -> None:
        process, mutex = self._process, self._mutex
        held = self._held_until
        state = {
            "node": process.node,
            "incarnation": process.incarnation,
            "silent": self._silence > 0,
            "lamport": process.clock.time,
            "queue": [list(place) for place in mutex.requests],
            "hold_left": None if held is None else round(held - self._now, 3),
            "waiting": len(self._waiting),
            "peers": {
                peer: {"incarnation": link.peer_incarnation, "heard": mutex.last_heard(peer)}
                for peer, link in process.links.items()
            },
        }
        process.do(Reply(request, state))

    def _check_room(self, peers: Iterable[str]) -> None:
        away = [peer for peer in peers if self._process.links[peer].room <= RESERVE]
        if away:
            raise BadMessage(
                f"too much waits for {', '.join(away)} already: is it down or cut off?"
            )
