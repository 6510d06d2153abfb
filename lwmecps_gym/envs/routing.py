"""Which replica answers a request: exact flows from sites to nodes, over whole batches."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def prefer_close(demand: Floats, capacity: Floats, nearest: Ints) -> Floats:
    """Send requests to the nearest node with room, and what finds none there to the next one.

    Round k offers what is left of each site's demand to its k-th nearest node; a node that is asked
    for more than it has room for takes the same share of every offer.

    Args:
        demand: requests/s, [B, S, U].
        capacity: requests/s that the ready replicas on a node admit, [B, S, N].
        nearest: nodes by rising round-trip time from each site, [B, U, N].

    Returns:
        Admitted requests/s, [B, S, U, N]; what `demand` has above their sum fails.
    """
    batch, services, sites = demand.shape
    nodes = capacity.shape[-1]
    flows = np.zeros((batch, services, sites, nodes))
    left, room = demand.copy(), capacity.copy()
    rows = np.arange(batch)[:, None, None]
    kinds = np.arange(services)[None, :, None]
    users = np.arange(sites)[None, None, :]
    for k in range(nodes):
        target = nearest[:, None, :, k]
        asked = np.zeros_like(room)
        np.add.at(asked, (rows, kinds, target), left)
        share = np.minimum(1.0, room / np.maximum(asked, 1e-300))
        taken = left * share[rows, kinds, target]
        flows[rows, kinds, users, target] += taken
        left = left - taken
        room = np.maximum(0.0, room - asked * share)
        if not left.any():
            break
    return flows


def even_spread(demand: Floats, capacity: Floats, replicas: Floats) -> Floats:
    """Send every request to a replica chosen at random, as kube-proxy does.

    Args:
        demand: requests/s, [B, S, U].
        capacity: requests/s that the ready replicas on a node admit, [B, S, N].
        replicas: ready replicas, [B, S, N].

    Returns:
        Admitted requests/s, [B, S, U, N]. All replicas of a service have the same load, so either
        all admit everything or all refuse the same share.
    """
    total = replicas.sum(-1, keepdims=True)
    spread = replicas / np.maximum(total, 1)
    offered = demand.sum(-1, keepdims=True) * spread
    admitted = np.minimum(1.0, capacity / np.maximum(offered, 1e-300))
    return np.asarray(demand[..., :, None] * (spread * admitted)[..., None, :])
