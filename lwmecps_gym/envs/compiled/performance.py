"""Latency, violations and use of every cluster: what `performance.evaluate` says in sums."""

from lwmecps_gym.envs.compiled.jit import compiled
from lwmecps_gym.envs.compiled.memory import (
    Clusters,
    Floats,
    Outcome,
    Rules,
    Shorts,
    States,
    Work,
)
from lwmecps_gym.envs.compiled.routing import find_hosts, send_close, spill_over
from lwmecps_gym.envs.compiled.sojourn import prepare_queue, settle

FEW = 64
"""Flows are settled when this many wait, or at the cluster's end."""


@compiled
def evaluate(
    rules: Rules,
    clusters: Clusters,
    states: States,
    work: Work,
    only_fresh: bool,
    outcome: Outcome,
) -> None:
    """Measure one interval in every cluster, or in those that have just begun.

    Writes the latency and the utilisation that the next observation shows, and in `outcome` the
    mean latency, the violated and the failed share. Those that have just begun are shown the
    interval before the first.
    """
    batch, services, nodes = states.ready.shape
    for b in range(batch):
        if only_fresh and not states.fresh[b]:
            continue
        own = min(b, len(clusters.rtt_ms) - 1)
        nearest, rank, rtt_ms = clusters.nearest[own], clusters.rank[own], clusters.rtt_ms[own]
        row = min(states.t[b] + (0 if only_fresh else 1), len(states.requests) - 1)
        requests, shares = states.requests[row, b], states.shares[row, b]
        rate, slo_ms = clusters.rate[b], clusters.slo_ms[b]
        offered = 0.0
        for u in range(len(requests)):
            offered += requests[u]
        failed = demand = 0.0
        unsettled, end = 0, 0
        for s in range(services):
            if states.moved[b, s]:
                states.moved[b, s] = False
                states.utilisation[b, s] = 0.0
                states.host_count[b, s] = find_hosts(
                    states.ready[b, s],
                    nearest,
                    rank,
                    rtt_ms,
                    states.hosts[b, s],
                    states.first[b, s],
                    states.first_rtt_ms[b, s],
                    work,
                )
            hosts = states.hosts[b, s, : states.host_count[b, s]]
            ready, mu = states.ready[b, s], rate[s]
            work.segment[s] = end
            work.demand[s] = shares[s] * offered
            work.spent[s] = work.late[s] = 0.0
            for n in hosts:
                work.load[n] = 0.0
                work.space[n] = rules.utilisation_cap * ready[n] * mu
            if len(hosts) == 0:
                lost = work.demand[s]
            elif rules.prefer_close:
                begin, lost = end, 0.0
                first = states.first[b, s]
                end = send_close(
                    s * nodes, begin, shares[s], requests, first, states.first_rtt_ms[b, s], work
                )
                full = False
                for n in hosts:
                    full = full or work.load[n] > work.space[n]
                if full:
                    for n in hosts:
                        work.load[n] = 0.0
                    end, lost = spill_over(
                        s * nodes, begin, shares[s], requests,
                        hosts, first, rank, rtt_ms, work,
                    )  # fmt: skip
            else:
                end, lost = _spread(s * nodes, end, shares[s], requests, hosts, ready, rtt_ms, work)
            for n in hosts:
                states.utilisation[b, s, n] = prepare_queue(
                    s * nodes + n, rules.shared_queue, ready[n], mu, 1 / mu, work.load[n], work
                )
                work.space[n] = 0.0
            demand += work.demand[s]
            failed += lost
            work.spent[s] += lost * rules.timeout_ms
            if end >= FEW or s == services - 1:
                work.segment[s + 1] = end
                settle(unsettled, s + 1, rate, slo_ms, rules.timeout_ms, work)
                unsettled, end = s + 1, 0
        spent = late = 0.0
        for s in range(services):
            spent += work.spent[s]
            late += work.late[s]
            states.latency_ms[b, s] = work.spent[s] / max(work.demand[s], 1e-300)
        demand = max(demand, 1e-300)
        states.fresh[b] = False
        if not only_fresh:
            outcome.latency_ms[b] = spent / demand
            outcome.failed[b] = failed / demand
            outcome.violated[b] = (late + failed) / demand


@compiled
def _spread(
    pair: int,
    begin: int,
    share: float,
    requests: Floats,
    hosts: Shorts,
    ready: Shorts,
    rtt_ms: Floats,
    work: Work,
) -> tuple[int, float]:
    """Send a service as `even_spread` does; return where its flows end, and what finds no room."""
    total, offered = 0, 0.0
    for n in hosts:
        total += ready[n]
    for u in range(len(requests)):
        offered += share * requests[u]
    end, admitted = begin, 0.0
    for n in hosts:
        part = ready[n] / total
        part *= min(1.0, work.space[n] / max(offered * part, 1e-300))
        admitted += part
        work.load[n] = offered * part
        for u in range(len(requests)):
            work.flow[end] = share * requests[u] * part
            work.flow_pair[end] = pair + n
            work.flow_rtt_ms[end] = rtt_ms[n, u]
            end += 1
    return end, max(0.0, 1 - admitted) * offered
