"""Placements that are fixed beforehand, and the way to them."""

from abc import abstractmethod
from typing import Any

import numpy as np
from pydantic import Field

from lwmecps_gym.algorithms.heuristics.base import Heuristic, Knobs
from lwmecps_gym.algorithms.heuristics.demand import largest_first, mean_demand, planned_replicas
from lwmecps_gym.algorithms.heuristics.lookahead import cheapest
from lwmecps_gym.envs.actions import ActionTable, Kind, fits
from lwmecps_gym.envs.cluster import Bools, ClusterParams, ClusterState, Ints, free_resources
from lwmecps_gym.envs.scenario import Scenario

MOST_QUEUES = 500_000
"""Queues that are looked at for a decision: of every site at every node, for each action tried."""


class Plan(Heuristic):
    """Goes to a placement that was fixed beforehand, and stays."""

    def __init__(self, scenario: Scenario, seed: int = 0, **knobs: Any) -> None:
        super().__init__(scenario, seed, **knobs)
        self.target = self.plan()

    @abstractmethod
    def plan(self) -> Ints:
        """The placement to go to, [S, N]."""

    def act(self, state: ClusterState) -> Ints:
        """See `Heuristic.act`."""
        target = np.broadcast_to(self.target, state.ready.shape)
        return toward(self.scenario, self.actions, state, target)


class StaticKnobs(Knobs):
    """How many replicas are planned."""

    utilisation: float = Field(
        default=0.7, gt=0, le=1, description="of the replicas, planned for the day's mean demand"
    )


class Static(Plan):
    """An operator's plan: replicas for the mean demand, each near the users still without one."""

    name = "static"
    knobs_type = StaticKnobs
    knobs: StaticKnobs

    def plan(self) -> Ints:
        """See `Plan.plan`."""
        placement = np.zeros((1, len(self.scenario.services), len(self.scenario.nodes)), np.int64)
        unserved, utilisation = mean_demand(self.scenario), self.knobs.utilisation
        counts = planned_replicas(self.scenario, utilisation)
        for s, count in largest_first(self.scenario, counts):
            for _ in range(count):
                site = int(np.argmax(unserved[s]))
                room = _room(self.params, placement)[s]
                near = [n for n in self.params.nearest[0, site] if room[n]]
                if not near:
                    break
                placement[0, s, near[0]] += 1
                unserved[s, site] -= self.params.rate[0, s] * utilisation
        return placement[0]


class Uniform(Plan):
    """One replica of every service on every node, as far as they fit."""

    name = "uniform"

    def plan(self) -> Ints:
        """See `Plan.plan`."""
        services, nodes = len(self.scenario.services), len(self.scenario.nodes)
        placement = np.zeros((1, services, nodes), dtype=np.int64)
        for s, _ in largest_first(self.scenario, np.ones(services, dtype=np.int64)):
            for n in range(nodes):
                room = _room(self.params, placement)[s, n]
                if room and placement[0, s].sum() < self.params.max_replicas[s]:
                    placement[0, s, n] += 1
        return placement[0]


def toward(scenario: Scenario, table: ActionTable, state: ClusterState, target: Ints) -> Ints:
    """The next action on the way to a placement, [B]: of those that lead nearer, the cheapest.

    Where full nodes and minimum replicas leave none that leads nearer, a replica that is not wanted
    moves out of the way of one that is. On large clusters some of the actions are tried, from all
    over the table.

    Args:
        scenario: says what a step costs, for the demand just measured.
        table: numbers the actions.
        state: where the clusters stand.
        target: where they shall go, [B, S, N].
    """
    missing = target - state.replicas
    if not missing.any():
        return np.zeros(len(missing), dtype=np.int64)
    kind, service = table.kind, np.maximum(table.service, 0)
    lack = (table.target >= 0) & (missing[:, service, table.target] > 0)
    surplus = (table.source >= 0) & (missing[:, service, table.source] < 0)
    nearer = (kind == Kind.PLACE) & lack
    nearer |= (kind == Kind.REMOVE) & surplus
    nearer |= (kind == Kind.MOVE) & surplus & lack
    wanted = (missing > 0).any(1) & state.node_up
    aside = (kind == Kind.MOVE) & surplus & wanted[:, table.source]
    legal = table.legal_in(state)
    tried = legal & nearer
    tried = np.where(tried.any(1, keepdims=True), tried, legal & aside)
    queues = len(scenario.sites) * len(scenario.nodes)
    return cheapest(scenario, table, state, _some(tried, max(1, MOST_QUEUES // queues)))


def _some(tried: Bools, most: int) -> Bools:
    """At most so many of each row of `tried`, [B, A], evenly spread."""
    rank = tried.cumsum(1)
    count = np.maximum(rank[:, -1:], most)
    return tried & (rank * most // count > (rank - 1) * most // count)


def _room(params: ClusterParams, placement: Ints) -> Bools:
    up = np.ones((1, placement.shape[-1]), dtype=bool)
    return fits(params, free_resources(params, placement, up))[0]
