"""Comparison of policies: whole episodes of the same demand, played by the model."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from rich.box import SIMPLE_HEAD
from rich.table import Table

from lwmecps_gym.algorithms.policy import Policy
from lwmecps_gym.envs.cluster import Floats
from lwmecps_gym.envs.scenario import Scenario
from lwmecps_gym.envs.simulator import ClusterModel

TIMED_DECISIONS = 200


class Latency(BaseModel):
    """Latency over all requests of all episodes, ms."""

    mean: float
    p50: float
    p95: float
    p99: float


class DecisionTime(BaseModel):
    """Wall time of one decision for one cluster, ms."""

    p50: float
    p99: float


class Row(BaseModel):
    """One policy's result."""

    policy: str
    cost: float = Field(description="mean cost of a step")
    cost_std: float = Field(description="standard deviation of an episode's mean cost")
    cost_terms: dict[str, float]
    latency_ms: Latency
    violation_share: float
    replicas_mean: float
    migrations_per_hour: float
    decision_ms: DecisionTime


class Evaluation(BaseModel):
    """What `lwmecps evaluate --json` prints."""

    model_config = ConfigDict(extra="forbid")

    scenario: str
    episodes: int
    seed: int
    rows: list[Row]


@dataclass(frozen=True)
class Day:
    """How a policy went through its episodes, averaged over them, by step [T]."""

    policy: str
    hours: Floats
    latency_ms: Floats
    replicas: Floats
    cost: Floats


def evaluate_policies(
    scenario: Scenario, policies: Sequence[Policy], episodes: int, seed: int
) -> tuple[Evaluation, list[Day]]:
    """Play `episodes` episodes per policy, all of them from midnight on, on the same demand.

    Args:
        scenario: what to play.
        policies: who plays.
        episodes: number of episodes; episode i draws its demand from seed `[seed, i]`.
        seed: of the demand (and of failures, where the scenario has them).
    """
    results = [_play(scenario, policy, episodes, seed) for policy in policies]
    rows = [row for row, _ in results]
    evaluation = Evaluation(scenario=scenario.name, episodes=episodes, seed=seed, rows=rows)
    return evaluation, [day for _, day in results]


def evaluation_table(result: Evaluation) -> Table:
    """A table of an evaluation, the cheapest policy first."""
    table = Table(
        title=f"{result.scenario}: {result.episodes} episodes, seed {result.seed}; times in ms",
        title_justify="left",
        box=SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
    )
    table.add_column("policy", no_wrap=True)
    for column in (
        "cost", "±", "latency", "p95", "p99", "violated", "pods", "moves/h", "decide",
    ):  # fmt: skip
        table.add_column(column, justify="right", no_wrap=True)
    for row in sorted(result.rows, key=lambda row: row.cost):
        latency = row.latency_ms
        table.add_row(
            row.policy,
            f"{row.cost:.3f}",
            f"{row.cost_std:.3f}",
            f"{latency.mean:.1f}",
            f"{latency.p95:.0f}",
            f"{latency.p99:.0f}",
            f"{row.violation_share:.1%}",
            f"{row.replicas_mean:.1f}",
            f"{row.migrations_per_hour:.1f}",
            f"{row.decision_ms.p50:.2f}",
        )
    return table


def _play(scenario: Scenario, policy: Policy, episodes: int, seed: int) -> tuple[Row, Day]:
    model = _model(scenario, policy, episodes, seed)
    steps = scenario.episode_steps
    grid = _thresholds(scenario.timeout_ms)
    cost, latency, replicas = (np.zeros((steps, episodes)) for _ in range(3))
    violated, migrations, requests = (np.zeros((steps, episodes)) for _ in range(3))
    terms: dict[str, float] = {}
    late = np.zeros(len(grid))
    for t in range(steps):
        step = model.step(policy.act(model.state()))
        performance = step.performance
        requests[t] = model.demand_at(-1).sum((1, 2))
        cost[t], latency[t] = step.cost, performance.latency_ms
        violated[t], migrations[t] = performance.violated, step.migrations
        replicas[t] = model.replicas.sum((1, 2))
        late += requests[t] @ performance.survival(grid)
        for name, values in step.terms.items():
            terms[name] = terms.get(name, 0.0) + float(values.mean()) / steps
    weight = requests / max(requests.sum(), 1e-300)
    hours = np.arange(steps) * scenario.control_interval_s / 3600
    row = Row(
        policy=policy.name,
        cost=float(cost.mean()),
        cost_std=float(cost.mean(0).std(ddof=1)) if episodes > 1 else 0.0,
        cost_terms=terms,
        latency_ms=_latency(grid, late / max(requests.sum(), 1e-300), weight, latency),
        violation_share=float((weight * violated).sum()),
        replicas_mean=float(replicas.mean()),
        migrations_per_hour=float(migrations.mean() * 3600 / scenario.control_interval_s),
        decision_ms=_time_decisions(scenario, policy, seed),
    )
    return row, Day(policy.name, hours, latency.mean(1), replicas.mean(1), cost.mean(1))


def _model(scenario: Scenario, policy: Policy, batch: int, seed: int) -> ClusterModel:
    model = ClusterModel(scenario, batch, moves=policy.actions.moves)
    model.reset({i: np.random.default_rng([seed, i]) for i in range(batch)})
    policy.reset(batch)
    return model


def _thresholds(timeout_ms: float) -> Floats:
    return np.append(np.geomspace(0.5, timeout_ms, 96)[:-1], timeout_ms)


def _latency(grid: Floats, survival: Floats, weight: Floats, latency: Floats) -> Latency:
    """Quantiles of the latency of single requests, by interpolation of its distribution."""
    below = np.maximum.accumulate(1 - survival)

    def quantile(level: float) -> float:
        reached = int(np.searchsorted(below[:-1], level))
        if reached >= len(grid) - 1:
            return float(grid[-1])
        return float(np.interp(level, np.append(0.0, below), np.append(0.0, grid)))

    return Latency(
        mean=float((weight * latency).sum()),
        p50=quantile(0.5), p95=quantile(0.95), p99=quantile(0.99),
    )  # fmt: skip


def _time_decisions(scenario: Scenario, policy: Policy, seed: int) -> DecisionTime:
    model = _model(scenario, policy, 1, seed)
    times: list[float] = []
    for _ in range(min(TIMED_DECISIONS, scenario.episode_steps)):
        state = model.state()
        begin = time.perf_counter()
        action = policy.act(state)
        times.append(1000 * (time.perf_counter() - begin))
        model.step(action)
    measured: NDArray[np.float64] = np.array(times)
    return DecisionTime(
        p50=float(np.quantile(measured, 0.5)), p99=float(np.quantile(measured, 0.99))
    )
