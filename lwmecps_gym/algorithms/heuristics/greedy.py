"""Choices by what was measured last: hot and cold services, or the best of all legal actions."""

from abc import abstractmethod
from dataclasses import replace

import numpy as np

from lwmecps_gym.algorithms.heuristics.base import Heuristic
from lwmecps_gym.envs.actions import Kind, apply_to
from lwmecps_gym.envs.cluster import ClusterState, Floats, Ints
from lwmecps_gym.envs.performance import cost_terms, evaluate


class GreedyLoad(Heuristic):
    """Adds a replica where a service is hot, removes one where it is cold.

    Above `high` utilisation of a service's replicas on a node, one is added on the nearest node
    with room to the site with most demand; a service that would stay below `low` with one replica
    less loses the one that is used least. A service with demand and no replica left is hottest.
    """

    name = "greedy_load"
    high = 0.7
    low = 0.5

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
        chosen = np.where(spare[rows, cold] < self.low, remove, Kind.NOTHING)
        return np.where(heat[rows, hot] > self.high, place, chosen)


class Greedy(Heuristic):
    """Tries every legal action in the model, for the demand just measured, and takes the best."""

    gain = 0.0
    """What a change must win before it is made, in units of the objective."""

    @abstractmethod
    def objective(self, state: ClusterState, replicas: Ints, migrations: Floats) -> Floats:
        """What to minimise, [B]."""

    def act(self, state: ClusterState) -> Ints:
        """See `Heuristic.act`."""
        legal = self.actions.legal_in(state)
        row, action = np.nonzero(legal)
        kind = self.actions.kind[action]
        tried = replace(
            state,
            params=state.params.take(row),
            demand=state.demand[row],
            node_up=state.node_up[row],
        )
        after = apply_to(state.replicas[row], self.actions, action)
        migrations = ((kind == Kind.PLACE) | (kind == Kind.MOVE)).astype(np.float64)
        score = np.full(legal.shape, np.inf)
        score[row, action] = self.objective(tried, after, migrations)
        score[:, 0] -= self.gain
        return np.argmin(score, axis=1)


class GreedyLatency(Greedy):
    """The action after which the mean latency would be lowest."""

    name = "greedy_latency"
    gain = 0.5  # ms

    def objective(self, state: ClusterState, replicas: Ints, migrations: Floats) -> Floats:
        """Mean latency in ms, [B]."""
        return evaluate(self.scenario, state.params, replicas, state.demand).latency_ms


class GreedyCost(Greedy):
    """The action after which a step would cost least, its migration spread over half an hour."""

    name = "greedy_cost"
    horizon_steps = 30

    def objective(self, state: ClusterState, replicas: Ints, migrations: Floats) -> Floats:
        """Cost of a step, [B]."""
        performance = evaluate(self.scenario, state.params, replicas, state.demand)
        spread = migrations / self.horizon_steps
        terms = cost_terms(self.scenario, state.params, replicas, performance, spread)
        return np.asarray(sum(terms.values()))
