"""Observations and masks of every cluster: `encoding` and `ActionTable.legal`, compiled."""

import numpy as np
from numpy.typing import NDArray

from lwmecps_gym.envs.compiled.jit import compiled, entry
from lwmecps_gym.envs.compiled.memory import (
    Demand,
    Floats,
    Limits,
    Measured,
    Near,
    Network,
    Pods,
    Rules,
    Sight,
    Speeds,
)
from lwmecps_gym.envs.compiled.pods import starting_on

Singles = NDArray[np.float32]
Bytes = NDArray[np.int8]

LIMIT = 1000.0
"""As in `encoding`."""
_LEAST = 1e-9
"""Demand below this counts as this, in divisions."""


@entry
def structured(
    rules: Rules,
    limits: Limits,
    speeds: Speeds,
    network: Network,
    near: Near,
    demand: Demand,
    pods: Pods,
    measured: Measured,
    sight: Sight,
    moves: bool,
    nodes: Singles,
    services: Singles,
    pairs: Singles,
    mask: Bytes,
) -> None:
    """Write the features of `StructuredEncoding`; padding is left as it is.

    `nodes` is [B, max_nodes, 8], `services` [B, max_services, 11], `pairs` [B, max_services,
    max_nodes, 7] and `mask` [B, A], with `moves` or without.
    """
    batch, count_s, count_n = pods.ready.shape
    for b in range(batch):
        row = min(demand.t[b], len(demand.requests) - 1)
        requests, shares = demand.requests[row, b], demand.shares[row, b]
        offered = cpu = 0.0
        for u in range(len(requests)):
            offered += requests[u]
        _look_around(min(b, len(network.rtt_ms) - 1), requests, network, near, sight)
        for n in range(count_n):
            cpu += limits.capacity[b, n, 0]
            nodes[b, n, 0] = 1.0
            nodes[b, n, 1] = pods.node_up[b, n]
            nodes[b, n, 2] = _clip(limits.capacity[b, n, 0] / 4)
            for r in range(limits.capacity.shape[2]):
                nodes[b, n, 3 + r] = _clip(pods.free[b, n, r])
        for s in range(count_s):
            share, rate, slo_ms = shares[s], speeds.rate[b, s], speeds.slo_ms[b, s]
            total, starting = pods.total[b, s], pods.starting[b, s]
            services[b, s, 0] = 1.0
            services[b, s, 1] = (total - starting) / count_n
            services[b, s, 2] = starting / count_n
            services[b, s, 3] = _clip(share * offered / rate / count_n)
            services[b, s, 4] = min(measured.latency_ms[b, s] / (4 * slo_ms), 10.0)
            services[b, s, 5] = _clip(limits.request[b, s, 0])
            services[b, s, 6] = _clip(rate / 100)
            services[b, s, 7] = _clip(slo_ms / 100)
            services[b, s, 8] = (limits.max_replicas[s] - total) / count_n
            services[b, s, 9] = _clip(rules.resources * limits.request[b, s, 0] / cpu * count_n)
            services[b, s, 10] = _clip(rules.migration * count_n)
            per_replica = share / rate
            ready, room, within = pods.ready[b, s], pods.room[b, s], near.within[b, s]
            utilisation, out = measured.utilisation[b, s], pairs[b, s]
            for n in range(count_n):
                known = min(share * sight.near[n] / _LEAST, 1.0)  # 1, if there is any demand
                out[n, 0] = ready[n]
                out[n, 1] = 0.0
                out[n, 2] = utilisation[n]
                out[n, 3] = min(sight.nearest[n] * per_replica, LIMIT)
                out[n, 4] = min(sight.rtt[n] * known, LIMIT)
                out[n, 5] = sight.cumulated[n, within[n]] * known
                out[n, 6] = room[n]
            if starting > 0:
                for n in range(count_n):
                    out[n, 1] = starting_on(pods, b, s, n)
        _write_mask(limits, pods, b, moves, services.shape[1], nodes.shape[1], mask[b])


@entry
def flat(
    limits: Limits,
    speeds: Speeds,
    demand: Demand,
    pods: Pods,
    measured: Measured,
    moves: bool,
    clock: Floats,
    vector: Singles,
    mask: Bytes,
) -> None:
    """Write the vector of `FlatEncoding` [B, D], with `clock` [B, 2] at its end, and the mask."""
    batch, count_s, count_n = pods.ready.shape
    for b in range(batch):
        row = min(demand.t[b], len(demand.requests) - 1)
        requests, out = demand.requests[row, b], vector[b]
        pairs, sites = count_s * count_n, len(requests)
        for s in range(count_s):
            share, rate = demand.shares[row, b, s], speeds.rate[b, s]
            for n in range(count_n):
                at = s * count_n + n
                out[at] = pods.ready[b, s, n]
                out[pairs + at] = starting_on(pods, b, s, n)
                out[2 * pairs + at] = measured.utilisation[b, s, n]
            for u in range(sites):
                out[3 * pairs + s * sites + u] = min(share * requests[u] / rate, LIMIT)
            latency = measured.latency_ms[b, s] / (4 * speeds.slo_ms[b, s])
            out[3 * pairs + count_s * sites + s] = min(latency, 10.0)
        at = 3 * pairs + count_s * (sites + 1)
        for n in range(count_n):
            for r in range(2):
                out[at + 2 * n + r] = _clip(pods.free[b, n, r])
            out[at + 2 * count_n + n] = pods.node_up[b, n]
        out[at + 3 * count_n] = clock[b, 0]
        out[at + 3 * count_n + 1] = clock[b, 1]
        if mask.shape[1] > 0:
            _write_mask(limits, pods, b, moves, count_s, count_n, mask[b])


@compiled
def _clip(value: float) -> float:
    return min(max(value, -LIMIT), LIMIT)


@compiled
def _look_around(own: int, requests: Floats, network: Network, near: Near, sight: Sight) -> None:
    """Count, for each node, the requests [U] of the sites around it."""
    sight.nearest[:] = 0.0
    for u in range(len(requests)):
        sight.nearest[network.nearest[own, u, 0]] += requests[u]
    for n in range(len(sight.near)):
        count = rtt = sight.cumulated[n, 0] = 0.0
        for k in range(near.sites.shape[2]):
            here = requests[near.sites[own, n, k]]
            count += here
            rtt += here * near.rtt_ms[own, n, k]
            sight.cumulated[n, k + 1] = count
        scale = 1 / max(count, 1e-300)
        sight.near[n], sight.rtt[n] = count, rtt * scale / 100
        for k in range(1, near.sites.shape[2] + 1):
            sight.cumulated[n, k] *= scale


@compiled
def _write_mask(
    limits: Limits,
    pods: Pods,
    b: int,
    moves: bool,
    wide_s: int,
    wide_n: int,
    mask: Bytes,
) -> None:
    """Write the legal actions of a cluster, numbered for `wide_s` services and `wide_n` nodes."""
    services, nodes = pods.room.shape[1:]
    mask[0] = 1
    for s in range(services):
        more = pods.total[b, s] < limits.max_replicas[s]
        fewer = pods.total[b, s] > limits.min_replicas[s]
        room, ready = pods.room[b, s], pods.ready[b, s]
        place = mask[1 + s * wide_n :]
        for n in range(nodes):
            place[n] = room[n] & more
        remove = mask[1 + (wide_s + s) * wide_n :]
        for n in range(nodes):
            remove[n] = (ready[n] > 0) & fewer
        if pods.starting[b, s] > 0 and fewer:
            for n in range(nodes):
                if starting_on(pods, b, s, n) > 0:
                    remove[n] = 1
        if moves:
            for n in range(nodes):
                move = 1 + 2 * wide_s * wide_n + (s * wide_n + n) * (wide_n - 1)
                held = pods.ready[b, s, n] > 0 or starting_on(pods, b, s, n) > 0
                for k in range(nodes - 1):
                    mask[move + k] = held and pods.room[b, s, k + (k >= n)]
