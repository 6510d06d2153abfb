"""Replay of transitions from arrays: uniform or prioritised (Schaul et al. 2016), n-step."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lwmecps_gym.algorithms.rollout import Rollout
from lwmecps_gym.algorithms.sum_tree import SumTree
from lwmecps_gym.envs.cluster import Floats, Ints

RECENT = 20_000
"""Steps over which the mean of rewards is taken, about."""


class TransitionBuffer:
    """Ring of the last `capacity` transitions (s, a, n-step reward, s', terminated, n).

    Each step that was played is one. Where fewer than n steps follow before its episode or the
    rollout ends, it spans those that do: its target is still right, with a shorter look ahead.

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

    def add(self, rollout: Rollout) -> int:
        """Add the steps of a rollout; gives the number of transitions."""
        played = np.flatnonzero(~rollout.resetting)
        rewards = rollout.rewards.ravel()[played]
        self._seen += len(played)
        recent = min(self._seen, max(RECENT, len(played)))
        self._mean += (float(rewards.mean()) - self._mean) * len(played) / recent

        spans, returns = n_step_returns(rollout, self._n_step, self._gamma)
        spans = spans.ravel()[played]
        width = rollout.resetting.shape[1]
        ends = played + spans * width
        latest = slice(-self._capacity, None)  # of more, the others would be written over
        played, ends, spans = played[latest], ends[latest], spans[latest]
        rows = (self._next + np.arange(len(played))) % self._capacity
        self._write("obs", rows, _take(rollout.observations, played))
        self._write("new_obs", rows, _take(rollout.observations, ends))
        self._write("actions", rows, rollout.actions.ravel()[played].astype(np.int64))
        self._write("rewards", rows, returns.ravel()[played].astype(np.float32))
        self._write("terminateds", rows, rollout.terminated.ravel()[ends - width])
        self._write("n_step", rows, spans.astype(np.float32))
        self._tree.set(rows, np.full(len(rows), self._largest**self._alpha))
        self._next = int(rows[-1] + 1) % self._capacity
        self.size = min(self._capacity, self.size + len(rows))
        return len(rewards)

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

    def prioritise(self, rows: Ints, errors: NDArray[Any]) -> None:
        """Set the priorities of rows to the size of their errors."""
        sizes = np.abs(errors, dtype=np.float64) + 1e-6
        self._largest = max(self._largest, float(sizes.max()))
        self._tree.set(rows, sizes**self._alpha)


def n_step_returns(rollout: Rollout, n_step: int, gamma: float) -> tuple[Ints, Floats]:
    """Steps until the end of each n-step transition, and its discounted rewards, both [T, N].

    A transition ends with its episode and with the rollout; those of resets mean nothing.
    """
    steps, width = rollout.rewards.shape
    ends = rollout.terminated | rollout.truncated
    spans = np.empty((steps, width), dtype=np.int64)
    left = np.zeros(width, dtype=np.int64)
    for t in range(steps - 1, -1, -1):
        left = np.where(ends[t], 1, left + 1)
        spans[t] = left
    np.minimum(spans, n_step, out=spans)
    returns = rollout.rewards.astype(np.float64)
    for k in range(1, min(n_step, steps)):
        returns[:-k] += gamma**k * rollout.rewards[k:] * (spans[:-k] > k)
    return spans, returns


def _take(observations: Any, rows: Ints) -> Any:
    """Rows [M, ...] of observations [T + 1, N, ...]."""
    if isinstance(observations, dict):
        return {name: _take(values, rows) for name, values in observations.items()}
    return observations.reshape(-1, *observations.shape[2:])[rows]
