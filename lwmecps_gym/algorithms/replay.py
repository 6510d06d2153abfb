"""Replay of transitions from arrays: uniform or prioritised (Schaul et al. 2016), n-step."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class SumTree:
    """Priorities of `capacity` items, drawn in proportion; all calls take many items at once."""

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
        """Set priorities; of an item that is named twice, one of the values counts."""
        nodes = self._leaves + np.asarray(items)
        self._sums[nodes] = priorities
        while nodes[0] > 1:
            nodes = np.unique(nodes // 2)
            self._sums[nodes] = self._sums[2 * nodes] + self._sums[2 * nodes + 1]

    def draw(self, count: int, rng: np.random.Generator) -> Ints:
        """Draw items, one from each of `count` equal strata of the total."""
        goal = (np.arange(count) + rng.random(count)) * self.total / count
        nodes = np.ones(count, dtype=np.int64)
        while nodes[0] < self._leaves:
            left = self._sums[2 * nodes]
            # Rounding must not lead to an empty branch.
            right = (goal >= left) & (self._sums[2 * nodes + 1] > 0)
            goal = np.where(right, goal - left, goal)
            nodes = 2 * nodes + right
        return nodes - self._leaves


RECENT = 20_000
"""Steps over which the mean of rewards is taken, about; a chunk has fewer."""


class TransitionBuffer:
    """Ring of the last `capacity` transitions (s, a, n-step reward, s', terminated, n).

    An episode chunk gives one transition per step. Where fewer than n steps follow in the chunk,
    the transition spans those that do: its target is still right, with a shorter look ahead.

    Args:
        capacity: transitions kept.
        n_step: steps between s and s'.
        gamma: discount factor.
        alpha: exponent of the priorities; 0 draws uniformly.
        beta: exponent of the importance weights that undo the priorities' bias.
        centred: give rewards less their recent mean (Naik et al. 2024, reward centering). What the
            actions differ by is then no longer small beside the values; the best actions are the
            same, as long as episodes do not terminate.
        seed: of the draws.
    """

    def __init__(
        self,
        capacity: int,
        n_step: int,
        gamma: float,
        alpha: float,
        beta: float,
        centred: bool,
        seed: int,
    ) -> None:
        self._capacity, self._n_step, self._gamma = capacity, n_step, gamma
        self._alpha, self._beta = alpha, beta
        self._centred, self._mean, self._seen = centred, 0.0, 0
        self._discounted = np.cumsum(np.append(0.0, gamma ** np.arange(n_step)))
        self._rng = np.random.default_rng(seed)
        self._columns: dict[str, Any] = {}
        self._tree = SumTree(capacity)
        self._largest = 1.0
        self._next = 0
        self.size = 0

    def add(self, episodes: Sequence[Any]) -> int:
        """Add episode chunks of RLlib, whose data are arrays; gives the number of transitions."""
        count = 0
        for episode in episodes:
            count += self._add(
                episode.get_observations(),
                np.asarray(episode.get_actions()),
                np.asarray(episode.get_rewards(), dtype=np.float64),
                bool(episode.is_terminated),
            )
        return count

    def _add(
        self, observations: Any, actions: NDArray[Any], rewards: Floats, terminated: bool
    ) -> int:
        steps = len(actions)
        self._seen += steps
        self._mean += (float(rewards.mean()) - self._mean) * steps / min(self._seen, RECENT)
        ends = np.minimum(np.arange(steps) + self._n_step, steps)
        spans = ends - np.arange(steps)
        padded = np.append(rewards, np.zeros(self._n_step))
        returns = sum(
            self._gamma**k * padded[k : k + steps] * (k < spans) for k in range(self._n_step)
        )
        rows = (self._next + np.arange(steps)) % self._capacity
        self._write("obs", rows, _take(observations, np.arange(steps)))
        self._write("new_obs", rows, _take(observations, ends))
        self._write("actions", rows, actions.astype(np.int64))
        self._write("rewards", rows, np.asarray(returns, dtype=np.float32))
        self._write("terminateds", rows, (ends == steps) & terminated)
        self._write("n_step", rows, spans.astype(np.float32))
        self._tree.set(rows, np.full(steps, self._largest**self._alpha))
        self._next = int(rows[-1] + 1) % self._capacity
        self.size = min(self._capacity, self.size + steps)
        return steps

    def _write(self, name: str, rows: Ints, values: Any) -> None:
        if isinstance(values, dict):
            for key, part in values.items():
                self._write(f"{name}/{key}", rows, part)
            return
        if name not in self._columns:
            shape = (self._capacity, *values.shape[1:])
            self._columns[name] = np.zeros(shape, dtype=values.dtype)
        self._columns[name][rows] = values

    def sample(self, count: int) -> tuple[dict[str, Any], Ints]:
        """Draw transitions: columns [count, ...] with importance `weights`, and their rows."""
        rows = self._tree.draw(count, self._rng)
        chance = self._tree[rows] / self._tree.total
        weights = (self.size * chance) ** -self._beta
        batch: dict[str, Any] = {"weights": (weights / weights.max()).astype(np.float32)}
        for name, values in self._columns.items():
            column, _, key = name.partition("/")
            if key:
                batch.setdefault(column, {})[key] = values[rows]
            else:
                batch[column] = values[rows]
        if self._centred:
            spans = batch["n_step"].astype(np.int64)
            batch["rewards"] -= (self._mean * self._discounted[spans]).astype(np.float32)
        return batch, rows

    def save(self, file: Path) -> None:
        """Write the transitions and their priorities, an `.npz` file."""
        rows = np.arange(self.size)
        columns = {f"column/{name}": values[: self.size] for name, values in self._columns.items()}
        numbers = np.array([self._next, self._seen, self._mean, self._largest])
        np.savez(file, numbers=numbers, priorities=self._tree[rows], **columns)

    def load(self, file: Path) -> None:
        """Read what `save` wrote; the buffer must have the same capacity and be empty."""
        with np.load(file) as stored:
            for name in stored.files:
                if name.startswith("column/"):
                    values = stored[name]
                    self._write(name.removeprefix("column/"), np.arange(len(values)), values)
            priorities = stored["priorities"]
            self._next, self._seen = (int(number) for number in stored["numbers"][:2])
            self._mean, self._largest = (float(number) for number in stored["numbers"][2:])
        self.size = len(priorities)
        if self.size:
            self._tree.set(np.arange(self.size), priorities)

    def prioritise(self, rows: Ints, errors: Floats) -> None:
        """Set the priorities of rows to the size of their errors."""
        sizes = np.abs(errors) + 1e-6
        self._largest = max(self._largest, float(sizes.max()))
        self._tree.set(rows, sizes**self._alpha)


def _take(observations: Any, rows: Ints) -> Any:
    if isinstance(observations, dict):
        return {name: values[rows] for name, values in observations.items()}
    return observations[rows]
