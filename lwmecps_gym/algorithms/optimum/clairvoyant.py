"""The best course of actions found by one who knows the whole trace.

A beam search over the model's own dynamics: one action per step, start-up times, migrations, lost
pods, all as in `ClusterModel`. Of all states that legal actions lead to, those are followed whose
cost so far plus optimistic cost to come (`values`) is least. There may be better courses: this is
the best that is known to be reachable, and it improves with the width of the beam.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lwmecps_gym.algorithms.optimum.solver import Solver, Tables
from lwmecps_gym.algorithms.optimum.trace import Trace
from lwmecps_gym.algorithms.optimum.values import survivors, values
from lwmecps_gym.envs.actions import ActionTable, Kind
from lwmecps_gym.envs.cluster import Bools, Floats, Ints

WIDTH = 600
"""States followed; see `docs/scenarios/four-stations.md` for what other widths reach."""

TWINS = 8
"""Ways to the same state that are expected at most, in the mean."""


@dataclass(frozen=True)
class Course:
    """Actions for a whole trace.

    Attributes:
        actions: numbers in `table`, [T].
        table: numbers the actions.
        cost: mean over the steps, migrations and all.
    """

    actions: Ints
    table: ActionTable
    cost: float


def clairvoyant(
    solver: Solver, trace: Trace, tables: Tables | None = None, width: int = WIDTH
) -> Course:
    """Plan the actions for a trace, from the placement that it begins with.

    Args:
        solver: of the scenario, one whose placements can be enumerated (`solver.enumerable`).
        trace: demand and failures.
        tables: `solver.tables(trace.demand)`, where they are known already.
        width: states followed.
    """
    beam = _Beam(solver, trace, solver.tables(trace.demand) if tables is None else tables)
    history: list[tuple[Ints, Ints]] = [beam.step(t, width) for t in range(len(trace))]
    best = int(np.argmin(beam.cost))
    cost, actions = float(beam.cost[best]) / len(trace), []
    for parents, taken in reversed(history):
        actions.append(int(taken[best]))
        best = int(parents[best])
    return Course(np.array(actions[::-1]), beam.table, cost)


class _Beam:
    """W states at the start of a step, and the cost of getting there.

    Attributes:
        pods: [W, S, N, L]; level 0 is ready, level k serves in k steps.
        cost: so far, [W].
    """

    def __init__(self, solver: Solver, trace: Trace, tables: Tables) -> None:
        self.solver, self.trace = solver, trace
        services, nodes = trace.placement.shape
        self.table = table = ActionTable.of(services, nodes)
        self.params = solver.params
        self.startup = solver.params.startup_steps
        levels = 1 + int(self.startup.max())
        self.pods = np.zeros((1, services, nodes, levels), dtype=np.int64)
        self.pods[0, ..., 0] = trace.placement
        self.cost = np.zeros(1)

        # All columns of all services in one numbering, and all cells of all grids.
        columns = solver.columns
        first = np.cumsum([0, *(len(c) for c in columns)])
        self.first_cell = np.cumsum([0, *(len(c.lookup) for c in columns)])[:-1]
        self.lookup = np.concatenate([c.lookup + first[s] for s, c in enumerate(columns)])
        self.strides = np.stack([c.strides for c in columns])
        self.user = np.concatenate(tables, axis=1)
        self.resources = np.concatenate(solver.resources)
        self.future = np.concatenate(
            [values(solver, s, f, trace.node_up, table.moves) for s, f in enumerate(tables)], axis=1
        )

        # What each action changes.
        self.come, self.gone = table.target >= 0, table.source >= 0
        self.service = np.maximum(table.service, 0)
        self.started = solver.scenario.weights.migration * (
            (table.kind == Kind.PLACE) | (table.kind == Kind.MOVE)
        )
        self.plus = self.strides[self.service, table.target] * self.come
        self.minus = self.strides[self.service, table.source] * self.gone
        share = solver.params.request[0, :, 0][:, None] / solver.search.cpu  # [S, N]
        ends = np.eye(nodes)[table.target] * self.come[:, None]
        ends -= np.eye(nodes)[table.source] * self.gone[:, None]
        self.share, self.share_change = share, (ends * share[self.service]).T
        rng = np.random.default_rng(0)
        self.hash = rng.integers(1 << 63, size=self.pods.shape[1:], dtype=np.uint64)

    def step(self, t: int, width: int) -> tuple[Ints, Ints]:
        """Go one step on; return the parent and the action of each state that is kept."""
        trace, last = self.trace, len(self.trace) - 1
        up, next_up = trace.node_up[t], trace.node_up[min(t + 1, last)]
        held = self.pods.sum(-1)
        if len(self.params.capacity) != len(held):
            self.params = self.solver.params.take(np.zeros(len(held), dtype=np.int64))
        node_up = np.broadcast_to(up, (len(held), len(up)))
        parent, action = np.nonzero(self.table.legal(self.params, held, node_up))
        youngest = self._youngest()

        cost, to_come = self._score(t, held, youngest, parent, action, next_up)
        order = np.arange(len(cost))
        if len(order) > TWINS * width:
            order = np.argpartition(cost + to_come, TWINS * width)[: TWINS * width]
        order = order[np.argsort((cost + to_come)[order], kind="stable")]
        keys = self._keys(youngest, parent[order], action[order], next_up)
        _, unique = np.unique(keys, return_index=True)
        order = order[np.sort(unique)[:width]]
        self.cost = cost[order]
        self.pods = self._advanced(self._acted(youngest, parent[order], action[order]), next_up)
        return parent[order], action[order]

    def _youngest(self) -> Ints:
        """Level of the youngest pod of each service on each node, [W, S, N]; 0 without any."""
        levels = np.arange(self.pods.shape[-1])
        return np.asarray((levels * (self.pods > 0)).max(-1))

    def _score(
        self, t: int, held: Ints, youngest: Ints, parent: Ints, action: Ints, next_up: Bools
    ) -> tuple[Floats, Floats]:
        """Cost after an action's step and optimistic cost to come, [X] each.

        An action changes one service: what the others cost is taken over from the parent.
        """
        service = self.service[action]
        cell = self.first_cell + (held * self.strides).sum(-1)
        ready_cell = self.first_cell + (self.pods[..., 0] * self.strides).sum(-1)
        future = self.resources + self._surviving_future(t, next_up)
        users, ahead = self.user[t][self.lookup[ready_cell]], future[self.lookup[cell]]

        serves = youngest[parent, service, self.table.source[action]] == 0
        at_once = self.startup[service] == 0
        ready_after = ready_cell[parent, service] - serves * self.minus[action]
        ready_after += at_once * self.plus[action]
        after = self.lookup[cell[parent, service] + self.plus[action] - self.minus[action]]
        used = np.einsum("wsn,sn->nw", held, self.share)
        share = used[:, parent] + self.share_change[:, action]
        deviation = np.abs(share - share.mean(0)).mean(0)

        cost = self.cost[parent] + self.started[action] + self.solver.search.weight * deviation
        cost += (users.sum(1)[parent] - users[parent, service]) + self.user[t][
            self.lookup[ready_after]
        ]
        to_come = (ahead.sum(1)[parent] - ahead[parent, service]) + future[after]
        resources = self.resources[self.lookup[cell]]
        now = (resources.sum(1)[parent] - resources[parent, service]) + self.resources[after]
        return cost + now, to_come - now

    def _surviving_future(self, t: int, next_up: Bools) -> Floats:
        if next_up.all():
            return self.future[t + 1]
        left = [survivors(columns, next_up) for columns in self.solver.columns]
        first = np.cumsum([0, *(len(c) for c in self.solver.columns)])
        return self.future[t + 1][np.concatenate([c + first[s] for s, c in enumerate(left)])]

    def _keys(self, youngest: Ints, parent: Ints, action: Ints, next_up: Bools) -> NDArray[Any]:
        """A number for the state that each action leads to; equal states have equal ones."""
        table, service = self.table, self.service[action]
        keys = (self._advanced(self.pods, next_up).astype(np.uint64) * self.hash).sum((1, 2, 3))
        hashes = self.hash * next_up[:, None].astype(np.uint64)
        source, target = table.source[action], table.target[action]
        level = np.maximum(youngest[parent, service, source] - 1, 0)
        come = hashes[service, target, np.maximum(self.startup[service] - 1, 0)]
        gone = hashes[service, source, level]
        return keys[parent] + come * self.come[action] - gone * self.gone[action]

    def _acted(self, youngest: Ints, parent: Ints, action: Ints) -> Ints:
        """Pods right after the actions, [X, S, N, L]."""
        pods, rows = self.pods[parent], np.arange(len(parent))
        service, table = self.service[action], self.table
        for change, nodes in ((-1, table.source[action]), (1, table.target[action])):
            x = np.flatnonzero(nodes >= 0)
            s, n = service[x], nodes[x]
            level = youngest[parent[x], s, n] if change < 0 else self.startup[s]
            pods[rows[x], s, n, level] += change
        return pods

    def _advanced(self, pods: Ints, next_up: Bools) -> Ints:
        """Pods at the start of the next step."""
        after = np.zeros_like(pods)
        after[..., 0] = pods[..., 0]
        after[..., :-1] += pods[..., 1:]
        return after * next_up[:, None]
