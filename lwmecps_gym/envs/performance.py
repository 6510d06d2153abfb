"""What users and operators get from a placement: latency, violations, use of resources, cost."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lwmecps_gym.envs.cluster import ClusterParams, Floats, Ints
from lwmecps_gym.envs.queueing import erlang_c, sojourn_tail, truncated_sojourn
from lwmecps_gym.envs.routing import even_spread, prefer_close

if TYPE_CHECKING:
    from lwmecps_gym.envs.scenario import Scenario

COST_TERMS = ("latency", "violation", "resources", "balance", "migration")


@dataclass(frozen=True)
class Performance:
    """Requests of one step under a placement.

    Attributes:
        share: share of a cluster's requests that go from u to n for s, [B, S, U, N].
        failed: share of a cluster's requests that find no room and end at the timeout, [B].
        latency_ms: mean over all requests, [B]; 0 without requests.
        violated: share of requests that fail or take longer than the SLO, [B].
        service_latency_ms: [B, S].
        site_latency_ms: [B, U].
        utilisation: load over the rate of the ready replicas, [B, S, N].
        wait, mu, theta: of the queues (see `queueing`), [B, S, N].
    """

    share: Floats
    failed: Floats
    latency_ms: Floats
    violated: Floats
    service_latency_ms: Floats
    site_latency_ms: Floats
    utilisation: Floats
    wait: Floats
    mu: Floats
    theta: Floats
    rtt_ms: Floats
    timeout_ms: float

    def survival(self, thresholds_ms: Floats) -> Floats:
        """Share of requests that take longer than each threshold, [B, G], by the exact tails."""
        b, s, u, n = np.nonzero(self.share)
        spare_s = (thresholds_ms - self.rtt_ms[b, u, n][:, None]) / 1000
        queues = [values[b, s, n][:, None] for values in (self.wait, self.mu, self.theta)]
        tail = sojourn_tail(queues[0], queues[1], queues[2], spare_s)
        result = np.repeat(self.failed[:, None], len(thresholds_ms), axis=1)
        np.add.at(result, b, self.share[b, s, u, n][:, None] * tail)
        result[:, thresholds_ms >= self.timeout_ms] = 0.0
        return result


def evaluate(
    scenario: "Scenario", params: ClusterParams, ready: Ints, demand: Floats
) -> Performance:
    """Performance of `ready` replicas [B, S, N] under `demand` [B, S, U] in requests/s.

    A replica admits requests up to `utilisation_cap` of its rate; what no replica admits fails at
    `timeout_ms`. A request's latency is `min(rtt + sojourn, timeout)`.
    """
    rate = params.rate[..., None]
    capacity = scenario.utilisation_cap * ready * rate
    if scenario.routing == "prefer-close":
        flows = prefer_close(demand, capacity, params.nearest)
    else:
        flows = even_spread(demand, capacity, ready.astype(np.float64))
    load = flows.sum(2)
    servers = np.maximum(ready, 1)
    if scenario.queue == "shared":
        wait = erlang_c(servers, load / rate)
        theta = servers * rate - load
    else:
        wait = load / (servers * rate)
        theta = rate - load / servers
    mu = np.broadcast_to(rate, theta.shape)

    rtt, limit = params.rtt_ms[:, None], scenario.timeout_ms
    queues = _queues(wait, mu, theta)
    latency = np.minimum(rtt, limit) + 1000 * truncated_sojourn(*queues, (limit - rtt) / 1000)
    slo = params.slo_ms[:, :, None, None]
    late = np.where(slo < limit, sojourn_tail(*queues, (slo - rtt) / 1000), 0.0)

    total = demand.sum((1, 2))
    safe_total = np.maximum(total, 1e-300)
    lost = np.maximum(0.0, demand - flows.sum(-1))
    spent = (flows * latency).sum(-1) + lost * limit
    share = flows / safe_total[:, None, None, None]
    failed = lost.sum((1, 2)) / safe_total
    return Performance(
        share=share,
        failed=failed,
        latency_ms=spent.sum((1, 2)) / safe_total,
        violated=(share * late).sum((1, 2, 3)) + failed,
        service_latency_ms=spent.sum(2) / np.maximum(demand.sum(2), 1e-300),
        site_latency_ms=spent.sum(1) / np.maximum(demand.sum(1), 1e-300),
        utilisation=load / (servers * rate),
        wait=wait,
        mu=mu,
        theta=theta,
        rtt_ms=params.rtt_ms,
        timeout_ms=limit,
    )


def _queues(wait: Floats, mu: Floats, theta: Floats) -> tuple[Floats, Floats, Floats]:
    """Queues of [B, S, N] as [B, S, 1, N], to be met by sites."""
    return wait[:, :, None], mu[:, :, None], theta[:, :, None]


def cost_terms(
    scenario: "Scenario",
    params: ClusterParams,
    replicas: Ints,
    performance: Performance,
    migrations: Floats,
) -> dict[str, Floats]:
    """Weighted terms of the cost of a step, each [B]; the reward is minus their sum.

    Args:
        scenario: gives weights and scale.
        params: of the clusters.
        replicas: ready and starting, [B, S, N]; both hold their resources.
        performance: of the step.
        migrations: pods started or moved, [B].
    """
    weights = scenario.weights
    used = np.einsum("bsn,bs->bn", replicas, params.request[..., 0])
    cpu = params.capacity[..., 0]
    utilisation = used / cpu
    deviation = np.abs(utilisation - utilisation.mean(-1, keepdims=True)).mean(-1)
    return {
        "latency": weights.latency * performance.latency_ms / scenario.latency_scale_ms,
        "violation": weights.violation * performance.violated,
        "resources": weights.resources * used.sum(-1) / cpu.sum(-1),
        "balance": weights.balance * deviation,
        "migration": weights.migration * migrations,
    }
