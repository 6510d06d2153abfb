"""A picture of a benchmark."""

from pathlib import Path

from lwmecps_gym.algorithms.benchmark.report import Report
from lwmecps_gym.algorithms.pictures import blank, save


def plot_report(report: Report, file: Path) -> None:
    """Draw the cost of every policy with its interval, one panel per case, as PNG.

    Raises:
        InvalidInputError: the file cannot be written.
    """
    heights = [1 + len(case.lines) for case in report.cases]
    figure = blank(8, 0.24 * sum(heights) + 0.6)
    panels = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, case in zip(panels, report.cases, strict=True):
        for row, line in enumerate(case.lines):
            cost, learned = line.cost, ":" in line.policy or "(" in line.policy
            low, high = (cost.mean if edge is None else edge for edge in (cost.low, cost.high))
            axes.errorbar(
                cost.mean, row, xerr=[[cost.mean - low], [high - cost.mean]], fmt="o", ms=4,
                capsize=2, color="C3" if learned else "C0",
            )  # fmt: skip
        axes.set_yticks(range(len(case.lines)), [line.policy for line in case.lines], fontsize=8)
        axes.invert_yaxis()
        axes.set_xlim(left=0)
        axes.set_title(f"{case.case}: {case.nodes} nodes", loc="left", fontsize=9)
        axes.grid(alpha=0.3, axis="x")
        axes.spines[["top", "right"]].set_visible(False)
    panels[-1].set_xlabel("mean cost of a step; learned policies in red")
    save(figure, file, dpi=110)
