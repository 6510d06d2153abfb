"""Pictures of evaluations."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lwmecps_gym.algorithms.evaluation import Day
from lwmecps_gym.algorithms.pictures import blank, save
from lwmecps_gym.envs.cluster import Floats
from lwmecps_gym.platform.errors import InvalidInputError

SMOOTH_H = 0.25


def plot_days(days: Sequence[Day], file: Path, title: str, bound: Floats | None = None) -> None:
    """Draw cost, mean latency and replicas over the day, one line per policy, as PNG.

    Args:
        days: of the policies.
        file: where to.
        title: of the picture.
        bound: what no policy costs less than, by step, [T]; drawn as a dashed line.

    Raises:
        InvalidInputError: the file cannot be written.
    """
    figure = blank(10, 9)
    cost, latency, replicas = figure.subplots(3, 1, sharex=True)
    for day in days:
        cost.plot(day.hours, _smooth(day.hours, day.cost), label=day.policy, lw=1.6)
        latency.plot(day.hours, _smooth(day.hours, day.latency_ms), lw=1.6)
        replicas.plot(day.hours, _smooth(day.hours, day.replicas), lw=1.6)
    if bound is not None:
        hours = days[0].hours
        cost.plot(hours, _smooth(hours, bound), "k--", label="bound", lw=1.2)
    cost.set_title(title, loc="left")
    cost.set_ylabel("cost of a step")
    cost.set_ylim(bottom=0)
    cost.legend(frameon=False, ncols=4, fontsize=9)
    latency.set_ylabel("mean latency, ms")
    latency.set_ylim(bottom=0)
    replicas.set_ylabel("replicas")
    replicas.set_ylim(bottom=0)
    replicas.set_xlabel("hour of the day")
    for axes in (cost, latency, replicas):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInputError(f"picture {file}: cannot be written: {error}") from error
    save(figure, file, dpi=120)


def _smooth(hours: Floats, values: Floats) -> Floats:
    """Running mean over a quarter of an hour."""
    step = hours[1] - hours[0] if len(hours) > 1 else SMOOTH_H
    width = max(1, round(SMOOTH_H / step))
    padded = np.pad(values, (width // 2, width - 1 - width // 2), mode="edge")
    return np.convolve(padded, np.ones(width) / width, mode="valid")
