"""A topology drawn: a tree from the routers down, hosts in the last row, LANs as grounds.

The layout is by layers: the node in the middle of the network is on top, each other below that by
which it is nearest to it, and hosts side by side in their LAN. A link that closes a cycle is drawn
as an arc. Colours follow the reader's light or dark scheme.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from html import escape

from lab.topology.addresses import Plan
from lab.topology.model import HOST, ROUTER, SWITCH, Link, Quality
from lab.topology.paths import Lan

_STEP, _ROW, _MARGIN, _HEAD, _FOOT = 130, 118, 40, 64, 54
_ALONG = 0.6
"""How far down a link its label is: there, siblings' links have parted."""
_NODE: Mapping[str, tuple[float, float]] = {HOST: (92, 42), SWITCH: (46, 30), ROUTER: (52, 52)}
"""Widths and heights."""
_PAD = 14
_STYLE = """
  .sheet { --ink: #1f2430; --soft: #5d6675; --line: #8a94a6; --ground: #fff; --lan: #eef2f8;
    --edge: #d5dce8; --host: #fff; --switch: #dbe7fb; --router: #2f5fb3; --inverse: #fff;
    font: 12px system-ui, sans-serif; }
  @media (prefers-color-scheme: dark) { .sheet { --ink: #e6e9ef; --soft: #a2abba; --line: #707b8e;
    --ground: #14171d; --lan: #1c212b; --edge: #2f3746; --host: #262d3a; --switch: #2b3b57;
    --router: #7ea6ef; --inverse: #10131a; } }
  .ground { fill: var(--ground); } .lan { fill: var(--lan); stroke: var(--edge); }
  .link { fill: none; stroke: var(--line); stroke-width: 1.6; }
  .host { fill: var(--host); stroke: var(--line); }
  .switch { fill: var(--switch); stroke: var(--line); }
  .router { fill: var(--router); } text { fill: var(--ink); text-anchor: middle; }
  .name { font-weight: 600; } .soft { fill: var(--soft); font-size: 10.5px; }
  .inverse { fill: var(--inverse); } .start { text-anchor: start; }
  .plate { fill: var(--lan); opacity: .92; } .title { font-size: 17px; font-weight: 650; }
"""


@dataclass(frozen=True)
class Place:
    """Where a node is."""

    x: float
    y: float


def draw(plan: Plan) -> str:
    """Give the picture, as SVG."""
    return _Drawing(plan).svg()


class _Drawing:
    """A picture in the making."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._topology = plan.topology
        self._common = _commonest(self._topology.links)

    def svg(self) -> str:
        width = max(self._columns * _STEP + 2 * _MARGIN, 560)
        height = _HEAD + self._rows * _ROW + _FOOT
        about = f"Topology {self._topology.name}"
        parts = [
            *(self._lan(lan) for lan in self._plan.paths.lans if lan.switches),
            *(self._link(place, link) for place, link in enumerate(self._topology.links)),
            *(self._label(link) for link in self._topology.links),
            *(self._node(node) for node in self._topology.nodes),
            *self._words(height),
        ]
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
            f'width="{width:g}" height="{height:g}" role="img" class="sheet">'
            f"<title>{escape(about)}</title>\n<style>{_STYLE}</style>\n"
            f'<rect class="ground" width="100%" height="100%"/>\n' + "\n".join(parts) + "\n</svg>\n"
        )

    # The layout

    @cached_property
    def _children(self) -> Mapping[str, list[str]]:
        """The tree: each node's children, those of the same LAN side by side."""
        top = self._top()
        found: dict[str, list[str]] = {node: [] for node in self._topology.nodes}
        seen, queue = {top}, [top]
        for node in queue:
            below = [other for other in self._topology.neighbours(node) if other not in seen]
            for other in dict.fromkeys(below):
                seen.add(other)
                found[node].append(other)
                queue.append(other)
        return found

    def _top(self) -> str:
        """The middle: of routers, or of switches, that from which the farthest host is nearest."""
        kinds = next(k for k in (ROUTER, SWITCH, HOST) if self._topology.of(k))
        return min(self._topology.of(kinds), key=self._farthest)

    def _farthest(self, start: str) -> tuple[int, int]:
        far = {start: 0}
        queue = [start]
        for node in queue:
            for other in self._topology.neighbours(node):
                if other not in far:
                    far[other] = far[node] + 1
                    queue.append(other)
        return max(far.values()), sum(far.values())

    @cached_property
    def _layout(self) -> Mapping[str, tuple[float, int]]:
        """Each node's column and row: leaves one beside the other, parents above their middle."""
        found: dict[str, tuple[float, int]] = {}
        free = 0.0

        def settle(node: str, row: int) -> float:
            nonlocal free
            columns = [settle(child, row + 1) for child in self._children[node]]
            if columns:
                column = (columns[0] + columns[-1]) / 2
            else:
                column, free = free, free + 1
            found[node] = (column, row)
            return column

        settle(self._top(), 0)
        return found

    @property
    def _columns(self) -> float:
        return max(column for column, _ in self._layout.values()) + 1

    @property
    def _rows(self) -> int:
        return max(row for _, row in self._layout.values()) + 1

    def _at(self, node: str) -> Place:
        column, row = self._layout[node]
        left = max(0.0, 560 - 2 * _MARGIN - self._columns * _STEP) / 2
        return Place(_MARGIN + left + (column + 0.5) * _STEP, _HEAD + (row + 0.5) * _ROW)

    # The parts

    def _lan(self, lan: Lan) -> str:
        """Draw a LAN's ground under its switches and hosts; routers stand outside."""
        inside = [n for n, _ in lan.members if self._topology.nodes[n] == HOST] + [*lan.switches]
        spots = [(self._at(node), _NODE[self._topology.nodes[node]]) for node in inside]
        x = min(at.x - size[0] / 2 for at, size in spots) - _PAD
        y = min(at.y - size[1] / 2 for at, size in spots) - _PAD
        right = max(at.x + size[0] / 2 for at, size in spots) + _PAD
        low = max(at.y + size[1] / 2 for at, size in spots) + _PAD + 14
        network = self._plan.networks[lan.name]
        return (
            f'<rect class="lan" x="{x:.1f}" y="{y:.1f}" width="{right - x:.1f}" '
            f'height="{low - y:.1f}" rx="12"/>'
            f'<text class="soft" x="{(x + right) / 2:.1f}" y="{low - 8:.1f}">{network}</text>'
        )

    def _link(self, place: int, link: Link) -> str:
        a, b = self._at(link.a), self._at(link.b)
        told = f"<title>{escape(f'{link}: {link.quality}')}</title>"
        if self._in_tree(link, place):
            return f'<path class="link" d="M{a.x:.1f} {a.y:.1f}L{b.x:.1f} {b.y:.1f}">{told}</path>'
        middle, bend = (a.x + b.x) / 2, self._bend(a, b)
        return (
            f'<path class="link" d="M{a.x:.1f} {a.y:.1f}Q{middle:.1f} {bend:.1f} '
            f'{b.x:.1f} {b.y:.1f}">{told}</path>'
        )

    @staticmethod
    def _bend(a: Place, b: Place) -> float:
        """How low an arc's middle is drawn to: below both ends, clear of the links above them."""
        return max(a.y, b.y) + _ROW * 0.6

    def _in_tree(self, link: Link, place: int) -> bool:
        tree = link.b in self._children[link.a] or link.a in self._children[link.b]
        first = min(at for at, other in self._topology.at[link.a] if link.b in other.ends)
        return tree and place == first

    def _label(self, link: Link) -> str:
        """Write what a link does where it differs from most of them."""
        if link.quality == self._common:
            return ""
        a, b = self._at(link.a), self._at(link.b)
        tree = self._in_tree(link, self._topology.links.index(link))
        upper, lower = sorted((a, b), key=lambda at: at.y)
        x = upper.x + (lower.x - upper.x) * (_ALONG if tree else 0.5)
        y = upper.y + (lower.y - upper.y) * _ALONG
        if not tree:
            y = (a.y + b.y) / 4 + self._bend(a, b) / 2
        lines = str(link.quality).split(", ")
        wide = max(map(len, lines)) * 6.2 + 8
        top = y - 7 * len(lines)
        rows = "".join(
            f'<text class="soft" x="{x:.1f}" y="{top + 11 + 13 * number:.1f}">{escape(line)}</text>'
            for number, line in enumerate(lines)
        )
        plate = (
            f'<rect class="plate" x="{x - wide / 2:.1f}" y="{top:.1f}" width="{wide:.1f}" '
            f'height="{13 * len(lines) + 3}" rx="4"/>'
        )
        return plate + rows

    def _node(self, node: str) -> str:
        kind, at = self._topology.nodes[node], self._at(node)
        wide, high = _NODE[kind]
        name = escape(node)
        if kind == ROUTER:
            shape = f'<circle class="router" cx="{at.x:.1f}" cy="{at.y:.1f}" r="{wide / 2:g}"/>'
            return (
                f'{shape}<text class="name inverse" x="{at.x:.1f}" y="{at.y + 4:.1f}">{name}</text>'
            )
        corner = f'x="{at.x - wide / 2:.1f}" y="{at.y - high / 2:.1f}"'
        box = f'{corner} width="{wide:g}" height="{high:g}"'
        if kind == SWITCH:
            label = f'<text class="name" x="{at.x:.1f}" y="{at.y + 4:.1f}">{name}</text>'
            return f'<rect class="switch" {box} rx="4"/>{label}'
        address = self._plan.address(node)
        return (
            f'<rect class="host" {box} rx="8"/>'
            f'<text class="name" x="{at.x:.1f}" y="{at.y - 3:.1f}">{name}{self._does(node)}</text>'
            f'<text class="soft" x="{at.x:.1f}" y="{at.y + 13:.1f}">{address}</text>'
        )

    def _does(self, node: str) -> str:
        """Mark who publishes and who subscribes."""
        publishes, subscribes = (
            node in self._topology.publishers,
            node in self._topology.subscribers,
        )
        return (" ▲" if publishes else "") + (" ▽" if subscribes else "")

    def _words(self, height: float) -> Iterator[str]:
        topology = self._topology
        yield f'<text class="title start" x="{_MARGIN}" y="34">{escape(topology.name)}</text>'
        counts = ", ".join(
            f"{len(topology.of(kind))} {kind}{'s' if kind != SWITCH else 'es'}"
            for kind in (HOST, SWITCH, ROUTER)
            if topology.of(kind)
        )
        yield f'<text class="soft start" x="{_MARGIN}" y="52">{counts} in {topology.subnet}</text>'
        differ = any(link.quality != self._common for link in topology.links)
        rule = "where nothing is said, a link is" if differ else "each link is"
        told = [
            f"{rule} {self._common}" if self._common else "",
            "▲ publishes" if topology.publishers else "",
            "▽ subscribes" if topology.subscribers else "",
        ]
        words = escape("  ·  ".join(part for part in told if part))
        yield f'<text class="soft start" x="{_MARGIN}" y="{height - 20:g}">{words}</text>'


def _commonest(links: tuple[Link, ...]) -> Quality | None:
    """Give what need not be written at each link; None if all differ."""
    counts = Counter(link.quality for link in links)
    quality, count = counts.most_common(1)[0]
    return quality if count > 1 or len(links) == 1 else None
