"""Small random clusters, for what must hold in all of them."""

from typing import Any

from hypothesis import strategies as st

from lwmecps_gym.envs.scenario import Scenario, load_scenario
from lwmecps_gym.envs.simulator import KernelName

KERNELS: tuple[KernelName, ...] = ("reference", "compiled")
CHOICES = st.lists(st.integers(0, 1000), max_size=11)
"""Which of the legal actions to take: the number modulo how many there are."""


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    """Small clusters in tenths of cores, so that many placements fit to the last one.

    Every resource is scarce in some; nodes fail in some; some are randomised.
    """
    nodes = [
        {
            "name": f"n{n}",
            "cpu": draw(st.sampled_from([0.4, 0.6, 0.7, 1.2])),
            "memory_mib": draw(st.sampled_from([200, 1000])),
            "tx_mbps": draw(st.sampled_from([20, 1000])),
            "rx_mbps": draw(st.sampled_from([20, 1000])),
            "max_pods": draw(st.integers(2, 8)),
        }
        for n in range(draw(st.integers(1, 3)))
    ]
    services: list[dict[str, Any]] = [
        {
            "name": f"s{s}",
            "cpu": draw(st.sampled_from([0.1, 0.2])),
            "memory_mib": draw(st.sampled_from([0, 100])),
            "tx_mbps": draw(st.sampled_from([0, 10])),
            "rx_mbps": draw(st.sampled_from([0, 10])),
            "rate_rps": draw(st.integers(20, 200)),
            "slo_ms": 50,
            "min_replicas": draw(st.integers(0, 1)),
            "max_replicas": draw(st.integers(1, 6)),
            "startup_s": draw(st.sampled_from([0, 60, 61, 180])),
        }
        for s in range(draw(st.integers(1, 2)))
    ]
    sites = [f"u{u}" for u in range(draw(st.integers(1, 2)))]
    users = {site: draw(st.integers(0, 300)) for site in sites}
    share = {service["name"]: {"mean": 1} for service in services}
    mtbf = draw(st.sampled_from([0, 200]))
    ranges = {"node_cpu": [1, 1.5], "service_rate": [0.5, 2], "rtt": [0.1, 9], "demand": [0.1, 2]}
    return load_scenario(
        {
            "name": "drawn",
            "episode_steps": 12,
            "routing": draw(st.sampled_from(["prefer-close", "random"])),
            "queue": draw(st.sampled_from(["shared", "split"])),
            "nodes": nodes,
            "services": services,
            "sites": [
                {"name": site, "rtt_ms": {f"n{n}": abs(5 * n - 7 * u) for n in range(len(nodes))}}
                for u, site in enumerate(sites)
            ],
            "workload": {"poisson": {"mean_users": users, "share": share}},
            "failures": {"node_mtbf_s": mtbf, "node_mttr_s": 100},
            "randomise": ranges if draw(st.booleans()) else {},
        }
    )
