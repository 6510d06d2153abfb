"""Optima as policies, which know no more than all others do."""

from dataclasses import replace
from typing import Any

import numpy as np
from pydantic import Field

from lwmecps_gym.algorithms.heuristics.base import Heuristic, Knobs
from lwmecps_gym.algorithms.heuristics.local_search import LocalSearch, Problem
from lwmecps_gym.algorithms.heuristics.plans import Plan, toward
from lwmecps_gym.algorithms.optimum.columns import enumerable
from lwmecps_gym.algorithms.optimum.solver import Solver
from lwmecps_gym.algorithms.optimum.static_best import static_best
from lwmecps_gym.envs.cluster import Bools, ClusterState, Floats, Ints
from lwmecps_gym.envs.placement import spread_minimum
from lwmecps_gym.envs.scenario import Scenario
from lwmecps_gym.envs.workload import Workload

PLANNED_TIMES = 96
"""Times of a cycle of the workload that `static_best` is planned for."""
SEARCHED_TIMES = 12
"""The same where placements cannot be enumerated."""


class StaticBestKnobs(Knobs):
    """How long the planning may take."""

    time_limit_s: float = Field(
        default=20,
        gt=0,
        allow_inf_nan=False,
        description="for the search where placements cannot be enumerated, once, s",
    )


class StaticBest(Plan):
    """The placement that never changes and costs least over a cycle of mean demand.

    It cannot know the noise of an episode. Like all plans it begins at the episode's own placement
    and goes to its own, one action per step. Where placements cannot be enumerated it is the best
    that a local search finds; if the time limit ends that, it may not repeat itself.
    """

    name = "static_best"
    knobs_type = StaticBestKnobs
    knobs: StaticBestKnobs

    def plan(self) -> Ints:
        """See `Plan.plan`."""
        if enumerable(self.params):
            return static_best(Solver(self.scenario), self._demand(PLANNED_TIMES)).placement
        start = spread_minimum(self.scenario)
        node_up = np.ones(start.shape[1], dtype=bool)
        problem = Problem(self._demand(SEARCHED_TIMES), node_up, start, start_cost=0.0)
        search = LocalSearch(self.scenario, self.seed)
        return search.best(problem, [start], self.knobs.time_limit_s)

    def _demand(self, times: int) -> Floats:
        """Mean demand at some times of a cycle, [T, S, U]."""
        workload = Workload.of(self.scenario)
        return workload.mean_demand(np.arange(times) * workload.cycle_s / times)


class OptimumKnobs(Knobs):
    """What `optimum` plans for, and how long it may take."""

    smoothing: float = Field(
        default=0.3,
        gt=0,
        le=1,
        description="weight of the demand measured last in its running mean; 1: it alone counts",
    )
    horizon_steps: float = Field(
        default=2, gt=0, allow_inf_nan=False, description="steps over which a migration is spread"
    )
    time_limit_s: float = Field(
        default=5, gt=0, allow_inf_nan=False, description="for the search of one decision, s"
    )


class Optimum(Heuristic):
    """Re-optimises in every step: goes to the best placement for the demand, one action at a time.

    The demand is the running mean of what was measured, so that it does not run after the noise,
    and the pods that have to be started count with their migration term. Where placements can be
    enumerated the best one is proved, unless `time_limit_s` ends the search; elsewhere it is the
    best that a local search finds in that time, from where the pods are and from where it wanted
    them a step ago. Only a search that the limit ends may not repeat itself.
    """

    name = "optimum"
    knobs_type = OptimumKnobs
    knobs: OptimumKnobs

    def __init__(self, scenario: Scenario, seed: int = 0, **knobs: Any) -> None:
        super().__init__(scenario, seed, **knobs)
        self._solver: Solver | None = None
        if enumerable(self.params):
            self._solver = Solver(scenario, time_limit_s=self.knobs.time_limit_s)

    def reset(self, batch: int) -> None:
        """Forget the demand, and where the replicas were wanted."""
        self._search = LocalSearch(self.scenario, self.seed)
        self._demand: Floats | None = None
        self._target: Ints | None = None

    def act(self, state: ClusterState) -> Ints:
        """See `Heuristic.act`."""
        latest = self.knobs.smoothing
        known = state.demand if self._demand is None else self._demand
        self._demand = latest * state.demand + (1 - latest) * known
        wanted = state.replicas if self._target is None else self._target
        clusters = zip(self._demand, state.node_up, state.replicas, wanted, strict=True)
        self._target = np.stack([self._best(*cluster) for cluster in clusters])
        seen = replace(state, demand=self._demand)
        return toward(self.scenario, self.actions, seen, self._target)

    def _best(self, demand: Floats, node_up: Bools, held: Ints, wanted: Ints) -> Ints:
        """Where the replicas of one cluster should be, [S, N]; a step ago they were `wanted`."""
        horizon = self.knobs.horizon_steps
        if self._solver is not None:
            return self._solver.best(demand, node_up, held, horizon).placement
        start_cost = self.scenario.weights.migration / horizon
        problem = Problem(demand[None], node_up, held, start_cost)
        return self._search.best(problem, [held, wanted * node_up], self.knobs.time_limit_s)
