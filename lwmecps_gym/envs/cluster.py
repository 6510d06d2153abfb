"""Arrays that describe a batch of clusters: what is fixed in an episode, and what changes.

Axes: B clusters, S services, N nodes, U sites, R resources (`RESOURCES`), A actions.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from lwmecps_gym.envs.scenario import Randomise, Scenario

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

RESOURCES = ("cpu", "memory_mib", "tx_mbps", "rx_mbps", "pods")
EARTH_RADIUS_KM = 6371.0


@dataclass(frozen=True)
class ClusterParams:
    """What does not change during an episode.

    Attributes:
        capacity: allocatable resources of the nodes, [B, N, R].
        request: resources of one replica, [B, S, R].
        rate: service rate of one replica, requests/s, [B, S].
        slo_ms: [B, S].
        rtt_ms: round trip between site and node, [B, U, N].
        nearest: nodes by rising `rtt_ms` (ties by index), [B, U, N].
        demand_factor: factor on the demand, [B].
        min_replicas, max_replicas: [S].
        startup_steps: whole steps before a new replica serves, [S].
    """

    capacity: Floats
    request: Floats
    rate: Floats
    slo_ms: Floats
    rtt_ms: Floats
    nearest: Ints
    demand_factor: Floats
    min_replicas: Ints
    max_replicas: Ints
    startup_steps: Ints

    @classmethod
    def of(cls, scenario: "Scenario", batch: int = 1) -> "ClusterParams":
        """Arrays of a scenario, the same for each of `batch` clusters."""
        nodes, services = scenario.nodes, scenario.services
        capacity = np.array(
            [[n.cpu, n.memory_mib, n.tx_mbps, n.rx_mbps, n.max_pods] for n in nodes], dtype=float
        )
        request = np.array([[s.cpu, s.memory_mib, s.tx_mbps, s.rx_mbps, 1] for s in services])
        rtt = rtt_matrix(scenario)

        def tile(values: Floats) -> Floats:
            return np.repeat(np.asarray(values, dtype=np.float64)[None], batch, axis=0)

        return cls(
            capacity=tile(capacity),
            request=tile(request),
            rate=tile(np.array([s.rate_rps for s in services])),
            slo_ms=tile(np.array([s.slo_ms for s in services])),
            rtt_ms=tile(rtt),
            nearest=np.repeat(np.argsort(rtt, axis=-1, kind="stable")[None], batch, axis=0),
            demand_factor=np.ones(batch),
            min_replicas=np.array([s.min_replicas for s in services]),
            max_replicas=np.array([s.max_replicas for s in services]),
            startup_steps=np.array(
                [int(np.ceil(s.startup_s / scenario.control_interval_s)) for s in services]
            ),
        )

    def randomise(
        self, index: int, base: "ClusterParams", ranges: "Randomise", rng: np.random.Generator
    ) -> None:
        """Draw cluster `index` anew, in place, around the only cluster of `base`."""
        pairs = [
            (self.capacity[index, :, 0], base.capacity[0, :, 0], ranges.node_cpu),
            (self.rate[index], base.rate[0], ranges.service_rate),
            (self.rtt_ms[index], base.rtt_ms[0], ranges.rtt),
            (self.demand_factor[index : index + 1], base.demand_factor, ranges.demand),
        ]
        for values, mean, scale in pairs:
            values[...] = mean * rng.uniform(*scale, size=mean.shape) if scale else mean
        if ranges.rtt:
            self.nearest[index] = np.argsort(self.rtt_ms[index], axis=-1, kind="stable")

    def take(self, index: Ints) -> "ClusterParams":
        """Select clusters (with repetition where `index` repeats)."""
        shared = {"min_replicas", "max_replicas", "startup_steps"}
        return replace(
            self,
            **{
                name: getattr(self, name)[index]
                for name in self.__dataclass_fields__
                if name not in shared
            },
        )


@dataclass(frozen=True)
class ClusterState:
    """What a policy sees: a batch of clusters at the start of a step.

    `demand` and what follows it were measured in the step before.

    Attributes:
        params: what does not change.
        time_s: since midnight of the first day, [B].
        ready: replicas that serve, [B, S, N].
        starting: replicas that take room and do not serve yet, [B, S, N].
        node_up: [B, N].
        demand: requests/s, [B, S, U].
        utilisation: load over the rate of the ready replicas, 0 where there are none, [B, S, N].
        latency_ms: mean over the requests of a service, [B, S].
    """

    params: ClusterParams
    time_s: Floats
    ready: Ints
    starting: Ints
    node_up: Bools
    demand: Floats
    utilisation: Floats
    latency_ms: Floats

    @property
    def replicas(self) -> Ints:
        """Ready and starting replicas, [B, S, N]."""
        return self.ready + self.starting

    @property
    def free(self) -> Floats:
        """Resources not requested, [B, N, R]; 0 on nodes that are down."""
        return free_resources(self.params, self.replicas, self.node_up)


def free_resources(params: ClusterParams, replicas: Ints, node_up: Bools) -> Floats:
    """Resources not requested by any replica, [B, N, R]; 0 on nodes that are down."""
    used = np.einsum("bsn,bsr->bnr", replicas, params.request)
    return np.asarray((params.capacity - used) * node_up[..., None])


def rtt_matrix(scenario: "Scenario") -> Floats:
    """Round-trip times in ms from each site to each node, [U, N].

    Given ones win; others are `rtt_base_ms + ms_per_km * great-circle distance` (haversine).
    """
    matrix = np.empty((len(scenario.sites), len(scenario.nodes)))
    for u, site in enumerate(scenario.sites):
        for n, node in enumerate(scenario.nodes):
            if node.name in site.rtt_ms:
                matrix[u, n] = site.rtt_ms[node.name]
                continue
            lat1, lon1, lat2, lon2 = np.radians(
                np.array([site.lat, site.lon, node.lat, node.lon], dtype=float)
            )
            half = (
                np.sin((lat2 - lat1) / 2) ** 2
                + np.cos(lat1) * np.cos(lat2) * np.sin((lon2 - lon1) / 2) ** 2
            )
            distance_km = 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(half))
            matrix[u, n] = scenario.rtt_base_ms + scenario.ms_per_km * distance_km
    return matrix
