"""The native vector environment steps its clusters as as many single ones would."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from lwmecps_gym.envs import ENV_IDS, make_vector_env
from lwmecps_gym.envs.base import PlacementVectorEnv
from lwmecps_gym.envs.scenario import Scenario, load_scenario
from lwmecps_gym.platform.errors import IllegalActionError, InvalidInputError

STEPS = 12


def short(name: str) -> Scenario:
    """Episodes of twelve steps with start-ups, failures and randomisation."""
    document = load_scenario(name).document()
    interval = document["control_interval_s"]
    for service in document["services"]:
        service["startup_s"] = 2 * interval
    return load_scenario(
        document
        | {
            "episode_steps": STEPS,
            "failures": {"node_mtbf_s": 10 * interval, "node_mttr_s": 2 * interval},
            "randomise": {
                "node_cpu": [0.9, 1.2],
                "service_rate": [0.7, 1.5],
                "rtt": [0.5, 2],
                "demand": [0.5, 2],
            },
        }
    )


def assert_same(together: Any, alone: Any) -> None:
    if isinstance(together, dict):
        assert together.keys() == alone.keys()
        for name, value in together.items():
            assert_same(value, alone[name])
    else:
        assert np.array_equal(together, alone)


@pytest.mark.parametrize("kernel", ["compiled", "reference"])
@pytest.mark.parametrize("name", ["tiny", "four-stations"])
@pytest.mark.parametrize("env_id", ENV_IDS)
def test_it_equals_single_environments_bit_for_bit_over_several_episodes(
    env_id: str, name: str, kernel: str
) -> None:
    options: dict[str, Any] = {"scenario": short(name), "random_start": True, "kernel": kernel}
    native = gym.make_vec(env_id, num_envs=3, **options)
    assert isinstance(native, PlacementVectorEnv)
    singles = SyncVectorEnv(
        [lambda: gym.make(env_id, **options).unwrapped for _ in range(3)],
        autoreset_mode=AutoresetMode.NEXT_STEP,
    )
    assert native.metadata["autoreset_mode"] == singles.metadata["autoreset_mode"]
    assert native.single_observation_space == singles.single_observation_space
    assert native.action_space == singles.action_space
    assert_same(native.reset(seed=7)[0], singles.reset(seed=7)[0])
    native.action_space.seed(0)
    for t in range(3 * STEPS):
        actions = native.action_space.sample()
        together: tuple[Any, ...] = native.step(actions)
        alone: tuple[Any, ...] = singles.step(actions)
        for left, right in zip(together[:4], alone[:4], strict=True):
            assert_same(left, right)
        started = t % (STEPS + 1) == STEPS
        assert together[1].any() != started
        if not started:
            assert_same(together[4], alone[4])


@pytest.mark.parametrize("env_id", ENV_IDS)
def test_the_step_after_an_end_begins_the_next_episode(env_id: str) -> None:
    env = make_vector_env(env_id, 2, scenario=short("tiny"))
    first, _ = env.reset(seed=0)
    zeros = np.zeros(2, dtype=np.int64)
    for episode in range(3):
        for t in range(STEPS):
            last, reward, terminated, truncated, info = env.step(zeros)
            assert (reward < 0).all() and not terminated.any()
            assert (truncated == (t == STEPS - 1)).all()
            assert info["_cost_latency"].all()
        ignored = np.full(2, 3)  # whatever the action, it begins the next episode
        following, reward, _, truncated, info = env.step(ignored)
        assert not reward.any() and not truncated.any()
        assert not info["_cost_latency"].any() and not info["cost_latency"].any()
        assert env.observation_space.contains(following)
        assert episode > 2 or not _equal(following, first)


def _equal(left: Any, right: Any) -> bool:
    if isinstance(left, dict):
        return all(_equal(left[name], right[name]) for name in left)
    return bool(np.array_equal(left, right))


@pytest.mark.parametrize("env_id", ENV_IDS)
def test_the_space_holds_the_observations(env_id: str) -> None:
    env = gym.make_vec(env_id, num_envs=4, scenario="four-stations")
    observation, _ = env.reset(seed=0)
    for _ in range(20):
        assert env.observation_space.contains(observation)
        observation = env.step(env.action_space.sample())[0]


def test_clusters_get_their_own_seeds_and_go_on_without_new_ones() -> None:
    env = make_vector_env("lwmecps-v1", 3, scenario="tiny")
    seeded, _ = env.reset(seed=10)
    assert len(np.unique(seeded, axis=0)) == 3
    listed, _ = env.reset(seed=[10, 11, 12])
    assert np.array_equal(seeded, listed)
    assert not np.array_equal(seeded, env.reset()[0])
    assert np.array_equal(
        make_vector_env("lwmecps-v1", 1, scenario="tiny").reset(seed=11)[0][0], seeded[1]
    )


def test_an_unseeded_reset_differs_from_run_to_run() -> None:
    first, second = (make_vector_env("lwmecps-v1", 1, scenario="tiny").reset()[0] for _ in "ab")
    assert not np.array_equal(first, second)


def test_reset_options_hold_for_every_cluster() -> None:
    env = make_vector_env("lwmecps-v1", 2, scenario="tiny")
    observation, _ = env.reset(seed=0, options={"placement": [[0, 2]], "start_s": 21_600})
    assert np.array_equal(observation[:, :2], [[0, 2], [0, 2]])
    assert observation[:, -2:] == pytest.approx(np.array([[1, 0], [1, 0]]), abs=1e-6)


def test_v3_randomises_and_fails_by_default_the_others_do_not() -> None:
    scenario = short("four-stations")
    capacities = []
    for env_id in ("lwmecps-v2", "lwmecps-v3"):
        env = make_vector_env(env_id, 3, scenario=scenario)
        env.reset(seed=0)
        capacities.append(env.core.backend.state().params.capacity[:, 0, 0])
    assert len(np.unique(capacities[0])) == 1
    assert len(np.unique(capacities[1])) == 3


def test_illegal_and_wrong_actions_are_told_apart() -> None:
    env = make_vector_env("lwmecps-v2", 2, scenario="tiny", illegal_action="raise")
    env.reset(seed=0)
    with pytest.raises(IllegalActionError, match="in cluster 1"):
        env.step(np.array([0, 4]))
    for wrong in ([0, 7], [-1, 0], [0, 0, 0]):
        with pytest.raises(InvalidInputError, match="actions"):
            env.step(np.array(wrong))


def test_an_illegal_action_after_the_end_is_ignored_even_where_it_would_raise() -> None:
    env = make_vector_env("lwmecps-v2", 2, scenario=short("tiny"), illegal_action="raise")
    env.reset(seed=0)
    for _ in range(STEPS):
        env.step(np.zeros(2, dtype=np.int64))
    _, reward, _, _, info = env.step(np.array([4, 4]))
    assert not reward.any() and not info["illegal_action"].any()


def test_a_live_cluster_is_not_vectorised() -> None:
    with pytest.raises(InvalidInputError, match="for a single environment"):
        make_vector_env("lwmecps-v2", 2, scenario="tiny", backend="kubernetes")


def test_an_episode_of_one_step_alternates_with_resets() -> None:
    document = load_scenario("tiny").document() | {"episode_steps": 1}
    env = make_vector_env("lwmecps-v2", 2, scenario=document)
    env.reset(seed=0)
    flags = []
    for _ in range(6):
        _, reward, _, truncated, _ = env.step(np.zeros(2, dtype=np.int64))
        flags.append((bool(truncated.all()), bool(reward.all())))
    assert flags == [(True, True), (False, False)] * 3


@pytest.mark.parametrize("env_id", ENV_IDS)
def test_a_spec_makes_the_same_environments_after_a_way_through_json(env_id: str) -> None:
    spec = EnvSpec.from_json(gym.spec(env_id).to_json())
    many = gym.make_vec(spec, num_envs=2, scenario="tiny")
    assert isinstance(many, PlacementVectorEnv) and many.num_envs == 2
    made = gym.make(env_id, scenario="tiny").spec
    assert made is not None
    again = gym.make(EnvSpec.from_json(made.to_json()))
    assert again.observation_space == many.single_observation_space
