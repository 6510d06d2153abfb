"""What a policy has seen, by kinds of features: in its training, and when it is asked.

Features that mean the same for every node, service or pair are counted together, in bins at the
tenths of what the training saw. Each edge of a bin is a bin of its own, so that features with few
values are told apart exactly. The population stability index of two counts with shares p and q is
the sum over bins of (p - q) ln(p / q): below 0.1 little has changed, above 0.25 much has.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from lwmecps_gym.envs.cluster import Ints
from lwmecps_gym.envs.encoding import (
    CATCHMENT_FEATURES,
    NODE_FEATURES,
    PAIR_FEATURES,
    SERVICE_FEATURES,
    Encoding,
    FlatEncoding,
    StructuredEncoding,
)

QUANTILES = tuple(step / 10 for step in range(11))
_PRIOR = 0.5
"""Added to the count of every bin, so that an empty one does not make the index infinite."""

Values = Mapping[str, NDArray[Any]]


class SeenFeature(BaseModel):
    """One kind of features in a training."""

    model_config = ConfigDict(extra="forbid")

    mean: float
    std: float
    edges: list[float] = Field(description="distinct values at the tenths, rising")
    counts: list[int] = Field(description="values below, at and between the edges, and above")


class FeatureProfile(BaseModel):
    """All kinds of features that a policy saw in its training; stored in its manifest."""

    model_config = ConfigDict(extra="forbid")

    observations: int
    features: dict[str, SeenFeature]

    @classmethod
    def of(cls, encoding: Encoding, observation: Any) -> "FeatureProfile":
        """Describe observations [B, ...], encoded."""
        found = feature_values(encoding, observation)
        features = {}
        for name, values in found.items():
            edges = np.unique(np.quantile(values, QUANTILES, method="nearest"))
            features[name] = SeenFeature(
                mean=float(values.mean(dtype=np.float64)),
                std=float(values.std(dtype=np.float64)),
                edges=edges.tolist(),
                counts=_count(edges, values).tolist(),
            )
        return cls(observations=_batch(observation), features=features)

    def count(self, encoding: Encoding, observation: Any) -> dict[str, Ints]:
        """Count observations [B, ...] in the bins of each kind."""
        found = feature_values(encoding, observation)
        return {
            name: _count(np.array(seen.edges), found[name])
            for name, seen in self.features.items()
            if name in found
        }

    def stability_indexes(self, counts: Mapping[str, Any]) -> dict[str, float]:
        """Population stability index of each kind, of counts as `count` gives them."""
        return {
            name: _stability_index(np.array(self.features[name].counts), np.array(count))
            for name, count in counts.items()
        }


def feature_values(encoding: Encoding, observation: Any) -> dict[str, NDArray[Any]]:
    """Values of all kinds of features in observations [B, ...]; padding is left out."""
    if isinstance(encoding, FlatEncoding):
        vector = observation["observations"] if encoding.masked else observation
        return {name: vector[:, part].ravel() for name, part in _flat_parts(encoding).items()}
    assert isinstance(encoding, StructuredEncoding)
    s, n = len(encoding.scenario.services), len(encoding.scenario.nodes)
    parts = {
        "nodes": (NODE_FEATURES, observation["nodes"][:, :n]),
        "services": (SERVICE_FEATURES, observation["services"][:, :s]),
        "pairs": (PAIR_FEATURES, observation["pairs"][:, :s, :n]),
    }
    if encoding.catchment:
        parts["catchment"] = (CATCHMENT_FEATURES, observation["catchment"][:, :s, :n])
    return {
        f"{part}: {name}": values[..., index].ravel()
        for part, (names, values) in parts.items()
        for index, name in enumerate(names)
        if name != "is_there"
    }


def _flat_parts(encoding: FlatEncoding) -> dict[str, slice]:
    """Where each kind lies in the vector of a `FlatEncoding`; the clock is none."""
    scenario = encoding.scenario
    services, nodes, sites = map(len, (scenario.services, scenario.nodes, scenario.sites))
    sizes = {
        "ready": services * nodes,
        "starting": services * nodes,
        "utilisation": services * nodes,
        "demand": services * sites,
        "latency": services,
        "free": 2 * nodes,
        "up": nodes,
    }
    parts, begin = {}, 0
    for name, size in sizes.items():
        parts[name] = slice(begin, begin + size)
        begin += size
    return parts


def _count(edges: NDArray[Any], values: NDArray[Any]) -> Ints:
    bins = np.searchsorted(edges, values, "left") + np.searchsorted(edges, values, "right")
    return np.bincount(bins, minlength=2 * len(edges) + 1)


def _stability_index(before: Ints, now: Ints) -> float:
    p, q = ((c + _PRIOR) / (c.sum() + _PRIOR * len(c)) for c in (before, now))
    return float(((p - q) * np.log(p / q)).sum())


def _batch(observation: Any) -> int:
    return len(next(iter(observation.values())) if isinstance(observation, dict) else observation)
