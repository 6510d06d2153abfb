"""How often one caller may ask: a bucket of tokens for each, filled at a steady rate."""

import time
from collections.abc import Callable

_MAX_BUCKETS = 10_000
_BURST_S = 2.0


class RateLimit:
    """Token buckets by name. Counts are this process's own.

    Args:
        per_s: Tokens a second; a bucket holds those of two seconds. 0: no limit.
        clock: Seconds, never going back.
    """

    def __init__(self, per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = per_s
        self._size = max(1.0, per_s * _BURST_S)
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, name: str) -> float:
        """Take a token from a bucket.

        Returns:
            0, or the seconds until there is a token, if there is none.
        """
        if self._per_s == 0:
            return 0.0
        now = self._clock()
        tokens, at = self._buckets.get(name, (self._size, now))
        tokens = min(self._size, tokens + (now - at) * self._per_s)
        if tokens < 1.0:
            return (1.0 - tokens) / self._per_s
        if len(self._buckets) >= _MAX_BUCKETS:
            self._drop_full(now)
        self._buckets[name] = (tokens - 1.0, now)
        return 0.0

    def _drop_full(self, now: float) -> None:
        """Forget the buckets that have filled up: a new one is as full."""
        self._buckets = {
            name: (tokens, at)
            for name, (tokens, at) in self._buckets.items()
            if tokens + (now - at) * self._per_s < self._size
        }
