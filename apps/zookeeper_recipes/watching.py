"""Watches: told once that something changed, not what; so one reads again, with the next watch.

Between the telling and the reading there may be more changes, which nobody hears of one by one.
What is read is never older than what was read before, and in the end it is the last (ZooKeeper,
programmer's guide, "ZooKeeper Watches").
"""

from __future__ import annotations

import threading
from functools import partial

from apps.kit.retry import Deadline
from apps.kit.zookeeper import Read
from apps.zookeeper_recipes.participant import Participant, fresh


def follow(participant: Participant, path: str, seconds: float, ended: threading.Event) -> int:
    """Tell each version of a node that we see, for so long or until it has ended; give how many."""
    participant.ensure(path)
    watcher = fresh(participant.events.node)
    deadline = Deadline(seconds)
    seen = 0
    last = -1
    while True:
        changed = threading.Event()
        read = participant.insist(partial(_read, participant, path, changed))
        if read.version != last:
            last, seen = read.version, seen + 1
            text = read.data[:80].decode(errors="replace")
            about = {"path": path, "version": last, "value": text}
            participant.events.emit("seen", watcher=watcher, **about)
            participant.events.say(f"version {last}: {text}")
        if ended.is_set() or deadline.passed:
            return seen
        while not (changed.is_set() or ended.is_set() or deadline.passed):
            changed.wait(min(0.1, deadline.remaining))


def _read(participant: Participant, path: str, changed: threading.Event) -> Read:
    """Read a node, and have the next change told, or that the session was lost.

    A session looks forward at whichever server it is; another session of ours may be at a server
    that is behind, which hence has to catch up.
    """
    participant.sync(path)
    return participant.look(path, lambda _: changed.set())
