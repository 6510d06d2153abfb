"""Where kube-scheduler would put a pod, and which pod a ReplicaSet would delete.

The score of a node adds up what the score plugins of kube-scheduler give, by their default weights
(pkg/scheduler/apis/config/v1/default_plugins.go), for pods without affinity, tolerations or volumes
whose images are on all nodes alike; each plugin gives a whole number from 0 to 100
(https://kubernetes.io/docs/reference/scheduling/config/#scheduling-plugins):

- NodeResourcesFit, weight 1, of CPU and memory after placement: the mean free share by
  LeastAllocated, or the mean used share by MostAllocated
  (https://kubernetes.io/docs/concepts/scheduling-eviction/resource-bin-packing/);
- NodeResourcesBalancedAllocation, weight 1: 1 minus the standard deviation of the used shares;
- PodTopologySpread, weight 2, by its built-in constraint on host names with a maxSkew of 3
  (https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/
  #internal-default-constraints): see `spread_score`. Nodes have no zones, so that the built-in
  constraint on these gives nothing.

kube-scheduler picks at random among nodes with equal scores; here the first one wins.
"""

from typing import Literal

import numpy as np

from lwmecps_gym.envs.actions import TOLERANCE, fits
from lwmecps_gym.envs.cluster import Bools, ClusterParams, Floats, Ints, free_resources

Strategy = Literal["LeastAllocated", "MostAllocated"]
"""Scoring strategies of NodeResourcesFit; the first is kube-scheduler's default."""

MAX_SKEW = 3
"""Of the built-in topology constraint on host names."""
SPREAD_WEIGHT = 2
"""Default weight of PodTopologySpread."""


def place_by_score(
    params: ClusterParams,
    replicas: Ints,
    node_up: Bools,
    service: Ints,
    strategy: Strategy = "LeastAllocated",
    spread_weight: int = SPREAD_WEIGHT,
) -> Ints:
    """Node for one more pod of `service` [B]; -1 where none has room, [B].

    Args:
        params: of the B clusters.
        replicas: ready and starting, [B, S, N].
        node_up: [B, N].
        service: which one, [B].
        strategy: of NodeResourcesFit.
        spread_weight: of PodTopologySpread.
    """
    rows = np.arange(len(replicas))
    free = free_resources(params, replicas, node_up)
    room = fits(params, free)[rows, service] & node_up
    request = params.request[rows, service]
    left = (free - request[:, None, :])[..., :2] / params.capacity[..., :2]
    share = left if strategy == "LeastAllocated" else 1 - left
    fit = _whole(_whole(100 * share).mean(-1))
    balanced = _whole(100 * (1 - np.std(left, axis=-1)))
    spread = spread_score(replicas[rows, service], room)
    score = np.where(room, fit + balanced + spread_weight * spread, -np.inf)
    return np.where(room.any(-1), np.argmax(score, axis=-1), -1)


def spread_score(replicas: Ints, room: Bools) -> Floats:
    """Score of PodTopologySpread over nodes, 0 to 100, [B, N]: fewer pods score more.

    A node with k pods of the service counts `round(k ln(F + 2) + MAX_SKEW - 1)`, where F nodes have
    room; its score is `100 (max + min - count) / max` over these F counts
    (kubernetes/kubernetes, pkg/scheduler/framework/plugins/podtopologyspread/scoring.go).

    Args:
        replicas: of one service, [B, N].
        room: nodes that passed the filters, [B, N]; others score 0.
    """
    weight = np.log(room.sum(-1, keepdims=True) + 2)
    count = np.rint(replicas * weight + MAX_SKEW - 1)
    most = np.where(room, count, 0).max(-1, keepdims=True)
    least = np.where(room, count, np.inf).min(-1, keepdims=True)
    score = 100 * (most + least - count) / np.maximum(most, 1)
    return np.where(room, _whole(np.where(room, score, 0)), 0)


def replicas_to_drop(starting: Ints, replicas: Ints, service: Ints) -> Ints:
    """Node that loses a pod when `service` [B] scales down, [B].

    A ReplicaSet deletes pods that are not ready first, then those on nodes with more replicas
    (https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/#scaling-a-replicaset).
    """
    rows = np.arange(len(replicas))
    young, have = starting[rows, service], replicas[rows, service]
    rank = np.where(have > 0, 1_000_000 * (young > 0) + have, -1)
    return np.argmax(rank, axis=-1)


def _whole(score: Floats) -> Floats:
    """Scores as kube-scheduler keeps them: without the part after the point."""
    return np.asarray(np.floor(score + TOLERANCE))
