"""What the model says of requests is what becomes of single requests, one by one.

The model computes with rates and formulas; here each request comes, is routed, waits for a server
and leaves, in an independent simulation of discrete events (`single_requests`). Who answers which
requests is worked out anew from the rules, in plain Python.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from lwmecps_gym.envs.scenario import Scenario, load_scenario
from lwmecps_gym.envs.simulator import ClusterModel, KernelName
from lwmecps_gym.envs.step import Step

from .single_requests import simulate

Floats = NDArray[np.float64]

SEED = 0
KERNELS: tuple[KernelName, ...] = ("reference", "compiled")
ROUTINGS = ("prefer-close", "random")
TIMEOUT_MS = 400.0
QUANTILES = (0.95, 0.99)


@dataclass(frozen=True)
class Cluster:
    """Replicas of services s on nodes n, and users at sites u, as lists of plain numbers."""

    routing: str
    queue: str
    cap: float
    rate_rps: list[float]  # of a replica, by service
    slo_ms: list[float]  # by service
    replicas: list[list[int]]  # by service and node
    rtt_ms: list[list[float]]  # by site and node
    demand_rps: list[list[float]]  # by service and site: the same mix at every site

    def scenario(self) -> Scenario:
        """What the model is told."""
        nodes, sites = range(len(self.rtt_ms[0])), range(len(self.rtt_ms))
        total = sum(map(sum, self.demand_rps))
        site_rps = [sum(service[u] for service in self.demand_rps) for u in sites]
        return load_scenario(
            {
                "name": "simulated",
                "routing": self.routing,
                "queue": self.queue,
                "utilisation_cap": self.cap,
                "timeout_ms": TIMEOUT_MS,
                "nodes": [{"name": f"n{n}", "cpu": 64, "memory_mib": 1} for n in nodes],
                "services": [
                    {"name": f"s{s}", "cpu": 1, "rate_rps": rate, "slo_ms": slo,
                     "min_replicas": 0, "max_replicas": 64}
                    for s, (rate, slo) in enumerate(zip(self.rate_rps, self.slo_ms, strict=True))
                ],
                "sites": [
                    {"name": f"u{u}", "rtt_ms": {f"n{n}": self.rtt_ms[u][n] for n in nodes}}
                    for u in sites
                ],
                "workload": {"trace": {
                    "interval_s": 60,
                    "requests_rps": {f"u{u}": [rps] for u, rps in enumerate(site_rps)},
                    "share": {
                        f"s{s}": {"mean": sum(rps) / total}
                        for s, rps in enumerate(self.demand_rps)
                    },
                }},
            }
        )  # fmt: skip

    def played(self, kernel: KernelName) -> Step:
        """What the model says of a step."""
        model = ClusterModel(self.scenario(), kernel=kernel)
        model.reset({0: np.random.default_rng(0)}, placement=np.array(self.replicas))
        return model.step(np.array([0]))

    def flows(self, s: int) -> list[list[float]]:
        """Requests/s of a service that are served, by site and node."""
        demand, replicas, rate = self.demand_rps[s], self.replicas[s], self.rate_rps[s]
        if self.routing == "random":
            each = sum(demand) / sum(replicas)
            admitted = min(1.0, self.cap * rate / each)
            return [[rps * admitted * c / sum(replicas) for c in replicas] for rps in demand]
        return spilled_over(demand, [self.cap * rate * c for c in replicas], self.rtt_ms)

    def simulated(
        self, outcomes: Callable[[Floats, int], Floats], failed: list[float], longer: int = 1
    ) -> Floats:
        """Mean outcomes [M] of single requests.

        Args:
            outcomes: of the latencies [R] in ms of a service's requests, [R, M].
            failed: outcomes of a request that finds no room, [M].
            longer: as in `simulate`.
        """
        result = np.zeros(len(failed))
        seeds: dict[tuple[int, float], int] = {}  # one run for nodes with the same queue and load
        for s, rate in enumerate(self.rate_rps):
            flows = self.flows(s)
            result += (sum(self.demand_rps[s]) - sum(map(sum, flows))) * np.array(failed)
            for n, replicas in enumerate(self.replicas[s]):
                load = sum(site[n] for site in flows)
                if load == 0:
                    continue
                utilisation = round(load / (replicas * rate), 9)
                seed = seeds.setdefault((replicas, utilisation), SEED + len(seeds))
                queues = 1 if self.queue == "shared" else replicas
                requests = simulate(queues, replicas // queues, utilisation, seed, longer)
                sojourn_ms = 1000 * requests.sojourn / rate
                for site, rtt_ms in zip(flows, self.rtt_ms, strict=True):
                    if site[n] > 0:
                        result += site[n] * requests.mean(outcomes(rtt_ms[n] + sojourn_ms, s))
        return result / sum(map(sum, self.demand_rps))

    def latency_and_violations(self) -> Floats:
        """Mean latency in ms, and share of requests that fail or are too late, one by one."""

        def outcomes(latency_ms: Floats, s: int) -> Floats:
            late = latency_ms > self.slo_ms[s]
            return np.column_stack([np.minimum(latency_ms, TIMEOUT_MS), late])

        return self.simulated(outcomes, failed=[TIMEOUT_MS, 1])

    def failed(self) -> float:
        """Share of requests that find no room."""
        served = sum(sum(map(sum, self.flows(s))) for s in range(len(self.rate_rps)))
        return 1 - served / sum(map(sum, self.demand_rps))


def spilled_over(
    demand: list[float], room: list[float], rtt_ms: list[list[float]]
) -> list[list[float]]:
    """Requests/s by site and node, when sites ask their nearest node first, then the next, ...

    A node that is asked for more than it has room for serves the same part of what each site asks.
    """
    nodes, sites = range(len(room)), range(len(demand))
    left, room = list(demand), list(room)
    flows = [[0.0 for _ in nodes] for _ in sites]
    for k in nodes:
        asked = [sorted(nodes, key=rtt_ms[u].__getitem__)[k] for u in sites]
        for n in nodes:
            asking = [u for u in sites if asked[u] == n]
            wanted = sum(left[u] for u in asking)
            part = min(1.0, room[n] / wanted) if wanted > 0 else 0.0
            for u in asking:
                flows[u][n] = part * left[u]
                left[u] -= flows[u][n]
            room[n] -= part * wanted
    return flows


def two_stations(routing: str, queue: str, replicas: int, utilisation: float) -> Cluster:
    """Two nodes with the same replicas, each beside a site with the same demand."""
    rate = 20.0
    return Cluster(
        routing=routing,
        queue=queue,
        cap=0.99,
        rate_rps=[rate],
        slo_ms=[100],
        replicas=[[replicas, replicas]],
        rtt_ms=[[2, 20], [20, 2]],
        demand_rps=[[utilisation * replicas * rate] * 2],
    )


def crowded(routing: str, queue: str) -> Cluster:
    """Two services, three nodes, four sites: s0 spills over, s1 also fails."""
    return Cluster(
        routing=routing,
        queue=queue,
        cap=0.8,
        rate_rps=[20, 50],
        slo_ms=[150, 60],
        replicas=[[1, 4, 0], [1, 0, 2]],
        rtt_ms=[[2, 24, 36], [24, 2, 20], [36, 20, 2], [50, 32, 18]],
        demand_rps=[[28, 8, 24, 4], [70, 20, 60, 10]],
    )


@pytest.mark.parametrize("routing", ROUTINGS)  # varies first: both use the run that was made last
@pytest.mark.parametrize("utilisation", [0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95])
@pytest.mark.parametrize("replicas", [1, 2, 3, 5, 10])
@pytest.mark.parametrize("queue", ["shared", "split"])
def test_latency_and_violations_are_those_of_single_requests(
    queue: str, replicas: int, utilisation: float, routing: str
) -> None:
    cluster = two_stations(routing, queue, replicas, utilisation)
    latency_ms, violated = cluster.latency_and_violations()
    for kernel in KERNELS:
        step = cluster.played(kernel)
        assert step.latency_ms[0] == pytest.approx(latency_ms, rel=0.03), kernel
        assert step.violated[0] == pytest.approx(violated, abs=0.02), kernel
        assert step.failed[0] == 0, kernel


@pytest.mark.parametrize("routing", ROUTINGS)
@pytest.mark.parametrize("queue", ["shared", "split"])
def test_so_they_are_where_services_spill_over_and_fail(queue: str, routing: str) -> None:
    cluster = crowded(routing, queue)
    latency_ms, violated = cluster.latency_and_violations()
    assert cluster.failed() > 0.1
    for kernel in KERNELS:
        step = cluster.played(kernel)
        assert step.latency_ms[0] == pytest.approx(latency_ms, rel=0.03), kernel
        assert step.violated[0] == pytest.approx(violated, abs=0.02), kernel
        assert step.failed[0] == pytest.approx(cluster.failed(), abs=1e-9), kernel


@pytest.mark.parametrize("level", QUANTILES)
@pytest.mark.parametrize(
    ("queue", "replicas", "utilisation"),
    [("shared", 3, 0.5), ("shared", 10, 0.7), ("split", 3, 0.3)],
)
def test_the_tail_of_the_latency_is_that_of_single_requests(
    queue: str, replicas: int, utilisation: float, level: float
) -> None:
    cluster = two_stations("random", queue, replicas, utilisation)
    every_ms = np.linspace(0, TIMEOUT_MS - 1, 2000)
    survival = cluster.played("reference").performance.survival(every_ms)[0]
    quantile_ms = float(np.interp(level, 1 - survival, every_ms))
    around_ms = quantile_ms * np.linspace(0.9, 1.1, 11)
    assert around_ms[-1] < TIMEOUT_MS
    below = cluster.simulated(
        lambda latency_ms, _: (latency_ms[:, None] <= around_ms).astype(np.float64),
        failed=[0.0] * len(around_ms),
        longer=5,
    )
    assert np.interp(level, below, around_ms) == pytest.approx(quantile_ms, rel=0.03)
