"""Placements to begin an episode with: the minimum of each service, or a given one."""

from typing import TYPE_CHECKING

import numpy as np

from lwmecps_gym.envs.actions import TOLERANCE
from lwmecps_gym.envs.cluster import ClusterParams, Ints, free_resources
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
