"""Columns: every placement that a service could have on its own, and what it costs its users."""

from dataclasses import dataclass, replace

import numpy as np

from lwmecps_gym.envs.actions import TOLERANCE
from lwmecps_gym.envs.cluster import ClusterParams, Floats, Ints
from lwmecps_gym.envs.performance import evaluate
from lwmecps_gym.envs.scenario import Scenario

GRID_LIMIT = 100_000
"""Largest grid of replicas per node that is enumerated for a service."""


@dataclass(frozen=True)
class Columns:
    """The placements of one service that fit the nodes while no other service is there.

    What fits still fits with a replica less, so with a placement all its sub-placements are
    columns, too, and a running minimum over the grid is a minimum over sub-placements.

    Attributes:
        service: whose.
        replicas: on each node, [C, N].
        most: largest number on each node, [N]; the grid has `most + 1` levels.
        strides: of the flat grid, [N].
        cell: where a column lies in the flat grid, ascending, [C].
        lookup: the column at each cell, -1 where there is none, [cells].
        params: of C clusters that have this service alone.
    """

    service: int
    replicas: Ints
    most: Ints
    strides: Ints
    cell: Ints
    lookup: Ints
    params: ClusterParams

    @classmethod
    def of(cls, params: ClusterParams, service: int) -> "Columns":
        """Enumerate the columns of a service on the only cluster of `params`."""
        most = most_replicas(params, service)
        shape = tuple(most + 1)
        grid = np.indices(shape).reshape(len(shape), -1).T
        cell = np.flatnonzero(grid.sum(1) <= params.max_replicas[service])
        lookup = np.full(len(grid), -1)
        lookup[cell] = np.arange(len(cell))
        strides = np.append(np.cumprod(shape[:0:-1])[::-1], 1).astype(np.int64)
        return cls(
            service=service,
            replicas=np.ascontiguousarray(grid[cell]),
            most=most,
            strides=strides,
            cell=cell,
            lookup=lookup,
            params=_alone(params, service, len(cell)),
        )

    def __len__(self) -> int:
        """Number of columns C."""
        return len(self.cell)

    def index(self, replicas: Ints) -> Ints:
        """The columns [...] that are the placements [..., N]."""
        return np.asarray(self.lookup[replicas @ self.strides])

    def running_minimum(self, costs: Floats) -> Floats:
        """Least of `costs` [C] over the columns within each cell of the flat grid, [cells]."""
        grid = np.full(len(self.lookup), np.inf)
        grid[self.cell] = costs
        grid = grid.reshape(tuple(self.most + 1))
        for axis in range(grid.ndim):
            np.minimum.accumulate(grid, axis=axis, out=grid)
        return grid.reshape(-1)


def most_replicas(params: ClusterParams, service: int) -> Ints:
    """Largest number of replicas of a service on each node without the other services, [N]."""
    request = params.request[0, service]
    asked = request > 0
    room = ((params.capacity[0][:, asked] + TOLERANCE) / request[asked]).min(-1)
    return np.minimum(room, params.max_replicas[service]).astype(np.int64)


def enumerable(params: ClusterParams) -> bool:
    """Whether the grid of every service has at most `GRID_LIMIT` cells."""
    services = range(params.request.shape[1])
    return all((most_replicas(params, s) + 1.0).prod() <= GRID_LIMIT for s in services)


def user_cost(scenario: Scenario, columns: Columns, demand: Floats) -> Floats:
    """Latency and violation terms of the cost of each column under `demand` [S, U], [C].

    Both terms are means over requests, and requests of different services never meet: the terms of
    a placement are the sums of those of its columns, each evaluated alone by the model itself and
    weighted by the service's share of the requests.
    """
    own = demand[columns.service]
    tiled = np.broadcast_to(own, (len(columns), 1, len(own)))
    result = evaluate(scenario, columns.params, columns.replicas[:, None, :], tiled)
    weights = scenario.weights
    mean = (
        weights.latency * result.latency_ms / scenario.latency_scale_ms
        + weights.violation * result.violated
    )
    return np.asarray(mean * (own.sum() / max(demand.sum(), 1e-300)))


def _alone(params: ClusterParams, service: int, batch: int) -> ClusterParams:
    """The only cluster of `params` with one of its services, `batch` times."""
    one = slice(service, service + 1)
    return replace(
        params.take(np.zeros(batch, dtype=np.int64)),
        request=np.repeat(params.request[:, one], batch, axis=0),
        rate=np.repeat(params.rate[:, one], batch, axis=0),
        slo_ms=np.repeat(params.slo_ms[:, one], batch, axis=0),
        min_replicas=params.min_replicas[one],
        max_replicas=params.max_replicas[one],
        startup_steps=params.startup_steps[one],
    )
