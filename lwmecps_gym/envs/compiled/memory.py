"""The arrays that compiled functions work on.

Axes as everywhere: B clusters, S services, N nodes, U sites, R resources, K stages of start-up, H
sites near a node (`cluster.NEAR_SITES`, or all). P is B where each cluster has round-trip times of
its own, else 1. L is the length of an episode and one.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Shorts = NDArray[np.int16]
Bools = NDArray[np.bool_]


class Rules(NamedTuple):
    """The scenario's own numbers; weights are per ms, where they are of a latency."""

    prefer_close: bool
    shared_queue: bool
    utilisation_cap: float
    timeout_ms: float
    latency: float
    violation: float
    resources: float
    balance: float
    migration: float


class Limits(NamedTuple):
    """What nodes hold and services ask for, as in `ClusterParams`."""

    capacity: Floats
    request: Floats
    min_replicas: Ints
    max_replicas: Ints
    startup_steps: Ints


class Speeds(NamedTuple):
    """Service rates and SLOs, as in `ClusterParams`."""

    rate: Floats
    slo_ms: Floats


class Network(NamedTuple):
    """Round-trip times, and the orders they make.

    Attributes:
        rtt_ms: by node and site, [P, N, U].
        nearest: nodes by rising round-trip time from a site, [P, U, N].
        rank: place of a node in the site's `nearest`, by node and site, [P, N, U].
    """

    rtt_ms: Floats
    nearest: Shorts
    rank: Shorts


class Near(NamedTuple):
    """The sites nearest to each node, by rising round-trip time.

    Attributes:
        sites: [P, N, H].
        rtt_ms: [P, N, H].
        within: how many of them keep the SLO of a service, without waiting, [B, S, N].
    """

    sites: Shorts
    rtt_ms: Floats
    within: Shorts


class Demand(NamedTuple):
    """Requests of the sites and shares of the services in them, over the episode.

    Attributes:
        t: steps played, [B].
        requests: requests/s, [L, B, U]; time comes first, as clusters go through it together.
        shares: [L, B, S].
    """

    t: Ints
    requests: Floats
    shares: Floats


class Pods(NamedTuple):
    """Where replicas are, as in `ClusterModel`, and what follows from it.

    Attributes:
        ready: [B, S, N].
        stages: starting replicas by the steps that they still need, less one, [B, S, N, K].
        node_up: [B, N].
        starting: replicas of a service that do not serve yet, [B, S].
        total: replicas of a service, [B, S].
        used: requested resources, [B, N, R].
        free: share of a resource that is not requested, 0 where the node is down, [B, N, R].
        room: one more replica fits, and the node is up, [B, S, N].
        moved: the nodes with ready replicas are no longer those in `Routes`, [B, S].
        shifted: the nodes with replicas may no longer be those in `Hosts`, [B, S].
    """

    ready: Shorts
    stages: Shorts
    node_up: Bools
    starting: Ints
    total: Ints
    used: Floats
    free: Floats
    room: Bools
    moved: Bools
    shifted: Bools


class Routes(NamedTuple):
    """Where requests go first; kept until hosts change.

    Attributes:
        hosts: nodes with ready replicas, the first `host_count`, [B, S, N].
        host_count: [B, S].
        first: the nearest of them for each site, [B, S, U].
        first_rtt_ms: round trip to it, [B, S, U].
    """

    hosts: Shorts
    host_count: Ints
    first: Shorts
    first_rtt_ms: Floats


class Hosts(NamedTuple):
    """The two nearest hosts of every site, as last looked at; see `envs.catchment`.

    Attributes:
        held: the node has replicas, ready or starting, [B, S, N].
        first: place of the nearest host in the site's `nearest`, N where there is none, [B, S, U].
        second: place of the next one, [B, S, U].
        first_node, second_node: which nodes they are, 0 where there is none, [B, S, U].
        first_price, second_price: of a request there; of one that fails, where there is none.
        near_price: of a request at each of the `NEAR_NODES` nearest nodes, [B, S, U, NEAR_NODES].
    """

    held: Bools
    first: Shorts
    second: Shorts
    first_node: Shorts
    second_node: Shorts
    first_price: Floats
    second_price: Floats
    near_price: Floats


class Visits(NamedTuple):
    """What nodes get of the service at work, [N]; see `envs.catchment`.

    Attributes:
        requests: requests/s.
        rtt_ms: sum of their round trips, as `price` and `elsewhere`.
        price: of their prices there, without waiting.
        elsewhere: of what they cost without replicas there.
        refused: share of them that is not admitted.
        waiting: what one costs more for waiting.
        dearer: what one costs more elsewhere, as last counted.
        congestion: cost per second of what waits and what is refused.
        step: what would be moved, requests/s.
        relief: slope of the congestion.
    """

    requests: Floats
    rtt_ms: Floats
    price: Floats
    elsewhere: Floats
    refused: Floats
    waiting: Floats
    dearer: Floats
    congestion: Floats
    step: Floats
    relief: Floats


class Measured(NamedTuple):
    """What the last interval was like, as in `ClusterModel`; `fresh` [B] have not played one."""

    fresh: Bools
    utilisation: Floats
    latency_ms: Floats


class Flows(NamedTuple):
    """Flows of one service, and the queues that they meet.

    Attributes:
        rps: requests/s, [F].
        rtt_ms: [F].
        node: where they go, [F].
        site: where they come from, while they are routed, [F].
        theta: of a node's queue, [N], as `slow` and `slow_ms`; see `sojourn.prepare_queue`.
        slow: share of the slow exponential.
        slow_ms: its part in the mean sojourn time.
    """

    rps: Floats
    rtt_ms: Floats
    node: Ints
    site: Ints
    theta: Floats
    slow: Floats
    slow_ms: Floats


class Desk(NamedTuple):
    """Room to route one service in.

    Attributes:
        load: requests/s that a node got, [N].
        space: requests/s that it still admits; 0 but for hosts of the service, [N].
        asked: requests/s asked of it in a round; 0 between rounds, [N].
        admitted: share of those that it admits, [N].
        asked_nodes: nodes asked in a round, [U].
        open_hosts: hosts with space, [N].
        left: requests/s of a site that found no space yet, [U].
        target: host that a site asks next, [U].
        queue: first of the sites that ask in a round, or -1, [N].
        following: the next one, [U].
        first_rank: rank of the nearest host, [U].
    """

    load: Floats
    space: Floats
    asked: Floats
    admitted: Floats
    asked_nodes: Ints
    open_hosts: Ints
    left: Floats
    target: Ints
    queue: Ints
    following: Ints
    first_rank: Shorts


class Sight(NamedTuple):
    """Room to observe one cluster in.

    Attributes:
        nearest: requests/s of the sites for which a node is the nearest, [N].
        near: requests/s near a node, [N].
        rtt: their mean round trip / 100 ms, [N].
        cumulated: share in them of the nearest site, the two nearest and so on, [N, 1 + H].
    """

    nearest: Floats
    near: Floats
    rtt: Floats
    cumulated: Floats


class Table(NamedTuple):
    """The columns of `ActionTable`, [A]."""

    kind: Ints
    service: Ints
    source: Ints
    target: Ints


class Outcome(NamedTuple):
    """What a step brought, each [B]; `terms` [5, B] in the order of `COST_TERMS`."""

    terms: Floats
    latency_ms: Floats
    violated: Floats
    failed: Floats
    migrations: Floats
