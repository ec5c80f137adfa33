"""Quantiles of any number of values in bounded memory, true to 2.2%.

Values are counted in buckets whose width grows with them, 16 to each doubling, so the relative
error is the same for microseconds and for minutes (the idea of HdrHistogram, G. Tene).
"""

from __future__ import annotations

import math
from collections import Counter

_TO_A_DOUBLING = 16
_LEAST, _MOST = 1e-6, 1e9


class Quantiles:
    """Counts values above zero, from a millionth to a thousand million; others count as these."""

    def __init__(self) -> None:
        """Nothing is counted yet."""
        self._buckets: Counter[int] = Counter()

    def add(self, value: float) -> None:
        """Count a value."""
        cut = min(max(value, _LEAST), _MOST)
        self._buckets[math.floor(math.log2(cut) * _TO_A_DOUBLING)] += 1

    def quantile(self, share: float) -> float | None:
        """Give the value below which this share of all lies; None if there is none."""
        left = share * self._buckets.total()
        for bucket in sorted(self._buckets):
            left -= self._buckets[bucket]
            if left <= 0:
                return float(f"{2 ** ((bucket + 0.5) / _TO_A_DOUBLING):.4g}")
        return None
