"""Pods through time: placed, taken, started up, and lost with their node. All in place.

`ready` [B, S, N] are replicas that serve, `stages` [B, S, N, K] those that start up, by the steps
that they still need, less one.
"""

import numpy as np

from lwmecps_gym.envs.actions import ActionTable
from lwmecps_gym.envs.cluster import Bools, Floats, Ints
from lwmecps_gym.envs.scenario import Failures


def apply_actions(
    ready: Ints, stages: Ints, table: ActionTable, startup_steps: Ints, actions: Ints
) -> None:
    """Apply one legal action per cluster, [B]; `startup_steps` is [S]."""
    rows, service = np.arange(len(ready)), table.service[actions]
    source, target = table.source[actions], table.target[actions]
    gone, come = source >= 0, target >= 0
    _take(ready, stages, rows[gone], service[gone], source[gone])
    _start(ready, stages, startup_steps, rows[come], service[come], target[come])


def _take(ready: Ints, stages: Ints, b: Ints, s: Ints, n: Ints) -> None:
    """Remove one replica each, the youngest first, as a ReplicaSet does."""
    open_ = np.ones(len(b), dtype=bool)
    for stage in reversed(range(stages.shape[-1])):
        found = open_ & (stages[b, s, n, stage] > 0)
        stages[b[found], s[found], n[found], stage] -= 1
        open_ &= ~found
    ready[b[open_], s[open_], n[open_]] -= 1


def _start(ready: Ints, stages: Ints, startup_steps: Ints, b: Ints, s: Ints, n: Ints) -> None:
    wait = startup_steps[s]
    at_once = wait == 0
    ready[b[at_once], s[at_once], n[at_once]] += 1
    later = ~at_once
    stages[b[later], s[later], n[later], wait[later] - 1] += 1


def start_up(ready: Ints, stages: Ints) -> None:
    """Let one step pass."""
    if stages.shape[-1]:
        ready += stages[..., 0]
        stages[..., :-1] = stages[..., 1:]
        stages[..., -1] = 0


def lose_failed(ready: Ints, stages: Ints, node_up: Bools) -> None:
    """Lose the pods of nodes that are not up, [B, N]."""
    ready *= node_up[:, None, :]
    stages *= node_up[:, None, :, None]


def failure_chances(failures: Failures, interval_s: float) -> tuple[float, float]:
    """Probabilities that a node fails, and that one that is down recovers, within an interval."""
    fail = -np.expm1(-interval_s / failures.node_mtbf_s)
    repair = -np.expm1(-interval_s / failures.node_mttr_s)
    return float(fail), float(repair)


def node_history(draws: Floats, fail: float, repair: float, up: Bools) -> None:
    """Write which nodes are up at each step, [L, N], from uniform draws [L, N]; all are at 0."""
    up[0] = True
    for t in range(1, len(up)):
        up[t] = np.where(up[t - 1], draws[t] >= fail, draws[t] < repair)
