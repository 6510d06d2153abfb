"""The best placement for the demand of one step, under the model's own cost."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lwmecps_gym.algorithms.optimum.columns import Columns, enumerable, user_cost
from lwmecps_gym.algorithms.optimum.relaxation import Relaxation
from lwmecps_gym.algorithms.optimum.search import EFFORT_LIMIT, Choice, Search
from lwmecps_gym.envs.actions import TOLERANCE
from lwmecps_gym.envs.cluster import Bools, ClusterParams, Floats, Ints, free_resources
from lwmecps_gym.envs.performance import cost_terms, evaluate
from lwmecps_gym.envs.placement import spread_minimum
from lwmecps_gym.envs.scenario import Scenario

Tables = list[Floats]
"""Latency and violation terms of every column at every step, [T, C] for each service."""


@dataclass(frozen=True)
class Optimum:
    """A best placement.

    Attributes:
        placement: the best found, ready replicas [S, N].
        cost: of a step (or of a mean step of a trace) with it, without migrations.
        lower_bound: no placement costs less; equal to `cost` where `exact`.
        exact: whether `placement` is proved to be the best.
    """

    placement: Ints
    cost: float
    lower_bound: float
    exact: bool


class Solver:
    """Finds best placements on the cluster of a scenario.

    The cost of a placement is a sum over services of what their users meet (`columns.user_cost`)
    and of the resources they hold, plus the balance term; capacity and balance couple the services.
    Where the placements of each service can be enumerated, `search` joins them exactly; elsewhere
    `relaxation` gives a lower bound and a placement.

    Args:
        scenario: whose cluster.
        effort: combinations that a search looks at at most.
        time_limit_s: time that a search takes at most; what it then finds differs from run to run.

    Attributes:
        columns: of each service; empty where they are too many.
        replicas: of each column, [C] per service.
        resources: term of the cost of each column, [C] per service.
    """

    def __init__(
        self,
        scenario: Scenario,
        effort: int = EFFORT_LIMIT,
        time_limit_s: float = float("inf"),
    ) -> None:
        self.scenario = scenario
        self.params = ClusterParams.of(scenario)
        self.effort, self.time_limit_s = effort, time_limit_s
        self.enumerable = enumerable(self.params)
        self.columns: list[Columns] = []
        if self.enumerable:
            services = range(len(scenario.services))
            self.columns = [Columns.of(self.params, s) for s in services]
            self.search = Search(scenario, self.params, self.columns)
            cpu = self.params.request[0, :, 0] / self.params.capacity[0, :, 0].sum()
            self.replicas = [columns.replicas.sum(1) for columns in self.columns]
            self.resources = [
                scenario.weights.resources * cpu[s] * count for s, count in enumerate(self.replicas)
            ]
        else:
            self.relaxation = Relaxation(scenario, self.params)

    def user_costs(self, demand: Floats) -> list[Floats]:
        """Latency and violation terms of the columns under `demand` [S, U], [C] per service."""
        return [user_cost(self.scenario, columns, demand) for columns in self.columns]

    def tables(self, demand: Floats) -> Tables:
        """`user_costs` for each step of `demand` [T, S, U], [T, C] per service."""
        result = [np.empty((len(demand), len(columns))) for columns in self.columns]
        for t, step in enumerate(demand):
            for table, costs in zip(result, self.user_costs(step), strict=True):
                table[t] = costs
        return result

    def best(
        self,
        demand: Floats,
        node_up: Bools | None = None,
        standing: Ints | None = None,
        horizon_steps: float = 1.0,
    ) -> Optimum:
        """The best placement for `demand` [S, U] in requests/s, its replicas all ready.

        Args:
            demand: what to serve.
            node_up: nodes that can hold replicas, [N]; unset: all.
            standing: replicas that are there already, [S, N]: all others have to be started, and
                count with their migration term (where placements can be enumerated).
            horizon_steps: steps over which that term is spread.
        """
        up = np.ones(self.params.capacity.shape[1], dtype=bool) if node_up is None else node_up
        if not self.enumerable:
            return self.relaxed(demand[None], up)
        user = self.user_costs(demand)
        if standing is not None:
            weight = self.scenario.weights.migration / horizon_steps
            for s, columns in enumerate(self.columns):
                user[s] += weight * np.maximum(columns.replicas - standing[s], 0).sum(1)
        return self.best_of(user, up, standing)

    def best_of(self, user: Sequence[Floats], node_up: Bools, guess: Ints | None = None) -> Optimum:
        """The best placement for the users' terms of the columns, [C] per service."""
        started = None if guess is None else self.index(guess)
        least = self.params.min_replicas
        choice = self._search(self.allowed(user, node_up, least), started)
        if choice.columns is None:  # what is left of the nodes cannot hold the minimum
            choice = self._search(self.allowed(user, node_up, np.zeros_like(least)), started)
        assert choice.columns is not None, "to place nothing is always possible"
        return Optimum(
            placement=self.placement(choice.columns),
            cost=choice.cost,
            lower_bound=choice.lower_bound,
            exact=choice.lower_bound >= choice.cost,
        )

    def allowed(self, user: Sequence[Floats], node_up: Bools, least: Ints) -> list[Floats]:
        """Costs of the columns, [C] per service.

        They are infinite for those with less than `least` replicas [S] or some on nodes that are
        down.
        """
        costs = []
        for s, columns in enumerate(self.columns):
            right = self.replicas[s] >= least[s]
            if not node_up.all():
                right &= ~columns.replicas[:, ~node_up].any(1)
            costs.append(np.where(right, user[s] + self.resources[s], np.inf))
        return costs

    def _search(self, costs: Sequence[Floats], guess: Ints | None) -> Choice:
        return self.search.solve(costs, guess, self.effort, time.monotonic() + self.time_limit_s)

    def index(self, placement: Ints) -> Ints:
        """The columns [S] of a placement [S, N]."""
        return np.array([c.index(placement[s]) for s, c in enumerate(self.columns)])

    def placement(self, columns: Ints) -> Ints:
        """The placement [S, N] of columns [S]."""
        return np.stack([self.columns[s].replicas[c] for s, c in enumerate(columns)])

    def relaxed(self, demand: Floats, node_up: Bools) -> Optimum:
        """A good placement for the steps of `demand` [T, S, U], and a bound on their mean cost.

        One program bounds all steps: with shares p = demand / total and capacities proportional to
        c = 1 / total, the cost of a placement is jointly convex in (p, c), so that its mean over
        the steps is at least its cost at the means of p and c (Jensen).
        """
        total = demand.sum((1, 2))
        busy = demand[total > 0]
        share, rarity = busy / total[total > 0, None, None], 1 / total[total > 0]
        mean = share.mean(0) / rarity.mean() if len(busy) else demand[0]
        least = (
            self.params.min_replicas if node_up.all() else np.zeros_like(self.params.min_replicas)
        )
        found = self.relaxation.solve(mean, node_up, least)
        placement = found.placement
        if placement is None or not self._fits(placement):
            placement = spread_minimum(self.scenario) * node_up
        cost = float(np.mean([self.cost(placement, step) for step in demand]))
        lower = found.lower_bound * (len(busy) / len(demand) if len(busy) else 1.0)
        return Optimum(placement, cost, min(lower, cost), exact=False)

    def _fits(self, placement: Ints) -> bool:
        up = np.ones((1, placement.shape[1]), dtype=bool)
        return bool((free_resources(self.params, placement[None], up) >= -TOLERANCE).all())

    def cost(self, placement: Ints, demand: Floats) -> float:
        """What the model says that a step costs with ready replicas [S, N] and no migration."""
        performance = evaluate(self.scenario, self.params, placement[None], demand[None])
        terms = cost_terms(self.scenario, self.params, placement[None], performance, np.zeros(1))
        return float(sum(term[0] for term in terms.values()))
