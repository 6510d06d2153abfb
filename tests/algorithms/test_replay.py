"""Replay from arrays: what is drawn, how often, and what an n-step transition holds."""

from typing import Any

import numpy as np
import pytest

from lwmecps_gym.algorithms.replay import SumTree, TransitionBuffer


class Chunk:
    """An episode chunk as the buffer reads it: observation t is t, reward t is 10 ** t."""

    def __init__(self, steps: int, terminated: bool, first: int = 0) -> None:
        self._first, self._steps, self.is_terminated = first, steps, terminated

    def get_observations(self) -> dict[str, Any]:
        numbers = self._first + np.arange(self._steps + 1, dtype=np.float32)
        return {"observations": numbers[:, None], "action_mask": numbers[:, None] >= 0}

    def get_actions(self) -> Any:
        return self._first + np.arange(self._steps)

    def get_rewards(self) -> Any:
        return 10.0 ** np.arange(self._steps)


def buffer(
    capacity: int = 64, n_step: int = 1, alpha: float = 0.0, centred: bool = False
) -> TransitionBuffer:
    return TransitionBuffer(
        capacity, n_step, gamma=0.5, alpha=alpha, beta=1.0, centred=centred, seed=0
    )


def by_action(replay: TransitionBuffer, count: int = 256) -> dict[int, dict[str, Any]]:
    """All transitions that turn up in a large sample, by their action."""
    batch, _ = replay.sample(count)
    return {
        int(action): {
            "obs": float(batch["obs"]["observations"][i, 0]),
            "new_obs": float(batch["new_obs"]["observations"][i, 0]),
            "reward": float(batch["rewards"][i]),
            "terminated": bool(batch["terminateds"][i]),
            "n": float(batch["n_step"][i]),
        }
        for i, action in enumerate(batch["actions"])
    }


def test_an_n_step_transition_discounts_its_rewards_and_ends_where_the_chunk_does() -> None:
    replay = buffer(n_step=3)
    assert replay.add([Chunk(4, terminated=True)]) == 4
    found = by_action(replay)
    assert found[0] == {"obs": 0, "new_obs": 3, "reward": 31, "terminated": False, "n": 3}
    assert found[1] == {"obs": 1, "new_obs": 4, "reward": 310, "terminated": True, "n": 3}
    assert found[2] == {"obs": 2, "new_obs": 4, "reward": 600, "terminated": True, "n": 2}
    assert found[3] == {"obs": 3, "new_obs": 4, "reward": 1000, "terminated": True, "n": 1}


def test_centred_rewards_are_less_the_mean_reward_discounted_alike() -> None:
    plain, centred = buffer(n_step=3), buffer(n_step=3, centred=True)
    for replay in (plain, centred):
        replay.add([Chunk(4, terminated=False), Chunk(2, terminated=False, first=4)])
    mean = (1 + 10 + 100 + 1000 + 1 + 10) / 6
    before, after = by_action(plain), by_action(centred)
    for action, discounted in ((0, 1.75), (1, 1.75), (2, 1.5), (3, 1.0), (4, 1.5), (5, 1.0)):
        difference = before[action]["reward"] - after[action]["reward"]
        assert difference == pytest.approx(mean * discounted, rel=1e-5)


def test_a_chunk_that_was_cut_is_no_end() -> None:
    replay = buffer(n_step=2)
    replay.add([Chunk(3, terminated=False)])
    assert not any(each["terminated"] for each in by_action(replay).values())


def test_the_ring_keeps_the_latest_transitions() -> None:
    replay = buffer(capacity=8)
    for first in range(0, 30, 5):
        replay.add([Chunk(5, terminated=False, first=first)])
    assert replay.size == 8
    assert set(by_action(replay)) == set(range(22, 30))


def test_transitions_are_drawn_in_proportion_to_their_priorities() -> None:
    replay = buffer(alpha=1.0)
    replay.add([Chunk(4, terminated=False)])
    replay.prioritise(np.arange(4), np.array([1.0, 2.0, 3.0, 4.0]))
    batch, rows = replay.sample(10_000)
    shares = np.bincount(rows, minlength=4) / 10_000
    assert shares == pytest.approx([0.1, 0.2, 0.3, 0.4], abs=0.002)
    # Importance weights undo the bias: with beta 1 every transition counts the same in the mean.
    counted = np.array([batch["weights"][rows == row].sum() for row in range(4)])
    assert counted == pytest.approx(np.full(4, counted.mean()), rel=0.02)


def test_without_an_exponent_all_are_drawn_alike() -> None:
    replay = buffer(alpha=0.0)
    replay.add([Chunk(5, terminated=False)])
    replay.prioritise(np.arange(5), np.array([1.0, 9.0, 100.0, 0.0, 5.0]))
    _, rows = replay.sample(5_000)
    assert np.bincount(rows, minlength=5) / 5_000 == pytest.approx(np.full(5, 0.2), abs=0.002)


@pytest.mark.parametrize("capacity", [1, 2, 5, 8, 1000])
def test_a_sum_tree_of_any_size_draws_only_what_has_a_priority(capacity: int) -> None:
    rng = np.random.default_rng(capacity)
    tree = SumTree(capacity)
    priorities = rng.random(capacity) * (rng.random(capacity) < 0.5)
    priorities[rng.integers(capacity)] = 1.0
    tree.set(np.arange(capacity), priorities)
    assert tree.total == pytest.approx(priorities.sum())
    drawn = tree.draw(2_000, rng)
    assert (drawn >= 0).all() and (drawn < capacity).all()
    assert (priorities[drawn] > 0).all()
