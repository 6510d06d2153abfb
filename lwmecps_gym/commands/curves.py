"""A picture of learning curves."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lwmecps_gym.algorithms.pictures import blank, save

NAMED = 10
"""More curves than this have no legend."""


@dataclass(frozen=True)
class Curve:
    """How a training went.

    Attributes:
        name: of the training.
        env_steps: that it had played, [T].
        values: of what is drawn, [T].
    """

    name: str
    env_steps: Sequence[int]
    values: Sequence[float]


def plot_curves(curves: Sequence[Curve], file: Path, label: str) -> None:
    """Draw curves by environment steps, as PNG; the lowest fifth of the values is cut off.

    What a training earns before it has learned anything would hide all that comes later.

    Raises:
        InvalidInputError: the file cannot be written.
    """
    import numpy as np

    figure = blank(8, 4.5)
    axes = figure.subplots()
    for curve in curves:
        axes.plot(np.divide(curve.env_steps, 1e6), curve.values, lw=1, label=curve.name)
    every = np.concatenate([curve.values for curve in curves])
    low, high = np.quantile(every, 0.2), every.max()
    if high > low:
        axes.set_ylim(low, high + 0.05 * (high - low))
    axes.set_xlabel("environment steps, millions")
    axes.set_ylabel(label)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if len(curves) <= NAMED:
        axes.legend(frameon=False, fontsize=8)
    save(figure, file, dpi=110)
