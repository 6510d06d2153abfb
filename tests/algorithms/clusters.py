"""Clusters built by hand, for tests that say what a policy sees."""

from typing import Any

import numpy as np

from lwmecps_gym.envs.cluster import ClusterParams, ClusterState, Ints
from lwmecps_gym.envs.performance import evaluate
from lwmecps_gym.envs.scenario import Scenario, load_scenario


def changed(base: str, **fields: Any) -> Scenario:
    """A packaged scenario with some of its fields replaced."""
    return load_scenario(load_scenario(base).document() | fields)


def failing(base: str) -> Scenario:
    """A packaged scenario whose nodes fail every two hours, for half an hour."""
    return changed(base, failures={"node_mtbf_s": 7200, "node_mttr_s": 1800})


def cluster(
    scenario: Scenario,
    ready: Any,
    *,
    starting: Any = None,
    demand: Any = None,
    utilisation: Any = None,
    node_up: Any = None,
    time_s: float = 0.0,
) -> ClusterState:
    """One cluster as a policy sees it.

    Args:
        scenario: whose cluster.
        ready: [S, N]; so is `starting`, none unless given.
        starting: see `ready`.
        demand: requests/s, [S, U]; none unless given.
        utilisation: of the ready replicas, [S, N]; the model's for this demand unless given.
        node_up: [N]; all unless given.
        time_s: s since midnight.
    """
    params = ClusterParams.of(scenario)
    pods = np.array([ready], dtype=np.int64)
    requests = np.zeros((1, len(scenario.services), len(scenario.sites)))
    if demand is not None:
        requests[0] = demand
    performance = evaluate(scenario, params, pods, requests)
    return ClusterState(
        params=params,
        time_s=np.array([time_s]),
        ready=pods,
        starting=np.zeros_like(pods) if starting is None else np.array([starting]),
        node_up=np.ones((1, pods.shape[2]), bool) if node_up is None else np.array([node_up]),
        demand=requests,
        utilisation=performance.utilisation if utilisation is None else np.array([utilisation]),
        latency_ms=performance.service_latency_ms,
    )


def random_placement(scenario: Scenario, rng: np.random.Generator) -> Ints:
    """A placement that fits the nodes and the limits of every service, [S, N]."""
    params = ClusterParams.of(scenario)
    services, nodes = len(scenario.services), len(scenario.nodes)
    placement = np.zeros((services, nodes), dtype=np.int64)
    free = params.capacity[0].copy()
    least, most = params.min_replicas, params.max_replicas
    wanted = [s for s in range(services) for _ in range(least[s])]
    wanted += rng.integers(services, size=int(rng.integers(12))).tolist()
    for s in wanted:
        room = np.flatnonzero((params.request[0, s] <= free + 1e-9).all(-1))
        if len(room) and placement[s].sum() < most[s]:
            node = int(rng.choice(room))
            placement[s, node] += 1
            free[node] -= params.request[0, s]
    return placement
