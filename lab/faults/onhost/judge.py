"""Whether a link does what it should, by what became of probes: pure, for samples of any origin.

Parts are judged by the binomial distribution: what has a chance of less than one in a million
if all is right is taken for wrong. Times are allowed a tenth, and what a busy host adds.
"""

from __future__ import annotations

import math

from lab.faults.onhost.probes import Salvo, Sample
from lab.faults.onhost.ways import Effects

CHANCE = 1e-6
_FEWEST, _MOST = 200, 1000
_STRAY = 0.005
"""The part of probes that may be lost or doubled by nobody's fault."""
_BUSY = 0.002
"""Seconds by which a host may be late."""
_BUSIER = 4
_SIGMAS = 5.0
_LONGEST = 2.0
"""Seconds for which a delay is waited; of a longer one it is seen that nothing leaves before."""
_MARGIN = 0.1
_SMALL, _LARGE = 71, 1001
"""Payloads, of lengths that few others have."""
_RATE_SECONDS = 0.3
_EASY_RATE = 50e6
"""Bits a second that a host can surely offer; of a higher rate it is seen that no more leaves."""
_FEW = 5
_ENOUGH = 40
_TENTH = 0.1


def salvo(effects: Effects, attempt: int) -> Salvo | None:
    """Give the probes that show all but the rate; None if there is nothing but the rate."""
    parts = [effects.loss, effects.duplicate, effects.reorder, effects.corrupt]
    if not (effects.delay or any(parts)):
        return None
    count = max([_FEWEST, *(_wanted(part) for part in parts if 0 < part < 1)])
    pace = 0.0005
    if effects.rate:  # slowly enough to find the way free
        pace = max(pace, 2 * (_SMALL + 42) * 8 / effects.rate)
        count = min(count, max(_FEW, int(_RATE_SECONDS / pace)))
    patience = min(effects.delay + effects.jitter, max(_LONGEST, 2 * effects.jitter))
    return Salvo(count, _SMALL, pace, patience + _MARGIN * 3**attempt)


def burst(effects: Effects, attempt: int) -> Salvo | None:
    """Give the probes that show the rate; None if there is none."""
    if not effects.rate or effects.loss > 0.9 or effects.delay - effects.jitter > _LONGEST:
        return None
    size = min(_LARGE, max(_SMALL, int(effects.rate / 8 * _RATE_SECONDS / 20) - 42))
    count = int(effects.rate / 8 * _RATE_SECONDS / (size + 42))
    count = min(400, max(_FEW, count))
    patience = count * (size + 42) * 8 / effects.rate + effects.delay + effects.jitter
    return Salvo(count, size, 0.0, min(patience, 2 * _LONGEST) + _MARGIN * 3**attempt)


class Judgement:
    """What was measured, and what of it is wrong."""

    def __init__(self, effects: Effects, attempt: int = 0) -> None:
        """Nothing is measured yet. With each attempt the host is taken to be busier."""
        self._effects = effects
        self._busy = _BUSY * _BUSIER**attempt
        self.figures: dict[str, float] = {}
        """What was measured, by the names of what was wanted."""
        self.complaints: list[str] = []

    def probes(self, fired: Salvo, sample: Sample) -> None:
        """Judge all but the rate."""
        effects, count = self._effects, len(sample.sent)
        transits: dict[int, float] = {}
        twice: set[int] = set()
        for place, at in sample.left:
            if place is not None and place in transits:
                twice.add(place)
            elif place is not None:
                transits[place] = at - sample.sent[place]
        damaged = sum(place is None for place, _ in sample.left)
        on_the_way = self._times(fired, list(transits.values()))
        if on_the_way:
            return
        missing = count - len(transits)
        self._part("loss", missing - min(damaged, missing), missing, count, _missing(effects))
        self._part("duplicate", len(twice), len(twice), count, _doubled(effects))
        self._part("corrupt", damaged, damaged, len(sample.left), effects.corrupt)

    def burst(self, fired: Salvo, sample: Sample) -> None:
        """Judge the rate: by the time that the frames of a burst took to leave."""
        times = sorted(at for _, at in sample.left)
        if len(times) < _FEW:
            self.complaints.append(f"rate: only {len(times)} of {fired.count} probes left")
            return
        span = times[-1] - times[0]
        rate = (len(times) - 1) * fired.frame * 8 / max(span, 1e-6)
        self.figures["rate"] = float(f"{rate:.3g}")
        blur = _TENTH + 2 * (self._effects.jitter + self._busy) / max(span, 1e-6)
        wanted = self._effects.rate
        slow = rate < wanted / (1 + blur) and wanted <= _EASY_RATE
        if slow or rate > wanted * (1 + blur):
            self.complaints.append(f"rate: wanted {wanted:.3g} bit/s, measured {rate:.3g}")

    def _part(self, name: str, told: int, seen: int, of: int, chance: float) -> None:
        if getattr(self._effects, name):
            self.figures[name] = round(told / of, 4) if of else 0.0
        if not plausible(seen, of, chance):
            self.complaints.append(f"{name}: wanted {chance:.2%} of {of} probes, measured {seen}")

    def _times(self, fired: Salvo, transits: list[float]) -> bool:
        """Judge delay, jitter, and who overtook; whether the others are too long to wait for."""
        effects = self._effects
        soonest = effects.delay - effects.jitter
        late = transits
        if soonest > _LONGEST:
            self.figures["delay_above"] = _LONGEST
            if not plausible(len(transits), fired.count, effects.reorder):
                seen = f"{len(transits)} of {fired.count} probes left earlier"
                self.complaints.append(f"delay: wanted {effects.delay:g} s, but {seen}")
            return True
        # Else those that overtake cannot be told from those that do not.
        if effects.reorder and soonest >= 2 * _BUSY:
            late = [transit for transit in transits if transit > soonest / 2]
            early = len(transits) - len(late)
            self._part("reorder", early, early, len(transits), effects.reorder)
        if len(late) < _FEW:
            return False
        sending = fired.frame * 8 / effects.rate if effects.rate else 0.0
        late.sort()
        low, delay, high = (late[len(late) * part // 4] for part in (1, 2, 3))
        error = _SIGMAS * effects.jitter / math.sqrt(len(late))
        if effects.delay:
            delay -= sending
            self.figures["delay"] = round(delay, 5)
            # A busy host makes packets late, never early.
            least = effects.delay - _TENTH * effects.delay - min(_BUSY, effects.delay / 2) - error
            if not least < delay < effects.delay * (1 + _TENTH) + self._busy + error:
                self.complaints.append(f"delay: wanted {effects.delay:g} s, measured {delay:.4f} s")
        if effects.jitter and len(late) >= _ENOUGH:
            jitter = high - low  # half of what is drawn evenly lies in half of its breadth
            self.figures["jitter"] = round(jitter, 5)
            if abs(jitter - effects.jitter) > _TENTH * effects.jitter + self._busy + error:
                self.complaints.append(
                    f"jitter: wanted {effects.jitter:g} s, measured {jitter:.4f} s"
                )
        return False


def plausible(seen: int, of: int, chance: float) -> bool:
    """Whether so many of so many can have been met by what meets each with this chance."""
    fewer = sum(_exactly(k, of, chance) for k in range(seen + 1))
    stray = max(chance, _STRAY)
    more = 1.0 - sum(_exactly(k, of, stray) for k in range(seen))
    return fewer >= CHANCE / 2 and more >= CHANCE / 2


def _exactly(seen: int, of: int, chance: float) -> float:
    if chance <= 0 or chance >= 1:
        return float(seen == (of if chance >= 1 else 0))
    ways = math.lgamma(of + 1) - math.lgamma(seen + 1) - math.lgamma(of - seen + 1)
    return math.exp(ways + seen * math.log(chance) + (of - seen) * math.log1p(-chance))


def _wanted(part: float) -> int:
    """Give how many probes tell a part from nothing at all, within bounds."""
    return min(_MOST, math.ceil(math.log(CHANCE / 2) / math.log1p(-part)))


def _missing(effects: Effects) -> float:
    """Give the chance that a probe leaves nowhere whole: see `Emulator.take`."""
    double, loss, corrupt = effects.duplicate, effects.loss, effects.corrupt
    one = (1 - double) * (1 - loss) + double * loss
    two = double * (1 - loss)
    return (1 - double) * loss + one * corrupt + two * corrupt * (1 - (1 - loss) * (1 - corrupt))


def _doubled(effects: Effects) -> float:
    """Give the chance that a probe leaves twice, whole both times."""
    return effects.duplicate * (1 - effects.loss) ** 2 * (1 - effects.corrupt) ** 2
