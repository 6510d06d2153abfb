"""The arrays that compiled functions work on.

Axes as everywhere: B clusters, S services, N nodes, U sites, R resources, K stages of start-up.
P is B where each cluster has round-trip times of its own, else 1. L is the length of an episode
and one, H the sites near a node (`cluster.NEAR_SITES`, or all).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Shorts = NDArray[np.int16]
Bools = NDArray[np.bool_]


class Rules(NamedTuple):
    """The scenario's own numbers."""

    prefer_close: bool
    shared_queue: bool
    failures: bool
    utilisation_cap: float
    timeout_ms: float
    latency: float
    violation: float
    resources: float
    balance: float
    migration: float


class Clusters(NamedTuple):
    """What does not change in an episode; the arrays of `ClusterParams`, and orders made of them.

    Attributes:
        rtt_ms: round trip, by node and site, [P, N, U].
        nearest: nodes by rising round-trip time from a site, [P, U, N].
        rank: place of a node in the site's `nearest`, by node and site, [P, N, U].
        near_sites: sites by rising round-trip time to a node, the first H, [P, N, H].
        near_rtt_ms: of those, [P, N, H].
        near_within: how many of those keep the SLO of a service without waiting, [B, S, N].
    """

    capacity: Floats
    request: Floats
    rate: Floats
    slo_ms: Floats
    min_replicas: Ints
    max_replicas: Ints
    startup_steps: Ints
    rtt_ms: Floats
    nearest: Shorts
    rank: Shorts
    near_sites: Shorts
    near_rtt_ms: Floats
    near_within: Shorts


class States(NamedTuple):
    """What changes: the arrays of `ClusterModel`, and what is remembered between steps.

    Requests [L, B, U], shares [L, B, S] and `up` [L, B, N] have time first, as the clusters go
    through it together.

    Attributes:
        starting: replicas of a service that do not serve yet, [B, S].
        total: replicas of a service, [B, S].
        used: requested resources, [B, N, R].
        free: share of a resource that is not requested, 0 where the node is down, [B, N, R].
        room: one more replica fits, and the node is up, [B, S, N].
        moved: the nodes that host a service are no longer those in `hosts`, [B, S].
        hosts: nodes with ready replicas, the first `host_count`, [B, S, N].
        first: the nearest of them for each site, [B, S, U], and its `first_rtt_ms`.
    """

    t: Ints
    fresh: Bools
    ready: Shorts
    stages: Shorts
    node_up: Bools
    up: Bools
    requests: Floats
    shares: Floats
    utilisation: Floats
    latency_ms: Floats
    starting: Ints
    total: Ints
    used: Floats
    free: Floats
    room: Bools
    moved: Bools
    hosts: Shorts
    host_count: Ints
    first: Shorts
    first_rtt_ms: Floats


class Actions(NamedTuple):
    """The columns of `ActionTable`, [A]."""

    kind: Ints
    service: Ints
    source: Ints
    target: Ints


class Work(NamedTuple):
    """Room for what is computed on the way, for one cluster at a time.

    Attributes:
        flow, flow_rtt_ms, flow_pair: the flows that wait for `sojourn.settle`: requests/s, their
            round trip, and s * N + n.
        segment: where the flows of a service begin, [S + 1].
        powers: exponents and exponentials, at most four per flow.
        theta, slow, slow_ms: of the queue of a pair, [S * N]; see `sojourn.prepare_queue`.
        load, space, asked: requests/s per node, [N].
        left: requests/s per site that found no room yet, [U], and the node asked next, `target`.
        admitted: share of what is asked of a node in a round, [N].
        queue, following: linked lists of sites by rank, [N] and [U].
        first_rank: rank of the nearest host, [U].
        asked_nodes: nodes asked in a round, [U].
        open_hosts: hosts of a service that have room left, [N].
        spent, late, demand: sums per service, [S].
        nearest_requests: of the sites for which a node is the nearest, requests/s, [N].
        near_requests, near_rtt: requests/s near a node, and their mean round trip / 100 ms, [N].
        cumulated: share in them of the nearest site, the two nearest and so on, [N, 1 + H].
    """

    flow: Floats
    flow_rtt_ms: Floats
    flow_pair: Ints
    segment: Ints
    powers: Floats
    theta: Floats
    slow: Floats
    slow_ms: Floats
    load: Floats
    space: Floats
    asked: Floats
    admitted: Floats
    left: Floats
    target: Ints
    first_rank: Shorts
    queue: Ints
    following: Ints
    asked_nodes: Ints
    open_hosts: Ints
    spent: Floats
    late: Floats
    demand: Floats
    nearest_requests: Floats
    near_requests: Floats
    near_rtt: Floats
    cumulated: Floats


class Outcome(NamedTuple):
    """What a step brought, each [B]; `terms` [5, B] in the order of `COST_TERMS`."""

    terms: Floats
    latency_ms: Floats
    violated: Floats
    failed: Floats
    migrations: Floats
