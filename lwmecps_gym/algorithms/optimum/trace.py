"""Traces: what an episode brings, whatever a policy does."""

from dataclasses import dataclass

import numpy as np

from lwmecps_gym.envs.cluster import Bools, Floats, Ints
from lwmecps_gym.envs.simulator import ClusterModel


@dataclass(frozen=True)
class Trace:
    """Demand and failures of one episode.

    Attributes:
        demand: requests/s, [T, S, U].
        node_up: which nodes are up, [T, N].
        placement: ready replicas that the episode begins with, [S, N].
    """

    demand: Floats
    node_up: Bools
    placement: Ints

    def __len__(self) -> int:
        """Number of steps T."""
        return len(self.demand)


def record(model: ClusterModel) -> list[Trace]:
    """Traces of the episodes that a model has just begun, one per cluster; it is played through."""
    placement = model.ready.copy()
    demand, node_up = [], []
    still = np.zeros(model.batch, dtype=np.int64)
    fails = model.scenario.failures.node_mtbf_s > 0
    for step in range(model.horizon):
        demand.append(model.demand_at(0 if fails else step))
        node_up.append(model.node_up.copy())
        if fails:
            model.step(still)
    demands, ups = np.stack(demand, axis=1), np.stack(node_up, axis=1)
    return [Trace(demands[i], ups[i], placement[i]) for i in range(model.batch)]
