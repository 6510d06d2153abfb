"""Latency, violations and use of every cluster: what `performance.evaluate` says in sums."""

from lwmecps_gym.envs.compiled.jit import compiled, entry
from lwmecps_gym.envs.compiled.memory import (
    Demand,
    Desk,
    Floats,
    Flows,
    Measured,
    Network,
    Outcome,
    Pods,
    Routes,
    Rules,
    Shorts,
    Speeds,
)
from lwmecps_gym.envs.compiled.routing import find_hosts, send_close, spill_over
from lwmecps_gym.envs.compiled.sojourn import prepare_queue, settle


@entry
def evaluate(
    rules: Rules,
    speeds: Speeds,
    network: Network,
    demand: Demand,
    pods: Pods,
    routes: Routes,
    measured: Measured,
    flows: Flows,
    desk: Desk,
    only_fresh: bool,
    outcome: Outcome,
) -> None:
    """Measure the interval to come in every cluster.

    Writes the latency and the utilisation that the next observation shows, and in `outcome` the
    mean latency, the violated and the failed share. With `only_fresh` it is the interval before the
    first one, in the clusters that have just begun, and nothing is written to `outcome`.
    """
    batch, services, _ = pods.ready.shape
    ahead = 0 if only_fresh else 1
    for b in range(batch):
        if only_fresh and not measured.fresh[b]:
            continue
        own = min(b, len(network.rtt_ms) - 1)
        nearest, rank, rtt_ms = (
            network.nearest[own],
            network.rank[own],
            network.rtt_ms[own],
        )
        row = min(demand.t[b] + ahead, len(demand.requests) - 1)
        requests, shares = demand.requests[row, b], demand.shares[row, b]
        rate, slo_ms = speeds.rate[b], speeds.slo_ms[b]
        offered = 0.0
        for u in range(len(requests)):
            offered += requests[u]
        failed = total = spent = late = 0.0
        for s in range(services):
            ready, first, first_rtt_ms = (
                pods.ready[b, s],
                routes.first[b, s],
                routes.first_rtt_ms[b, s],
            )
            if pods.moved[b, s]:
                pods.moved[b, s] = False
                measured.utilisation[b, s] = 0.0
                routes.host_count[b, s] = find_hosts(
                    ready,
                    nearest,
                    rank,
                    rtt_ms,
                    routes.hosts[b, s],
                    first,
                    first_rtt_ms,
                    desk,
                )
            hosts = routes.hosts[b, s, : routes.host_count[b, s]]
            mu, wanted = rate[s], shares[s] * offered
            for n in hosts:
                desk.load[n] = 0.0
                desk.space[n] = rules.utilisation_cap * ready[n] * mu
            end, lost = 0, 0.0
            if len(hosts) == 0:
                lost = wanted
            elif not rules.prefer_close:
                end, lost = _spread(shares[s], requests, hosts, ready, rtt_ms, flows, desk)
            else:
                end = send_close(shares[s], requests, first, first_rtt_ms, flows, desk)
                full = False
                for n in hosts:
                    full = full or desk.load[n] > desk.space[n]
                if full:
                    for n in hosts:
                        desk.load[n] = 0.0
                    end, lost = spill_over(
                        shares[s],
                        requests,
                        hosts,
                        first,
                        rank,
                        rtt_ms,
                        flows,
                        desk,
                    )
            inverse_mu = 1 / mu
            for n in hosts:
                measured.utilisation[b, s, n] = prepare_queue(
                    n,
                    rules.shared_queue,
                    ready[n],
                    mu,
                    inverse_mu,
                    desk.load[n],
                    flows,
                )
                desk.space[n] = 0.0
            spent_here, late_here = settle(end, mu, slo_ms[s], rules.timeout_ms, flows)
            spent_here += lost * rules.timeout_ms
            measured.latency_ms[b, s] = spent_here / max(wanted, 1e-300)
            total += wanted
            spent += spent_here
            late += late_here
            failed += lost
        measured.fresh[b] = False
        if not only_fresh:
            scale = 1 / max(total, 1e-300)
            outcome.latency_ms[b] = spent * scale
            outcome.failed[b] = failed * scale
            outcome.violated[b] = (late + failed) * scale


@compiled
def _spread(
    share: float,
    requests: Floats,
    hosts: Shorts,
    ready: Shorts,
    rtt_ms: Floats,
    flows: Flows,
    desk: Desk,
) -> tuple[int, float]:
    """Send a service as `even_spread` does; return where its flows end, and what finds no room."""
    total, offered = 0, 0.0
    for n in hosts:
        total += ready[n]
    for u in range(len(requests)):
        offered += share * requests[u]
    end, admitted = 0, 0.0
    for n in hosts:
        part = ready[n] / total
        part *= min(1.0, desk.space[n] / max(offered * part, 1e-300))
        admitted += part
        desk.load[n] = offered * part
        for u in range(len(requests)):
            flows.rps[end] = share * requests[u] * part
            flows.node[end] = n
            flows.rtt_ms[end] = rtt_ms[n, u]
            end += 1
    return end, max(0.0, 1 - admitted) * offered
