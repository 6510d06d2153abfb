"""Tables of action values over a discretised `lwmecps-v1`."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from lwmecps_gym.envs.cluster import Ints
from lwmecps_gym.envs.scenario import Scenario
from lwmecps_gym.platform.errors import InvalidInputError

MOST_STATES = 2_000_000


class Discretiser(BaseModel):
    """Numbers the observations of `lwmecps-v1`: replicas per node and binned demand per site.

    Replicas (ready and starting) count up to `replica_levels - 1`; demand, in replicas kept busy,
    is split at `demand_edges`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    nodes: int
    sites: int
    replica_levels: int = Field(ge=2)
    demand_edges: tuple[float, ...]

    @classmethod
    def of(cls, scenario: Scenario, demand_bins: int) -> "Discretiser":
        """Fit a scenario with one service: as many levels as replicas fit a node.

        Raises:
            InvalidInputError: the table would have more than `MOST_STATES` states.
        """
        service = scenario.services[0]
        most = max(int(node.cpu / service.cpu + 1e-9) for node in scenario.nodes)
        levels = min(service.max_replicas, most) + 1
        highest = max(most, 1)
        edges = tuple(np.linspace(0, highest, demand_bins + 1)[1:-1].tolist())
        made = cls(
            nodes=len(scenario.nodes),
            sites=len(scenario.sites),
            replica_levels=levels,
            demand_edges=edges,
        )
        if made.states > MOST_STATES:
            raise InvalidInputError(
                f"q_learning: {made.states} states are too many for a table on scenario "
                f"{scenario.name}; choose tiny, lower parameters.demand_bins, or use dqn"
            )
        return made

    @property
    def sizes(self) -> tuple[int, ...]:
        """Levels of each dimension."""
        bins = len(self.demand_edges) + 1
        return (self.replica_levels,) * self.nodes + (bins,) * self.sites

    @property
    def states(self) -> int:
        """Number of states."""
        return int(np.prod(self.sizes, dtype=np.int64))

    def index(self, observations: NDArray[Any]) -> Ints:
        """Numbers [B] of observations [B, D] of `lwmecps-v1`."""
        n = self.nodes
        replicas = np.rint(observations[:, :n] + observations[:, n : 2 * n]).astype(np.int64)
        demand = np.digitize(observations[:, 3 * n : 3 * n + self.sites], self.demand_edges)
        levels = np.concatenate([np.minimum(replicas, self.replica_levels - 1), demand], axis=1)
        return np.asarray(np.ravel_multi_index(tuple(levels.T), self.sizes))


class Table:
    """Action values by state: a `policy.Scorer`."""

    def __init__(self, discretiser: Discretiser, values: NDArray[np.float32]) -> None:
        self.discretiser = discretiser
        self.values = values

    @classmethod
    def from_manifest(cls, config: Mapping[str, Any], tensors: Mapping[str, Any]) -> "Table":
        """Rebuild from what `training.export` wrote.

        Raises:
            InvalidInputError: the values are not one row per state.
        """
        discretiser, values = Discretiser.model_validate(config), tensors["q"]
        if values.ndim != 2 or len(values) != discretiser.states:
            raise InvalidInputError(
                f"q: want action values of {discretiser.states} states, got shape {values.shape}"
            )
        return cls(discretiser, values)

    @property
    def sizes(self) -> tuple[int, int]:
        """See `policy.Scorer.sizes`; the numbers are those of `lwmecps-v1`."""
        nodes, sites = self.discretiser.nodes, self.discretiser.sites
        return 6 * nodes + sites + 3, self.values.shape[1]

    def scores(self, observations: Any) -> NDArray[np.float64]:
        """Action values [B, A] of observations [B, D]."""
        return self.values[self.discretiser.index(observations)].astype(np.float64)
