"""Pods through one step: `ClusterModel.step`, `legal` and `cost_terms`, compiled."""

from lwmecps_gym.envs.actions import TOLERANCE, Kind
from lwmecps_gym.envs.compiled.jit import compiled, entry
from lwmecps_gym.envs.compiled.memory import (
    Bools,
    Floats,
    Ints,
    Limits,
    Near,
    Network,
    Outcome,
    Pods,
    Rules,
    Speeds,
    Table,
)

_PLACE, _REMOVE, _MOVE = int(Kind.PLACE), int(Kind.REMOVE), int(Kind.MOVE)


@entry
def begin(
    limits: Limits,
    speeds: Speeds,
    network: Network,
    near: Near,
    pods: Pods,
    indices: Ints,
    new_rtt: bool,
) -> None:
    """Work out anew what is remembered of the clusters `indices`, which begin an episode."""
    services, nodes = pods.ready.shape[1:]
    for b in indices:
        own = min(b, len(network.rtt_ms) - 1)
        if new_rtt:
            for u in range(network.nearest.shape[1]):
                for k in range(nodes):
                    network.rank[own, network.nearest[own, u, k], u] = k
            for n in range(nodes):
                for k in range(near.sites.shape[2]):
                    near.rtt_ms[own, n, k] = network.rtt_ms[own, n, near.sites[own, n, k]]
        for s in range(services):
            ready = starting = 0
            for n in range(nodes):
                ready += pods.ready[b, s, n]
                starting += starting_on(pods, b, s, n)
            pods.moved[b, s] = True
            pods.starting[b, s] = starting
            pods.total[b, s] = ready + starting
            spare_ms = speeds.slo_ms[b, s] - 1000 / speeds.rate[b, s]
            for n in range(nodes):
                count = 0
                for k in range(near.sites.shape[2]):
                    count += spare_ms - near.rtt_ms[own, n, k] >= 0
                near.within[b, s, n] = count
        for n in range(nodes):
            _take_stock(limits, pods, b, n)


@entry
def find_illegal(limits: Limits, pods: Pods, table: Table, actions: Ints, illegal: Bools) -> None:
    """Write which actions [B] cannot be applied."""
    for b in range(len(actions)):
        illegal[b] = not _is_legal(limits, pods, table, b, actions[b])


@entry
def apply(
    limits: Limits, pods: Pods, table: Table, actions: Ints, illegal: Bools, migrations: Floats
) -> None:
    """Apply one action per cluster, where it can be; write where not, and the pods started, [B]."""
    for b in range(len(actions)):
        action = actions[b]
        s, source, target = table.service[action], table.source[action], table.target[action]
        migrations[b] = 0.0
        illegal[b] = not _is_legal(limits, pods, table, b, action)
        if illegal[b]:
            continue
        if s >= 0:
            pods.shifted[b, s] = True
        if source >= 0:
            stage = pods.stages.shape[3] - 1
            while stage >= 0 and pods.stages[b, s, source, stage] == 0:
                stage -= 1
            if stage >= 0:  # the youngest first, as a ReplicaSet does
                pods.stages[b, s, source, stage] -= 1
                pods.starting[b, s] -= 1
            else:
                pods.ready[b, s, source] -= 1
                pods.moved[b, s] |= pods.ready[b, s, source] == 0
            pods.total[b, s] -= 1
        if target >= 0:
            wait = limits.startup_steps[s]
            if wait == 0:
                pods.moved[b, s] |= pods.ready[b, s, target] == 0
                pods.ready[b, s, target] += 1
            else:
                pods.stages[b, s, target, wait - 1] += 1
                pods.starting[b, s] += 1
            pods.total[b, s] += 1
            migrations[b] = 1.0
        for n in (source, target):
            if n >= 0:
                _take_stock(limits, pods, b, n)


@entry
def advance(
    rules: Rules,
    limits: Limits,
    pods: Pods,
    t: Ints,
    failures: bool,
    up: Bools,
    outcome: Outcome,
) -> None:
    """Write the terms of the cost, and let the interval pass.

    Args:
        rules: of the model.
        limits: of the model.
        pods: of the model.
        t: steps played, [B].
        failures: nodes fail.
        up: whether they are up, [L, B, N].
        outcome: of the step.
    """
    for b in range(len(t)):
        _charge(rules, limits, pods, b, outcome)
        _start_up(pods, b)
        t[b] += 1
        if failures:
            _fail_and_recover(limits, pods, b, up[min(t[b], len(up) - 1), b])


@entry
def node_history(draws: Floats, fail: float, repair: float, up: Bools) -> None:
    """Write which nodes are up at each step, [L, N], from uniform draws [L, N]; all are at 0."""
    up[0] = True
    for t in range(1, len(up)):
        for n in range(up.shape[1]):
            up[t, n] = draws[t, n] >= fail if up[t - 1, n] else draws[t, n] < repair


@compiled
def _is_legal(limits: Limits, pods: Pods, table: Table, b: int, action: int) -> bool:
    """Whether an action can be applied; below 0 it is no action of the model."""
    if action < 0:
        return False
    kind, s = table.kind[action], table.service[action]
    source, target = table.source[action], table.target[action]
    legal = True
    if kind in (_PLACE, _MOVE):
        legal = pods.room[b, s, target]
    if kind == _PLACE:
        legal = legal and pods.total[b, s] < limits.max_replicas[s]
    if kind in (_REMOVE, _MOVE):
        legal = legal and pods.ready[b, s, source] + starting_on(pods, b, s, source) > 0
    if kind == _REMOVE:
        legal = legal and pods.total[b, s] > limits.min_replicas[s]
    return legal


@compiled
def starting_on(pods: Pods, b: int, s: int, n: int) -> int:
    """Replicas of a service on a node that do not serve yet."""
    count = 0
    for stage in range(pods.stages.shape[3]):
        count += pods.stages[b, s, n, stage]
    return count


@compiled
def _take_stock(limits: Limits, pods: Pods, b: int, n: int) -> None:
    """Count anew what node n has used, and which services it has room for."""
    services = pods.ready.shape[1]
    used = pods.used[b, n]
    used[:] = 0.0
    for s in range(services):
        held = pods.ready[b, s, n] + starting_on(pods, b, s, n)
        if held > 0:
            for r in range(len(used)):
                used[r] += held * limits.request[b, s, r]
    up = pods.node_up[b, n]
    for r in range(len(used)):
        capacity = limits.capacity[b, n, r]
        pods.free[b, n, r] = (capacity - used[r]) / capacity if up else 0.0
    for s in range(services):
        fits = up
        for r in range(len(used)):
            free = limits.capacity[b, n, r] - used[r]
            fits = fits and limits.request[b, s, r] <= free + TOLERANCE
        pods.room[b, s, n] = fits


@compiled
def _charge(rules: Rules, limits: Limits, pods: Pods, b: int, outcome: Outcome) -> None:
    """Write the terms of the cost; see `cost_terms`."""
    nodes = pods.used.shape[1]
    used = capacity = mean = deviation = 0.0
    for n in range(nodes):
        used += pods.used[b, n, 0]
        capacity += limits.capacity[b, n, 0]
        mean += _cpu_share(pods, b, n)
    mean /= nodes
    for n in range(nodes):
        deviation += abs(_cpu_share(pods, b, n) - mean)
    terms = outcome.terms
    terms[0, b] = rules.latency * outcome.latency_ms[b]
    terms[1, b] = rules.violation * outcome.violated[b]
    terms[2, b] = rules.resources * used / capacity
    terms[3, b] = rules.balance * deviation / nodes
    terms[4, b] = rules.migration * outcome.migrations[b]


@compiled
def _cpu_share(pods: Pods, b: int, n: int) -> float:
    return 1.0 - pods.free[b, n, 0] if pods.node_up[b, n] else 0.0


@compiled
def _start_up(pods: Pods, b: int) -> None:
    services, nodes, stages = pods.stages.shape[1:]
    for s in range(services):
        if pods.starting[b, s] == 0:
            continue
        for n in range(nodes):
            come = pods.stages[b, s, n, 0]
            if come > 0:
                pods.moved[b, s] |= pods.ready[b, s, n] == 0
                pods.ready[b, s, n] += come
                pods.starting[b, s] -= come
            for stage in range(1, stages):
                pods.stages[b, s, n, stage - 1] = pods.stages[b, s, n, stage]
            pods.stages[b, s, n, stages - 1] = 0


@compiled
def _fail_and_recover(limits: Limits, pods: Pods, b: int, up: Bools) -> None:
    services, nodes = pods.ready.shape[1:]
    for n in range(nodes):
        if up[n] == pods.node_up[b, n]:
            continue
        pods.node_up[b, n] = up[n]
        for s in range(services):
            if up[n]:
                break
            starting = starting_on(pods, b, s, n)
            for stage in range(pods.stages.shape[3]):
                pods.stages[b, s, n, stage] = 0
            pods.moved[b, s] |= pods.ready[b, s, n] > 0
            pods.shifted[b, s] = True
            pods.total[b, s] -= starting + pods.ready[b, s, n]
            pods.starting[b, s] -= starting
            pods.ready[b, s, n] = 0
        _take_stock(limits, pods, b, n)
