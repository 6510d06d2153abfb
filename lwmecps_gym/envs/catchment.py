"""Whose requests a node gets or would get, and what a replica there is worth: quick estimates.

For service s, a site's requests go to the nearest node that holds replicas, its first host, and
what that one cannot admit goes to the next nearest, its second host; what neither admits fails. A
request costs its price, `w_latency` * mean latency / `latency_scale_ms` + `w_violation` * P(late),
by its round trip, and more for waiting in the host's queue. Waiting and what is refused make the
congestion of a host: a function K(load) that says what they cost, in which a request that is
refused costs what it would cost elsewhere.

A node without replicas that is nearer than the first host would get all the requests, one between
the two hosts what the first refuses. Each request would relieve the first host of

    (K(load) - K(load - r)) / r        r: what one replica admits, or less, if the load is less

and if the first host gives up a replica, its requests burden their second hosts with

    (K(load + r) - K(load)) / r        r: likewise, of the load of the first host

each. What c replicas save on a node is what its requests cost elsewhere, less their prices there
and its own congestion. That is not concave in c: the first replica at a busy site may be a crowded
queue that is worth nothing, and two of them much. So gains and losses are also told for a few
replicas together, whichever number is best per replica.

Replicas that are starting count as ready, and the queue of a node is asked for the mean round trip
of its requests. These are features of a state; what it costs is for `performance` to say.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lwmecps_gym.envs.cluster import Bools, ClusterParams, ClusterState, Floats, Ints
from lwmecps_gym.envs.queueing import erlang_c, sojourn_tail, truncated_sojourn

if TYPE_CHECKING:
    from lwmecps_gym.envs.scenario import Scenario

FEW = 3
"""Replicas that are looked at together at most."""
NEAR_NODES = 8
"""A site is told of its hosts and of so many nearest nodes: so the work is S (U + N)."""


@dataclass(frozen=True)
class Catchment:
    """Where the demand of each service is, seen from the nodes, [B, S, N].

    Attributes:
        requests: that the node gets (or, without replicas, would get), requests/s.
        gain: cost per second that one more replica there would save.
        gain_of_few: the most that up to `FEW` more would save, per replica.
        loss: cost per second of having one replica less there; 0 where there is none.
        loss_of_few: the least cost of having up to `FEW` less, per replica; 0 where there is none.
    """

    requests: Floats
    gain: Floats
    gain_of_few: Floats
    loss: Floats
    loss_of_few: Floats


def find_catchment(scenario: "Scenario", state: ClusterState) -> Catchment:
    """Catchments of a batch of clusters; see the module."""
    params, held, demand = state.params, state.replicas, state.demand
    batch, services, nodes = held.shape
    b, s = np.arange(batch)[:, None, None], np.arange(services)[:, None]
    first, second = (_Host.of(scenario, params, rank) for rank in _host_ranks(params, held))
    at_first, at_second = (b, s, first.node), (b, s, second.node)
    failure = failure_price(scenario)

    visits = _Visits(*np.zeros((4, *held.shape)))
    visits.add(at_first, demand * first.there, first.rtt_ms, first.price)
    passed = visits.queues(scenario, params, held).refused()[at_first]
    visits.add(at_second, demand * passed * second.there, second.rtt_ms, second.price, failure)

    queues = visits.queues(scenario, params, held)
    lost = queues.refused()[at_second] * second.there
    admitted = second.price + queues.waiting()[at_second] * second.there
    then = (1 - lost) * admitted + lost * failure
    np.add.at(visits.elsewhere, at_first, demand * first.there * then)

    queues = visits.queues(scenario, params, held)
    spilled = queues.refused()[at_first] * first.there
    step = np.minimum(queues.room, queues.load)
    now = first.price + queues.slope(-step)[at_first] * first.there
    burdened = second.price + queues.at(at_second).slope(step[at_first]) * second.there
    np.add.at(visits.elsewhere, at_first, demand * first.there * (burdened - then))
    for k in range(min(NEAR_NODES, nodes)):
        node = params.nearest[..., k]
        rtt_ms = np.take_along_axis(params.rtt_ms, node[..., None], axis=2)[:, None, :, 0]
        nearer, between = k < first.rank, (k > first.rank) & (k < second.rank)
        coming = demand * np.where(nearer, 1.0, np.where(between, spilled, 0.0))
        price = request_price(scenario, params, rtt_ms)
        visits.add((b, s, node[:, None]), coming, rtt_ms, price, np.where(nearer, now, then))

    levels = np.stack(
        [
            visits.queues(scenario, params, held + change).congestion()
            for change in range(-FEW, FEW + 1)
        ]
    )
    more = [(levels[FEW] - levels[FEW + k]) / k for k in range(1, FEW + 1)]
    less = [
        np.where(k <= held, (levels[FEW - k] - levels[FEW]) / k, np.inf) for k in range(1, FEW + 1)
    ]
    some = held > 0
    return Catchment(
        requests=visits.requests,
        gain=more[0],
        gain_of_few=np.max(more, axis=0),
        loss=np.where(some, less[0], 0.0),
        loss_of_few=np.where(some, np.min(less, axis=0), 0.0),
    )


def request_price(
    scenario: "Scenario",
    params: ClusterParams,
    rtt_ms: Floats,
    wait: Floats | float = 0.0,
    theta: Floats | None = None,
) -> Floats:
    """Cost of a request, [B, S, K], by its round trip [B, 1 or S, K] and queue (see `queueing`)."""
    weights, limit = scenario.weights, scenario.timeout_ms
    mu, slo = params.rate[..., None], params.slo_ms[..., None]
    queue = wait, mu, mu if theta is None else theta
    latency = np.minimum(rtt_ms, limit) + 1000 * truncated_sojourn(*queue, (limit - rtt_ms) / 1000)
    late = np.where(slo < limit, sojourn_tail(*queue, (slo - rtt_ms) / 1000), 0.0)
    latency_cost = weights.latency * latency / scenario.latency_scale_ms
    return np.asarray(latency_cost + weights.violation * late)


def failure_price(scenario: "Scenario") -> float:
    """Cost of a request that fails."""
    weights = scenario.weights
    return weights.latency * scenario.timeout_ms / scenario.latency_scale_ms + weights.violation


@dataclass(frozen=True)
class _Visits:
    """Sums over the requests that a node gets, per second, [B, S, N].

    Attributes:
        requests: their number.
        rtt_ms: their round trips.
        price: their prices there, without waiting.
        elsewhere: what they cost if there are no replicas.
    """

    requests: Floats
    rtt_ms: Floats
    price: Floats
    elsewhere: Floats

    def add(self, where: Any, requests: Floats, *means: Floats | float) -> None:
        """Count requests [B, S, U] at nodes, and their round trips, prices and so on."""
        np.add.at(self.requests, where, requests)
        for sums, mean in zip((self.rtt_ms, self.price, self.elsewhere), means, strict=False):
            np.add.at(sums, where, requests * mean)

    def queues(self, scenario: "Scenario", params: ClusterParams, held: Ints) -> "_Queues":
        """The queues that they make at `held` replicas."""
        per_request = 1 / np.maximum(self.requests, 1e-300)
        dearer = (self.elsewhere - self.price) * per_request
        return _Queues(scenario, params, held, self.requests, self.rtt_ms * per_request, dearer)


@dataclass(frozen=True)
class _Queues:
    """Queues at replicas, [B, S, K].

    Attributes:
        scenario, params: of the clusters.
        held: replicas.
        load: requests/s.
        rtt_ms: their mean round trip.
        dearer: what one costs more elsewhere, mean.
    """

    scenario: "Scenario"
    params: ClusterParams
    held: Ints
    load: Floats
    rtt_ms: Floats
    dearer: Floats

    def at(self, where: Any) -> "_Queues":
        """Those of some nodes."""
        arrays = (each[where] for each in (self.held, self.load, self.rtt_ms, self.dearer))
        return _Queues(self.scenario, self.params, *arrays)

    @property
    def room(self) -> Floats:
        """Requests/s that one replica admits, [B, S, 1]."""
        return self.scenario.utilisation_cap * self.params.rate[..., None]

    def refused(self) -> Floats:
        """Share of the load that is not admitted."""
        room = self.room * np.maximum(self.held, 0)
        return np.where(self.load > room, 1 - room / np.maximum(self.load, 1e-300), 0.0)

    def waiting(self) -> Floats:
        """What a request that is admitted costs more for waiting; 0 without replicas."""
        mu, servers = self.params.rate[..., None], np.maximum(self.held, 1)
        served = self.load * (1 - self.refused()) * (self.held > 0)
        if self.scenario.queue == "shared":
            wait, theta = erlang_c(servers, served / mu), servers * mu - served
        else:
            wait, theta = served / (servers * mu), mu - served / servers
        price = request_price(self.scenario, self.params, self.rtt_ms, wait, theta)
        return price - request_price(self.scenario, self.params, self.rtt_ms)

    def congestion(self) -> Floats:
        """Cost per second of what waits and what is refused."""
        refused = self.refused()
        return self.load * ((1 - refused) * self.waiting() + refused * self.dearer)

    def slope(self, step: Floats) -> Floats:
        """How the congestion changes per request, from the load to `step` requests/s more."""
        there = replace(self, load=self.load + step)
        change = there.congestion() - self.congestion()
        return change / np.where(step == 0, 1.0, step)


@dataclass(frozen=True)
class _Host:
    """A host of each site, [B, S, U].

    Attributes:
        rank: its place in the site's `nearest`, N where there is none.
        there: whether there is one.
        node: which it is; some node, where there is none.
        rtt_ms: round trip to it.
        price: of a request that does not wait there; of one that fails, where there is none.
    """

    rank: Ints
    there: Bools
    node: Ints
    rtt_ms: Floats
    price: Floats

    @classmethod
    def of(cls, scenario: "Scenario", params: ClusterParams, rank: Ints) -> "_Host":
        """The hosts at places [B, S, U]."""
        b, u = np.arange(len(rank))[:, None, None], np.arange(rank.shape[2])
        there = rank < params.nearest.shape[2]
        node = params.nearest[b, u, np.where(there, rank, 0)]
        rtt_ms = params.rtt_ms[b, u, node]
        price = request_price(scenario, params, rtt_ms)
        return cls(rank, there, node, rtt_ms, np.where(there, price, failure_price(scenario)))


def _host_ranks(params: ClusterParams, held: Ints) -> tuple[Ints, Ints]:
    """Places of the two nearest hosts in a site's `nearest`, N where there is none, [B, S, U]."""
    batch, services, nodes = held.shape
    first, second = np.full((2, batch, services, params.nearest.shape[1]), nodes)
    rows = np.arange(batch)[:, None, None]
    for s in range(services):  # one by one, for S U N is large
        hosts = (held[:, s] > 0)[rows, params.nearest]
        for rank in (first[:, s], second[:, s]):
            found = hosts.any(-1)
            rank[found] = hosts.argmax(-1)[found]
            np.put_along_axis(hosts, np.minimum(rank, nodes - 1)[..., None], False, axis=-1)
    return first, second
