"""Placements: the minimum of each service, a given one, or one at random."""

from typing import TYPE_CHECKING

import numpy as np

from lwmecps_gym.envs.actions import TOLERANCE
from lwmecps_gym.envs.cluster import Bools, ClusterParams, Ints, free_resources
from lwmecps_gym.platform.errors import InvalidInputError

if TYPE_CHECKING:
    from lwmecps_gym.envs.scenario import Scenario


def spread_minimum(scenario: "Scenario", cpu_factor: float = 1.0) -> Ints:
    """Place each service's `min_replicas` one by one on the node with the largest free CPU share.

    Args:
        scenario: whose nodes and services.
        cpu_factor: factor on the CPU of every node.

    Returns:
        Replicas, [S, N].

    Raises:
        InvalidInputError: they do not all fit.
    """
    params = ClusterParams.of(scenario)
    free = params.capacity[0] * [cpu_factor, 1, 1, 1, 1]
    cpu = free[:, 0].copy()
    placement = np.zeros((len(scenario.services), len(scenario.nodes)), dtype=np.int64)
    for s in sorted(range(len(scenario.services)), key=lambda s: -scenario.services[s].cpu):
        request = params.request[0, s]
        for _ in range(scenario.services[s].min_replicas):
            room = (request <= free + TOLERANCE).all(-1)
            if not room.any():
                raise InvalidInputError(
                    f"services.{scenario.services[s].name}.min_replicas: "
                    f"{scenario.services[s].min_replicas} do not fit the nodes beside the other "
                    "services; lower them or add resources"
                    + (f" (with randomise.node_cpu at {cpu_factor:g})" if cpu_factor < 1 else "")
                )
            node = int(np.argmax(np.where(room, free[:, 0] / cpu, -np.inf)))
            free[node] -= request
            placement[s, node] += 1
    return placement


def check_placement(placement: Ints, params: ClusterParams) -> Ints:
    """Return ready replicas [S, N] as an array, if the only cluster of `params` can hold them.

    Raises:
        InvalidInputError: the shape or the values are wrong, or they do not fit the nodes.
    """
    found = np.asarray(placement)
    services, nodes = params.request.shape[1], params.capacity.shape[1]
    if found.shape != (services, nodes) or found.dtype.kind not in "iu" or (found < 0).any():
        raise InvalidInputError(
            f"placement: want whole numbers of replicas in {services} rows (services) of {nodes} "
            f"(nodes), got {found.tolist()}"
        )
    full = (free_resources(params, found[None], np.ones((1, nodes), dtype=bool)) < -TOLERANCE)[0]
    if full.any():
        raise InvalidInputError(
            f"placement: {found.tolist()} asks for more than nodes "
            f"{np.flatnonzero(full.any(-1)).tolist()} have"
        )
    if (found.sum(-1) > params.max_replicas).any():
        raise InvalidInputError(
            f"placement: {found.tolist()} is above max_replicas {params.max_replicas.tolist()}"
        )
    return found


def random_placements(
    params: ClusterParams, node_up: Bools, rng: np.random.Generator
) -> tuple[Ints, Bools]:
    """Draw replicas at random for each of B clusters.

    Of every service there are as many as a number drawn between its minimum and its maximum says,
    one after the other in random order, the minima first, each on any of the nodes with room for
    it; what finds none is left out.

    Args:
        params: of the clusters.
        node_up: [B, N]; there is no room on a node that is down.
        rng: of the draws.

    Returns:
        Replicas [B, S, N], and whether they reach the minimum of every service, [B].
    """
    batch, services = params.request.shape[:2]
    least, most = params.min_replicas, params.max_replicas
    rows = np.arange(batch)
    goals = rng.integers(least, most + 1, (batch, services))
    service = np.repeat(np.arange(services), most)
    rank = np.concatenate([np.arange(count) for count in most])
    wanted = rank < goals[:, service]
    order = np.where(wanted, rng.random(wanted.shape) + (rank >= least[service]), np.inf)
    placed = np.zeros((batch, services, node_up.shape[1]), dtype=np.int64)
    free = params.capacity * node_up[..., None]
    for turn in np.argsort(order, axis=1)[:, : int(wanted.sum(1).max(initial=0))].T:
        s = service[turn]
        request = params.request[rows, s][:, None, :]
        room = (request <= free + TOLERANCE).all(-1)
        node = np.argmax(room * rng.random(room.shape), axis=1)
        starts = (wanted[rows, turn] & room[rows, node]).astype(np.int64)
        placed[rows, s, node] += starts
        free[rows, node] -= starts[:, None] * request[:, 0]
    return placed, (placed.sum(-1) >= least).all(-1)
