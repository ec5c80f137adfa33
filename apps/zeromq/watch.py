"""A poller over a SUB socket and its monitor (zguide chapter 2, "Handling Multiple Sockets").

A socket says nothing of its connections: that it waits for a peer which is not there looks like
silence. Its monitor is a second socket that tells (zmq_socket_monitor(3)): connected, shaken hands,
disconnected, trying again.
"""

from __future__ import annotations

import contextlib

import zmq

from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.retry import Deadline
from apps.kit.zeromq import Bounds, blocking, seen


def watch(
    publisher: Address, events: Events, topic: str, *, seconds: float, bounds: Bounds
) -> None:
    """Show what a publisher sends, and what befalls the connection to it, for so many seconds."""
    ends = Deadline(seconds)
    with blocking(events, bounds) as sockets:
        updates = sockets.open("updates", zmq.SUB, watched=False)
        updates.subscribe(topic)
        monitor = sockets.monitor(updates)
        # Now, not before: the monitor shall see the first connection, too.
        updates.connect(f"tcp://{publisher}")
        poller = zmq.Poller()
        poller.register(updates, zmq.POLLIN)
        poller.register(monitor, zmq.POLLIN)
        with contextlib.suppress(KeyboardInterrupt):
            while not ends.passed:
                ready = dict(poller.poll(round(min(ends.remaining, 1.0) * 1000)))
                if monitor in ready:
                    told = seen(monitor.recv_multipart())
                    events.bounded("link", socket="updates", **told)
                    events.say(" ".join(f"{value}" for value in told.values()))
                if updates in ready:
                    text = updates.recv_multipart()[0].decode(errors="replace")
                    events.bounded("update", text=text[:200])
                    events.say(f"  {text}")
