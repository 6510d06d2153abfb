"""Where kube-scheduler would put a pod, and which pod a ReplicaSet would delete.

Scores follow the default plugins of kube-scheduler (kubernetes.io, "Scheduler Configuration" and
"Resource Bin Packing"): NodeResourcesFit with LeastAllocated (weight 1),
NodeResourcesBalancedAllocation (weight 1) and PodTopologySpread by host name (weight 2), each 0 to
100.
"""

import numpy as np

from lwmecps_gym.envs.actions import fits
from lwmecps_gym.envs.cluster import Bools, ClusterParams, Floats, Ints, free_resources


def place_by_score(params: ClusterParams, replicas: Ints, node_up: Bools, service: Ints) -> Ints:
    """Node for one more pod of `service` [B]; -1 where none has room, [B].

    Args:
        params: of the B clusters.
        replicas: ready and starting, [B, S, N].
        node_up: [B, N].
        service: which one, [B].
    """
    rows = np.arange(len(replicas))
    free = free_resources(params, replicas, node_up)
    room = fits(params, free)[rows, service] & node_up
    request = params.request[rows, service]
    left = (free - request[:, None, :])[..., :2] / params.capacity[..., :2]
    least = 100 * left.mean(-1)
    balanced = 100 * (1 - np.std(1 - left, axis=-1))
    spread = spread_score(replicas[rows, service])
    score = np.where(room, least + balanced + 2 * spread, -np.inf)
    return np.where(room.any(-1), np.argmax(score, axis=-1), -1)


def spread_score(replicas: Ints) -> Floats:
    """Score of PodTopologySpread over nodes, 0 to 100, [B, N]: fewer pods score more."""
    most, least = replicas.max(-1, keepdims=True), replicas.min(-1, keepdims=True)
    span = np.maximum(most + least, 1)
    score = 100 * (most + least - replicas) / span
    return np.asarray(np.where(most == 0, 100.0, score))


def replicas_to_drop(starting: Ints, replicas: Ints, service: Ints) -> Ints:
    """Node that loses a pod when `service` [B] scales down, [B].

    A ReplicaSet deletes pods that are not ready first, then those on nodes with more replicas
    (kubernetes.io, "ReplicaSet", scaling down).
    """
    rows = np.arange(len(replicas))
    young, have = starting[rows, service], replicas[rows, service]
    rank = np.where(have > 0, 1_000_000 * (young > 0) + have, -1)
    return np.argmax(rank, axis=-1)
