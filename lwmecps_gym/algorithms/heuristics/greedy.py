"""Choices by what was measured last: hot and cold services, or the best of all legal actions."""

import numpy as np
from pydantic import Field

from lwmecps_gym.algorithms.heuristics.base import Heuristic, Knobs
from lwmecps_gym.algorithms.heuristics.lookahead import cheapest, outcomes
from lwmecps_gym.envs.actions import Kind
from lwmecps_gym.envs.cluster import ClusterState, Ints


class LoadKnobs(Knobs):
    """When `greedy_load` adds and removes."""

    high: float = Field(
        default=0.7, gt=0, le=1, description="utilisation on a node above which one is added"
    )
    low: float = Field(
        default=0.5, ge=0, le=1, description="utilisation with one less below which one is removed"
    )


class GreedyLoad(Heuristic):
    """Adds a replica where a service is hot, removes one where it is cold.

    Above `high` utilisation of a service's replicas on a node, one is added on the nearest node
    with room to the site with most demand; a service that would stay below `low` with one replica
    less loses the one that is used least. A service with demand and no replica left is hottest.
    """

    name = "greedy_load"
    knobs_type = LoadKnobs
    knobs: LoadKnobs

    def act(self, state: ClusterState) -> Ints:
        """See `Heuristic.act`."""
        rows = np.arange(len(state.time_s))
        legal = self.actions.legal_in(state)
        services, nodes = state.ready.shape[1:]
        place_legal = legal[:, 1 : 1 + services * nodes].reshape(-1, services, nodes)
        lost = (state.ready.sum(-1) == 0) & (state.demand.sum(-1) > 0)
        heat = np.where(lost, np.inf, state.utilisation.max(-1))
        heat = np.where(state.starting.sum(-1) > 0, 0.0, heat)
        heat = np.where(place_legal.any(-1), heat, 0.0)
        hot = np.argmax(heat, axis=1)
        site = np.argmax(state.demand[rows, hot], axis=1)
        distance = np.where(place_legal[rows, hot], state.params.rtt_ms[rows, site], np.inf)
        place = self.actions.place(hot, np.argmin(distance, axis=1))

        load = (state.utilisation * state.ready).sum(-1)
        total = state.replicas.sum(-1)
        spare = np.where(total > 1, load / np.maximum(total - 1, 1), np.inf)
        remove_legal = legal[:, 1 + services * nodes : 1 + 2 * services * nodes]
        remove_legal = remove_legal.reshape(-1, services, nodes)
        spare = np.where(remove_legal.any(-1), spare, np.inf)
        cold = np.argmin(spare, axis=1)
        use = np.where(remove_legal[rows, cold], state.utilisation[rows, cold], np.inf)
        remove = self.actions.remove(cold, np.argmin(use, axis=1))
        chosen = np.where(spare[rows, cold] < self.knobs.low, remove, Kind.NOTHING)
        return np.where(heat[rows, hot] > self.knobs.high, place, chosen)


class LatencyKnobs(Knobs):
    """When `greedy_latency` acts."""

    gain: float = Field(
        default=0.5, ge=0, allow_inf_nan=False, description="ms that a change must win"
    )


class GreedyLatency(Heuristic):
    """The action after which the mean latency would be lowest, for the demand just measured."""

    name = "greedy_latency"
    knobs_type = LatencyKnobs
    knobs: LatencyKnobs

    def act(self, state: ClusterState) -> Ints:
        """See `Heuristic.act`."""
        legal = self.actions.legal_in(state)
        latency = np.full(legal.shape, np.inf)
        row, action = np.nonzero(legal)
        latency[row, action] = outcomes(self.scenario, self.actions, state, row, action).latency_ms
        latency[:, 0] -= self.knobs.gain
        return np.argmin(latency, axis=1)


class CostKnobs(Knobs):
    """What a migration may cost `greedy_cost`."""

    horizon_steps: float = Field(
        default=30, gt=0, allow_inf_nan=False, description="steps over which its cost is spread"
    )


class GreedyCost(Heuristic):
    """The action after which a step would cost least, its migration spread over some steps."""

    name = "greedy_cost"
    knobs_type = CostKnobs
    knobs: CostKnobs

    def act(self, state: ClusterState) -> Ints:
        """See `Heuristic.act`."""
        legal = self.actions.legal_in(state)
        return cheapest(self.scenario, self.actions, state, legal, self.knobs.horizon_steps)
