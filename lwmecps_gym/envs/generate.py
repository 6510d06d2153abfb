"""Made-up scenarios of any size, for benchmarks and tests."""

import numpy as np

from lwmecps_gym.envs.family import ScenarioFamily
from lwmecps_gym.envs.scenario import Randomise, Scenario

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


KINDS = ((0.5, 100.0), (0.25, 60.0), (0.1, 250.0), (0.2, 120.0))
"""Kinds of services that `edge_scenario` takes in turn: cores per replica, requests/s of one."""
NODES_PER_SQUARE = 4
"""Nodes in a square of `EDGE_DEGREES`: as many nodes are as near in a cluster of any size."""
EDGE_DEGREES = 1.2


def edge_scenario(
    nodes: int,
    services: int,
    seed: int = 0,
    *,
    episode_steps: int = 1440,
    control_interval_s: float = 60,
) -> Scenario:
    """Draw a scenario in which placement matters: `four-stations` for any number of nodes.

    Each node has a site beside it. The sites' days are shifted evenly over 24 hours, and the
    services' shares over the day: so demand wanders, while its sum changes little. At its peak a
    site asks for about three quarters of its node's CPU, which is more than fits, as replicas are
    large. Round trips to a neighbour take about as long as to another station in `four-stations`,
    and SLOs are four to six service times. A pod that is moved costs the less, the larger the
    cluster is, as all other terms of the cost are means over the cluster.

    Args:
        nodes: number of nodes, and of sites.
        services: number of services.
        seed: the same seed gives the same scenario.
        episode_steps: length of an episode, steps.
        control_interval_s: length of a step, s.
    """
    rng = np.random.default_rng([seed, nodes, services])
    side = EDGE_DEGREES * np.sqrt(nodes / NODES_PER_SQUARE)
    lat, lon = 50 + side * (rng.random(nodes) - 0.5) * 0.65, 10 + side * (rng.random(nodes) - 0.5)
    cpu = rng.uniform(0.8, 1.3, nodes)
    per_replica, rate = (np.resize(column, services) for column in zip(*KINDS, strict=True))
    per_replica = per_replica * rng.uniform(0.8, 1.25, services)
    rate = rate * rng.uniform(0.8, 1.25, services)
    slo_ms = 2 + 1000 / rate * rng.uniform(4, 6, services)
    share = rng.uniform(0.8, 1.25, services) / services
    cpu_per_rps = (share * per_replica / rate).sum() / share.sum()
    peak_rps = cpu * rng.uniform(0.65, 0.85, nodes) / cpu_per_rps
    least = 0.15 * peak_rps.sum() * share / share.sum() / rate
    names = [f"node-{n}" for n in range(nodes)]
    where = [{"lat": float(a), "lon": float(b)} for a, b in zip(lat, lon, strict=True)]
    phase_h = 24 * (rng.permutation(nodes) + rng.random()) / nodes
    peak_h = 24 * (rng.permutation(services) + rng.random()) / services
    return Scenario.model_validate(
        {
            "name": f"edge-{nodes}x{services}-{seed}",
            "episode_steps": episode_steps,
            "control_interval_s": control_interval_s,
            "rtt_base_ms": 2,
            "ms_per_km": 0.4,
            "weights": {"migration": 0.08 / nodes},
            "nodes": [
                {"name": name, "cpu": float(cores), "memory_mib": 4096, **at}
                for name, cores, at in zip(names, cpu, where, strict=True)
            ],
            "services": [
                {
                    "name": f"service-{s}",
                    "cpu": float(per_replica[s]),
                    "memory_mib": 128,
                    "tx_mbps": 5,
                    "rx_mbps": 5,
                    "rate_rps": float(rate[s]),
                    "slo_ms": float(slo_ms[s]),
                    "min_replicas": max(1, int(least[s])),
                    "max_replicas": min(4 * nodes, 1000),
                    "startup_s": 20,
                }
                for s in range(services)
            ],
            "sites": [{"name": name, **at} for name, at in zip(names, where, strict=True)],
            "workload": {
                "diurnal": {
                    "peak_users": dict(zip(names, (peak_rps / 6).tolist(), strict=True)),
                    "phase_h": dict(zip(names, phase_h.tolist(), strict=True)),
                    "requests_per_user_rps": 6,
                    "noise": 0.1,
                    "share": {
                        f"service-{s}": {
                            "mean": float(share[s]),
                            "swing": 0.8,
                            "peak_h": float(peak_h[s]),
                        }
                        for s in range(services)
                    },
                }
            },
        }
    )


MEMBERS_RANDOMISE = Randomise(
    node_cpu=(0.8, 1.2), service_rate=(0.85, 1.2), rtt=(0.8, 1.25), demand=(0.85, 1.15)
)
"""Every episode draws the member of a family anew within these factors."""


def draw_members(family: ScenarioFamily) -> list[Scenario]:
    """The scenarios of a family."""
    intervals = family.intervals_s()
    return [
        edge_scenario(
            nodes,
            services,
            1000 * family.seed + index,
            episode_steps=family.episode_steps,
            control_interval_s=intervals[index],
        ).model_copy(update={"randomise": MEMBERS_RANDOMISE})
        for index, (nodes, services) in enumerate(family.sizes())
    ]


def family_scenario(family: ScenarioFamily) -> Scenario:
    """A family as a scenario: the first of its largest members, by the family's name."""
    member = max(draw_members(family), key=lambda each: (len(each.nodes), len(each.services)))
    nodes, services = (
        "-".join(map(str, sorted({*each}))) for each in (family.nodes, family.services)
    )
    name = f"family-{nodes}x{services}-{family.seed}"
    return member.model_copy(update={"name": name, "family": family})
