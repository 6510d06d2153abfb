"""Replay from arrays: what is drawn, how often, and what an n-step transition holds."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from lwmecps_gym.algorithms.replay import TransitionBuffer
from lwmecps_gym.algorithms.rollout import Rollout
from lwmecps_gym.algorithms.sum_tree import SumTree


def rollout(
    steps: int, width: int = 1, first: int = 0, ends: Sequence[tuple[int, int, bool]] = ()
) -> Rollout:
    """One in which the observation at step t of environment n is first + t * width + n.

    So is the action; the reward at step t is 10 ** t. At an end (t, n, terminated) an episode ends,
    and the next step is a reset.
    """
    numbers = first + np.arange((steps + 1) * width, dtype=np.float32).reshape(steps + 1, width)
    flags = np.zeros((3, steps + 1, width), dtype=bool)
    for t, n, terminated in ends:
        flags[0 if terminated else 1, t, n] = flags[2, t + 1, n] = True
    return Rollout(
        observations={"observations": numbers[..., None], "action_mask": numbers[..., None] >= 0},
        actions=numbers[:-1].astype(np.int64),
        logp=None,
        rewards=np.repeat(10.0 ** np.arange(steps)[:, None], width, axis=1),
        terminated=flags[0, :-1],
        truncated=flags[1, :-1],
        resetting=flags[2, :-1],
    )


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


def test_an_n_step_transition_discounts_its_rewards_and_ends_where_its_episode_does() -> None:
    replay = buffer(n_step=3)
    assert replay.add(rollout(5, ends=[(3, 0, True)])) == 4
    found = by_action(replay)
    assert found[0] == {"obs": 0, "new_obs": 3, "reward": 31, "terminated": False, "n": 3}
    assert found[1] == {"obs": 1, "new_obs": 4, "reward": 310, "terminated": True, "n": 3}
    assert found[2] == {"obs": 2, "new_obs": 4, "reward": 600, "terminated": True, "n": 2}
    assert found[3] == {"obs": 3, "new_obs": 4, "reward": 1000, "terminated": True, "n": 1}


def test_environments_side_by_side_do_not_mix_and_resets_are_no_transitions() -> None:
    replay = buffer(n_step=2)
    ends = [(1, 0, False), (0, 2, True), (4, 1, True)]
    assert replay.add(rollout(6, width=3, ends=ends)) == 6 * 3 - 3
    found = by_action(replay, 1024)
    assert set(found) == set(range(18)) - {6, 5, 16}
    for action, kept in found.items():
        t, n = divmod(action, 3)
        over = next((end for end, env, _ in ends if env == n and end >= t), 5)
        span = min(2, over + 1 - t)
        assert kept["obs"] == action and kept["n"] == span
        assert kept["new_obs"] == action + 3 * span
        assert kept["reward"] == 10**t * (1 if span == 1 else 6)
        assert kept["terminated"] == (t + span == over + 1 and (over, n, True) in ends)


def test_centred_rewards_are_less_the_mean_reward_discounted_alike() -> None:
    plain, centred = buffer(n_step=3), buffer(n_step=3, centred=True)
    for replay in (plain, centred):
        replay.add(rollout(4))
        replay.add(rollout(2, first=4))
    mean = (1 + 10 + 100 + 1000 + 1 + 10) / 6
    before, after = by_action(plain), by_action(centred)
    for action, discounted in ((0, 1.75), (1, 1.75), (2, 1.5), (3, 1.0), (4, 1.5), (5, 1.0)):
        difference = before[action]["reward"] - after[action]["reward"]
        assert difference == pytest.approx(mean * discounted, rel=1e-5)


def test_the_end_of_a_rollout_is_no_end_of_an_episode() -> None:
    replay = buffer(n_step=2)
    replay.add(rollout(3))
    assert not any(each["terminated"] for each in by_action(replay).values())


@pytest.mark.parametrize("steps", [5, 15])
def test_the_ring_keeps_the_latest_transitions(steps: int) -> None:
    replay = buffer(capacity=8)
    for first in range(0, 30, steps):
        assert replay.add(rollout(steps, first=first)) == steps
    assert replay.size == 8
    assert set(by_action(replay)) == set(range(22, 30))


def test_transitions_are_drawn_in_proportion_to_their_priorities() -> None:
    replay = buffer(alpha=1.0)
    replay.add(rollout(4))
    replay.prioritise(np.arange(4), np.array([1.0, 2.0, 3.0, 4.0]))
    batch, rows = replay.sample(10_000)
    shares = np.bincount(rows, minlength=4) / 10_000
    assert shares == pytest.approx([0.1, 0.2, 0.3, 0.4], abs=0.002)
    # Importance weights undo the bias: with beta 1 every transition counts the same in the mean.
    counted = np.array([batch["weights"][rows == row].sum() for row in range(4)])
    assert counted == pytest.approx(np.full(4, counted.mean()), rel=0.02)


def test_without_an_exponent_all_are_drawn_alike() -> None:
    replay = buffer(alpha=0.0)
    replay.add(rollout(5))
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


def test_of_an_item_that_is_set_twice_the_last_priority_counts() -> None:
    tree = SumTree(4)
    tree.set(np.array([2, 1, 2]), np.array([5.0, 1.0, 3.0]))
    assert tree[np.arange(4)].tolist() == [0, 1, 3, 0]
    assert tree.total == 4
