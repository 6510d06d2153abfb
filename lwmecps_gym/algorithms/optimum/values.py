"""What the rest of a trace costs a service at least that could act in every step.

A dynamic program over the columns of one service, backwards through the trace. It leaves out what
the services share: room beside each other, the one action per step, the balance term. So its sum
over services is optimistic; it tells a planner which of several placements has the better future.
"""

from collections.abc import Iterator

import numpy as np

from lwmecps_gym.algorithms.optimum.columns import Columns
from lwmecps_gym.algorithms.optimum.solver import Solver
from lwmecps_gym.envs.cluster import Bools, Floats, Ints


def values(solver: Solver, service: int, user: Floats, node_up: Bools, moves: bool) -> Floats:
    """Least cost of the steps from t on, by the column held before step t, [T + 1, C].

    Args:
        solver: of the scenario.
        service: whose.
        user: latency and violation terms of its columns, [T, C].
        node_up: [T, N].
        moves: whether it may move replicas in one action.
    """
    columns = solver.columns[service]
    after, ready, started, target = _actions(solver, columns, moves)
    none = len(columns)
    steps = len(user)
    result = np.zeros((steps + 1, none))
    for t in reversed(range(steps)):
        kept = survivors(columns, node_up[t + 1]) if t + 1 < steps else slice(None)
        later = np.append(solver.resources[service] + result[t + 1][kept], np.inf)
        now = np.append(user[t], 0.0)
        barred = np.where((target >= 0) & ~node_up[t][target], np.inf, started)
        result[t] = (now[ready] + later[after] + barred[:, None]).min(0)
    return result


def survivors(columns: Columns, node_up: Bools) -> Ints:
    """The column that is left of each column when nodes fail, [C]."""
    return columns.index(columns.replicas * node_up)


def _actions(solver: Solver, columns: Columns, moves: bool) -> tuple[Ints, Ints, Floats, Ints]:
    """What each action makes of each column.

    Returns:
        The columns held and ready after the action, [K, C] (C: it is not legal); its migration
        term and its target node (-1: none), [K].
    """
    service, params = columns.service, solver.params
    least, most = params.min_replicas[service], params.max_replicas[service]
    at_once = params.startup_steps[service] == 0
    nodes, count = len(columns.most), columns.replicas.sum(1)
    after, ready, started, targets = [], [], [], []
    for source, target in _pairs(nodes, moves):
        gone, come = np.eye(nodes + 1, dtype=np.int64)[[source, target], :nodes]
        held = columns.replicas - gone + come
        legal = ((held >= 0) & (held <= columns.most)).all(1)
        if target < 0 <= source:
            legal &= count > least
        if source < 0 <= target:
            legal &= count < most
        serve = held if at_once else columns.replicas - gone
        after.append(
            np.where(legal, columns.index(np.where(legal[:, None], held, 0)), len(columns))
        )
        ready.append(
            np.where(legal, columns.index(np.where(legal[:, None], serve, 0)), len(columns))
        )
        started.append(solver.scenario.weights.migration * (target >= 0))
        targets.append(target)
    return np.array(after), np.array(ready), np.array(started, dtype=float), np.array(targets)


def _pairs(nodes: int, moves: bool) -> Iterator[tuple[int, int]]:
    """Source and target of every action of a service; -1: none."""
    yield -1, -1
    for n in range(nodes):
        yield -1, n
        yield n, -1
    if moves:
        yield from ((n, m) for n in range(nodes) for m in range(nodes) if n != m)
