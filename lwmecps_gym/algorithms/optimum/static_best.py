"""The best placement that never changes, chosen in hindsight."""

import numpy as np

from lwmecps_gym.algorithms.optimum.solver import Optimum, Solver, Tables
from lwmecps_gym.envs.cluster import Floats


def static_best(solver: Solver, demand: Floats, tables: Tables | None = None) -> Optimum:
    """The placement with the least mean cost over `demand` [T, S, U], ready from the first step.

    The mean over steps of a sum over services is a sum of means: the same search finds it, each
    column at its mean cost. Failures of nodes are left out.

    Args:
        solver: of the scenario.
        demand: requests/s at every step.
        tables: `solver.tables(demand)`, where they are known already.
    """
    up = np.ones(solver.params.capacity.shape[1], dtype=bool)
    if not solver.enumerable:
        return solver.relaxed(demand, up)
    tables = solver.tables(demand) if tables is None else tables
    return solver.best_of([table.mean(0) for table in tables], up)
