"""What people do today, as policies: fixed plans, Kubernetes' own rules, and greedy choices.

Every policy acts under the same rule, one action per control interval; those that want a whole
placement go there step by step, adding before they remove.
"""

from abc import ABC, abstractmethod
from dataclasses import replace

import numpy as np

from lwmecps_gym.algorithms.kube_scoring import place_by_score, replicas_to_drop
from lwmecps_gym.envs.actions import ActionTable, Kind, apply_to, fits
from lwmecps_gym.envs.cluster import (
    Bools,
    ClusterParams,
    ClusterState,
    Floats,
    Ints,
    free_resources,
)
from lwmecps_gym.envs.performance import cost_terms, evaluate
from lwmecps_gym.envs.scenario import Scenario
from lwmecps_gym.envs.workload import Workload
from lwmecps_gym.platform.errors import NotFoundError

PLANNED_UTILISATION = 0.7
"""Utilisation that a hand-made plan aims at for the day's mean demand."""


class Heuristic(ABC):
    """A policy that follows a rule; see `policy.Policy`."""

    name: str

    def __init__(self, scenario: Scenario, seed: int = 0) -> None:
        self.scenario = scenario
        self.params = ClusterParams.of(scenario)
        self.actions = ActionTable.of(len(scenario.services), len(scenario.nodes))
        self.seed = seed

    def reset(self, batch: int) -> None:
        """Forget: B new episodes begin."""
        return None

    @abstractmethod
    def act(self, state: ClusterState) -> Ints:
        """Choose a legal action for each cluster, [B]."""


class Random(Heuristic):
    """A legal action, uniformly at random."""

    name = "random"

    def reset(self, batch: int) -> None:
        """Begin the same random sequence again."""
        self._rng = np.random.default_rng(self.seed)

    def act(self, state: ClusterState) -> Ints:
        """See `Heuristic.act`."""
        legal = self.actions.legal_in(state)
        return np.argmax(np.where(legal, self._rng.random(legal.shape), -1.0), axis=1)


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


class HorizontalPodAutoscaler(Heuristic):
    """Scales as the HorizontalPodAutoscaler does; kube-scheduler's scores place the pods.

    `desired = ceil(current * utilisation / target)` unless the ratio is within 10 % of 1; a scale
    down waits until the largest desire of the last 5 minutes is lower (kubernetes.io, "Horizontal
    Pod Autoscaling", algorithm details and stabilisation window).
    """

    name = "hpa"
    target_utilisation = 0.6
    tolerance = 0.1
    stabilisation_s = 300.0

    def reset(self, batch: int) -> None:
        """Forget the recommendations."""
        self._desires: list[Ints] = []

    def act(self, state: ClusterState) -> Ints:
        """See `Heuristic.act`."""
        ready, total = state.ready.sum(-1), state.replicas.sum(-1)
        load = (state.utilisation * state.ready).sum(-1)
        ratio = load / np.maximum(ready, 1) / self.target_utilisation
        wanted = np.ceil(ready * ratio).astype(np.int64)
        wanted = np.where(np.abs(ratio - 1) <= self.tolerance, total, wanted)
        wanted = np.clip(wanted, self.params.min_replicas, self.params.max_replicas)
        window = max(1, int(self.stabilisation_s // self.scenario.control_interval_s))
        self._desires = [*self._desires[-window:], wanted]
        floor = np.minimum(np.max(self._desires, axis=0), total)
        wanted = np.maximum(wanted, floor)
        return self._scale(state, wanted - total)

    def _scale(self, state: ClusterState, change: Ints) -> Ints:
        rows = np.arange(len(change))
        legal = self.actions.legal_in(state)
        up = np.argmax(change, axis=1)
        node = place_by_score(state.params, state.replicas, state.node_up, up)
        place = self.actions.place(up, np.maximum(node, 0))
        can_place = (change[rows, up] > 0) & (node >= 0) & legal[rows, place]
        down = np.argmin(change, axis=1)
        victim = replicas_to_drop(state.starting, state.replicas, down)
        remove = self.actions.remove(down, victim)
        can_remove = (change[rows, down] < 0) & legal[rows, remove]
        return np.where(can_place, place, np.where(can_remove, remove, Kind.NOTHING))


class GreedyLoad(Heuristic):
    """Adds a replica where a service is hot, removes one where it is cold.

    Above `high` utilisation of a service's replicas on a node, one is added on the nearest node
    with room to the site with most demand; a service that would stay below `low` with one replica
    less loses the one that is used least.
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
        heat = np.where(state.starting.sum(-1) > 0, 0.0, state.utilisation.max(-1))
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
    def objective(
        self, state: ClusterState, ready: Ints, replicas: Ints, migrations: Floats
    ) -> Floats:
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
        score[row, action] = self.objective(tried, after, after, migrations)
        score[:, 0] -= self.gain
        return np.argmin(score, axis=1)


class GreedyLatency(Greedy):
    """The action after which the mean latency would be lowest."""

    name = "greedy_latency"
    gain = 0.5  # ms

    def objective(
        self, state: ClusterState, ready: Ints, replicas: Ints, migrations: Floats
    ) -> Floats:
        """Mean latency in ms, [B]."""
        return evaluate(self.scenario, state.params, ready, state.demand).latency_ms


class GreedyCost(Greedy):
    """The action after which a step would cost least, its migration spread over half an hour."""

    name = "greedy_cost"
    horizon_steps = 30

    def objective(
        self, state: ClusterState, ready: Ints, replicas: Ints, migrations: Floats
    ) -> Floats:
        """Cost of a step, [B]."""
        performance = evaluate(self.scenario, state.params, ready, state.demand)
        spread = migrations / self.horizon_steps
        terms = cost_terms(self.scenario, state.params, replicas, performance, spread)
        return np.asarray(sum(terms.values()))


HEURISTICS: dict[str, type[Heuristic]] = {
    policy.name: policy
    for policy in (
        Random, Static, Uniform, GreedyLatency, GreedyLoad, GreedyCost, KubeDefault,
        HorizontalPodAutoscaler,
    )
}  # fmt: skip


def make_heuristic(name: str, scenario: Scenario, seed: int = 0) -> Heuristic:
    """Build a heuristic by name.

    Raises:
        NotFoundError: there is none of that name.
    """
    if name not in HEURISTICS:
        raise NotFoundError(f"no heuristic {name!r}; there are {sorted(HEURISTICS)}")
    return HEURISTICS[name](scenario, seed=seed)


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
