"""Made-up scenarios of any size, for benchmarks and tests."""

import numpy as np

from lwmecps_gym.envs.scenario import Scenario

WIDTH_DEGREES = 1.5
"""Side of the square, at mid latitudes, in which nodes and users are."""


def random_scenario(nodes: int, services: int, seed: int = 0) -> Scenario:
    """Draw a scenario: each node stands beside a site, with a peak at an hour of its own.

    Args:
        nodes: number of nodes, and of sites.
        services: number of services.
        seed: the same seed gives the same scenario.
    """
    rng = np.random.default_rng([seed, nodes, services])
    places = 50 + WIDTH_DEGREES * rng.random((nodes, 2))
    where = [{"lat": float(lat), "lon": float(lon)} for lat, lon in places]
    names = [f"node-{n}" for n in range(nodes)]
    return Scenario.model_validate(
        {
            "name": f"random-{nodes}x{services}-{seed}",
            "rtt_base_ms": 2,
            "ms_per_km": 0.4,
            "nodes": [
                {"name": name, "cpu": float(rng.uniform(1, 2)), "memory_mib": 4096, **at}
                for name, at in zip(names, where, strict=True)
            ],
            "services": [
                {
                    "name": f"service-{s}",
                    "cpu": float(rng.choice([0.1, 0.2, 0.4])),
                    "memory_mib": 128,
                    "tx_mbps": 5,
                    "rx_mbps": 5,
                    "rate_rps": float(rng.uniform(50, 250)),
                    "slo_ms": float(rng.uniform(40, 100)),
                    "max_replicas": min(2 * nodes, 1000),
                    "startup_s": 20,
                }
                for s in range(services)
            ],
            "sites": [{"name": name, **at} for name, at in zip(names, where, strict=True)],
            "workload": {
                "diurnal": {
                    "peak_users": {name: float(rng.uniform(30, 60)) for name in names},
                    "phase_h": {name: float(rng.uniform(0, 24)) for name in names},
                    "requests_per_user_rps": 4,
                    "noise": 0.1,
                    "share": {
                        f"service-{s}": {
                            "mean": 1.0,
                            "swing": 0.8,
                            "peak_h": float(rng.uniform(0, 24)),
                        }
                        for s in range(services)
                    },
                }
            },
        }
    )
