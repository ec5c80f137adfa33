"""The client's side of a subscription: registered, called up, and registered again.

It takes the upcalls of its own subscription in their order, each once: one that is early or was had
is dropped, for the server repeats what it misses. One callback runs at a time, and its return is
the acknowledgement: so a crash in the middle of a callback leaves it unacknowledged, and its event
is not counted as told.

Whoever runs it does the effects. `called` is the one to act upon: call back the program, and when
that returns, say so by the request `done`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from apps.kit.effects import Effect, Effects, Emit, Message, Send, SetTimer

AGAIN = 0.5
"""Seconds after which a registration without an answer is repeated."""
_TIMER = "again"


@dataclass(frozen=True, slots=True)
class Upcall:
    """An event, by its number in a subscription."""

    subscription: str
    seq: int
    id: str
    value: str


class Registration:
    """The client's core (`apps.kit.effects.Core`)."""

    def __init__(self, server: str, topic: str, session: str, *, window: int = 64) -> None:
        """`server` is the node to send to; `session` is this process's, of no other ever.

        `window` is how many upcalls may wait for the callback: the server's at least.
        """
        self._server = server
        self._topic = topic
        self._session = session
        self._window = window
        self._attempt = 0
        self._waits = False  # for the answer to a registration
        self._silence = 10 * AGAIN
        self._heard = 0.0
        self._taken = 0
        self._returned = 0
        self._queue: deque[Upcall] = deque()
        self._running: Upcall | None = None
        self.subscription = ""
        """The server's name for it; empty before the first answer."""
        self.refused = ""
        """Why the server did not take the last registration, if it did not."""

    @property
    def live(self) -> bool:
        """Whether the server has answered the last registration."""
        return bool(self.subscription) and not self._waits

    def start(self, now: float) -> Effects:
        """Register."""
        self._heard = now
        yield from self._register()
        yield SetTimer(_TIMER, AGAIN)

    def timer(self, now: float, name: str) -> Effects:
        """Register again without an answer, or if the server is not heard any more."""
        if not self._waits and now - self._heard > self._silence:
            yield Emit("server_silent", {"subscription": self.subscription})
            self._waits = True
        if self._waits:
            yield from self._register()
        yield SetTimer(name, AGAIN)

    def request(self, now: float, _request: str, body: Message) -> Effects:
        """Take note that the callback has returned (`done`), or register now.

        The time to register (`register`) is when there is a new way to the server, or when the
        server's way to here is gone; and to say goodbye (`leave`) before all ends.
        """
        if body["f"] == "register":
            self._heard = now
            yield from self._register()
        elif body["f"] == "leave":
            yield Send(self._server, {"kind": "leave", "subscription": self.subscription})
        elif self._running is not None:
            upcall, self._running = self._running, None
            if upcall.subscription == self.subscription:
                self._returned = upcall.seq
                yield self._acknowledge()
            yield from self._call()

    def receive(self, now: float, sender: str, message: Message) -> Effects:
        """Take the server's word."""
        self._heard = now
        which = message.get("subscription")
        match message.get("kind"):
            case "registered" if message.get("attempt") == self._attempt and self._waits:
                yield from self._registered(message)
            case "refused" if message.get("attempt") == self._attempt:
                self.refused = str(message.get("why"))
                yield Emit("refused", {"why": self.refused})
            case "registered" | "refused":
                return  # the answer to an earlier attempt
            case "ended" if which == self.subscription and not self._waits:
                yield Emit("ended", {"subscription": which, "why": message.get("why", "unknown")})
                yield from self._register()
            case "ended":
                return
            case "ping" | "upcall" if which != self.subscription:
                if not self._waits:
                    yield Send(self._server, {"kind": "gone", "subscription": str(which)})
            case "ping":
                yield Send(self._server, {"kind": "pong", "subscription": self.subscription})
            case "upcall":
                yield from self._take(message)
            case kind:
                yield Emit("malformed", {"peer": sender, "error": f"no such kind: {kind!r:.40}"})

    def _register(self) -> Iterator[Effect]:
        self._waits = True
        self._attempt += 1
        asked = {"session": self._session, "topic": self._topic, "attempt": self._attempt}
        yield Send(self._server, {"kind": "register", **asked})

    def _registered(self, message: Message) -> Iterator[Effect]:
        self._waits, self.refused = False, ""
        self._silence = 2 * float(message["silence"])
        if message["subscription"] != self.subscription:
            self.subscription = str(message["subscription"])
            self._taken = self._returned = 0
            self._queue.clear()
            fields = {"subscription": self.subscription, "topic": self._topic}
            yield Emit("registered", fields)

    def _take(self, message: Message) -> Iterator[Effect]:
        seq = message["seq"]
        if seq <= self._returned:
            yield self._acknowledge()  # the acknowledgement was lost
        elif seq == self._taken + 1 and len(self._queue) < self._window:
            self._taken = seq
            id_, value = str(message["id"]), str(message["value"])
            self._queue.append(Upcall(self.subscription, seq, id_, value))
            yield from self._call()

    def _call(self) -> Iterator[Effect]:
        """Begin the next callback, if none runs."""
        if self._running is None and self._queue:
            self._running = upcall = self._queue.popleft()
            which = {"subscription": upcall.subscription, "seq": upcall.seq, "id": upcall.id}
            yield Emit("called", {**which, "topic": self._topic, "value": upcall.value})

    def _acknowledge(self) -> Effect:
        which = {"subscription": self.subscription, "seq": self._returned}
        return Send(self._server, {"kind": "ack", **which})
