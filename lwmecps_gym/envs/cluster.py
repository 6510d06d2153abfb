"""Arrays that describe a batch of clusters: what is fixed in an episode, and what changes.

Axes: B clusters, S services, N nodes, U sites, R resources (`RESOURCES`), A actions, H sites near a
node.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from lwmecps_gym.envs.scenario import Randomise, Scenario

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

RESOURCES = ("cpu", "memory_mib", "tx_mbps", "rx_mbps", "pods")
EARTH_RADIUS_KM = 6371.0
NEAR_SITES = 16
"""H, unless there are fewer sites: what a node has to do with sites is asked of these."""


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
        near_sites: the sites nearest to a node by rising `rtt_ms` (ties by index), [B, N, H].
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
    near_sites: Ints
    demand_factor: Floats
    min_replicas: Ints
    max_replicas: Ints
    startup_steps: Ints

    @classmethod
    def of(cls, scenario: "Scenario", batch: int = 1, *, own_rtt: bool = True) -> "ClusterParams":
        """Arrays of a scenario, the same for each of `batch` clusters.

        Args:
            scenario: what they describe.
            batch: B.
            own_rtt: give each cluster round-trip times that can be drawn anew; else all share one
                read-only matrix, which is the largest of the arrays.
        """
        nodes, services = scenario.nodes, scenario.services
        capacity = np.array(
            [[n.cpu, n.memory_mib, n.tx_mbps, n.rx_mbps, n.max_pods] for n in nodes], dtype=float
        )
        request = np.array([[s.cpu, s.memory_mib, s.tx_mbps, s.rx_mbps, 1] for s in services])
        rtt = rtt_matrix(scenario)

        nearest, near_sites = _orders(rtt)

        def tile(values: Floats) -> Floats:
            return np.repeat(np.asarray(values, dtype=np.float64)[None], batch, axis=0)

        def tile_rtt(values: NDArray[Any]) -> NDArray[Any]:
            shared = np.broadcast_to(values, (batch, *values.shape))
            return shared.copy() if own_rtt else shared

        return cls(
            capacity=tile(capacity),
            request=tile(request),
            rate=tile(np.array([s.rate_rps for s in services])),
            slo_ms=tile(np.array([s.slo_ms for s in services])),
            rtt_ms=tile_rtt(rtt),
            nearest=tile_rtt(nearest),
            near_sites=tile_rtt(near_sites),
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
            if scale:
                values[...] = mean * rng.uniform(*scale, size=mean.shape)
        if ranges.rtt:
            self.nearest[index], self.near_sites[index] = _orders(self.rtt_ms[index])

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
    # places that are not known become NaN; a valid scenario gives the times to and from them
    sites, nodes = (
        np.radians(np.array([[item.lat, item.lon] for item in items], dtype=float))
        for items in (scenario.sites, scenario.nodes)
    )
    delta = nodes[None] - sites[:, None]
    half = (
        np.sin(delta[..., 0] / 2) ** 2
        + np.cos(sites[:, None, 0]) * np.cos(nodes[None, :, 0]) * np.sin(delta[..., 1] / 2) ** 2
    )
    distance_km = 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(half))
    matrix = scenario.rtt_base_ms + scenario.ms_per_km * distance_km
    column = {node.name: n for n, node in enumerate(scenario.nodes)}
    for u, site in enumerate(scenario.sites):
        for name, rtt_ms in site.rtt_ms.items():
            matrix[u, column[name]] = rtt_ms
    return np.asarray(matrix)


def _orders(rtt_ms: Floats) -> tuple[Ints, Ints]:
    """`nearest` [U, N] and `near_sites` [N, H] of round-trip times [U, N]."""
    nearest = np.argsort(rtt_ms, axis=1, kind="stable")
    return nearest, np.argsort(rtt_ms.T, axis=1, kind="stable")[:, :NEAR_SITES]
