"""Measurements of training say what was measured, over contenders that play the same."""

import sys
from typing import Any

import numpy as np
import pytest

from lwmecps_gym.algorithms.bench.curves import compare_runners, curves_table
from lwmecps_gym.algorithms.bench.speed import bench_training, speed_table
from lwmecps_gym.envs.base import PlacementVectorEnv

from .clusters import changed

NUM_ENVS = 3
SMALL = {"num_envs": NUM_ENVS, "rollout_steps": 12, "minibatch_size": 32, "epochs": 1}
NAMES = ["ours", "rllib-sync", "rllib-native", "stable-baselines3"]


def measured(runs: int) -> dict[str, Any]:
    return bench_training(runs, 1, 1, [].append, "tiny", **SMALL)


@pytest.mark.ray
def test_every_contender_has_its_runs_and_the_ratio_of_their_median(ray_session: None) -> None:
    pytest.importorskip("sb3_contrib")
    result = measured(runs=3)
    rows = result["rows"]
    assert [row["name"] for row in rows] == NAMES
    for row in rows:
        assert len(row["runs"]) == 3 and min(row["runs"]) > 0
        assert row["env_steps_per_s"] == sorted(row["runs"])[1]
        assert row["ratio_to_ours"] == row["env_steps_per_s"] / rows[0]["env_steps_per_s"]
    assert result["parameters"].items() >= SMALL.items()
    assert "torch threads: 1" in result["machine"]
    assert speed_table(result).row_count == len(NAMES)


@pytest.mark.ray
def test_what_is_not_installed_is_skipped_with_the_command_that_installs_it(
    ray_session: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sb3_contrib", None)
    result = measured(runs=1)
    assert [row["name"] for row in result["rows"]] == NAMES
    assert result["rows"][-1]["skipped"] == "not installed; pip install 'lwmecps-gym[bench]'"
    assert speed_table(result).row_count == len(NAMES)


def test_stable_baselines_sees_the_environment_and_its_masks_and_every_end_of_an_episode() -> None:
    pytest.importorskip("sb3_contrib")
    from lwmecps_gym.algorithms.bench.stable_baselines import ArrayVecEnv

    short = changed("tiny", episode_steps=4)
    env = ArrayVecEnv(PlacementVectorEnv("lwmecps-v2", NUM_ENVS, short))
    twin = PlacementVectorEnv("lwmecps-v2", NUM_ENVS, short)
    env.seed(5)
    seen = env.reset()
    expected, _ = twin.reset(seed=5)
    rng = np.random.default_rng(0)
    for t in range(1, 11):
        np.testing.assert_array_equal(seen, expected["observations"])
        np.testing.assert_array_equal(env.env_method("action_masks"), expected["action_mask"] != 0)
        actions = np.array([rng.choice(np.flatnonzero(row)) for row in expected["action_mask"]])
        seen, rewards, ended, infos = env.step(actions)
        expected, reward, _, truncated, _ = twin.step(actions)
        np.testing.assert_allclose(rewards, reward, rtol=1e-6)
        np.testing.assert_array_equal(ended, truncated)
        assert ended.all() == ended.any() == (t % 4 == 0)
        if ended.all():
            for info, last in zip(infos, expected["observations"], strict=True):
                assert info["TimeLimit.truncated"]
                np.testing.assert_array_equal(info["terminal_observation"], last)
            expected, *_ = twin.step(actions)  # the step that resets
    env.close()


@pytest.mark.ray
def test_curves_have_intervals_and_say_where_they_overlap(ray_session: None) -> None:
    said: list[str] = []
    result = compare_runners(2, 2, "tiny", said.append)
    assert list(result["curves"]) == ["rllib-native", "rllib-array", "ours"]
    assert len(said) == 6
    assert result["steps"] == [480, 960]
    stock = result["curves"]["rllib-native"]
    for name, curve in result["curves"].items():
        assert len(curve["mean"]) == 2
        low, mean, high = (np.array(curve[part]) for part in ("low", "mean", "high"))
        assert (low < mean).all() and (mean < high).all() and (mean < 0).all()
        if name != "rllib-native":
            apart = (low > stock["high"]) | (high < stock["low"])
            assert curve["overlaps"] == (~apart).tolist()
    assert curves_table(result).row_count == 2
