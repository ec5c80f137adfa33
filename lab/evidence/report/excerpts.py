"""What the hosts' journals say around the events that witness a verdict."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from apps.kit.claims import Event
from lab.logs import Line, parse

AROUND = 4
"""Lines of a host's journal before a witness, and after it."""
MOST = 80


@dataclass(frozen=True)
class Said:
    """A line of a journal."""

    line: Line
    witness: bool
    """Whether it is one of the witnessing events."""


class Journals:
    """The journals of one pattern's run."""

    def __init__(self, texts: Mapping[str, Sequence[str]]) -> None:
        """`texts` are the lines of each host, as journald gave them."""
        self._lines: dict[str, list[Line]] = {}
        for host, lines in texts.items():
            parsed = (parse(host, line) for line in lines)
            self._lines[host] = sorted(
                (line for line in parsed if line is not None), key=lambda line: line.at
            )

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Read the journals that a run has kept; a file is named for its host."""
        return cls(
            {
                file.stem: file.read_text(errors="replace").splitlines()
                for file in sorted(directory.glob("*.jsonl"))
                if not file.is_symlink()
            }
        )

    def around(self, witness: Sequence[Event]) -> list[Said]:
        """Give the lines of all hosts near these events, by time."""
        near: dict[tuple[str, int], Line] = {}
        for event in witness:
            for host, lines in self._lines.items():
                place = bisect_left(lines, float(event["t"]), key=lambda line: line.at)
                for i in range(max(0, place - AROUND), min(len(lines), place + AROUND)):
                    near[host, i] = lines[i]
        lines = sorted(near.values(), key=lambda line: line.at)[:MOST]
        return [Said(line, _among(line, witness)) for line in lines]


def _among(line: Line, witness: Sequence[Event]) -> bool:
    event = line.event
    return event is not None and any(event == dict(other) for other in witness)
