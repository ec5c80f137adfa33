"""When is silence too long? Two answers, side by side: pure, with the time as an argument.

The problem: in a network without bounds on delay, a dead process and a slow one look the same
(Fischer, Lynch and Paterson 1985). A failure detector may be wrong, and is worth what it trades:
how soon it suspects the dead (completeness), and how seldom the living (accuracy; Chandra and
Toueg 1996, section 3).

`FixedTimeout` suspects after a silence that an operator chose. `PhiAccrual` learns how regular the
heartbeats are and suspects after a silence that would be improbable if the sender lived:

    phi = -log10(P(a heartbeat comes later than this silence))

with the intervals between arrivals taken as normally distributed over a sliding window
(Hayashibara, Défago, Yared and Katayama, "The φ Accrual Failure Detector", SRDS 2004, section 4).
At a threshold of 8, a regular sender is suspected wrongly once in 10^8 heartbeats, if the normal
distribution fits. It often does not, and what Akka's implementation does about it is done here:

- Regular heartbeats have almost no deviation, so that a hiccup would be a catastrophe: the
  deviation has a least value, and a pause that is accepted anyway is added to the mean.
- Before the first interval there is nothing to estimate from: the window begins with two intervals
  around the expected one, a quarter of it apart from it on either side.
- The interval that ends a suspicion is no sample of a sender's regular life: it is not taken.

And one thing of our own: an adaptive detector by itself promises no bound at all on how late it
suspects, so there is a ceiling that it does not pass whatever it has learnt.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from statistics import NormalDist
from typing import ClassVar, Protocol


class Detector(Protocol):
    """Judges one incarnation of one sender."""

    name: ClassVar[str]

    def heard(self, interval: float) -> None:
        """Take note of a heartbeat that came `interval` seconds after the one before, in time."""

    @property
    def horizon(self) -> float:
        """The seconds of silence after which the sender is suspected."""


class FixedTimeout:
    """Suspects after a silence that was chosen once and for all."""

    name: ClassVar[str] = "fixed"

    def __init__(self, timeout: float) -> None:
        """`timeout` is in seconds."""
        self.horizon = timeout

    def heard(self, interval: float) -> None:
        """See `Detector.heard`; nothing is learnt."""


@dataclass(frozen=True, slots=True)
class PhiRules:
    """The parameters of phi-accrual; times are seconds."""

    interval: float = 0.25
    """Expected between two heartbeats, until there are samples."""
    threshold: float = 8.0
    """The phi at which a sender is suspected."""
    window: int = 100
    """Samples that are kept."""
    least_deviation: float = 0.1
    pause: float = 0.7
    """Silence that is accepted on top of the mean interval."""
    ceiling: float = 5.0
    """Silence after which a sender is suspected in any case."""


class PhiAccrual:
    """Suspects after a silence that would be improbable, judging by the intervals so far."""

    name: ClassVar[str] = "phi"

    def __init__(self, rules: PhiRules) -> None:
        """Begin with the estimate of the first interval."""
        self._rules = rules
        self._samples: deque[float] = deque(maxlen=rules.window)
        self._sum = self._squares = 0.0
        # How many deviations from the mean the threshold is: phi(mean + z * deviation) = threshold.
        self._z = -NormalDist().inv_cdf(10**-rules.threshold)
        spread = rules.interval / 4
        self.heard(rules.interval - spread)
        self.heard(rules.interval + spread)

    def heard(self, interval: float) -> None:
        """Take a sample; the oldest goes when the window is full."""
        if len(self._samples) == self._samples.maxlen:
            oldest = self._samples[0]
            self._sum -= oldest
            self._squares -= oldest * oldest
        self._samples.append(interval)
        self._sum += interval
        self._squares += interval * interval

    @property
    def mean(self) -> float:
        """Of the intervals, with the accepted pause."""
        return self._sum / len(self._samples) + self._rules.pause

    @property
    def deviation(self) -> float:
        """Of the intervals, the least value at least."""
        mean = self._sum / len(self._samples)
        variance = max(0.0, self._squares / len(self._samples) - mean * mean)
        return max(math.sqrt(variance), self._rules.least_deviation)

    @property
    def horizon(self) -> float:
        """See `Detector.horizon`: where phi reaches the threshold, or the ceiling."""
        return min(self.mean + self._z * self.deviation, self._rules.ceiling)

    def phi(self, silence: float) -> float:
        """Give the suspicion level after so many seconds of silence."""
        return max(0.0, minus_log10_of_tail((silence - self.mean) / self.deviation))


def minus_log10_of_tail(z: float) -> float:
    """Give -log10 of the probability that a standard normal variable exceeds `z`.

    Beyond z = 30 the probability leaves the range of a float; there the first term of the
    asymptotic series serves, to 0.001 of phi (Abramowitz and Stegun 1964, 26.2.12).
    """
    if z < 30:
        return -math.log10(math.erfc(z / math.sqrt(2)) / 2)
    return (z * z / 2 + math.log(z * math.sqrt(2 * math.pi))) / math.log(10)
