"""One sender, as the monitor knows it: its life so far, and what each detector makes of it.

The rules:

- A heartbeat counts as life only if its incarnation and number are above the highest heard. What is
  late, doubled, or of a dead incarnation is counted, and changes nothing.
- Silence up to a detector's horizon is no news; beyond it the sender is `suspected`, and `dead`
  when it has been suspected for a further time. A heartbeat makes it `alive` again: no suspicion is
  final (an eventually perfect detector; Chandra and Toueg 1996, section 3).
- A new incarnation is a new process: what was learnt of the old one's rhythm is forgotten.
- Silence is not held against a sender while the monitor itself was held up. It notices by being
  asked late: then nobody could be heard, and patience begins anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from apps.udp_heartbeat.detectors import Detector, FixedTimeout, PhiAccrual, PhiRules

ALIVE: Final = "alive"
SUSPECTED: Final = "suspected"
DEAD: Final = "dead"
_STATES: Final = (ALIVE, SUSPECTED, DEAD)
"""In the order in which silence leads through them."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What senders are judged by; times are seconds."""

    timeout: float = 1.5
    """The fixed detector's horizon."""
    phi: PhiRules = field(default_factory=PhiRules)
    dead_after: float = 3.0
    """How long a sender is suspected before it is called dead."""
    held_up: float = 0.25
    """How late the monitor may be before it blames itself."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A detector changed its mind."""

    detector: str
    state: str
    was: str | None
    silence: float
    horizon: float


@dataclass(slots=True)
class _Judgement:
    """What one detector thinks."""

    detector: Detector
    state: str
    since: float

    def turn(self, now: float, state: str, silence: float) -> Turn:
        was, self.state, self.since = self.state, state, now
        horizon = round(self.detector.horizon, 4)
        return Turn(self.detector.name, state, was, round(silence, 4), horizon)


class Track:
    """What is known of one sender. `check` it when it is `due`, or as soon after as can be."""

    def __init__(self, now: float, incarnation: int, seq: int, rules: Rules) -> None:
        """The sender is heard for the first time."""
        self.incarnation = incarnation
        self.seq = seq
        self.due: float | None = None
        self._rules = rules
        self._last = self._patient_since = now
        self._judgements = [_Judgement(d, ALIVE, now) for d in self._detectors()]
        self._heard, self._missed, self._stale = 1, 0, 0
        self._plan(now)

    def first_turns(self) -> list[Turn]:
        """Give the detectors' first judgements: whoever is heard is alive."""
        detectors = [judgement.detector for judgement in self._judgements]
        return [Turn(d.name, ALIVE, None, 0.0, round(d.horizon, 4)) for d in detectors]

    def hear(self, now: float, incarnation: int, seq: int) -> list[Turn] | None:
        """Take a heartbeat; give what it changes, or None if it is no sign of life."""
        if (incarnation, seq) <= (self.incarnation, self.seq):
            self._stale += 1
            return None
        silence = now - self._last
        if incarnation > self.incarnation:
            self._missed += seq - 1
            for judgement, detector in zip(self._judgements, self._detectors(), strict=True):
                judgement.detector = detector
        else:
            self._missed += seq - self.seq - 1
            self._learn(now, silence)
        self.incarnation, self.seq = incarnation, seq
        self._last = self._patient_since = now
        self._heard += 1
        turns = [j.turn(now, ALIVE, silence) for j in self._judgements if j.state != ALIVE]
        self._plan(now)
        return turns

    def check(self, now: float) -> list[Turn]:
        """Judge the silence; give what it changes."""
        if self._held_up(now):
            self._patient_since = now
        turns = []
        for judgement in self._judgements:
            state = self._state(now, judgement.detector)
            if _STATES.index(state) > _STATES.index(judgement.state):
                turns.append(judgement.turn(now, state, now - self._last))
        self._plan(now)
        return turns

    @property
    def dead_since(self) -> float | None:
        """When the last detector called it dead; None if one has not."""
        if all(judgement.state == DEAD for judgement in self._judgements):
            return max(judgement.since for judgement in self._judgements)
        return None

    def row(self, now: float) -> dict[str, Any]:
        """Give what people and programs are shown; times in seconds."""
        silence = now - self._last
        row: dict[str, Any] = {
            "incarnation": self.incarnation,
            "seq": self.seq,
            "heard": self._heard,
            "missed": self._missed,
            "stale": self._stale,
            "silence": round(silence, 3),
        }
        for judgement in self._judgements:
            detector = judgement.detector
            row[detector.name] = shown = {
                "state": judgement.state,
                "for": round(now - judgement.since, 3),
                "horizon": round(detector.horizon, 3),
            }
            if isinstance(detector, PhiAccrual):
                shown["phi"] = round(detector.phi(silence), 2)
        return row

    def _detectors(self) -> Iterator[Detector]:
        yield FixedTimeout(self._rules.timeout)
        yield PhiAccrual(self._rules.phi)

    def _learn(self, now: float, silence: float) -> None:
        """Give the detectors a sample, if it says something of the sender's regular life."""
        if self._held_up(now):
            return  # it waited in the socket while the monitor was held up
        for judgement in self._judgements:
            if judgement.state == ALIVE:
                judgement.detector.heard(silence)

    def _held_up(self, now: float) -> bool:
        """Whether the monitor is too late for what was due."""
        return self.due is not None and now - self.due > self._rules.held_up

    def _state(self, now: float, detector: Detector) -> str:
        suspect = self._patient_since + detector.horizon
        if now < suspect:
            return ALIVE
        return SUSPECTED if now < suspect + self._rules.dead_after else DEAD

    def _plan(self, now: float) -> None:
        """Work out when silence would next change a detector's mind."""
        suspected = [self._patient_since + j.detector.horizon for j in self._judgements]
        dead = [moment + self._rules.dead_after for moment in suspected]
        ahead = [moment for moment in (*suspected, *dead) if moment > now]
        self.due = min(ahead, default=None)
