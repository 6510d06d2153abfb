"""What is kept of the episodes that ended in one piece of a training."""

from collections.abc import Sequence

import numpy as np

from lwmecps_gym.algorithms.entries import LOGGED_INFO, RESOURCES, USED_CPU

MOST_KEPT = 16
"""Lines of episodes that are kept of one piece; of more episodes each line is a mean of several."""

SUMMED = (*LOGGED_INFO, RESOURCES)
"""What is summed over the steps of an episode, as named in `info`."""

EndedEpisode = tuple[float, ...]
"""Of an episode that ended: the sum of its rewards, its steps, and the sums of `SUMMED`."""


def columns_of(episodes: Sequence[EndedEpisode], resources_weight: float) -> dict[str, list[float]]:
    """Lines of episodes as columns of equal length, in the order in which the episodes ended.

    `episodes` is how many a line is the mean of, `return` the sum of an episode's rewards, `steps`
    its length; the rest are means over its steps: `latency_ms`, `violated`, `migrations`, and
    `used_cpu`, the share of the cluster's CPU that services hold.

    Args:
        episodes: Those that ended.
        resources_weight: Weight of the CPU in use in the cost; with 0 it cannot be told.
    """
    if not episodes:
        return {}
    rows = np.array(episodes)
    rows[:, 2:] /= rows[:, 1:2]
    groups = np.array_split(rows, min(MOST_KEPT, len(rows)))
    means = np.array([group.mean(axis=0) for group in groups])
    columns = dict(zip(("return", "steps", *SUMMED), means.T.tolist(), strict=True))
    spent = columns.pop(RESOURCES)
    if resources_weight > 0:
        columns[USED_CPU] = [each / resources_weight for each in spent]
    return {"episodes": [float(len(group)) for group in groups], **columns}
