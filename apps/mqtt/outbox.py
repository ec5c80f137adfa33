"""What a client has to publish: in order, and no more under way than the broker takes at once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from apps.kit.outcome import CallFailed, Refused, Rejected, Unknown
from apps.mqtt.core import Message, is_topic
from apps.mqtt.wire import WAITING

_AROUND = 200
"""Bytes of a packet around its topic, payload and properties, at most."""

Posted = tuple[Message, asyncio.Future[str]]
"""A message, and what will be known of it: what the broker says, or a CallFailed."""


class Outbox:
    """Messages that wait to be sent, and those under way: sent, and not confirmed."""

    def __init__(self, window: int) -> None:
        """Have at most `window` messages under way."""
        self.window = window
        self.largest = 0
        """Bytes of the longest packet that the broker takes; 0: it did not say."""
        self._waiting: deque[Posted] = deque()
        self._sent: dict[int, Posted] = {}

    def __len__(self) -> int:
        """How many messages were posted and are not confirmed."""
        return len(self._waiting) + len(self._sent)

    def post(self, message: Message) -> asyncio.Future[str]:
        """Have it wait behind the others; Rejected if it can never be published."""
        if not is_topic(message.topic):
            raise Rejected(f"{message.topic[:50]!r} is no topic to publish to")
        if len(self) >= WAITING:
            raise Rejected(f"{WAITING} messages wait already")
        size = len(message.topic.encode()) + len(message.payload) + _AROUND
        size += sum(len(f"{name}{value}".encode()) + 5 for name, value in message.properties)
        if self.largest and size > self.largest:
            raise Rejected(f"{size} bytes are too long: the broker takes {self.largest}")
        posted = message, asyncio.get_running_loop().create_future()
        self._waiting.append(posted)
        return posted[1]

    def post_first(self, message: Message) -> None:
        """Have it wait before all others; nobody asks what becomes of it."""
        self.put_back((message, asyncio.get_running_loop().create_future()))

    def take(self) -> Posted | None:
        """Give the next one to send, if it may be sent now."""
        while self._waiting and len(self._sent) < self.window:
            posted = self._waiting.popleft()
            if not posted[1].cancelled():
                return posted
        return None

    def put_back(self, posted: Posted) -> None:
        """Have it wait again, before all others."""
        self._waiting.appendleft(posted)

    def sent(self, mid: int, posted: Posted) -> None:
        """Take note that it is under way, by its packet identifier."""
        self._sent[mid] = posted

    def waits(self, future: asyncio.Future[str]) -> bool:
        """Tell whether the message of this future was not sent yet."""
        return any(waiting is future for _, waiting in self._waiting)

    def confirmed(self, mid: int, said: str, *, refused: bool) -> None:
        """Take note of what the broker said of a message under way."""
        _, future = self._sent.pop(mid, (None, None))
        if future is not None and not future.done():
            if refused:
                future.set_exception(Rejected(said))
            else:
                future.set_result(said)

    def lose(self, why: str, which: Callable[[Message], bool] = lambda _: True) -> None:
        """Say of messages under way that nobody knows: they are not any more."""
        for mid, (message, future) in list(self._sent.items()):
            if which(message):
                del self._sent[mid]
                _settle(future, Unknown(f"{why}; it may have been published"))

    def close(self) -> None:
        """Say that what waits was not sent, and will not be."""
        for _, future in self._waiting:
            _settle(future, Refused("the client ended before it could be sent"))
        self._waiting.clear()


def _settle(future: asyncio.Future[str], error: CallFailed) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # who posted it may have gone; that is no error of the loop's
