"""Whose requests nodes have or would get: `catchment`, compiled."""

import math

import numpy as np
from numpy.typing import NDArray

from lwmecps_gym.envs.compiled.jit import compiled, entry
from lwmecps_gym.envs.compiled.memory import (
    Bools,
    Demand,
    Floats,
    Hosts,
    Ints,
    Network,
    Pods,
    Rules,
    Shorts,
    Speeds,
)
from lwmecps_gym.envs.compiled.pods import starting_on

LIMIT = 1000.0
"""As in `encoding`."""
_LEAST = 1e-9
"""Demand below this counts as this, in divisions."""


@entry
def begin(
    rules: Rules,
    speeds: Speeds,
    network: Network,
    pods: Pods,
    hosts: Hosts,
    indices: Ints,
) -> None:
    """Forget the hosts of the clusters `indices`, which begin an episode."""
    services, sites, nodes = hosts.first.shape[1], hosts.first.shape[2], hosts.held.shape[2]
    for b in indices:
        own = min(b, len(network.rtt_ms) - 1)
        for s in range(services):
            pods.shifted[b, s] = True
            for n in range(nodes):
                hosts.held[b, s, n] = False
            for u in range(sites):
                hosts.first[b, s, u] = hosts.second[b, s, u] = nodes
                hosts.first_node[b, s, u] = hosts.second_node[b, s, u] = 0
                hosts.first_price[b, s, u] = hosts.second_price[b, s, u] = _failure_price(rules)
                prices = hosts.near_price[b, s, u]
                for k in range(len(prices)):
                    rtt_ms = network.rtt_ms[own, network.nearest[own, u, k], u]
                    prices[k] = _request_price(
                        rules, speeds.rate[b, s], speeds.slo_ms[b, s], rtt_ms
                    )


@entry
def look_around(
    rules: Rules,
    speeds: Speeds,
    network: Network,
    demand: Demand,
    pods: Pods,
    hosts: Hosts,
    pairs: NDArray[np.float32],
) -> None:
    """Write `CATCHMENT_FEATURES` of `encoding`, [B, max_services, max_nodes, 2]."""
    batch, services, nodes = pods.ready.shape
    for b in range(batch):
        row = min(demand.t[b], len(demand.requests) - 1)
        requests, shares = demand.requests[row, b], demand.shares[row, b]
        offered = total_share = 0.0
        for u in range(len(requests)):
            offered += requests[u]
        for s in range(services):
            total_share += shares[s]
        scale = nodes / max(total_share * offered, _LEAST)
        for s in range(services):
            share, rate = shares[s], speeds.rate[b, s]
            if pods.shifted[b, s]:
                pods.shifted[b, s] = False
                _follow(rules, speeds, network, pods, hosts, b, s)
            _survey(rules, network, pods, hosts, b, s, requests, share, rate)
            for n in range(nodes):
                pairs[b, s, n, 0] = min(hosts.requests[n] * share / rate, LIMIT)
                pairs[b, s, n, 1] = min(hosts.saved[n] * share * scale, LIMIT)


@compiled
def _request_price(rules: Rules, rate: float, slo_ms: float, rtt_ms: float) -> float:
    """Cost of a request that does not wait."""
    limit = rules.timeout_ms
    served = -math.expm1(-rate * max(limit - rtt_ms, 0.0) / 1000)
    latency_ms = min(rtt_ms, limit) + 1000 * served / rate
    late = math.exp(-rate * max(slo_ms - rtt_ms, 0.0) / 1000) if slo_ms < limit else 0.0
    return rules.latency * latency_ms + rules.violation * late


@compiled
def _failure_price(rules: Rules) -> float:
    """Cost of a request that fails."""
    return rules.latency * rules.timeout_ms + rules.violation


@compiled
def _follow(
    rules: Rules, speeds: Speeds, network: Network, pods: Pods, hosts: Hosts, b: int, s: int
) -> None:
    """Find the two nearest hosts of each site anew, by what changed since the last time."""
    own = min(b, len(network.rtt_ms) - 1)
    rate, slo_ms = speeds.rate[b, s], speeds.slo_ms[b, s]
    nearest, rtt_ms, held = network.nearest[own], network.rtt_ms[own], hosts.held[b, s]
    first, second = hosts.first[b, s], hosts.second[b, s]
    first_node, second_node = hosts.first_node[b, s], hosts.second_node[b, s]
    first_price, second_price = hosts.first_price[b, s], hosts.second_price[b, s]
    for n in range(len(held)):
        now = pods.ready[b, s, n] > 0 or starting_on(pods, b, s, n) > 0
        if now == held[n]:
            continue
        held[n] = now
        for u in range(len(first)):
            rank = network.rank[own, n, u]
            if rank > second[u]:
                continue
            if now and rank > first[u]:
                second[u], second_node[u] = rank, n
                second_price[u] = _request_price(rules, rate, slo_ms, rtt_ms[n, u])
            elif now:
                second[u], second_node[u] = first[u], first_node[u]
                second_price[u] = first_price[u]
                first[u], first_node[u] = rank, n
                first_price[u] = _request_price(rules, rate, slo_ms, rtt_ms[n, u])
            else:
                if rank == first[u]:
                    first[u], first_node[u] = second[u], second_node[u]
                    first_price[u] = second_price[u]
                after = _next_host(nearest[u], held, second[u] + 1)
                second[u] = after
                if after < len(held):
                    second_node[u] = nearest[u, after]
                    second_price[u] = _request_price(rules, rate, slo_ms, rtt_ms[second_node[u], u])
                else:
                    second_node[u], second_price[u] = 0, _failure_price(rules)


@compiled
def _next_host(nearest: Shorts, held: Bools, rank: int) -> int:
    """The place of the nearest host from `rank` on; the number of nodes, if there is none."""
    while rank < len(held) and not held[nearest[rank]]:
        rank += 1
    return min(rank, len(held))


@compiled
def _survey(
    rules: Rules,
    network: Network,
    pods: Pods,
    hosts: Hosts,
    b: int,
    s: int,
    requests: Floats,
    share: float,
    rate: float,
) -> None:
    """Write the catchment of a service, as if its share were 1, to `hosts`."""
    nearest = network.nearest[min(b, len(network.nearest) - 1)]
    prices = hosts.near_price[b, s]
    first, second = hosts.first[b, s], hosts.second[b, s]
    first_node, second_node = hosts.first_node[b, s], hosts.second_node[b, s]
    got, saved, refused = hosts.requests, hosts.saved, hosts.refused
    nodes, near = len(got), prices.shape[1]
    got[:] = 0.0
    saved[:] = 0.0
    for u in range(len(requests)):
        if first[u] < nodes:
            got[first_node[u]] += requests[u]
    full = False
    admitted = rules.utilisation_cap * rate / share
    for n in range(nodes):
        refused[n] = 0.0
        if got[n] > 0.0:
            room = admitted * (pods.ready[b, s, n] + starting_on(pods, b, s, n))
            if got[n] > room:
                refused[n] = 1 - room / got[n]
                full = True
    for u in range(len(requests)):
        here, k1 = requests[u], first[u]
        now, then, spilled = hosts.first_price[b, s, u], hosts.second_price[b, s, u], 0.0
        if full:
            spilled, lost = refused[first_node[u]], refused[second_node[u]]
            if k1 == nodes:
                spilled = 0.0
            then = (1 - lost) * then + lost * _failure_price(rules)
            now = (1 - spilled) * now + spilled * then
        if k1 < nodes:
            saved[first_node[u]] += here * (then - now)
        for k in range(min(k1, near)):
            n = nearest[u, k]
            got[n] += here
            saved[n] += here * (now - prices[u, k])
        if spilled > 0.0:
            for k in range(k1 + 1, min(second[u], near)):
                n = nearest[u, k]
                got[n] += here * spilled
                saved[n] += here * spilled * (then - prices[u, k])
