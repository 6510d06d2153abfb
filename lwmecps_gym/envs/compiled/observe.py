"""Observations and masks of every cluster: `encoding` and `ActionTable.legal`, compiled."""

import numpy as np
from numpy.typing import NDArray

from lwmecps_gym.envs.compiled.jit import compiled, entry
from lwmecps_gym.envs.compiled.memory import Clusters, Floats, States, Work

Singles = NDArray[np.float32]
Bytes = NDArray[np.int8]

LIMIT = 1000.0
"""As in `encoding`."""
_LEAST = 1e-9
"""Demand below this counts as this, in divisions."""


@entry
def structured(
    clusters: Clusters,
    states: States,
    work: Work,
    moves: bool,
    nodes: Singles,
    services: Singles,
    pairs: Singles,
    mask: Bytes,
) -> None:
    """Write the features of `StructuredEncoding`; padding is left as it is.

    Args:
        clusters: of the model.
        states: of the model.
        work: of the model.
        moves: whether actions include moves.
        nodes: [B, max_nodes, 8].
        services: [B, max_services, 9].
        pairs: [B, max_services, max_nodes, 7].
        mask: [B, A].
    """
    batch, count_s, count_n = states.ready.shape
    count_h = clusters.near_sites.shape[2]
    nearest_requests, near_requests, near_rtt = (
        work.nearest_requests, work.near_requests, work.near_rtt
    )  # fmt: skip
    for b in range(batch):
        own = min(b, len(clusters.rtt_ms) - 1)
        row = min(states.t[b], len(states.requests) - 1)
        requests = states.requests[row, b]
        offered = 0.0
        nearest_requests[:] = 0.0
        for u in range(len(requests)):
            offered += requests[u]
            nearest_requests[clusters.nearest[own, u, 0]] += requests[u]
        for n in range(count_n):
            near = rtt = work.cumulated[n, 0] = 0.0
            for k in range(count_h):
                here = requests[clusters.near_sites[own, n, k]]
                near += here
                rtt += here * clusters.near_rtt_ms[own, n, k]
                work.cumulated[n, k + 1] = near
            scale = 1 / max(near, 1e-300)
            near_requests[n], near_rtt[n] = near, rtt * scale / 100
            for k in range(1, count_h + 1):
                work.cumulated[n, k] *= scale
            nodes[b, n, 0] = 1.0
            nodes[b, n, 1] = states.node_up[b, n]
            nodes[b, n, 2] = _clip(clusters.capacity[b, n, 0] / 4)
            for r in range(clusters.capacity.shape[2]):
                nodes[b, n, 3 + r] = _clip(states.free[b, n, r])
        for s in range(count_s):
            share, rate, slo_ms = (
                states.shares[row, b, s],
                clusters.rate[b, s],
                clusters.slo_ms[b, s],
            )
            total, starting = states.total[b, s], states.starting[b, s]
            services[b, s, 0] = 1.0
            services[b, s, 1] = (total - starting) / 4
            services[b, s, 2] = starting / 4
            services[b, s, 3] = _clip(share * offered / rate)
            services[b, s, 4] = min(states.latency_ms[b, s] / (4 * slo_ms), 10.0)
            services[b, s, 5] = _clip(clusters.request[b, s, 0])
            services[b, s, 6] = _clip(rate / 100)
            services[b, s, 7] = _clip(slo_ms / 100)
            services[b, s, 8] = (clusters.max_replicas[s] - total) / 4
            per_replica = share / rate
            for n in range(count_n):
                known = min(share * near_requests[n] / _LEAST, 1.0)  # 1, if there is any demand
                pairs[b, s, n, 0] = states.ready[b, s, n]
                pairs[b, s, n, 1] = 0.0
                pairs[b, s, n, 2] = states.utilisation[b, s, n]
                pairs[b, s, n, 3] = min(nearest_requests[n] * per_replica, LIMIT)
                pairs[b, s, n, 4] = min(near_rtt[n] * known, LIMIT)
                pairs[b, s, n, 5] = work.cumulated[n, clusters.near_within[b, s, n]] * known
                pairs[b, s, n, 6] = states.room[b, s, n]
            if starting > 0:
                for n in range(count_n):
                    pairs[b, s, n, 1] = _starting(states, b, s, n)
        _write_mask(clusters, states, b, moves, services.shape[1], nodes.shape[1], mask[b])


@entry
def flat(
    clusters: Clusters, states: States, moves: bool, clock: Floats, vector: Singles, mask: Bytes
) -> None:
    """Write the vector of `FlatEncoding` [B, D], with `clock` [B, 2] at its end, and the mask."""
    batch, count_s, count_n = states.ready.shape
    for b in range(batch):
        row = min(states.t[b], len(states.requests) - 1)
        requests, out = states.requests[row, b], vector[b]
        pairs, sites = count_s * count_n, len(requests)
        for s in range(count_s):
            share, rate = states.shares[row, b, s], clusters.rate[b, s]
            for n in range(count_n):
                at = s * count_n + n
                out[at] = states.ready[b, s, n]
                out[pairs + at] = _starting(states, b, s, n)
                out[2 * pairs + at] = states.utilisation[b, s, n]
            for u in range(sites):
                out[3 * pairs + s * sites + u] = min(share * requests[u] / rate, LIMIT)
            latency = states.latency_ms[b, s] / (4 * clusters.slo_ms[b, s])
            out[3 * pairs + count_s * sites + s] = min(latency, 10.0)
        at = 3 * pairs + count_s * (sites + 1)
        for n in range(count_n):
            for r in range(2):
                out[at + 2 * n + r] = _clip(states.free[b, n, r])
            out[at + 2 * count_n + n] = states.node_up[b, n]
        out[at + 3 * count_n] = clock[b, 0]
        out[at + 3 * count_n + 1] = clock[b, 1]
        if mask.shape[1] > 0:
            _write_mask(clusters, states, b, moves, count_s, count_n, mask[b])


@compiled
def _starting(states: States, b: int, s: int, n: int) -> int:
    count = 0
    for stage in range(states.stages.shape[3]):
        count += states.stages[b, s, n, stage]
    return count


@compiled
def _clip(value: float) -> float:
    return min(max(value, -LIMIT), LIMIT)


@compiled
def _write_mask(
    clusters: Clusters,
    states: States,
    b: int,
    moves: bool,
    wide_s: int,
    wide_n: int,
    mask: Bytes,
) -> None:
    """Write the legal actions of a cluster, numbered for `wide_s` services and `wide_n` nodes."""
    services, nodes = states.room.shape[1:]
    mask[0] = 1
    for s in range(services):
        more = states.total[b, s] < clusters.max_replicas[s]
        fewer = states.total[b, s] > clusters.min_replicas[s]
        place, remove = 1 + s * wide_n, 1 + (wide_s + s) * wide_n
        for n in range(nodes):
            mask[place + n] = states.room[b, s, n] and more
            mask[remove + n] = states.ready[b, s, n] > 0 and fewer
        if states.starting[b, s] > 0 and fewer:
            for n in range(nodes):
                if _starting(states, b, s, n) > 0:
                    mask[remove + n] = 1
        if moves:
            for n in range(nodes):
                move = 1 + 2 * wide_s * wide_n + (s * wide_n + n) * (wide_n - 1)
                held = states.ready[b, s, n] > 0 or _starting(states, b, s, n) > 0
                for k in range(nodes - 1):
                    mask[move + k] = held and states.room[b, s, k + (k >= n)]
