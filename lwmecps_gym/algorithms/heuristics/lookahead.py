"""What a step would cost after an action, without playing it.

Requests of different services never meet, and an action changes one service: only the users of that
service are evaluated anew, which is S times less work than whole clusters.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from lwmecps_gym.envs.actions import ActionTable, Kind, apply_to
from lwmecps_gym.envs.cluster import Bools, ClusterParams, ClusterState, Floats, Ints
from lwmecps_gym.envs.performance import Performance, cost_terms, evaluate
from lwmecps_gym.envs.scenario import Scenario

BLOCK = 2_000_000
"""Queues (clusters x sites x nodes) that are evaluated together; bounds the memory."""


@dataclass(frozen=True)
class Outcome:
    """A step after each of X actions, all replicas ready.

    Attributes:
        latency_ms: mean over all requests, [X].
        cost: of the step, [X].
    """

    latency_ms: Floats
    cost: Floats


def outcomes(
    scenario: Scenario,
    table: ActionTable,
    state: ClusterState,
    row: Ints,
    action: Ints,
    horizon_steps: float = 1.0,
) -> Outcome:
    """Evaluate actions for the demand just measured.

    Args:
        scenario: what is played.
        table: numbers the actions.
        state: of B clusters.
        row: clusters in which actions are tried, [X].
        action: what is tried there, [X].
        horizon_steps: steps over which the migration term of an action is spread.
    """
    params, demand, replicas = state.params, state.demand, state.replicas
    every = np.indices(replicas.shape[:2])
    latency, violated = (np.empty(every.shape[1:]) for _ in range(2))
    for part in blocks(params, latency.size):
        b, s = (index.ravel()[part] for index in every)
        met = users_of(scenario, params, b, s, replicas[b, s], demand)
        latency[b, s], violated[b, s] = met.latency_ms, met.violated

    result = Outcome(np.empty(len(row)), np.empty(len(row)))
    for part in blocks(params, len(row)):
        b, a = row[part], action[part]
        s = np.maximum(table.service[a], 0)
        after = apply_to(replicas[b], table, a)
        met = users_of(scenario, params, b, s, after[np.arange(len(b)), s], demand)
        whole = replace(
            met,
            latency_ms=latency[b].sum(1) - latency[b, s] + met.latency_ms,
            violated=violated[b].sum(1) - violated[b, s] + met.violated,
        )
        started = (table.kind[a] == Kind.PLACE) | (table.kind[a] == Kind.MOVE)
        terms = cost_terms(scenario, params.take(b), after, whole, started / horizon_steps)
        result.latency_ms[part], result.cost[part] = whole.latency_ms, sum(terms.values())
    return result


def cheapest(
    scenario: Scenario,
    table: ActionTable,
    state: ClusterState,
    tried: Bools,
    horizon_steps: float = 1.0,
) -> Ints:
    """The action of those `tried`, [B, A], after which a step costs least; 0 without any, [B]."""
    row, action = np.nonzero(tried)
    cost = np.full(tried.shape, np.inf)
    cost[row, action] = outcomes(scenario, table, state, row, action, horizon_steps).cost
    return np.argmin(cost, axis=1)


def users_of(
    scenario: Scenario,
    params: ClusterParams,
    cluster: Ints,
    service: Ints,
    ready: Ints,
    demand: Floats,
) -> Performance:
    """What the users of single services meet.

    Args:
        scenario: what is played.
        params: of B clusters.
        cluster: which of them, [X].
        service: which service of it, [X].
        ready: replicas of that service, [X, N].
        demand: requests/s of the clusters, [B, S, U].

    Returns:
        Performance of X clusters with one service each. `latency_ms` and `violated` are parts of
        the means over all requests of the cluster: sums over its services are its own.
    """
    own = demand[cluster, service]
    met = evaluate(scenario, _alone(params, cluster, service), ready[:, None], own[:, None])
    share = own.sum(1) / np.maximum(demand[cluster].sum((1, 2)), 1e-300)
    return replace(met, latency_ms=met.latency_ms * share, violated=met.violated * share)


def blocks(params: ClusterParams, count: int) -> Iterator[slice]:
    """Split `count` single services so that each part has at most `BLOCK` queues, or is one."""
    size = max(1, BLOCK // (params.rtt_ms.shape[1] * params.rtt_ms.shape[2]))
    return (slice(first, first + size) for first in range(0, count, size))


def _alone(params: ClusterParams, cluster: Ints, service: Ints) -> ClusterParams:
    """Clusters with one service each; limits and start-up times stay those of the whole ones."""
    return replace(
        params.take(cluster),
        request=params.request[cluster, service][:, None],
        rate=params.rate[cluster, service][:, None],
        slo_ms=params.slo_ms[cluster, service][:, None],
    )
