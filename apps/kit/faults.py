"""What can befall hosts and components: the words for it.

A fault is a small value that says what and where. Demos inject it, schedules list it, records on
the hosts keep it, and the history shows it; `lab.faults` is what makes it happen. Hosts are named
as in the inventory, a component by its group (`tcp_echo_server`), times are in seconds, parts of a
whole between 0 and 1.

The kinds are those of Jepsen's nemeses and of tc-netem(8).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeAlias

from apps.kit.claims import Event, History

Way: TypeAlias = tuple[str, str]
"""From a host to a host."""


class BadFault(ValueError):
    """A description that no fault can be made of; the text says why."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What befalls whom."""

    word: ClassVar[str]
    """What schedules and records call it."""
    lasts: ClassVar[bool] = True
    """Whether it goes on until it is healed; a kill is over at once."""

    def where(self) -> tuple[str, ...]:
        """Give the hosts that it acts on."""
        raise NotImplementedError

    def as_json(self) -> dict[str, Any]:
        """Give it as a record has it; see `from_json`."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        plain = {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}
        return {"fault": self.word, **plain}

    def __str__(self) -> str:
        """Give it as a person says it."""
        told = {k: v for k, v in self.as_json().items() if k != "fault" and v not in ([], 0, "")}
        return " ".join([self.word, *(f"{name}={_told(value)}" for name, value in told.items())])


@dataclass(frozen=True, slots=True)
class Kill(Fault):
    """SIGKILL to all processes of a component; systemd starts it again as its unit says."""

    word: ClassVar[str] = "kill"
    lasts: ClassVar[bool] = False
    host: str
    component: str

    def where(self) -> tuple[str, ...]:
        """Its host."""
        return (self.host,)


@dataclass(frozen=True, slots=True)
class Pause(Fault):
    """SIGSTOP to all processes of a component: alive, connected, and silent."""

    word: ClassVar[str] = "pause"
    host: str
    component: str

    def where(self) -> tuple[str, ...]:
        """Its host."""
        return (self.host,)


@dataclass(frozen=True, slots=True)
class PowerOff(Fault):
    """A host without power: all of its processes gone at once, its disk as it was."""

    word: ClassVar[str] = "power_off"
    host: str

    def where(self) -> tuple[str, ...]:
        """The host."""
        return (self.host,)


SHAPES_TOLD: Mapping[str, str] = {
    "isolate": "the first is cut off from all others",
    "halves": "the first half, rounded down, from the rest",
    "majority": "the smallest majority from the rest",
    "bridge": "two halves that only the first reaches",
    "ring": "each sees a majority, and no two see the same one",
    "mute": "nothing of the first reaches the others, but it hears them (one-way)",
    "deaf": "nothing of the others reaches the first, but they hear it (one-way)",
}
"""What each shape of a partition keeps apart, by the order of its hosts."""

SHAPES = tuple(SHAPES_TOLD)


@dataclass(frozen=True, slots=True)
class Partition(Fault):
    """Packets between some of the hosts never arrive.

    The shape says between which, by the order of the hosts: see `SHAPES_TOLD`. They are Jepsen's.
    Of two hosts no `majority`, `bridge` or `ring` can be made: they cut nothing.
    """

    word: ClassVar[str] = "partition"
    shape: str
    hosts: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise BadFault(
                f"no shape of a partition: {self.shape!r}; there are {', '.join(SHAPES)}"
            )
        if len(self.hosts) < 2 or len(set(self.hosts)) < len(self.hosts):
            raise BadFault(f"a partition takes two or more different hosts, not {self.hosts}")

    def where(self) -> tuple[str, ...]:
        """The hosts that something is kept from."""
        deaf = {to for _, to in self.cut()}
        return tuple(host for host in self.hosts if host in deaf)

    def cut(self) -> frozenset[Way]:
        """Give the ways on which nothing arrives."""
        match self.shape:
            case "isolate":
                return _apart(self.hosts[:1], self.hosts[1:])
            case "halves":
                half = len(self.hosts) // 2
                return _apart(self.hosts[:half], self.hosts[half:])
            case "majority":
                most = len(self.hosts) // 2 + 1
                return _apart(self.hosts[:most], self.hosts[most:])
            case "bridge":
                half = (len(self.hosts) + 1) // 2
                return _apart(self.hosts[1:half], self.hosts[half:])
            case "ring":
                return _ring(self.hosts)
            case "mute":
                return frozenset((self.hosts[0], other) for other in self.hosts[1:])
            case _:
                return frozenset((other, self.hosts[0]) for other in self.hosts[1:])


@dataclass(frozen=True, slots=True)
class Link(Fault):
    """The packets that leave some hosts for others are late, lost, damaged, or held back.

    `on` are the hosts whose outgoing packets suffer, `to` those they are for: all hosts of the lab,
    and broadcasts too, if it is empty. A delay of one direction lengthens a ping's round trip by
    as much. The effects are those of tc-netem(8): a part `reorder` of the packets overtakes those
    that are delayed, a part `corrupt` has one bit flipped.
    """

    word: ClassVar[str] = "link"
    on: tuple[str, ...]
    to: tuple[str, ...] = ()
    delay: float = 0.0
    jitter: float = 0.0
    """The delay is drawn evenly between `delay - jitter` and `delay + jitter`."""
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    corrupt: float = 0.0
    rate: float = 0.0
    """Bits a second; 0 is as many as the network carries."""

    def __post_init__(self) -> None:
        if not self.on:
            raise BadFault("a link's fault needs the hosts whose packets suffer")
        for name in ("loss", "duplicate", "reorder", "corrupt"):
            if not 0 <= getattr(self, name) <= 1:
                raise BadFault(
                    f"{name} is a part of all packets: 0 to 1, not {getattr(self, name)}"
                )
        for name in ("delay", "jitter", "rate"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise BadFault(f"{name} cannot be {getattr(self, name)}")
        if self.jitter > self.delay:
            raise BadFault(f"a jitter of {self.jitter} s takes a delay of at least as much")
        if self.reorder and not self.delay:
            raise BadFault("only a packet that is delayed can be overtaken: reorder takes a delay")
        if not any(getattr(self, name) for name in EFFECTS):
            raise BadFault(f"a link's fault needs an effect: {', '.join(EFFECTS)}")

    def where(self) -> tuple[str, ...]:
        """The hosts whose packets suffer."""
        return self.on


EFFECTS = ("delay", "jitter", "loss", "duplicate", "reorder", "corrupt", "rate")
"""What can befall the packets of a link."""


@dataclass(frozen=True, slots=True)
class Clock(Fault):
    """A component's wall clock is wrong by `offset` seconds and runs `1 + drift` times as fast.

    Its monotonic clock stays true, and with it timers and watchdogs; with a drift, a single wait
    ends that part too early. The component is restarted into the wrong clock, and out of it again.
    """

    word: ClassVar[str] = "clock"
    host: str
    component: str
    offset: float = 0.0
    drift: float = 0.0

    def __post_init__(self) -> None:
        if not self.offset and not self.drift:
            raise BadFault("a clock's fault needs an offset or a drift")
        if self.drift <= -1:
            raise BadFault(f"a clock that drifts by {self.drift} would run backwards")

    def where(self) -> tuple[str, ...]:
        """Its host."""
        return (self.host,)


@dataclass(frozen=True, slots=True)
class Disk(Fault):
    """A component's state directory is on a bad disk.

    `full`: it takes `free` more bytes, in blocks of 4 KiB, then no write succeeds (ENOSPC); what
    the component writes when it starts is among them, so 64 KiB let it start, and 0 may not.
    `delay`: each write and each flush takes so many seconds longer. `forgets`: what was not flushed
    (fsync) is lost when the component is killed, as by a cut of power; names, sizes that a
    truncation gave, owners and modes are kept. The component is restarted onto the bad disk, and
    off it again; its data stay where they are.
    """

    word: ClassVar[str] = "disk"
    host: str
    component: str
    full: bool = False
    free: int = 0
    delay: float = 0.0
    forgets: bool = False

    def __post_init__(self) -> None:
        if not (self.full or self.delay > 0 or self.forgets):
            raise BadFault("a disk's fault is one or more of: full, delay, forgets")
        if self.free < 0 or self.delay < 0:
            raise BadFault("neither free bytes nor a delay can be below 0")

    def where(self) -> tuple[str, ...]:
        """Its host."""
        return (self.host,)


@dataclass(frozen=True, slots=True)
class Reset(Fault):
    """All TCP connections of a host to its peers, or to every peer of the lab, are reset."""

    word: ClassVar[str] = "reset"
    lasts: ClassVar[bool] = False
    host: str
    peers: tuple[str, ...] = ()

    def where(self) -> tuple[str, ...]:
        """The host."""
        return (self.host,)


KINDS: Mapping[str, type[Fault]] = {
    kind.word: kind for kind in (Kill, Pause, PowerOff, Partition, Link, Clock, Disk, Reset)
}


def injections(history: History, word: str) -> list[Event]:
    """Give the events of a history that say that a fault of this word was injected, in order."""
    return [e for e in history if e["event"] == "inject" and e["fault"]["fault"] == word]


def from_json(record: Mapping[str, Any]) -> Fault:
    """Make a fault of what `as_json` gave, or a person wrote; BadFault says what is wrong."""
    word = record.get("fault")
    kind = KINDS.get(word) if isinstance(word, str) else None
    if kind is None:
        raise BadFault(f"no such fault: {word!r}; there are {', '.join(KINDS)}")
    known = {item.name: item for item in fields(kind)}
    given = {name: value for name, value in record.items() if name != "fault"}
    for name in given.keys() - known.keys():
        raise BadFault(f"{word} has no {name!r}; it has {', '.join(known)}")
    try:
        return kind(**{name: _read(known[name].type, name, value) for name, value in given.items()})
    except TypeError as error:
        raise BadFault(f"{word}: {str(error).partition(') ')[2] or error}") from error


def _read(type_: Any, name: str, value: Any) -> Any:
    """Give the value if it is of the field's type, as YAML and JSON write it."""
    match type_, value:
        case ("str", str()) | ("bool", bool()):
            return value
        case ("int", int()) if not isinstance(value, bool):
            return value
        case ("float", int() | float()) if not isinstance(value, bool):
            return float(value)
        case ("tuple[str, ...]", list() | tuple()) if all(isinstance(item, str) for item in value):
            return tuple(value)
    wanted = "list of names" if type_.startswith("tuple") else type_
    raise BadFault(f"{name} is no {wanted}: {value!r}")


def _told(value: Any) -> str:
    return (
        ",".join(value)
        if isinstance(value, list)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )


def _apart(one: Iterable[str], other: Sequence[str]) -> frozenset[Way]:
    return frozenset(way for a in one for b in other for way in ((a, b), (b, a)))


def _ring(hosts: Sequence[str]) -> frozenset[Way]:
    """Cut each host from those that are far from it on the ring, either way.

    Each sees as many neighbours on both sides as make a majority with itself; where that takes an
    odd number, one more, so that whoever sees a host is seen by it. Of three hosts, which are all
    neighbours, the outer two are cut: each still sees two, and no two the same.
    """
    count = len(hosts)
    if count == 3:
        return _apart(hosts[:1], hosts[2:])
    near = (count // 2 + 1) // 2
    return frozenset(
        (hosts[i], hosts[j])
        for i in range(count)
        for j in range(count)
        if min((i - j) % count, (j - i) % count) > near
    )
