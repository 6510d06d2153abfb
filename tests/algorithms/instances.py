"""Small random clusters, and every placement that they can have."""

import itertools
from typing import Any

import numpy as np

from lwmecps_gym.envs.cluster import ClusterParams, Floats, Ints, free_resources
from lwmecps_gym.envs.performance import cost_terms, evaluate
from lwmecps_gym.envs.scenario import Scenario, load_scenario


def random_scenario(seed: int, services: int = 2, nodes: int = 3, **fields: Any) -> Scenario:
    """A cluster that is short of room, two sites, and demand that its replicas can just serve."""
    rng = np.random.default_rng(seed)

    def between(low: float, high: float) -> float:
        return round(float(rng.uniform(low, high)), 3)

    node_names = [f"n{n}" for n in range(nodes)]
    document = {
        "name": f"random-{seed}",
        "control_interval_s": 600,
        "episode_steps": 24,
        "routing": ("prefer-close", "random")[seed % 2],
        "queue": ("shared", "split")[seed // 2 % 2],
        "weights": {"balance": between(0, 0.6), "resources": between(0, 0.3)},
        "nodes": [
            {"name": name, "cpu": between(1.2, 2.0), "memory_mib": 1600, "max_pods": 4}
            for name in node_names
        ],
        "services": [
            {
                "name": f"s{s}",
                "cpu": between(0.3, 0.6),
                "memory_mib": 300,
                "rate_rps": between(40, 100),
                "slo_ms": 60,
                "min_replicas": int(rng.integers(1, 3)),
                "max_replicas": 4,
                "startup_s": 300,
            }
            for s in range(services)
        ],
        "sites": [
            {"name": f"u{u}", "rtt_ms": {name: between(2, 50) for name in node_names}}
            for u in range(2)
        ],
        "workload": {
            "diurnal": {
                "peak_users": {"u0": between(10, 20), "u1": between(10, 20)},
                "phase_h": {"u0": 0, "u1": 12},
                "low": 0.1,
                "requests_per_user_rps": 6,
                "noise": 0.1,
                "share": {
                    f"s{s}": {"mean": 1, "swing": 0.5, "peak_h": 8 * s} for s in range(services)
                },
            }
        },
    }
    return load_scenario(document | fields)


def every_placement(scenario: Scenario, least: Ints | None = None) -> Ints:
    """All placements that fit, with at least `least` replicas [S] (the minimum), [X, S, N]."""
    params = ClusterParams.of(scenario)
    least = params.min_replicas if least is None else least
    nodes = range(params.capacity.shape[1])
    rows = [
        [
            row
            for row in itertools.product(range(most + 1), repeat=len(nodes))
            if low <= sum(row) <= most
        ]
        for low, most in zip(least, params.max_replicas, strict=True)
    ]
    found = np.array(list(itertools.product(*rows)))
    up = np.ones((len(found), len(nodes)), dtype=bool)
    free = free_resources(params.take(np.zeros(len(found), dtype=np.int64)), found, up)
    return np.asarray(found[(free > -1e-9).all((1, 2))])


def costs_of(scenario: Scenario, ready: Ints, held: Ints, demand: Floats) -> Floats:
    """Cost of a step, without migrations, in states [X, S, N] under `demand` [S, U], [X]."""
    params = ClusterParams.of(scenario, len(ready))
    tiled = np.broadcast_to(demand, (len(ready), *demand.shape))
    performance = evaluate(scenario, params, ready, tiled)
    terms = cost_terms(scenario, params, held, performance, np.zeros(len(ready)))
    return np.asarray(sum(terms.values()))


def random_demand(scenario: Scenario, rng: np.random.Generator) -> Floats:
    """Some demand in requests/s, [S, U]."""
    return rng.uniform(0, 60, size=(len(scenario.services), len(scenario.sites)))
