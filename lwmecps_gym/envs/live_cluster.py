"""A live cluster in the terms of a scenario: what runs where, and what room there is."""

from dataclasses import dataclass

import numpy as np

from lwmecps_gym.envs.cluster import RESOURCES, Bools, ClusterParams, Floats, Ints
from lwmecps_gym.envs.placement import check_placement, spread_minimum
from lwmecps_gym.envs.scenario import Scenario
from lwmecps_gym.platform.errors import ClusterError, InvalidInputError, NotFoundError
from lwmecps_gym.platform.kubernetes_api import KubernetesApi

_NOTHING_LEFT = 1e-6
"""Capacity of a full node: too little for any replica, and not zero, by which features divide."""
_CPU, _MEMORY, _PODS = (RESOURCES.index(name) for name in ("cpu", "memory_mib", "pods"))


@dataclass(frozen=True)
class LiveCluster:
    """A cluster at the moment it was read: S services, N nodes, R resources (`RESOURCES`).

    Attributes:
        ready: replicas that are ready, [S, N].
        starting: replicas that are wanted and not ready, [S, N].
        up: nodes that are ready and take new pods, [N].
        room: allocatable resources less what the pods of others request, [N, R]; below 0 where they
            overcommit a node. Tx and rx, which Kubernetes does not count, are the scenario's.
        pods_by_others: further pods on the nodes, among them those that are terminating, [N].
    """

    ready: Ints
    starting: Ints
    up: Bools
    room: Floats
    pods_by_others: Ints

    @property
    def replicas(self) -> Ints:
        """Ready and starting replicas, [S, N]."""
        return self.ready + self.starting

    def capacity(self, request: Floats) -> Floats:
        """Capacity of the nodes for replicas that request `request` [S, R], [N, R].

        At least what the replicas hold: a node that others overcommit is full, not more than full.
        """
        held = np.einsum("sn,sr->nr", self.replicas, request)
        return np.maximum(np.maximum(self.room, held), _NOTHING_LEFT)


def read_cluster(api: KubernetesApi, scenario: Scenario) -> LiveCluster:
    """Read the services and nodes of a scenario.

    Raises:
        ClusterError: the cluster lacks a node of the scenario, refuses, or does not answer.
        InvalidInputError: two nodes of the scenario are one in the cluster.
    """
    names = [node.name for node in scenario.nodes]
    try:
        nodes = api.list_nodes(names)
    except NotFoundError as error:
        raise ClusterError(
            f"scenario {scenario.name}: {error}; "
            "name its nodes as the cluster's, or give those the label"
        ) from error
    placement = api.read_placement([service.name for service in scenario.services], names)
    room = ClusterParams.of(scenario).capacity[0]
    allocatable = np.array([[node.cpu, node.memory_mib] for node in nodes])
    room[:, [_CPU, _MEMORY]] = allocatable - placement.resource_used_by_others
    room[:, _PODS] = np.array([node.max_pods for node in nodes]) - placement.pods_by_others
    return LiveCluster(
        ready=placement.ready,
        starting=placement.starting,
        up=np.array([node.ready and node.schedulable for node in nodes]),
        room=room,
        pods_by_others=placement.pods_by_others,
    )


def initial_placement(live: LiveCluster, scenario: Scenario, placement: Ints | None) -> Ints:
    """Replicas to begin an episode with, [S, N].

    Args:
        live: the cluster, whose own replicas will all make way.
        scenario: its services.
        placement: the replicas; unset: each service's minimum, spread over the nodes that are up.

    Raises:
        InvalidInputError: `placement` has a wrong shape, or does not fit the nodes that are up.
        ClusterError: the minimum does not fit them.
    """
    room = np.maximum(live.room * live.up[:, None], _NOTHING_LEFT)
    nodes = tuple(
        node.model_copy(
            update={
                "cpu": left[_CPU],
                "memory_mib": left[_MEMORY],
                "max_pods": left[_PODS],
            }
        )
        for node, left in zip(scenario.nodes, room, strict=True)
    )
    on_live_nodes = scenario.model_copy(update={"nodes": nodes})
    if placement is not None:
        return check_placement(placement, ClusterParams.of(on_live_nodes))
    try:
        return spread_minimum(on_live_nodes)
    except InvalidInputError as error:
        raise ClusterError(
            f"scenario {scenario.name}: the cluster has no room to begin an episode: {error}"
        ) from error
