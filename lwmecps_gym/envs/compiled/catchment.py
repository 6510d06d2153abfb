"""Whose requests nodes have or would get: `catchment`, compiled."""

import numpy as np
from numpy.typing import NDArray

from lwmecps_gym.envs.catchment import FEW
from lwmecps_gym.envs.compiled.jit import compiled, entry
from lwmecps_gym.envs.compiled.memory import (
    Bools,
    Demand,
    Floats,
    Hosts,
    Ints,
    Limits,
    Network,
    Pods,
    Rules,
    Shorts,
    Speeds,
    Visits,
)
from lwmecps_gym.envs.compiled.pods import starting_on
from lwmecps_gym.envs.compiled.prices import (
    congestion,
    failure_price,
    request_price,
    share_refused,
    waiting_price,
)

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
                hosts.first_price[b, s, u] = hosts.second_price[b, s, u] = failure_price(rules)
                prices = hosts.near_price[b, s, u]
                for k in range(len(prices)):
                    rtt_ms = network.rtt_ms[own, network.nearest[own, u, k], u]
                    prices[k] = request_price(rules, speeds.rate[b, s], speeds.slo_ms[b, s], rtt_ms)


@entry
def look_around(
    rules: Rules,
    limits: Limits,
    speeds: Speeds,
    network: Network,
    demand: Demand,
    pods: Pods,
    hosts: Hosts,
    visits: Visits,
    pairs: NDArray[np.float32],
) -> None:
    """Write `CATCHMENT_FEATURES` of `encoding`, [B, max_services, max_nodes, 5]."""
    batch, services, nodes = pods.ready.shape
    for b in range(batch):
        row = min(demand.t[b], len(demand.requests) - 1)
        requests, shares = demand.requests[row, b], demand.shares[row, b]
        offered = total_share = cpu = 0.0
        for u in range(len(requests)):
            offered += requests[u]
        for s in range(services):
            total_share += shares[s]
        for n in range(nodes):
            cpu += limits.capacity[b, n, 0]
        scale = nodes / max(total_share * offered, _LEAST)
        for s in range(services):
            rate, slo_ms = speeds.rate[b, s], speeds.slo_ms[b, s]
            if pods.shifted[b, s]:
                pods.shifted[b, s] = False
                _follow(rules, speeds, network, pods, hosts, b, s)
            _survey(rules, network, pods, hosts, visits, b, s, requests, shares[s], rate, slo_ms)
            cost = rules.resources * limits.request[b, s, 0] / cpu * nodes
            for n in range(nodes):
                held, load = pods.ready[b, s, n] + starting_on(pods, b, s, n), visits.requests[n]
                here = congestion(rules, visits, n, rate, slo_ms, held, load)
                out = pairs[b, s, n]
                out[0] = min(load / rate, LIMIT)
                out[3] = out[4] = 0.0
                few = -np.inf
                for k in range(1, FEW + 1):
                    there = congestion(rules, visits, n, rate, slo_ms, held + k, load)
                    each = (here - there) / k
                    few = max(few, each)
                    if k == 1:
                        out[1] = _clip(each * scale - cost)
                out[2] = _clip(few * scale - cost)
                few = np.inf
                for k in range(1, min(FEW, held) + 1):
                    there = congestion(rules, visits, n, rate, slo_ms, held - k, load)
                    each = (there - here) / k
                    few = min(few, each)
                    if k == 1:
                        out[3] = _clip(each * scale - cost)
                    out[4] = _clip(few * scale - cost)


@compiled
def _clip(value: float) -> float:
    return min(max(value, -LIMIT), LIMIT)


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
                second_price[u] = request_price(rules, rate, slo_ms, rtt_ms[n, u])
            elif now:
                second[u], second_node[u] = first[u], first_node[u]
                second_price[u] = first_price[u]
                first[u], first_node[u] = rank, n
                first_price[u] = request_price(rules, rate, slo_ms, rtt_ms[n, u])
            else:
                if rank == first[u]:
                    first[u], first_node[u] = second[u], second_node[u]
                    first_price[u] = second_price[u]
                after = _next_host(nearest[u], held, second[u] + 1)
                second[u] = after
                if after < len(held):
                    second_node[u] = nearest[u, after]
                    second_price[u] = request_price(rules, rate, slo_ms, rtt_ms[second_node[u], u])
                else:
                    second_node[u], second_price[u] = 0, failure_price(rules)


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
    visits: Visits,
    b: int,
    s: int,
    requests: Floats,
    share: float,
    rate: float,
    slo_ms: float,
) -> None:
    """Write the visits of a service at all nodes."""
    own = min(b, len(network.nearest) - 1)
    nearest, rtt_ms, near_price = network.nearest[own], network.rtt_ms[own], hosts.near_price[b, s]
    first, second = hosts.first[b, s], hosts.second[b, s]
    first_node, second_node = hosts.first_node[b, s], hosts.second_node[b, s]
    first_price, second_price = hosts.first_price[b, s], hosts.second_price[b, s]
    refused, failure = visits.refused, failure_price(rules)
    nodes, sites, near = len(refused), len(requests), near_price.shape[1]
    for n in range(nodes):
        visits.requests[n] = visits.rtt_ms[n] = visits.price[n] = visits.elsewhere[n] = 0.0
    for u in range(sites):
        if first[u] < nodes:
            n = first_node[u]
            _visit(visits, n, share * requests[u], rtt_ms[n, u], first_price[u], 0.0)
    for n in range(nodes):
        held = pods.ready[b, s, n] + starting_on(pods, b, s, n)
        refused[n] = share_refused(rules, rate, held, visits.requests[n])
    for u in range(sites):
        if second[u] < nodes:
            n, passed = second_node[u], share * requests[u] * refused[first_node[u]]
            _visit(visits, n, passed, rtt_ms[n, u], second_price[u], failure)
    for n in range(nodes):
        held, load = pods.ready[b, s, n] + starting_on(pods, b, s, n), visits.requests[n]
        refused[n] = share_refused(rules, rate, held, load)
        served, mean_ms = load * (1 - refused[n]), visits.rtt_ms[n] / max(load, 1e-300)
        visits.waiting[n] = waiting_price(rules, rate, slo_ms, mean_ms, held, served)
    for u in range(sites):
        if first[u] < nodes:
            then = _then(hosts, visits, b, s, u, failure)
            visits.elsewhere[first_node[u]] += share * requests[u] * then
    for n in range(nodes):
        held, load = pods.ready[b, s, n] + starting_on(pods, b, s, n), visits.requests[n]
        if held > 0:
            visits.step[n] = min(rules.utilisation_cap * rate, load)
            visits.dearer[n] = _dearer(visits, n)
            visits.congestion[n] = congestion(rules, visits, n, rate, slo_ms, held, load)
            less = congestion(rules, visits, n, rate, slo_ms, held, load - visits.step[n])
            visits.relief[n] = _slope(visits.congestion[n] - less, visits.step[n])
    for u in range(sites):
        here, k1 = share * requests[u], first[u]
        then, now, spilled = _then(hosts, visits, b, s, u, failure), failure, 0.0
        if k1 < nodes:
            n, burdened = first_node[u], second_price[u]
            if second[u] < nodes:
                to, step = second_node[u], visits.step[n]
                held = pods.ready[b, s, to] + starting_on(pods, b, s, to)
                load = visits.requests[to] + step
                more = congestion(rules, visits, to, rate, slo_ms, held, load)
                burdened += _slope(more - visits.congestion[to], step)
            visits.elsewhere[n] += here * (burdened - then)
            now, spilled = first_price[u] + visits.relief[n], refused[n]
        for k in range(min(k1, near)):
            n = nearest[u, k]
            _visit(visits, n, here, rtt_ms[n, u], near_price[u, k], now)
        if spilled > 0.0:
            for k in range(k1 + 1, min(second[u], near)):
                n = nearest[u, k]
                _visit(visits, n, here * spilled, rtt_ms[n, u], near_price[u, k], then)
    for n in range(nodes):
        visits.dearer[n] = _dearer(visits, n)


@compiled
def _dearer(visits: Visits, n: int) -> float:
    """What a request costs more elsewhere."""
    return (visits.elsewhere[n] - visits.price[n]) / max(visits.requests[n], 1e-300)


@compiled
def _slope(change: float, step: float) -> float:
    return change / step if step > 0.0 else 0.0


@compiled
def _visit(
    visits: Visits, n: int, requests: float, rtt_ms: float, price: float, elsewhere: float
) -> None:
    visits.requests[n] += requests
    visits.rtt_ms[n] += requests * rtt_ms
    visits.price[n] += requests * price
    visits.elsewhere[n] += requests * elsewhere


@compiled
def _then(hosts: Hosts, visits: Visits, b: int, s: int, u: int, failure: float) -> float:
    """What a request costs that its first host does not admit."""
    if hosts.second[b, s, u] == len(visits.refused):
        return failure
    n = hosts.second_node[b, s, u]
    admitted = hosts.second_price[b, s, u] + visits.waiting[n]
    return (1 - visits.refused[n]) * admitted + visits.refused[n] * failure
