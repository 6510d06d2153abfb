"""What is counted for each model version that answers: requests, errors, latency, actions, drift.

Counts are added to the store every few seconds, so that they survive a restart and are those of all
replicas together. Latencies are of this process alone, the latest ones.
"""

import math
from collections import Counter, deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from lwmecps_gym.algorithms.feature_profile import FeatureProfile
from lwmecps_gym.envs.encoding import Encoding
from lwmecps_gym.platform.models import ServingCounts

if TYPE_CHECKING:
    from lwmecps_gym.algorithms.decision import Outcome

DRIFT_FROM = 100
"""Decisions from which on drift is told: fewer differ from the training by chance alone."""
_KEPT_LATENCIES = 1000
_COUNTED_AT_ONCE = 256


class LatencyPercentiles(BaseModel):
    """Time that a request took inside the policy server, in ms, over the latest 1,000."""

    p50: float
    p95: float
    p99: float


class Drift(BaseModel):
    """How far what a version is asked is from what its training saw."""

    decisions: int
    stability_index: dict[str, float] = Field(
        description="Population stability index by kind of features, the greatest first: below 0.1 "
        "little has changed, above 0.25 much has."
    )


class ServingStatistics(BaseModel):
    """What was counted for a model version since it was made, over all replicas and restarts."""

    requests: int = Field(description="Those refused or failed included; a batch counts once.")
    decisions: int = Field(description="Decisions made; a batch counts each of its own.")
    errors: int
    latency_ms: LatencyPercentiles | None = Field(
        description="None until the process that answers has answered."
    )
    actions: dict[str, int] = Field(description="How often each action was decided.")
    drift: Drift | None = Field(
        description=f"None below {DRIFT_FROM} decisions, or where the version does not say what "
        "its training saw."
    )


class ServingCounters:
    """Counts for one version in this process, since they were last taken to the store.

    Args:
        model_id: The model.
        version: Its version.
    """

    def __init__(self, model_id: str, version: int) -> None:
        self._model_id, self._version = model_id, version
        self._latencies_ms: deque[float] = deque(maxlen=_KEPT_LATENCIES)
        self._seen: list[Any] = []
        self._profile: FeatureProfile | None = None
        self._encoding: Encoding | None = None
        self._requests = self._decisions = self._errors = 0
        self._actions: Counter[str] = Counter()
        self._bins: dict[str, NDArray[Any]] = {}

    def know(self, profile: FeatureProfile | None, encoding: Encoding) -> None:
        """Compare with this training from now on."""
        self._profile, self._encoding = profile, encoding

    def count_answer(self, outcome: "Outcome", latency_ms: float) -> None:
        """Count decisions that were made."""
        self._requests += 1
        self._decisions += len(outcome.decisions)
        for decision in outcome.decisions:
            self._actions[decision.description] += 1
        self._latencies_ms.append(latency_ms)
        if self._profile is not None:
            self._seen.append(outcome.observation)
            if len(self._seen) >= _COUNTED_AT_ONCE:
                self._bin()

    def count_error(self) -> None:
        """Count a request that was refused or failed."""
        self._requests += 1
        self._errors += 1

    def take(self) -> ServingCounts | None:
        """Return what was counted since the last time, None for nothing, and begin anew."""
        if not self._requests:
            return None
        taken = self.peek()
        self._clear()
        return taken

    def give_back(self, taken: ServingCounts) -> None:
        """Count again what could not be stored."""
        both = self.peek().plus(taken)
        self._requests, self._decisions, self._errors = both.requests, both.decisions, both.errors
        self._actions = Counter(dict(both.actions))
        self._bins = {name: np.array(counts) for name, counts in both.seen.items()}

    def peek(self) -> ServingCounts:
        """Return what was counted since the last time."""
        self._bin()
        return ServingCounts(
            id=ServingCounts.id_of(self._model_id, self._version),
            model_id=self._model_id,
            version=self._version,
            requests=self._requests,
            decisions=self._decisions,
            errors=self._errors,
            actions=list(self._actions.items()),
            seen={name: counts.tolist() for name, counts in self._bins.items()},
        )

    def read(self, stored: ServingCounts | None) -> ServingStatistics:
        """Return all counts: those of the store, and those that are not there yet."""
        counts = self.peek() if stored is None else stored.plus(self.peek())
        latencies = sorted(self._latencies_ms)
        return ServingStatistics(
            requests=counts.requests,
            decisions=counts.decisions,
            errors=counts.errors,
            latency_ms=_percentiles(latencies) if latencies else None,
            actions=dict(Counter(dict(counts.actions)).most_common()),
            drift=self._drift(counts.decisions, counts.seen),
        )

    def _drift(self, decisions: int, seen: Mapping[str, list[int]]) -> Drift | None:
        if self._profile is None or decisions < DRIFT_FROM or not seen:
            return None
        found = self._profile.stability_indexes(seen)
        ordered = sorted(found.items(), key=lambda item: -item[1])
        return Drift(decisions=decisions, stability_index=dict(ordered))

    def _bin(self) -> None:
        """Count the features of what was seen; for many observations at once it costs little."""
        if not self._seen or self._profile is None or self._encoding is None:
            return
        first = self._seen[0]
        together: Any = (
            {name: np.concatenate([seen[name] for seen in self._seen]) for name in first}
            if isinstance(first, dict)
            else np.concatenate(self._seen)
        )
        self._seen = []
        for name, counts in self._profile.count(self._encoding, together).items():
            self._bins[name] = counts + self._bins.get(name, 0)

    def _clear(self) -> None:
        self._requests = self._decisions = self._errors = 0
        self._actions, self._bins = Counter(), {}


def _percentiles(latencies_ms: list[float]) -> LatencyPercentiles:
    def rank(share: float) -> float:
        """Nearest rank: the smallest latency that at least `share` of all do not exceed."""
        return latencies_ms[math.ceil(share * len(latencies_ms)) - 1]

    return LatencyPercentiles(p50=rank(0.5), p95=rank(0.95), p99=rank(0.99))
