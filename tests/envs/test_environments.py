"""The three environments keep Gymnasium's contract, on any scenario and under any load."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from lwmecps_gym.envs import ENV_IDS, LWMECPSEnv, LWMECPSEnv2, LWMECPSEnv3
from lwmecps_gym.envs.performance import COST_TERMS
from lwmecps_gym.envs.scenario import Scenario, load_scenario
from lwmecps_gym.platform.errors import IllegalActionError, InvalidInputError, NotFoundError

CLASSES = {"lwmecps-v1": LWMECPSEnv, "lwmecps-v2": LWMECPSEnv2, "lwmecps-v3": LWMECPSEnv3}


def overloaded(name: str, users: float = 50) -> Scenario:
    """The scenario with far too many users, wild noise, failures and everything randomised."""
    document = load_scenario(name).document()
    diurnal = document["workload"]["diurnal"]
    diurnal["peak_users"] = {site: users * n for site, n in diurnal["peak_users"].items()}
    diurnal["noise"] = 2
    document["services"][0]["slo_ms"] = 1
    interval = document["control_interval_s"]
    return load_scenario(
        document
        | {
            "episode_steps": 80,
            "failures": {"node_mtbf_s": 10 * interval, "node_mttr_s": 3 * interval},
            "randomise": {
                "node_cpu": [0.9, 4],
                "service_rate": [0.01, 3],
                "rtt": [0.01, 100],
                "demand": [0.001, 1000],
                "start_h": [0, 100],
            },
        }
    )


def play(
    env: Any, seed: int, legal_only: bool = False
) -> Iterator[tuple[Any, float, dict[str, Any]]]:
    """Observations, rewards and infos of a random episode; the space holds every observation."""
    observation, _ = env.reset(seed=seed)
    assert env.observation_space.contains(observation)
    env.action_space.seed(seed)
    truncated = False
    while not truncated:
        mask = observation["action_mask"] if legal_only else None
        observation, reward, terminated, truncated, info = env.step(env.action_space.sample(mask))
        assert env.observation_space.contains(observation)
        assert not terminated
        yield observation, reward, info


@pytest.mark.parametrize("scenario", ["tiny", "four-stations"])
@pytest.mark.parametrize("env_id", ENV_IDS)
def test_the_checker_of_gymnasium_finds_nothing(env_id: str, scenario: str) -> None:
    check_env(gym.make(env_id, scenario=scenario).unwrapped, skip_render_check=True)
    check_env(CLASSES[env_id](overloaded(scenario)), skip_render_check=True)


@pytest.mark.parametrize("env_id", ENV_IDS)
def test_make_gives_the_class_and_plays_by_default_four_stations(env_id: str) -> None:
    env = gym.make(env_id)
    assert type(env.unwrapped) is CLASSES[env_id]
    observation, info = env.reset(seed=0)
    assert env.observation_space.contains(observation) and info == {}
    assert gym.spec(env_id).max_episode_steps is None


@pytest.mark.parametrize("users", [50, 1e9])
@pytest.mark.parametrize("scenario", ["tiny", "four-stations"])
@pytest.mark.parametrize("env_id", ENV_IDS)
def test_the_space_holds_every_observation_however_heavy_the_load(
    env_id: str, scenario: str, users: float
) -> None:
    env = CLASSES[env_id](overloaded(scenario, users), randomise=True, failures=True)
    for seed in range(3):
        rewards = [reward for _, reward, _ in play(env, seed)]
        assert len(rewards) == 80
        assert np.isfinite(rewards).all() and max(rewards) <= 0


@pytest.mark.parametrize("env_id", ENV_IDS)
def test_info_has_every_term_of_the_cost_and_they_sum_to_minus_the_reward(env_id: str) -> None:
    env = CLASSES[env_id]("tiny", random_start=True)
    for _, reward, info in play(env, 0):
        costs = {name for name in info if name.startswith("cost_")}
        assert costs == {f"cost_{term}" for term in COST_TERMS}
        assert sum(info[name] for name in costs) == pytest.approx(-reward, abs=1e-12)
        assert set(info) - costs == {
            "latency_ms", "violated", "failed", "migrations", "illegal_action",
        }  # fmt: skip
        for name, value in info.items():
            assert type(value) is (bool if name == "illegal_action" else float)


@pytest.mark.parametrize("env_id", ENV_IDS)
def test_an_episode_has_as_many_steps_as_the_scenario_says(env_id: str) -> None:
    env = CLASSES[env_id]("tiny")
    for seed in (None, 3):
        env.reset(seed=seed)
        ends = [env.step(np.int64(0))[2:4] for _ in range(288)]
        assert ends == [(False, False)] * 287 + [(False, True)]


@pytest.mark.parametrize("env_id", ENV_IDS)
def test_a_seed_fixes_the_episode_and_the_next_one_differs(env_id: str) -> None:
    env = CLASSES[env_id](overloaded("tiny"))
    first, again = ([reward for _, reward, _ in play(env, 5)] for _ in range(2))
    assert first == again
    env.reset()
    assert [env.step(np.int64(0))[1] for _ in range(80)] != first


@pytest.mark.parametrize("env_id", ["lwmecps-v2", "lwmecps-v3"])
def test_what_the_mask_allows_is_never_illegal(env_id: str) -> None:
    env = CLASSES[env_id](overloaded("four-stations", 2), illegal_action="raise")
    for _, _, info in play(env, 1, legal_only=True):
        assert not info["illegal_action"]


def test_an_illegal_action_counts_as_nothing_or_raises_as_asked() -> None:
    remove_from_empty = 1 + 2 + 1  # tiny begins with its only replica on the first node
    lenient, strict = (LWMECPSEnv("tiny", illegal_action=way) for way in ("nothing", "raise"))
    idle = LWMECPSEnv("tiny")
    for env in (lenient, strict, idle):
        env.reset(seed=0)
    observation, reward, _, _, info = lenient.step(np.int64(remove_from_empty))
    assert info["illegal_action"]
    with pytest.raises(IllegalActionError, match="remove a replica of video from bs_2"):
        strict.step(np.int64(remove_from_empty))
    for env in (strict, idle):  # nothing was changed: the strict one goes on as the idle one
        expected = env.step(np.int64(0))
        assert np.array_equal(expected[0], observation) and expected[1] == reward
        assert not expected[4]["illegal_action"]


@pytest.mark.parametrize("way", ["nothing", "raise"])
def test_padding_is_illegal_and_outside_the_space_is_wrong(way: str) -> None:
    env = LWMECPSEnv3("tiny", max_nodes=4, max_services=2, illegal_action=way)
    observation, _ = env.reset(seed=0)
    assert env.action_space == gym.spaces.Discrete(1 + 2 * 8 + 8 * 3)
    assert observation["action_mask"].shape == (41,)
    padding = 1 + 3  # place the first service on the fourth node
    assert not observation["action_mask"][padding]
    if way == "raise":
        with pytest.raises(IllegalActionError, match=r"\[4\] are padding"):
            env.step(np.int64(padding))
    else:
        assert env.step(np.int64(padding))[4]["illegal_action"]
    for action in (-1, 41):
        with pytest.raises(InvalidInputError, match=f"from 0 to 40, got .{action}"):
            env.step(np.int64(action))


@pytest.mark.parametrize("env_id", ENV_IDS)
def test_reset_takes_a_time_and_a_placement(env_id: str) -> None:
    env = CLASSES[env_id]("tiny")
    env.reset(seed=0, options={"start_s": 43_200, "placement": [[1, 2]]})
    state = env.state()
    assert state.time_s.tolist() == [43_200]
    assert state.ready.tolist() == [[[1, 2]]]
    env.reset(options={})
    assert env.state().ready.tolist() == [[[1, 0]]]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"start": 0}, r"\['start'\] are none of start_s, placement"),
        ({"start_s": "noon"}, "start_s.*'noon'"),
        ({"placement": [[9, 9]]}, "placement.*more than nodes"),
        ({"placement": [1]}, "placement.*1 rows"),
    ],
)
def test_reset_refuses_other_options(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        LWMECPSEnv2("tiny").reset(options=options)


def test_a_random_start_is_a_step_of_the_day() -> None:
    env = LWMECPSEnv2("tiny", random_start=True)
    starts = set()
    for seed in range(20):
        env.reset(seed=seed)
        starts.add(float(env.state().time_s[0]))
    assert len(starts) > 10
    assert all(start % 300 == 0 and 0 <= start < 86_400 for start in starts)


def test_v1_places_the_first_service_or_the_one_that_is_named() -> None:
    assert LWMECPSEnv().scenario.services[0].name == "ar"
    env = LWMECPSEnv(service="telemetry")
    assert env.scenario.services[0].name == "telemetry"
    assert env.action_space == gym.spaces.Discrete(1 + 2 * 4)
    assert env.observation_space.shape == (3 * 4 + 4 + 1 + 3 * 4 + 2,)
    with pytest.raises(NotFoundError, match="'voice'"):
        LWMECPSEnv(service="voice")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"illegal_action": "ignore"}, "illegal_action: 'ignore'"),
        ({"backend": "docker"}, "backend: 'docker'"),
    ],
)
def test_wrong_arguments_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        LWMECPSEnv2("tiny", **options)


def test_the_environments_import_only_what_they_need() -> None:
    # (Numba looks for SciPy when it is imported.)
    code = (
        "import lwmecps_gym.envs, gymnasium, sys;"
        "gymnasium.make('lwmecps-v3').reset(seed=0);"
        "gymnasium.make_vec('lwmecps-v3', num_envs=2).reset(seed=0);"
        "others = ('ray', 'torch', 'kubernetes', 'matplotlib', 'rich');"
        "print([name for name in others if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "[]", "")
