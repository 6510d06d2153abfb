"""The bound: what each step of a trace costs at least, whatever a policy does.

A state is ready replicas r and held replicas y >= r (ready and starting), both [S, N]. A step costs

    sum_s f_s(r_s) + L(y) + migrations,

f_s what the users of s meet (latency and violation), L resources and balance. The migration term is
at least 0. Starting pods serve nobody but take room, and may even out the CPU of the nodes; and
f_s may rise with a replica more, as `prefer-close` then sends requests to a nearer but slower
queue. So neither r nor y alone stands for the state. But with

    F_s(y_s) = min over r_s <= y_s of f_s(r_s),

a running minimum over the grid of replicas, every state costs at least sum_s F_s(y_s) + L(y). y
fits the nodes that are up, is within `max_replicas` and, unless pods were lost with a node or the
episode began with less, at or above `min_replicas`: no action leads elsewhere. The least of
sum_s F_s(y_s) + L(y) over all such y is the bound. It holds up to rounding, about 1e-12.
"""

from dataclasses import dataclass

import numpy as np

from lwmecps_gym.algorithms.optimum.solver import Solver, Tables
from lwmecps_gym.algorithms.optimum.trace import Trace
from lwmecps_gym.envs.cluster import Floats, Ints


@dataclass(frozen=True)
class Bound:
    """Lower bounds of the cost of each step.

    Attributes:
        cost: no policy has less, [T].
        exact: whether each is the least of its step, and not only a bound of it.
    """

    cost: Floats
    exact: bool

    @property
    def mean(self) -> float:
        """Mean over the steps."""
        return float(self.cost.mean())


def bound(solver: Solver, trace: Trace, tables: Tables | None = None) -> Bound:
    """Bound the cost of every step of a trace.

    Args:
        solver: of the scenario.
        trace: demand and failures.
        tables: `solver.tables(trace.demand)`, where they are known already.
    """
    least = solver.params.min_replicas
    if not (trace.node_up.all() and (trace.placement.sum(-1) >= least).all()):
        least = np.zeros_like(least)
    if not solver.enumerable:
        lower = [
            solver.relaxation.solve(demand, up, least).lower_bound
            for demand, up in zip(trace.demand, trace.node_up, strict=True)
        ]
        return Bound(np.array(lower), exact=False)
    cost, exact = np.empty(len(trace)), True
    guess: Ints | None = None
    for t, up in enumerate(trace.node_up):
        user = solver.user_costs(trace.demand[t]) if tables is None else [f[t] for f in tables]
        held = [c.running_minimum(f)[c.cell] for c, f in zip(solver.columns, user, strict=True)]
        choice = solver.search.solve(solver.allowed(held, up, least), guess, solver.effort)
        cost[t], guess = choice.lower_bound, choice.columns
        exact &= choice.lower_bound >= choice.cost
    return Bound(cost, exact)
