"""What the policy server counts for each model: requests, errors, latency, actions."""

import math
from collections import Counter, deque

from pydantic import BaseModel, Field

_KEPT_LATENCIES = 1000


class LatencyPercentiles(BaseModel):
    """Time that a decision took inside the policy server, in ms, over the latest 1,000."""

    p50: float
    p95: float
    p99: float


class ServingStatistics(BaseModel):
    """What was counted for a model since the policy server started."""

    requests: int = Field(description="Decisions asked for, those refused or failed included.")
    errors: int
    latency_ms: LatencyPercentiles | None = Field(description="None before the first answer.")
    actions: dict[str, int] = Field(description="How often each action was decided.")


class ServingCounters:
    """Counts for one model."""

    def __init__(self) -> None:
        self.requests = 0
        self._errors = 0
        self._actions: Counter[str] = Counter()
        self._latencies_ms: deque[float] = deque(maxlen=_KEPT_LATENCIES)

    def count_answer(self, action: str, latency_ms: float) -> None:
        """Count a decision that was made."""
        self.requests += 1
        self._actions[action] += 1
        self._latencies_ms.append(latency_ms)

    def count_error(self) -> None:
        """Count a decision that was refused or failed."""
        self.requests += 1
        self._errors += 1

    def read(self) -> ServingStatistics:
        """Return the counts as they stand."""
        latencies = sorted(self._latencies_ms)
        return ServingStatistics(
            requests=self.requests,
            errors=self._errors,
            latency_ms=_percentiles(latencies) if latencies else None,
            actions=dict(self._actions.most_common()),
        )


def _percentiles(latencies_ms: list[float]) -> LatencyPercentiles:
    def rank(share: float) -> float:
        """Nearest rank: the smallest latency that at least `share` of all do not exceed."""
        return latencies_ms[math.ceil(share * len(latencies_ms)) - 1]

    return LatencyPercentiles(p50=rank(0.5), p95=rank(0.95), p99=rank(0.99))
