"""What a benchmark found: means over seeds with 95 % intervals, as JSON, tables and Markdown."""

from collections.abc import Iterable, Sequence
from importlib.metadata import version

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from rich.box import SIMPLE_HEAD
from rich.table import Table
from scipy import stats

from lwmecps_gym.algorithms.benchmark.cases import Case

LEVEL = 0.95


class Run(BaseModel):
    """One policy on the test days of one seed; what is not named otherwise is a mean."""

    model_config = ConfigDict(extra="forbid")

    seed: int
    policy: str
    cost: float = Field(description="of a step")
    latency_ms: float = Field(description="over requests")
    violation_share: float = Field(description="of requests")
    replicas: float
    migrations_per_hour: float = Field(description="pods started or moved")
    decision_ms: float = Field(description="median wall time of a decision")
    gap_to_bound: float | None = Field(default=None, description="cost / bound - 1")
    gap_to_clairvoyant: float | None = None


class Estimate(BaseModel):
    """A mean over seeds, with its 95 % interval by Student's t; one seed has none."""

    mean: float
    low: float | None
    high: float | None


class Line(BaseModel):
    """One policy in a case."""

    policy: str
    seeds: int
    cost: Estimate
    latency_ms: Estimate
    violation_share: Estimate
    replicas: Estimate
    migrations_per_hour: Estimate
    decision_ms: Estimate
    gap_to_bound: Estimate | None
    gap_to_clairvoyant: Estimate | None


class CaseReport(BaseModel):
    """A case: its policies, the cheapest first, and every run."""

    case: str
    nodes: int
    services: int
    steps: int
    days: int
    lines: list[Line]
    runs: list[Run]


class Report(BaseModel):
    """What `lwmecps benchmark --json` prints."""

    version: str
    cases: list[CaseReport]


ESTIMATED = (
    "cost", "latency_ms", "violation_share", "replicas", "migrations_per_hour", "decision_ms",
    "gap_to_bound", "gap_to_clairvoyant",
)  # fmt: skip


def summarise(found: Iterable[tuple[Case, Sequence[Run]]]) -> Report:
    """Sum the runs of cases up."""
    return Report(version=version("lwmecps-gym"), cases=[_case(case, runs) for case, runs in found])


def _case(case: Case, runs: Sequence[Run]) -> CaseReport:
    lines = []
    for policy in dict.fromkeys(run.policy for run in runs):
        own = [run for run in runs if run.policy == policy]
        columns = {name: estimate([getattr(run, name) for run in own]) for name in ESTIMATED}
        lines.append(Line.model_validate({"policy": policy, "seeds": len(own), **columns}))
    scenario = case.draw(0)
    return CaseReport(
        case=case.name,
        nodes=len(scenario.nodes),
        services=len(scenario.services),
        steps=scenario.episode_steps,
        days=case.days,
        lines=sorted(lines, key=lambda line: line.cost.mean),
        runs=list(runs),
    )


def estimate(values: Sequence[float | None]) -> Estimate | None:
    """Mean and interval of values, one per seed; None where one is missing."""
    known = np.array([value for value in values if value is not None])
    if len(known) < len(values) or not len(known):
        return None
    mean = float(known.mean())
    if len(known) < 2:
        return Estimate(mean=mean, low=None, high=None)
    quantile = stats.t.ppf((1 + LEVEL) / 2, len(known) - 1)
    half = float(quantile * known.std(ddof=1) / len(known) ** 0.5)
    return Estimate(mean=mean, low=mean - half, high=mean + half)


COLUMNS = (
    "policy", "cost", "to bound", "to clairv.", "latency ms", "violated", "pods", "starts/h",
    "decide ms",
)  # fmt: skip


def cells(line: Line) -> tuple[str, ...]:
    """A line as text, in the order of `COLUMNS`."""
    return (
        line.policy,
        _text(line.cost, 3),
        _text(line.gap_to_bound, 1, 100, "%"),
        _text(line.gap_to_clairvoyant, 1, 100, "%"),
        _text(line.latency_ms, 1),
        _text(line.violation_share, 1, 100, "%"),
        f"{line.replicas.mean:.1f}",
        f"{line.migrations_per_hour.mean:.1f}",
        f"{line.decision_ms.mean:.2f}",
    )


def _text(value: Estimate | None, digits: int, scale: float = 1, unit: str = "") -> str:
    if value is None:
        return "-"
    half = "" if value.high is None else f"±{scale * (value.high - value.mean):.{digits}f}"
    return f"{scale * value.mean:.{digits}f}{half}{unit}"


def _title(case: CaseReport) -> str:
    seeds = max(line.seeds for line in case.lines)
    size = f"{case.nodes} nodes, {case.services} service{'s' if case.services > 1 else ''}"
    return f"{case.case}: {size}, {seeds} seeds of {case.days} x {case.steps} steps"


def tables(report: Report) -> list[Table]:
    """A table for each case."""
    found = []
    for case in report.cases:
        table = Table(
            title=_title(case), title_justify="left", box=SIMPLE_HEAD, collapse_padding=True,
            pad_edge=False,
        )  # fmt: skip
        for name in COLUMNS:
            justify = "left" if name == "policy" else "right"
            table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
        for line in case.lines:
            table.add_row(*cells(line))
        found.append(table)
    return found


def markdown(report: Report) -> str:
    """The tables in Markdown."""
    rows = ["±: 95 % interval over seeds."]
    for case in report.cases:
        rows += ["", f"### {_title(case)}", ""]
        rows += [_row(COLUMNS), _row(["---"] * len(COLUMNS))]
        rows += [_row(cells(line)) for line in case.lines]
    return "\n".join(rows) + "\n"


def _row(texts: Sequence[str]) -> str:
    return f"| {' | '.join(texts)} |"
