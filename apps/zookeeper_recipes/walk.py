"""A session's life, step by step: what is made, read, watched, changed, and gone with it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from kazoo.exceptions import NoNodeError

from apps.kit.outcome import Rejected
from apps.zookeeper_recipes.participant import Participant, because

Open = Callable[[], Participant]


def walk(opened: Open, path: str, value: str) -> None:
    """Make an ephemeral node, read it, watch it, change it, end the session, and look for it.

    Rejected if there is such a node already: somebody else's, or of a former life.
    """
    changed = threading.Event()
    with opened() as participant:
        step = Steps(participant, path)
        step("connected", f"session {participant.id}")
        participant.create(path, value.encode(), ephemeral=True)
        step("created", f"{path}, ephemeral, with {value!r}")
        read = participant.insist(lambda: participant.get(path))
        step("read", f"{read.data.decode()!r}, version {read.version}")
        participant.insist(lambda: participant.watch(path, lambda _: changed.set()))
        step("watched", "the next change will be told, once")
        version = participant.insist(lambda: participant.set(path, f"{value} again".encode()))
        step("set", f"{value} again, version {version}")
        told = changed.wait(participant.patience)
        step("told", "the watch has told" if told else "the watch has not told")
        step("ending", "the session ends, and its ephemeral nodes with it")
    with opened() as another:
        there = another.insist(lambda: _is_there(another, path))
        Steps(another, path)("there" if there else "gone", f"another session looks for {path}")


class Steps:
    """Tells each step."""

    def __init__(self, participant: Participant, path: str) -> None:
        """Of this session, about this path."""
        self._events = participant.events
        self._fixed = {"path": path, "session": participant.id}

    def __call__(self, step: str, told: str) -> None:
        """Tell a step."""
        self._events.emit("step", step=step, **self._fixed)
        self._events.say(f"{step:<10} {told}")


def _is_there(participant: Participant, path: str) -> bool:
    participant.sync(path.rpartition("/")[0] or "/")
    try:
        participant.get(path)
    except Rejected as error:
        if because(error, NoNodeError):
            return False
        raise
    return True
