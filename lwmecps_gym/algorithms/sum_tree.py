"""Draws of items in proportion to priorities that change (Schaul et al. 2016, appendix B.2.1)."""

import numpy as np

from lwmecps_gym.envs.cluster import Floats, Ints
from lwmecps_gym.envs.compiled.jit import entry


class SumTree:
    """Priorities of `capacity` items in a binary tree of sums; calls take many items at once."""

    def __init__(self, capacity: int) -> None:
        self._leaves = 1 << max(1, capacity - 1).bit_length()
        self._sums = np.zeros(2 * self._leaves)

    @property
    def total(self) -> float:
        """Sum of all priorities."""
        return float(self._sums[1])

    def __getitem__(self, items: Ints) -> Floats:
        """Priorities of items."""
        return self._sums[self._leaves + items]

    def set(self, items: Ints, priorities: Floats) -> None:
        """Set priorities; of an item that is named twice, the last value counts."""
        _set(self._sums, np.asarray(items), priorities)

    def draw(self, count: int, rng: np.random.Generator) -> Ints:
        """Draw items, one from each of `count` equal strata of the total."""
        goals = (np.arange(count) + rng.random(count)) * self.total / count
        items = np.empty(count, dtype=np.int64)
        _find(self._sums, goals, items)
        return items


@entry
def _set(sums: Floats, items: Ints, priorities: Floats) -> None:
    leaves = len(sums) // 2
    for i in range(len(items)):
        node = leaves + items[i]
        sums[node] = priorities[i]
        while node > 1:
            node //= 2
            sums[node] = sums[2 * node] + sums[2 * node + 1]


@entry
def _find(sums: Floats, goals: Floats, items: Ints) -> None:
    """Items at which the running sum of all priorities passes the goals."""
    leaves = len(sums) // 2
    for i in range(len(goals)):
        node, goal = 1, goals[i]
        while node < leaves:
            left = sums[2 * node]
            # Rounding must not lead to an empty branch.
            if goal >= left and sums[2 * node + 1] > 0:
                node, goal = 2 * node + 1, goal - left
            else:
                node = 2 * node
        items[i] = node - leaves
