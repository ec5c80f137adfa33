"""A topology's file: read with the line of every word, so that an error says where it is.

name: tree                        # of the lab that it boots, at most 7 characters
subnet: 198.18.64.0/22            # holds all addresses
hosts: [h1, h2, h3, h4]
switches: [s1, s2]
routers: [r1]
defaults: {delay: 10ms}           # of links that say nothing else
links:
  - {between: [r1, s1], delay: 20ms, jitter: 1ms, loss: 0.1%, bandwidth: 100mbit}
  - {between: [r1, s2]}
  - {between: [s1, h1]}
publishers: [h1]                  # optional: who publishes, who subscribes
subscribers: [h3, h4]
placement:                        # optional: where components run, if not where they are put
  tcp_echo_server: [h2]
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path
from typing import NoReturn

import yaml

from lab.errors import LabError
from lab.faults import quantities
from lab.topology.model import (
    HOST,
    NODE_NAME,
    ROUTER,
    SWITCH,
    TOPOLOGY_NAME,
    Link,
    Quality,
    Topology,
    milliseconds,
    rate,
)

DEFAULT_SUBNET = IPv4Network("198.18.64.0/20")
_KINDS = {"hosts": HOST, "switches": SWITCH, "routers": ROUTER}
_KEYS = ("name", "subnet", *_KINDS, "defaults", "links", "publishers", "subscribers", "placement")
_QUALITIES: Mapping[str, tuple[Callable[[str], float], str]] = {
    "delay": (quantities.seconds, "a time with its unit: 10ms"),
    "jitter": (quantities.seconds, "a time with its unit: 1ms"),
    "loss": (quantities.part, "a part: 1% or 0.01"),
    "bandwidth": (quantities.bits_per_second, "a rate: 10mbit, 512kbit"),
}
_LONGEST = 10.0
_DIGITS = 12
"""After the point, so that 10.885 thousandths are what 0.010885 is."""
_GUIDE = "docs/topology.md shows how one is written"


@dataclass
class Source:
    """Where things stand in a file."""

    name: str
    lines: dict[str, int] = field(default_factory=dict)
    """The line of what is named so: a key, a node, `links/3`, `placement/tcp_echo_server`."""

    def refuse(self, where: str, what: str, fix: str = _GUIDE) -> NoReturn:
        """Raise a LabError with the line of what is wrong."""
        if not self.lines:  # it was never in a file
            raise LabError(f"{self.name}: {what}", fix)
        line = self.lines.get(where) or self.lines.get(where.partition("/")[0]) or 1
        raise LabError(f"{self.name}:{line}: {what}", fix)


def read(path: Path) -> tuple[Topology, Source]:
    """Read a topology's file; LabError with line and reason if it says none."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise LabError(f"the topology {path} cannot be read: {error}", _GUIDE) from error
    return parse(text, str(path))


def parse(text: str, name: str) -> tuple[Topology, Source]:
    """Read a topology; what it means is judged by `validate`."""
    return _Reader(text, Source(name)).topology()


class _Reader:
    """Reads a file's nodes, which know their lines, into a topology."""

    def __init__(self, text: str, source: Source) -> None:
        self.source = source
        try:
            self._root = yaml.compose(text, yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            source.lines["yaml"] = mark.line + 1 if mark else 1
            source.refuse("yaml", f"this is no YAML: {error.problem or error}")
        except yaml.YAMLError as error:
            source.refuse("yaml", f"this is no YAML: {error}")

    def topology(self) -> tuple[Topology, Source]:
        top = dict(self._mapping(self._root, "", _KEYS))
        for needed in ("name", "hosts", "links"):
            if needed not in top:
                self.source.refuse("", f"it has no `{needed}`")
        nodes: dict[str, str] = {}
        for key, kind in _KINDS.items():
            for name in self._names(top.get(key), key):
                if name in nodes:
                    first = self.source.lines[f"node/{name}"]
                    self._refuse_here(
                        key, f"there are two nodes called {name}; the other is in line {first}"
                    )
                nodes[name] = kind
                self.source.lines[f"node/{name}"] = self.source.lines[f"{key}/{name}"]
        topology = Topology(
            name=self._name(top["name"]),
            subnet=self._subnet(top.get("subnet")),
            nodes=nodes,
            links=tuple(self._links(top["links"], self._quality(top.get("defaults")))),
            publishers=tuple(self._names(top.get("publishers"), "publishers")),
            subscribers=tuple(self._names(top.get("subscribers"), "subscribers")),
            placement={
                group: tuple(self._names(value, f"placement/{group}"))
                for group, value in self._mapping(top.get("placement"), "placement/", None)
            },
        )
        return topology, self.source

    def _mapping(
        self, node: yaml.Node | None, under: str, keys: tuple[str, ...] | None
    ) -> Iterator[tuple[str, yaml.Node]]:
        """Give the entries of a mapping, with their lines on record; none of no mapping at all."""
        if node is None and under:
            return
        if not isinstance(node, yaml.MappingNode):
            where = under.rstrip("/") or "top"
            self.source.lines[where] = _line(node)
            self.source.refuse(where, f"{where} is no mapping of names to values")
        seen: dict[str, int] = {}
        for key, value in node.value:
            name = str(key.value) if isinstance(key, yaml.ScalarNode) else "?"
            self.source.lines[f"{under}{name}"] = _line(key)
            if name in seen:
                self.source.refuse(
                    f"{under}{name}", f"`{name}` is here twice; first in line {seen[name]}"
                )
            if keys is not None and name not in keys:
                self.source.refuse(f"{under}{name}", f"what is `{name}`?", f"one of: {_all(keys)}")
            seen[name] = _line(key)
            yield name, value

    def _names(self, node: yaml.Node | None, where: str) -> list[str]:
        """Give the names of a list, which may be none."""
        if node is None:
            return []
        if not isinstance(node, yaml.SequenceNode):
            self.source.refuse(where, f"`{where}` is no list", f"write: {where}: [h1, h2]")
        found: list[str] = []
        for item in node.value:
            self.source.lines["here"] = _line(item)
            name = str(item.value) if isinstance(item, yaml.ScalarNode) else ""
            if not NODE_NAME.fullmatch(name):
                self._refuse_here(
                    where,
                    f"{name!r} can be no node's name",
                    "1 to 9 characters of a-z, 0-9 and inner dashes, a letter first",
                )
            if name in found:
                self._refuse_here(where, f"`{where}` names {name} twice")
            self.source.lines[f"{where}/{name}"] = _line(item)
            found.append(name)
        return found

    def _refuse_here(self, where: str, what: str, fix: str = _GUIDE) -> NoReturn:
        self.source.refuse("here" if "here" in self.source.lines else where, what, fix)

    def _name(self, node: yaml.Node) -> str:
        name = self._scalar(node, "name")
        if not TOPOLOGY_NAME.fullmatch(name):
            self.source.refuse(
                "name",
                f"{name!r} can be no topology's name",
                "1 to 7 characters of a-z, 0-9 and inner dashes: the lab is called so",
            )
        return name

    def _subnet(self, node: yaml.Node | None) -> IPv4Network:
        if node is None:
            return DEFAULT_SUBNET
        text = self._scalar(node, "subnet")
        try:
            return IPv4Network(text)
        except ValueError as error:
            self.source.refuse("subnet", f"{text!r} is no network: {error}", "198.18.64.0/20")

    def _links(self, node: yaml.Node, defaults: Quality) -> Iterator[Link]:
        if not isinstance(node, yaml.SequenceNode):
            self.source.refuse("links", "`links` is no list", "links: [{between: [h1, s1]}]")
        for place, entry in enumerate(node.value):
            where = f"links/{place}"
            self.source.lines[where] = _line(entry)
            given = dict(self._mapping(entry, f"{where}/", ("between", *_QUALITIES)))
            if "between" not in given:
                self.source.refuse(where, "the link does not say `between` whom")
            ends = self._names(given.pop("between"), f"{where}/between")
            if len(ends) != 2:
                self.source.refuse(
                    where, f"a link is between two nodes, not {len(ends)}", "between: [h1, s1]"
                )
            yield Link(ends[0], ends[1], self._values(given, where, defaults))

    def _quality(self, node: yaml.Node | None) -> Quality:
        given = dict(self._mapping(node, "defaults/", tuple(_QUALITIES)))
        return self._values(given, "defaults", Quality())

    def _values(self, given: Mapping[str, yaml.Node], where: str, defaults: Quality) -> Quality:
        values = defaults.as_json()
        for name, node in given.items():
            reader, example = _QUALITIES[name]
            place = f"{where}/{name}"
            text = self._scalar(node, place)
            if name != "loss" and text.replace(".", "").isdigit() and float(text):
                self.source.refuse(place, f"{name}: {text} has no unit", example)
            try:
                values[name] = round(reader(text), _DIGITS)
            except LabError as error:
                if name == "bandwidth" and text == "0":
                    values[name] = 0.0
                    continue
                self.source.refuse(place, f"{name}: {error.what}", example)
        quality = Quality(**values)
        self._judge(quality, where)
        return quality

    def _judge(self, quality: Quality, where: str) -> None:
        if quality.loss >= 1:
            self.source.refuse(f"{where}/loss", "a link that loses everything is none", "loss: 1%")
        if max(quality.delay, quality.jitter) > _LONGEST:
            self.source.refuse(f"{where}/delay", f"no delay is longer than {_LONGEST:g} s")
        if quality.jitter > quality.delay:
            self.source.refuse(
                f"{where}/jitter",
                f"the jitter {milliseconds(quality.jitter)} is more than "
                f"the delay {milliseconds(quality.delay)}: no packet arrives before it is sent",
            )
        if 0 < quality.bandwidth < 8e3:
            self.source.refuse(f"{where}/bandwidth", "no bandwidth is less than 8kbit")

    def _scalar(self, node: yaml.Node, where: str) -> str:
        if not isinstance(node, yaml.ScalarNode):
            self.source.refuse(where, f"{where.rpartition('/')[2]} is no single value")
        return str(node.value)


def dump(topology: Topology, comment: str = "") -> str:
    """Write a topology so that `parse` reads the same."""
    common = _commonest(topology)
    lines = [f"# {line}" for line in comment.splitlines()]
    lines += ["---", f"name: {topology.name}", f"subnet: {topology.subnet}"]
    lines += [f"{key}: [{_all(topology.of(kind))}]" for key, kind in _KINDS.items()]
    if common != Quality():
        lines.append(f"defaults: {{{_all(_told(common, Quality()))}}}")
    lines.append("links:")
    for link in topology.links:
        words = [f"between: [{link.a}, {link.b}]", *_told(link.quality, common)]
        lines.append(f"  - {{{_all(words)}}}")
    for key in ("publishers", "subscribers"):
        if getattr(topology, key):
            lines.append(f"{key}: [{_all(getattr(topology, key))}]")
    if topology.placement:
        lines.append("placement:")
        lines += [f"  {group}: [{_all(on)}]" for group, on in topology.placement.items()]
    return "\n".join(lines) + "\n"


def _commonest(topology: Topology) -> Quality:
    qualities = [link.quality for link in topology.links]
    return max(qualities, key=qualities.count, default=Quality())


def _told(quality: Quality, defaults: Quality) -> list[str]:
    """Give in YAML's words in what a quality differs from the defaults."""
    texts = {
        "delay": milliseconds(quality.delay),
        "jitter": milliseconds(quality.jitter),
        "loss": f"{round(quality.loss * 100, 9):g}%",
        "bandwidth": rate(quality.bandwidth) if quality.bandwidth else "0",
    }
    before = defaults.as_json()
    return [f"{name}: {texts[name]}" for name, v in quality.as_json().items() if v != before[name]]


def _all(words: tuple[str, ...] | list[str]) -> str:
    return ", ".join(words)


def _line(node: yaml.Node | None) -> int:
    return int(node.start_mark.line) + 1 if node is not None else 1
