"""Whose requests a node has or would get, and what they save: the features that locate demand.

For service s, a site's requests go to the nearest node that holds replicas, its first host, and
what that one cannot admit goes to the next nearest, its second host. A request that does not wait
costs its price, p(rtt) = `w_latency` * mean latency / `latency_scale_ms` + `w_violation` * P(late);
one that fails costs the price of a failure. What a request of a site costs now is estimated by

    now = (1 - q1) p(first) + q1 then,    then = (1 - q2) p(second) + q2 p(failure),

q1 and q2 the shares that the two hosts cannot admit of what they are the first hosts of. A node
nearer than the first host would get all the requests, one between the two hosts the share q1.
Replicas that are starting count as ready, and queues as empty: these are features of a state, and
`performance` says what it costs.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lwmecps_gym.envs.cluster import ClusterParams, ClusterState, Floats, Ints
from lwmecps_gym.envs.queueing import sojourn_tail, truncated_sojourn

if TYPE_CHECKING:
    from lwmecps_gym.envs.scenario import Scenario

NEAR_NODES = 8
"""A site is told of the first host and of so many nearest nodes: so the work is S (U + N)."""


@dataclass(frozen=True)
class Catchment:
    """Where the demand of each service is, seen from the nodes.

    Attributes:
        requests: that the node gets (or, without replicas, would get with some), requests/s,
            [B, S, N].
        saved: what they would cost more per second if the node had no replicas, [B, S, N].
    """

    requests: Floats
    saved: Floats


def find_catchment(scenario: "Scenario", state: ClusterState) -> Catchment:
    """Catchments of a batch of clusters; see the module."""
    params, held, demand = state.params, state.replicas, state.demand
    batch, services, nodes = held.shape
    b, s = np.arange(batch)[:, None, None], np.arange(services)[:, None]
    first, second = _host_ranks(params, held)
    at_first, first_price = _host(scenario, params, first)
    at_second, second_price = _host(scenario, params, second)
    requests = np.zeros(held.shape)
    np.add.at(requests, (b, s, at_first), np.where(first < nodes, demand, 0.0))
    room = scenario.utilisation_cap * held * params.rate[..., None]
    refused = np.where(requests > room, 1 - room / np.maximum(requests, 1e-300), 0.0)

    spilled, lost = refused[b, s, at_first], refused[b, s, at_second]
    then = (1 - lost) * second_price + lost * failure_price(scenario)
    now = (1 - spilled) * first_price + spilled * then
    saved = np.zeros(held.shape)
    np.add.at(saved, (b, s, at_first), np.where(first < nodes, demand * (then - now), 0.0))
    near = params.nearest[:, None, :, :NEAR_NODES]
    rtt = np.take_along_axis(params.rtt_ms, params.nearest[..., :NEAR_NODES], axis=2)
    price = request_price(scenario, params, rtt[:, None])
    for k in range(near.shape[-1]):
        nearer, between = k < first, (k > first) & (k < second)
        coming = demand * np.where(nearer, 1.0, np.where(between, spilled, 0.0))
        gain = np.where(nearer, now, then) - price[..., k]
        np.add.at(requests, (b, s, near[..., k]), coming)
        np.add.at(saved, (b, s, near[..., k]), coming * gain)
    return Catchment(requests, saved)


def _host_ranks(params: ClusterParams, held: Ints) -> tuple[Ints, Ints]:
    """Places of the two nearest hosts in a site's `nearest`, N where there is none, [B, S, U]."""
    batch, services, nodes = held.shape
    sites = params.nearest.shape[1]
    first, second = np.full((2, batch, services, sites), nodes)
    rows = np.arange(batch)[:, None, None]
    for s in range(services):  # one by one, for S U N is large
        hosts = (held[:, s] > 0)[rows, params.nearest]
        for rank in (first[:, s], second[:, s]):
            found = hosts.any(-1)
            rank[found] = hosts.argmax(-1)[found]
            np.put_along_axis(hosts, np.minimum(rank, nodes - 1)[..., None], False, axis=-1)
    return first, second


def _host(scenario: "Scenario", params: ClusterParams, rank: Ints) -> tuple[Ints, Floats]:
    """The host at a place (any, where there is none), and a request's price there, [B, S, U]."""
    batch, _, sites = rank.shape
    nodes = params.nearest.shape[2]
    b, u = np.arange(batch)[:, None, None], np.arange(sites)
    host = params.nearest[b, u, np.minimum(rank, nodes - 1)]
    price = request_price(scenario, params, params.rtt_ms[b, u, host])
    return host, np.where(rank < nodes, price, failure_price(scenario))


def request_price(scenario: "Scenario", params: ClusterParams, rtt_ms: Floats) -> Floats:
    """Cost of a request that does not wait, [B, S, ...], by its round trip [B, 1 or S, ...]."""
    weights, limit = scenario.weights, scenario.timeout_ms
    shape = params.rate.shape + (1,) * (rtt_ms.ndim - 2)
    mu, slo = params.rate.reshape(shape), params.slo_ms.reshape(shape)
    latency = np.minimum(rtt_ms, limit) + 1000 * truncated_sojourn(
        0.0, mu, mu, (limit - rtt_ms) / 1000
    )
    late = np.where(slo < limit, sojourn_tail(0.0, mu, mu, (slo - rtt_ms) / 1000), 0.0)
    return np.asarray(
        weights.latency * latency / scenario.latency_scale_ms + weights.violation * late
    )


def failure_price(scenario: "Scenario") -> float:
    """Cost of a request that fails."""
    weights = scenario.weights
    return weights.latency * scenario.timeout_ms / scenario.latency_scale_ms + weights.violation
