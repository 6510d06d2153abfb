"""A good placement for one demand, or for several, where there are too many to enumerate.

Ruin and recreate (Schrimpf et al., Record breaking optimization results using the ruin and recreate
principle, 2000): a part of the best placement known is thrown away, what is left is improved
replica by replica, and the result is kept if it costs less. Costs are the model's own. Nothing is
proved: what is found may be a few per cent above the best.

Parts are some services, which come back from no replica at all or from one on every node with room
(few shared queues and many near ones are both good, and what is between them is not), or all that
is near a site.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from lwmecps_gym.algorithms.heuristics.lookahead import BLOCK, users_of
from lwmecps_gym.envs.actions import TOLERANCE
from lwmecps_gym.envs.cluster import Bools, ClusterParams, Floats, Ints, free_resources
from lwmecps_gym.envs.scenario import Scenario

RUINED_SERVICES = 0.4
"""Chance of each service to be among those that are thrown away."""
RUINED_NODES = 6
"""Nodes nearest to a site that are emptied together at most."""
LEAST_GAIN = 1e-9
"""What a change must win, against rounding."""
MISSING = 1e6
"""Cost of a replica below the minimum of its service."""


@dataclass(frozen=True)
class Problem:
    """What to find a placement for.

    Attributes:
        demand: requests/s at one time or several, [T, S, U]; the mean of their costs counts.
        node_up: nodes that can hold replicas, [N].
        held: replicas that are there already, [S, N].
        start_cost: of each replica that is not among these.
    """

    demand: Floats
    node_up: Bools
    held: Ints
    start_cost: float


@dataclass
class _Found:
    """A placement [S, N], what the users of each service cost in it [S], and its whole cost."""

    placement: Ints
    users: Floats
    cost: float


class LocalSearch:
    """Searches on the cluster of a scenario.

    Args:
        scenario: whose cluster.
        seed: of what is thrown away, and of the order in which it comes back.
    """

    def __init__(self, scenario: Scenario, seed: int = 0) -> None:
        self.scenario = scenario
        self.params = ClusterParams.of(scenario)
        self._rng = np.random.default_rng(seed)

    def best(self, problem: Problem, starts: Iterable[Ints], time_limit_s: float) -> Ints:
        """The best placement found, [S, N].

        Args:
            problem: what to find it for.
            starts: placements [S, N] that fit, to improve.
            time_limit_s: time after which the search ends; it does before, when as many tries in a
                row as there are services and sites were in vain.
        """
        deadline = time.monotonic() + time_limit_s
        improved = (self._improve(problem, start, deadline) for start in starts)
        best = min(improved, key=lambda found: found.cost)
        fruitless, tries = 0, sum(problem.demand.shape[1:])
        while fruitless < tries and time.monotonic() < deadline:
            found = self._improve(problem, self._ruin(problem, best.placement), deadline)
            fruitless += 1
            if found.cost < best.cost - LEAST_GAIN:
                best, fruitless = found, 0
        return best.placement

    def _ruin(self, problem: Problem, placement: Ints) -> Ints:
        """A placement [S, N] without a part of `placement`."""
        ruined, draw = placement.copy(), self._rng.random()
        if draw < 0.5:
            site = self._rng.integers(problem.demand.shape[2])
            count = self._rng.integers(RUINED_NODES) + 1
            ruined[:, self.params.nearest[0, site, :count]] = 0
            return ruined
        services = self._rng.permutation(len(placement))
        services = services[self._rng.random(len(services)) < RUINED_SERVICES]
        ruined[services] = 0
        if draw < 0.75:
            for s in services:
                room = self._rng.permutation(np.flatnonzero(self._room(problem, ruined, s)))
                ruined[s, room[: self.params.max_replicas[s]]] = 1
        return ruined

    def _improve(self, problem: Problem, start: Ints, deadline: float) -> _Found:
        """Change one service after another, until none can be changed for the better.

        Each time the best of its neighbours is taken; the order of the services is drawn.
        """
        order = self._rng.permutation(len(start))
        users = self._users(problem, np.arange(len(start)), start)
        found = _Found(start, users, float(users.sum() + self._rest(problem, start[None])[0]))
        settled, turn = 0, 0
        while settled < len(order) and time.monotonic() < deadline:
            if self._improve_service(problem, found, order[turn % len(order)]):
                settled = 0
            else:
                settled, turn = settled + 1, turn + 1
        return found

    def _improve_service(self, problem: Problem, found: _Found, s: int) -> bool:
        """Make the best change of a service; whether there was any for the better."""
        rows = self._neighbours(problem, found.placement, s)
        if not len(rows):
            return False
        users = self._users(problem, np.full(len(rows), s), rows)
        placements = np.repeat(found.placement[None], len(rows), axis=0)
        placements[:, s] = rows
        cost = users + found.users.sum() - found.users[s] + self._rest(problem, placements)
        best = int(np.argmin(cost))
        if cost[best] >= found.cost - LEAST_GAIN:
            return False
        found.placement, found.cost = placements[best], float(cost[best])
        found.users[s] = users[best]
        return True

    def _neighbours(self, problem: Problem, placement: Ints, s: int) -> Ints:
        """Placements of a service that differ on one node, or by one replica elsewhere, [K, N].

        On one node there are one or two replicas more, one less, or none. Of more than can be
        evaluated at once moves are left out, and of the others some are drawn.
        """
        here, one = placement[s], np.eye(placement.shape[1], dtype=np.int64)
        spare = self.params.max_replicas[s] - here.sum()
        room, room_for_two = (one[self._room(problem, placement, s, count)] for count in (1, 2))
        there = one[here > 0]
        rows = [here - there, here * (1 - there)]
        rows += [here + room] if spare >= 1 else []
        rows += [here + 2 * room_for_two] if spare >= 2 else []
        near = np.concatenate(rows)
        most = max(1, BLOCK // (len(problem.demand) * self.params.rtt_ms.size))
        if len(near) + len(there) * len(room) <= most:
            moved = (here - there)[:, None] + room
            return np.concatenate([near, moved.reshape(-1, len(here))])
        if len(near) > most:
            near = near[self._rng.choice(len(near), most, replace=False)]
        return near

    def _room(self, problem: Problem, placement: Ints, s: int, count: int = 1) -> Bools:
        """Nodes that have room for `count` more replicas of a service, [N]."""
        free = free_resources(self.params, placement[None], problem.node_up[None])[0]
        asked = count * self.params.request[0, s]
        return np.asarray((asked <= free + TOLERANCE).all(-1) & problem.node_up)

    def _users(self, problem: Problem, service: Ints, ready: Ints) -> Floats:
        """Cost of what the users of services [X] meet with replicas [X, N], [X]."""
        times, weights = len(problem.demand), self.scenario.weights
        met = users_of(
            self.scenario,
            self.params.take(np.zeros(times, dtype=np.int64)),
            np.repeat(np.arange(times), len(service)),
            np.tile(service, times),
            np.tile(ready, (times, 1)),
            problem.demand,
        )
        latency = weights.latency * met.latency_ms / self.scenario.latency_scale_ms
        cost = latency + weights.violation * met.violated
        return np.asarray(cost.reshape(times, -1).mean(0))

    def _rest(self, problem: Problem, placements: Ints) -> Floats:
        """Cost of placements [K, S, N] but for their users, and of replicas that are missing."""
        weights, cpu = self.scenario.weights, self.params.capacity[0, :, 0]
        used = np.einsum("ksn,s->kn", placements, self.params.request[0, :, 0])
        share = used / cpu
        deviation = np.abs(share - share.mean(-1, keepdims=True)).mean(-1)
        started = np.maximum(placements - problem.held, 0).sum((1, 2))
        missing = np.maximum(self.params.min_replicas - placements.sum(-1), 0).sum(-1)
        return np.asarray(
            weights.resources * used.sum(-1) / cpu.sum()
            + weights.balance * deviation
            + problem.start_cost * started
            + MISSING * missing
        )
