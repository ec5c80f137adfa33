"""The verbs that a person types, each one operation of a session."""

from __future__ import annotations

from collections.abc import Iterable

from apps.kit import cli
from apps.kit.cli import Misspelt
from apps.kit.events import Events
from apps.kit.operation import Operation
from apps.kit.zookeeper import Session


class Verbs:
    """Does what was typed, and records what is known of it."""

    def __init__(self, session: Session, events: Events) -> None:
        """The session is entered."""
        self._session = session
        self._events = events

    def converse(self, lines: Iterable[str]) -> None:
        """Do line after line; what is misspelt or fails is said, and the next one comes."""
        cli.converse(self._events, lines, lambda line: self.do(cli.split(line)))

    def do(self, words: list[str]) -> None:
        """Do one thing; Misspelt, or what a session raises."""
        match words:
            case ["create", path]:
                self._create(path, "")
            case ["create", path, data]:
                self._create(path, data)
            case ["get", path]:
                self._get(path)
            case ["set", path, data]:
                self._set(path, data, -1)
            case ["set", path, data, version] if version.isdecimal():
                self._set(path, data, int(version))
            case ["delete", path]:
                with Operation(self._events, "delete", None, key=path) as operation:
                    self._session.delete(path)
                    operation.ok(None)
                self._events.say("deleted")
            case ["clear", path]:
                with Operation(self._events, "clear", None, key=path) as operation:
                    self._session.clear(path)
                    operation.ok(None)
                self._events.say("nothing is left of it")
            case ["ls", path]:
                with Operation(self._events, "ls", None, key=path) as operation:
                    self._session.sync(path)
                    names = operation.ok(self._session.children(path))
                self._events.say("\n".join(names) or "nothing is below it")
            case _:
                raise Misspelt(
                    "say one of: create PATH [DATA], get PATH, set PATH DATA [VERSION], "
                    "delete PATH, clear PATH, ls PATH"
                )

    def _create(self, path: str, data: str) -> None:
        with Operation(self._events, "create", data, key=path) as operation:
            made = operation.ok(self._session.create(path, _bytes(data)))
        self._events.say(f"created {made}")

    def _get(self, path: str) -> None:
        with Operation(self._events, "get", None, key=path) as operation:
            self._session.sync(path)
            read = self._session.get(path)
            text = read.data.decode(errors="backslashreplace")
            operation.ok({"data": text, "version": read.version})
        self._events.say(f"{text}  (version {read.version}, made by {read.created:#x})")

    def _set(self, path: str, data: str, version: int) -> None:
        with Operation(self._events, "set", data, key=path) as operation:
            made = operation.ok(self._session.set(path, _bytes(data), version))
        self._events.say(f"version {made}")


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")
