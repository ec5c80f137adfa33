"""A party: who is there. Each member is an ephemeral node of its own name.

Who died is there until its session is given up. Who comes back before that finds its own name taken
by its former life, and waits until that is gone: to take it over would be to vanish with it.
"""

from __future__ import annotations

from kazoo.exceptions import NodeExistsError, NoNodeError

from apps.kit.outcome import Rejected
from apps.zookeeper_recipes.participant import Participant, Told, because


class Party:
    """The party at a path."""

    def __init__(self, participant: Participant, path: str) -> None:
        """Nobody has joined yet."""
        self._participant = participant
        self._path = path

    def join(self, name: str) -> None:
        """Be one of them; Refused if a former life of ours is there for too long."""
        self._participant.ensure(self._path)
        self._participant.until(lambda told: self._joined(name, told), f"{name} can join")
        self._participant.events.emit("joined", member=name, path=self._path)

    def leave(self, name: str) -> None:
        """Be no longer one of them."""
        self._participant.drop(f"{self._path}/{name}")
        self._participant.events.emit("parted", member=name, path=self._path)

    def members(self) -> list[str]:
        """Give who is there, as our server knows it."""
        self._participant.ensure(self._path)
        found = self._participant.insist(lambda: self._participant.children(self._path))
        self._participant.events.emit("members", members=found, path=self._path)
        return found

    def _joined(self, name: str, told: Told) -> bool:
        path = f"{self._path}/{name}"
        try:
            self._participant.create(path, self._participant.id.encode(), ephemeral=True)
        except Rejected as error:
            if not because(error, NodeExistsError):
                raise
            return self._is_ours(path) or not self._participant.watch(path, told)
        return True

    def _is_ours(self, path: str) -> bool:
        """Whether the node that is there is of this session: an answer was lost."""
        try:
            return self._participant.get(path).data == self._participant.id.encode()
        except Rejected as error:
            if not because(error, NoNodeError):
                raise
            return False
