"""Placements that are fixed beforehand, and the way to them: add before removing."""

from abc import abstractmethod

import numpy as np

from lwmecps_gym.algorithms.heuristics.base import Heuristic
from lwmecps_gym.algorithms.kube_scoring import place_by_score
from lwmecps_gym.envs.actions import ActionTable, Kind, fits
from lwmecps_gym.envs.cluster import (
    Bools,
    ClusterParams,
    ClusterState,
    Floats,
    Ints,
    free_resources,
)
from lwmecps_gym.envs.scenario import Scenario
from lwmecps_gym.envs.workload import Workload

PLANNED_UTILISATION = 0.7
"""Utilisation that a hand-made plan aims at for the day's mean demand."""


class Plan(Heuristic):
    """Goes to a placement that was fixed beforehand, and stays."""

    def __init__(self, scenario: Scenario, seed: int = 0) -> None:
        super().__init__(scenario, seed)
        self.target = self.plan()

    @abstractmethod
    def plan(self) -> Ints:
        """The placement to go to, [S, N]."""

    def act(self, state: ClusterState) -> Ints:
        """See `Heuristic.act`."""
        return toward(self.actions, state, np.broadcast_to(self.target, state.ready.shape))

    def planned_replicas(self) -> Ints:
        """Replicas for the day's mean demand at `PLANNED_UTILISATION`, [S]."""
        demand = mean_demand(self.scenario).sum(1)
        wanted = np.ceil(demand / (self.params.rate[0] * PLANNED_UTILISATION)).astype(np.int64)
        return np.clip(wanted, self.params.min_replicas, self.params.max_replicas)


class Static(Plan):
    """An operator's plan: replicas for the mean demand, each near the users still without one."""

    name = "static"

    def plan(self) -> Ints:
        """See `Plan.plan`."""
        placement = np.zeros((1, len(self.scenario.services), len(self.scenario.nodes)), np.int64)
        unserved = mean_demand(self.scenario)
        for s, count in _largest_first(self.scenario, self.planned_replicas()):
            for _ in range(count):
                site = int(np.argmax(unserved[s]))
                room = _room(self.params, placement)[s]
                near = [n for n in self.params.nearest[0, site] if room[n]]
                if not near:
                    break
                placement[0, s, near[0]] += 1
                unserved[s, site] -= self.params.rate[0, s] * PLANNED_UTILISATION
        return placement[0]


class Uniform(Plan):
    """One replica of every service on every node, as far as they fit."""

    name = "uniform"

    def plan(self) -> Ints:
        """See `Plan.plan`."""
        services, nodes = len(self.scenario.services), len(self.scenario.nodes)
        placement = np.zeros((1, services, nodes), dtype=np.int64)
        for s, _ in _largest_first(self.scenario, np.ones(services, dtype=np.int64)):
            for n in range(nodes):
                room = _room(self.params, placement)[s, n]
                if room and placement[0, s].sum() < self.params.max_replicas[s]:
                    placement[0, s, n] += 1
        return placement[0]


class KubeDefault(Plan):
    """A Deployment with fixed replicas for the mean demand, placed as kube-scheduler does."""

    name = "kube_default"

    def plan(self) -> Ints:
        """See `Plan.plan`."""
        placement = np.zeros((1, len(self.scenario.services), len(self.scenario.nodes)), np.int64)
        up = np.ones((1, len(self.scenario.nodes)), dtype=bool)
        for s, count in _largest_first(self.scenario, self.planned_replicas()):
            for _ in range(count):
                node = place_by_score(self.params, placement, up, np.array([s]))
                if node[0] < 0:
                    break
                placement[0, s, node[0]] += 1
        return placement[0]


def toward(table: ActionTable, state: ClusterState, target: Ints) -> Ints:
    """The next action on the way to a placement: add, else move, else remove, [B].

    Args:
        table: numbers the actions.
        state: where the clusters stand.
        target: where they shall go, [B, S, N].
    """
    legal = table.legal_in(state)
    missing = target - state.replicas
    service = np.maximum(table.service, 0)
    lack = np.where(table.target >= 0, missing[:, service, table.target], 0) > 0
    surplus = np.where(table.source >= 0, missing[:, service, table.source], 0) < 0
    worth: Floats = np.zeros(legal.shape)
    worth += 3 * (lack & (table.kind == Kind.PLACE))
    worth += 2 * (lack & surplus & (table.kind == Kind.MOVE))
    worth += 1 * (surplus & (table.kind == Kind.REMOVE))
    return np.argmax(np.where(legal, worth, -1), axis=1)


def mean_demand(scenario: Scenario) -> Floats:
    """Demand in requests/s averaged over a cycle of the workload, [S, U]."""
    workload = Workload.of(scenario)
    times = np.arange(0.0, workload.cycle_s, scenario.control_interval_s)
    return workload.mean_demand(times).mean(0)


def mean_demand_at(scenario: Scenario, time_s: float) -> Floats:
    """Mean demand in requests/s at a time of the day, [S, U]."""
    return Workload.of(scenario).mean_demand(np.array([time_s]))[0]


def _room(params: ClusterParams, placement: Ints) -> Bools:
    up = np.ones((1, placement.shape[-1]), dtype=bool)
    return fits(params, free_resources(params, placement, up))[0]


def _largest_first(scenario: Scenario, counts: Ints) -> list[tuple[int, int]]:
    order = sorted(range(len(counts)), key=lambda s: -scenario.services[s].cpu)
    return [(s, int(counts[s])) for s in order]
