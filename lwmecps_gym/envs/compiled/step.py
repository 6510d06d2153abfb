"""One step of every cluster: `ClusterModel.step`, `legal` and `cost_terms`, compiled."""

import numpy as np

from lwmecps_gym.envs.actions import TOLERANCE, Kind
from lwmecps_gym.envs.compiled.jit import compiled, entry
from lwmecps_gym.envs.compiled.memory import (
    Actions,
    Bools,
    Clusters,
    Ints,
    Outcome,
    Rules,
    States,
    Work,
)
from lwmecps_gym.envs.compiled.performance import evaluate

_PLACE, _REMOVE, _MOVE = int(Kind.PLACE), int(Kind.REMOVE), int(Kind.MOVE)


@entry
def begin(clusters: Clusters, states: States, indices: Ints, new_rtt: bool) -> None:
    """Forget what was remembered of the clusters `indices`, which begin a new episode."""
    services, nodes = states.ready.shape[1:]
    for b in indices:
        own = min(b, len(clusters.rtt_ms) - 1)
        if new_rtt:
            for u in range(clusters.nearest.shape[1]):
                for k in range(nodes):
                    clusters.rank[own, clusters.nearest[own, u, k], u] = k
            for n in range(nodes):
                for k in range(clusters.near_sites.shape[2]):
                    near = clusters.near_sites[own, n, k]
                    clusters.near_rtt_ms[own, n, k] = clusters.rtt_ms[own, n, near]
        for s in range(services):
            states.moved[b, s] = True
            ready = starting = 0
            for n in range(nodes):
                ready += states.ready[b, s, n]
                for stage in range(states.stages.shape[3]):
                    starting += states.stages[b, s, n, stage]
            states.starting[b, s] = starting
            states.total[b, s] = ready + starting
            spare_ms = clusters.slo_ms[b, s] - 1000 / clusters.rate[b, s]
            for n in range(nodes):
                count = 0
                for k in range(clusters.near_sites.shape[2]):
                    count += spare_ms - clusters.near_rtt_ms[own, n, k] >= 0
                clusters.near_within[b, s, n] = count
        for n in range(nodes):
            _take_stock(clusters, states, b, n)


@entry
def find_illegal(
    clusters: Clusters, states: States, table: Actions, actions: Ints, illegal: Bools
) -> None:
    """Write which actions [B] cannot be applied."""
    for b in range(len(actions)):
        action = actions[b]
        kind, s = table.kind[action], table.service[action]
        source, target = table.source[action], table.target[action]
        legal = True
        if kind in (_PLACE, _MOVE):
            legal = states.room[b, s, target]
        if kind == _PLACE:
            legal = legal and states.total[b, s] < clusters.max_replicas[s]
        if kind in (_REMOVE, _MOVE):
            held = states.ready[b, s, source]
            for stage in range(states.stages.shape[3]):
                held += states.stages[b, s, source, stage]
            legal = legal and held > 0
        if kind == _REMOVE:
            legal = legal and states.total[b, s] > clusters.min_replicas[s]
        illegal[b] = not legal


@entry
def step(
    rules: Rules,
    clusters: Clusters,
    states: States,
    work: Work,
    table: Actions,
    actions: Ints,
    only_fresh: bool,
    outcome: Outcome,
) -> None:
    """Apply one legal action [B] per cluster, play one control interval, and let time pass.

    With `only_fresh`, nothing of this: measure the interval before the first, in clusters that
    have just begun. (It is here because `evaluate` takes long to compile.)
    """
    if not only_fresh:
        for b in range(len(actions)):
            _apply(clusters, states, table, b, actions[b], outcome)
    evaluate(rules, clusters, states, work, only_fresh, outcome)
    if not only_fresh:
        for b in range(len(actions)):
            _charge(rules, clusters, states, b, outcome)
            _start_up(states, b)
            states.t[b] += 1
            if rules.failures:
                _fail_and_recover(clusters, states, b)


@compiled
def _take_stock(clusters: Clusters, states: States, b: int, n: int) -> None:
    """Count anew what node n has used, and which services it has room for."""
    services = states.ready.shape[1]
    used = states.used[b, n]
    used[:] = 0.0
    for s in range(services):
        held = states.ready[b, s, n]
        for stage in range(states.stages.shape[3]):
            held += states.stages[b, s, n, stage]
        if held > 0:
            for r in range(len(used)):
                used[r] += held * clusters.request[b, s, r]
    up = states.node_up[b, n]
    for r in range(len(used)):
        capacity = clusters.capacity[b, n, r]
        states.free[b, n, r] = (capacity - used[r]) / capacity if up else 0.0
    for s in range(services):
        fits = up
        for r in range(len(used)):
            free = clusters.capacity[b, n, r] - used[r]
            fits = fits and clusters.request[b, s, r] <= free + TOLERANCE
        states.room[b, s, n] = fits


@compiled
def _apply(
    clusters: Clusters, states: States, table: Actions, b: int, action: int, outcome: Outcome
) -> None:
    s, source, target = table.service[action], table.source[action], table.target[action]
    outcome.migrations[b] = 0.0
    if source >= 0:
        stage = states.stages.shape[3] - 1
        while stage >= 0 and states.stages[b, s, source, stage] == 0:
            stage -= 1
        if stage >= 0:  # the youngest first, as a ReplicaSet does
            states.stages[b, s, source, stage] -= 1
            states.starting[b, s] -= 1
        else:
            states.ready[b, s, source] -= 1
            states.moved[b, s] |= states.ready[b, s, source] == 0
        states.total[b, s] -= 1
    if target >= 0:
        wait = clusters.startup_steps[s]
        if wait == 0:
            states.moved[b, s] |= states.ready[b, s, target] == 0
            states.ready[b, s, target] += 1
        else:
            states.stages[b, s, target, wait - 1] += 1
            states.starting[b, s] += 1
        states.total[b, s] += 1
        outcome.migrations[b] = 1.0
    for n in (source, target):
        if n >= 0:
            _take_stock(clusters, states, b, n)


@compiled
def _charge(rules: Rules, clusters: Clusters, states: States, b: int, outcome: Outcome) -> None:
    """Write the terms of the cost; see `cost_terms`."""
    nodes = states.used.shape[1]
    used = capacity = mean = deviation = 0.0
    for n in range(nodes):
        used += states.used[b, n, 0]
        capacity += clusters.capacity[b, n, 0]
        mean += _cpu_share(states, b, n)
    mean /= nodes
    for n in range(nodes):
        deviation += abs(_cpu_share(states, b, n) - mean)
    terms = outcome.terms
    terms[0, b] = rules.latency * outcome.latency_ms[b]
    terms[1, b] = rules.violation * outcome.violated[b]
    terms[2, b] = rules.resources * used / capacity
    terms[3, b] = rules.balance * deviation / nodes
    terms[4, b] = rules.migration * outcome.migrations[b]


@compiled
def _cpu_share(states: States, b: int, n: int) -> float:
    return 1.0 - states.free[b, n, 0] if states.node_up[b, n] else 0.0


@compiled
def _start_up(states: States, b: int) -> None:
    services, nodes, stages = states.stages.shape[1:]
    for s in range(services):
        if states.starting[b, s] == 0:
            continue
        for n in range(nodes):
            come = states.stages[b, s, n, 0]
            if come > 0:
                states.moved[b, s] |= states.ready[b, s, n] == 0
                states.ready[b, s, n] += come
                states.starting[b, s] -= come
            for stage in range(1, stages):
                states.stages[b, s, n, stage - 1] = states.stages[b, s, n, stage]
            states.stages[b, s, n, stages - 1] = 0


@compiled
def _fail_and_recover(clusters: Clusters, states: States, b: int) -> None:
    services, nodes = states.ready.shape[1:]
    up = states.up[min(states.t[b], len(states.up) - 1), b]
    for n in range(nodes):
        if up[n] == states.node_up[b, n]:
            continue
        states.node_up[b, n] = up[n]
        for s in range(services):
            if up[n]:
                break
            starting = 0
            for stage in range(states.stages.shape[3]):
                starting += states.stages[b, s, n, stage]
                states.stages[b, s, n, stage] = 0
            states.moved[b, s] |= states.ready[b, s, n] > 0
            states.total[b, s] -= starting + states.ready[b, s, n]
            states.starting[b, s] -= starting
            states.ready[b, s, n] = 0
        _take_stock(clusters, states, b, n)


@entry
def node_history(
    draws: "np.ndarray[tuple[int, int], np.dtype[np.float64]]",
    fail: float,
    repair: float,
    up: Bools,
) -> None:
    """Write which nodes are up at each step, [L, N], from uniform draws [L, N]; all are at 0."""
    up[0] = True
    for t in range(1, len(up)):
        for n in range(up.shape[1]):
            up[t, n] = draws[t, n] >= fail if up[t - 1, n] else draws[t, n] < repair
