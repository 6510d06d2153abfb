"""Comparison of policies: whole episodes of the same demand, played by the model."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from rich.box import SIMPLE_HEAD
from rich.table import Table
from scipy import stats

from lwmecps_gym.algorithms.optimum.floor import Floor
from lwmecps_gym.algorithms.policy import Policy
from lwmecps_gym.envs.cluster import Floats
from lwmecps_gym.envs.scenario import Scenario
from lwmecps_gym.envs.simulator import ClusterModel

TIMED_DECISIONS = 200
"""Decisions that are timed at most."""
TIMED_S = 10.0
"""Time after which enough of them are, s; the first of all is not counted if there are others."""


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


class Gap(BaseModel):
    """How far costs are above a floor: the mean over episodes of cost / floor - 1.

    With its 95 % confidence interval by Student's t; unset for a single episode.
    """

    mean: float
    low: float | None
    high: float | None


class FloorSummary(BaseModel):
    """What the same episodes cost at best, means over them."""

    bound: float = Field(description="no policy costs less")
    bound_exact: bool = Field(description="whether it is the least of every step")
    static_best: float = Field(description="best placement that never changes, in hindsight")
    static_best_gap_to_bound: Gap | None
    clairvoyant: float | None = Field(description="best course found by who knows the demand")
    clairvoyant_gap_to_bound: Gap | None


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
    gap_to_bound: Gap | None = None
    gap_to_clairvoyant: Gap | None = None


class Evaluation(BaseModel):
    """What `lwmecps evaluate --json` prints."""

    model_config = ConfigDict(extra="forbid")

    scenario: str
    episodes: int
    seed: int
    rows: list[Row]
    floor: FloorSummary | None = None


@dataclass(frozen=True)
class Day:
    """How a policy went through its episodes, averaged over them, by step [T]."""

    policy: str
    hours: Floats
    latency_ms: Floats
    replicas: Floats
    cost: Floats


def evaluate_policies(
    scenario: Scenario,
    policies: Sequence[Policy],
    episodes: int,
    seed: int,
    floor: Floor | None = None,
) -> tuple[Evaluation, list[Day]]:
    """Play `episodes` episodes per policy, all of them from midnight on, on the same demand.

    Args:
        scenario: what to play.
        policies: who plays.
        episodes: number of episodes; episode i draws its demand from seed `[seed, i]`.
        seed: of the demand (and of failures, where the scenario has them).
        floor: of the same episodes, to say how far above it each policy is.
    """
    results = [_play(scenario, policy, episodes, seed, floor) for policy in policies]
    evaluation = Evaluation(
        scenario=scenario.name,
        episodes=episodes,
        seed=seed,
        rows=[row for row, _ in results],
        floor=_summary(floor) if floor else None,
    )
    return evaluation, [day for _, day in results]


def evaluation_table(result: Evaluation) -> Table:
    """A table of an evaluation, the cheapest policy first.

    Where there is a floor, how far above it each policy is takes the room of some other columns.
    """
    table = Table(
        title=f"{result.scenario}: {result.episodes} episodes, seed {result.seed}; times in ms",
        title_justify="left",
        caption=_floor_in_words(result.floor) if result.floor else None,
        caption_justify="left",
        box=SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
    )
    table.add_column("policy", no_wrap=True)
    extra: tuple[str, ...]
    extra = ("to bound", "to clairv.") if result.floor else ("±", "p95", "p99", "decide")
    for column in ("cost", *extra, "latency", "violated", "pods", "moves/h"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in sorted(result.rows, key=lambda row: row.cost):
        latency = row.latency_ms
        extra = (
            f"{row.cost_std:.3f}",
            f"{latency.p95:.0f}",
            f"{latency.p99:.0f}",
            f"{row.decision_ms.p50:.2f}",
        )
        if result.floor:
            extra = (_percent(row.gap_to_bound), _percent(row.gap_to_clairvoyant))
        table.add_row(
            row.policy,
            f"{row.cost:.3f}",
            *extra,
            f"{latency.mean:.1f}",
            f"{row.violation_share:.1%}",
            f"{row.replicas_mean:.1f}",
            f"{row.migrations_per_hour:.1f}",
        )
    return table


def _percent(value: Gap | None) -> str:
    if value is None:
        return "-"
    digits = 1 if value.mean < 1 else 0
    half = "" if value.high is None else f"±{100 * (value.high - value.mean):.{digits}f}"
    return f"{100 * value.mean:.{digits}f}{half}%"


def _floor_in_words(floor: FloorSummary) -> str:
    parts = [
        f"bound {floor.bound:.3f}" + ("" if floor.bound_exact else " (not exact)"),
        f"static_best in hindsight {floor.static_best:.3f} "
        f"(+{_percent(floor.static_best_gap_to_bound)})",
    ]
    if floor.clairvoyant is not None:
        above = _percent(floor.clairvoyant_gap_to_bound)
        parts.append(f"clairvoyant {floor.clairvoyant:.3f} (+{above})")
    return "; ".join(parts) + "; ±: 95 % interval over episodes"


def gap(cost: Floats, floor: Floats | None) -> Gap | None:
    """How far costs [E] of episodes are above their floor [E]; None where there is none."""
    if floor is None or (floor <= 0).any():
        return None
    ratios = cost / floor - 1
    mean, count = float(ratios.mean()), len(ratios)
    if count < 2:
        return Gap(mean=mean, low=None, high=None)
    half = float(stats.t.ppf(0.975, count - 1) * ratios.std(ddof=1) / np.sqrt(count))
    return Gap(mean=mean, low=mean - half, high=mean + half)


def _summary(floor: Floor) -> FloorSummary:
    least, known = floor.bound.mean(0), floor.clairvoyant
    return FloorSummary(
        bound=float(least.mean()),
        bound_exact=floor.exact,
        static_best=float(floor.static_best.mean()),
        static_best_gap_to_bound=gap(floor.static_best, least),
        clairvoyant=None if known is None else float(known.mean()),
        clairvoyant_gap_to_bound=None if known is None else gap(known, least),
    )


def _play(
    scenario: Scenario, policy: Policy, episodes: int, seed: int, floor: Floor | None
) -> tuple[Row, Day]:
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
        gap_to_bound=gap(cost.mean(0), floor.bound.mean(0)) if floor else None,
        gap_to_clairvoyant=gap(cost.mean(0), floor.clairvoyant) if floor else None,
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
        if sum(times) > 1000 * TIMED_S:
            break
        model.step(action)
    measured: NDArray[np.float64] = np.array(times[1:] or times)
    return DecisionTime(
        p50=float(np.quantile(measured, 0.5)), p99=float(np.quantile(measured, 0.99))
    )
