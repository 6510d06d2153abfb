"""The floor of an evaluation: bound, best static placement and clairvoyant on the same episodes."""

from dataclasses import dataclass

import numpy as np

from lwmecps_gym.algorithms.optimum.bound import bound
from lwmecps_gym.algorithms.optimum.clairvoyant import clairvoyant
from lwmecps_gym.algorithms.optimum.solver import Solver
from lwmecps_gym.algorithms.optimum.static_best import static_best
from lwmecps_gym.algorithms.optimum.trace import record
from lwmecps_gym.envs.cluster import Floats
from lwmecps_gym.envs.scenario import Scenario
from lwmecps_gym.envs.simulator import ClusterModel

AFFORDABLE = 300_000_000
"""Queues (columns x sites x nodes x steps) that are evaluated unasked; about a minute."""


@dataclass(frozen=True)
class Floor:
    """What the episodes of an evaluation cost at best.

    Attributes:
        bound: no policy is below it, by step and episode, [T, E].
        exact: whether it is the least of every step, and not only a bound of it.
        static_best: cost of the best placement that never changes, each episode's own, [E].
        clairvoyant: cost of the best course found, [E]; None: it was not looked for.
    """

    bound: Floats
    exact: bool
    static_best: Floats
    clairvoyant: Floats | None


def measure_floor(scenario: Scenario, episodes: int, seed: int, *, plan: bool = True) -> Floor:
    """Find the floor of the episodes that `evaluate_policies` plays.

    Args:
        scenario: what is played.
        episodes: number of episodes; episode i draws its demand from seed `[seed, i]`.
        seed: of the demand.
        plan: look for the course of a clairvoyant, too, where placements can be enumerated.
    """
    solver = Solver(scenario)
    model = ClusterModel(scenario, episodes)
    model.reset({i: np.random.default_rng([seed, i]) for i in range(episodes)})
    least, exact, still, known = [], True, [], []
    for trace in record(model):
        tables = solver.tables(trace.demand) if solver.enumerable else None
        found = bound(solver, trace, tables)
        least.append(found.cost)
        exact &= found.exact
        still.append(static_best(solver, trace.demand, tables).cost)
        if plan and solver.enumerable:
            known.append(clairvoyant(solver, trace, tables).cost)
    return Floor(
        bound=np.stack(least, axis=1),
        exact=exact,
        static_best=np.array(still),
        clairvoyant=np.array(known) if known else None,
    )


def affordable(scenario: Scenario, episodes: int) -> bool:
    """Whether the floor is exact and found within about a minute."""
    solver = Solver(scenario)
    if not solver.enumerable:
        return False
    queues = sum(map(len, solver.columns)) * len(scenario.sites) * len(scenario.nodes)
    return episodes * scenario.episode_steps * queues <= AFFORDABLE
