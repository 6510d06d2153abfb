"""Proved optima as policies, which know no more than all others do."""

import numpy as np

from lwmecps_gym.algorithms.heuristics.base import Heuristic
from lwmecps_gym.algorithms.heuristics.plans import Plan, toward
from lwmecps_gym.algorithms.optimum.solver import Solver
from lwmecps_gym.algorithms.optimum.static_best import static_best
from lwmecps_gym.envs.cluster import ClusterState, Ints
from lwmecps_gym.envs.scenario import Scenario
from lwmecps_gym.envs.workload import Workload

PLANNED_STEPS = 96
"""Times of a cycle of the workload that `static_best` is planned for."""


class StaticBest(Plan):
    """The placement that never changes and costs least over a cycle of mean demand.

    It cannot know the noise of an episode. Like all plans it begins at the episode's own placement
    and goes to its own, one action per step.
    """

    name = "static_best"

    def plan(self) -> Ints:
        """See `Plan.plan`."""
        workload = Workload.of(self.scenario)
        times = np.arange(PLANNED_STEPS) * workload.cycle_s / PLANNED_STEPS
        return static_best(Solver(self.scenario), workload.mean_demand(times)).placement


class Optimum(Heuristic):
    """Goes to the best placement for the demand just measured, one action per step.

    The pods that are to be started count with their migration term in full: without that it runs
    after the noise of the demand (on four-stations 19 migrations per hour instead of 7, and 9 %
    more cost).
    """

    name = "optimum"

    def __init__(self, scenario: Scenario, seed: int = 0) -> None:
        super().__init__(scenario, seed)
        self.solver = Solver(scenario)

    def act(self, state: ClusterState) -> Ints:
        """See `Heuristic.act`."""
        clusters = zip(state.demand, state.node_up, state.replicas, strict=True)
        target = [self.solver.best(demand, up, held).placement for demand, up, held in clusters]
        return toward(self.actions, state, np.stack(target))
