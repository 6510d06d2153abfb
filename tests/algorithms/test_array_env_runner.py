"""The array runner's episodes are those of the environment, step for step."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pytest
import scipy.special
from gymnasium.vector import AutoresetMode
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.connectors.env_to_module import FlattenObservations
from ray.rllib.connectors.module_to_env import GetActions
from ray.rllib.core.columns import Columns
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.tune import register_env

from lwmecps_gym.algorithms.array_env_runner import ArrayEnvRunner
from lwmecps_gym.algorithms.catalog import prepare
from lwmecps_gym.algorithms.training import ROUNDS, configure
from lwmecps_gym.envs.base import PlacementEnv, PlacementVectorEnv
from lwmecps_gym.envs.environments import LWMECPSEnv, LWMECPSEnv2, LWMECPSEnv3
from lwmecps_gym.platform.errors import InvalidInputError
from lwmecps_gym.platform.models import TrainingRequest

from .clusters import changed

# RLlib registers each runner's environment under one name.
pytestmark = pytest.mark.filterwarnings("ignore:.*Overriding environment rllib-single-agent-env-v0")

STEPS = 7
NUM_ENVS = 3
SEED = 11
SHORT = changed("tiny", episode_steps=STEPS)
ENVS: dict[str, type[PlacementEnv]] = {
    env.env_id: env for env in (LWMECPSEnv, LWMECPSEnv2, LWMECPSEnv3)
}
KINDS = [("ppo", "lwmecps-v2"), ("ppo", "lwmecps-v3"), ("dqn", "lwmecps-v2"),
         ("q_learning", "lwmecps-v1")]  # fmt: skip

Chunks = dict[str, list[SingleAgentEpisode]]


def config_of(
    model_type: str = "ppo", env: str | None = None, **parameters: Any
) -> AlgorithmConfig:
    task = prepare(
        TrainingRequest(
            name="n", model_type=model_type, env=env, total_episodes=NUM_ENVS * ROUNDS, seed=SEED,
            scenario=SHORT.document(),
            parameters={"num_envs": NUM_ENVS, "scatter_steps": 0} | parameters,
        )
    )  # fmt: skip
    return configure(task)


def chunks_by_episode(samples: list[list[SingleAgentEpisode]]) -> Chunks:
    found: Chunks = defaultdict(list)
    for sample in samples:
        for chunk in sample:
            found[chunk.id_].append(chunk)
    return found


def observations(chunk: SingleAgentEpisode) -> Mapping[str, Any]:
    found = chunk.get_observations()
    return found if isinstance(found, dict) else {"all": found}


@pytest.fixture(params=KINDS, ids=lambda kind: "-".join(kind))
def kind(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Algorithm and environment."""
    found: tuple[str, str] = request.param
    return found


@pytest.fixture
def runner(kind: tuple[str, str]) -> ArrayEnvRunner:
    return ArrayEnvRunner(config=config_of(*kind))


@pytest.fixture
def samples(runner: ArrayEnvRunner) -> list[list[SingleAgentEpisode]]:
    """Samples that end before, at and after the ends of episodes and their resets."""
    return [runner.sample(num_timesteps=NUM_ENVS * steps) for steps in (5, 2, 1, 7, 8, 20, 1, 3)]


def test_an_episode_has_exactly_its_steps_and_its_chunks_follow_on(
    samples: list[list[SingleAgentEpisode]],
) -> None:
    episodes = chunks_by_episode(samples)
    ended = 0
    for chunks in episodes.values():
        assert [chunk.is_done for chunk in chunks[:-1]] == [False] * (len(chunks) - 1)
        assert [chunk.t_started for chunk in chunks] == np.cumsum(
            [0, *(len(chunk) for chunk in chunks[:-1])]
        ).tolist()
        for before, after in zip(chunks, chunks[1:], strict=False):
            for name, values in observations(before).items():
                np.testing.assert_array_equal(values[-1], observations(after)[name][0])
        length = sum(len(chunk) for chunk in chunks)
        assert length == STEPS if chunks[-1].is_done else length < STEPS
        assert not chunks[-1].is_terminated
        ended += chunks[-1].is_done
    # 47 steps of each environment: six episodes of 7 and their resets, and 5 of the seventh.
    assert ended == 6 * NUM_ENVS
    assert len(episodes) == 7 * NUM_ENVS


def test_every_chunk_holds_one_observation_more_than_steps(
    samples: list[list[SingleAgentEpisode]],
) -> None:
    for chunk in (chunk for sample in samples for chunk in sample):
        assert len(chunk) > 0
        for values in observations(chunk).values():
            assert len(values) == len(chunk) + 1
        for column in (chunk.get_actions(), chunk.get_rewards()):
            assert len(column) == len(chunk)
        for name in (Columns.ACTION_LOGP, Columns.ACTION_DIST_INPUTS):
            if name in chunk.extra_model_outputs:
                assert len(chunk.get_extra_model_outputs(name)) == len(chunk)


def test_the_same_actions_bring_the_same_rewards_and_observations_in_a_single_environment(
    kind: tuple[str, str], samples: list[list[SingleAgentEpisode]]
) -> None:
    episodes = list(chunks_by_episode(samples).values())
    single = ENVS[kind[1]](SHORT, random_start=True)
    first, _ = single.reset(seed=SEED)
    played = 0
    for chunks in (chunks for chunks in episodes if _begins_with(chunks[0], first)):
        total = 0.0
        for chunk in chunks:
            rewards = chunk.get_rewards()
            seen = observations(chunk)
            for t, action in enumerate(chunk.get_actions()):
                observation, reward, _, truncated, _ = single.step(np.int64(action))
                total += reward
                assert rewards[t] == pytest.approx(reward, rel=1e-6)
                for name, value in _named(observation).items():
                    np.testing.assert_allclose(seen[name][t + 1], value, rtol=1e-6, atol=1e-6)
            assert truncated == chunk.is_done
        if truncated:
            assert sum(chunk.get_return() for chunk in chunks) == pytest.approx(total, rel=1e-5)
        first, _ = single.reset()
        played += 1
    assert played == 7


def _named(observation: Any) -> dict[str, Any]:
    return observation if isinstance(observation, dict) else {"all": observation}


def _begins_with(chunk: SingleAgentEpisode, first: Any) -> bool:
    seen = observations(chunk)
    return all(np.allclose(seen[name][0], value) for name, value in _named(first).items())


def test_steps_and_episodes_are_counted_without_the_resets(
    runner: ArrayEnvRunner, samples: list[list[SingleAgentEpisode]]
) -> None:
    chunks = [chunk for sample in samples for chunk in sample]
    metrics = {name: value for name, value in runner.get_metrics().items()}
    steps = sum(len(chunk) for chunk in chunks)
    assert steps == NUM_ENVS * 47
    assert metrics["num_env_steps_sampled_lifetime"].peek() == steps
    assert metrics["num_episodes_lifetime"].peek() == 6 * NUM_ENVS
    assert metrics["episode_len_mean"].peek() == STEPS
    ended = [parts for parts in chunks_by_episode(samples).values() if parts[-1].is_done]
    returns = [sum(chunk.get_return() for chunk in parts) for parts in ended]
    assert metrics["episode_return_mean"].peek() == pytest.approx(np.mean(returns))


def test_samples_are_as_long_as_those_of_rllibs_runner() -> None:
    def sizes(runner: type[SingleAgentEnvRunner]) -> list[tuple[int, int, int]]:
        made = runner(config=config_of())
        samples = [made.sample(num_timesteps=steps) for steps in (9, 1, 12, 10, 60)]
        return [
            (sum(map(len, sample)), len({chunk.id_ for chunk in sample}),
             sum(chunk.is_done for chunk in sample))
            for sample in samples
        ]  # fmt: skip

    assert sizes(ArrayEnvRunner) == sizes(SingleAgentEnvRunner)


def test_step_reward_is_the_mean_of_the_rewards_that_were_sampled(runner: ArrayEnvRunner) -> None:
    for steps in (9, 12):
        chunks = runner.sample(num_timesteps=NUM_ENVS * steps)
        rewards = np.concatenate([chunk.get_rewards() for chunk in chunks])
        logged = runner.get_metrics()["step_reward"].peek()
        assert logged == pytest.approx(rewards.mean(), rel=1e-5)


def test_whole_episodes_are_sampled_on_request(runner: ArrayEnvRunner) -> None:
    runner.sample(num_timesteps=NUM_ENVS * 4)
    episodes = chunks_by_episode([runner.sample(num_episodes=4)])
    done = [chunks for chunks in episodes.values() if chunks[-1].is_done]
    assert len(done) >= 4
    assert all(chunks[0].t_started == 0 for chunks in episodes.values())
    assert all(sum(map(len, chunks)) == STEPS for chunks in done)


def test_a_forced_reset_begins_new_episodes(runner: ArrayEnvRunner) -> None:
    before = {chunk.id_ for chunk in runner.sample(num_timesteps=NUM_ENVS * 3)}
    after = runner.sample(num_timesteps=NUM_ENVS * 3, force_reset=True)
    assert all(chunk.t_started == 0 for chunk in after)
    assert not before & {chunk.id_ for chunk in after}


def test_the_same_seed_samples_the_same_and_logged_probabilities_are_those_of_the_actions() -> None:
    def rewards() -> list[float]:
        sample = ArrayEnvRunner(config=config_of()).sample(num_timesteps=NUM_ENVS * 5)
        for chunk in sample:
            logits = chunk.get_extra_model_outputs(Columns.ACTION_DIST_INPUTS)
            shifted = np.exp(logits - logits.max(1, keepdims=True))
            probability = shifted / shifted.sum(1, keepdims=True)
            chosen = probability[np.arange(5), chunk.get_actions()]
            logp = chunk.get_extra_model_outputs(Columns.ACTION_LOGP)
            np.testing.assert_allclose(np.exp(logp), chosen, rtol=1e-5)
            mask = chunk.get_observations()["action_mask"][:-1]
            assert mask[np.arange(5), chunk.get_actions()].all()
        return [float(r) for chunk in sample for r in chunk.get_rewards()]

    assert rewards() == rewards()


def test_actions_are_drawn_as_often_as_their_probabilities_say() -> None:
    runner = ArrayEnvRunner(config=config_of())
    runner.module.network.body[-1].weight.data.mul_(300)
    samples = runner.sample(num_timesteps=NUM_ENVS * 1000)
    logits = np.concatenate(
        [c.get_extra_model_outputs(Columns.ACTION_DIST_INPUTS) for c in samples]
    )
    probability = scipy.special.softmax(logits.astype(np.float64), axis=1)
    drawn = np.eye(probability.shape[1])[np.concatenate([c.get_actions() for c in samples])]
    spread = np.sqrt((probability * (1 - probability)).sum(0))
    assert probability.max() > 0.5  # the policy has preferences
    assert (np.abs((drawn - probability).sum(0)) < 4 * spread).all()


@pytest.mark.parametrize(
    "connector",
    [
        {"env_to_module_connector": lambda env, spaces, device: FlattenObservations()},
        {"module_to_env_connector": lambda env, spaces: GetActions()},
    ],
    ids=["env to module", "module to env"],
)
def test_connectors_are_refused(connector: dict[str, Any]) -> None:
    config = config_of().env_runners(**connector)
    with pytest.raises(InvalidInputError, match="takes no .* connectors"):
        ArrayEnvRunner(config=config)


class SameStep(PlacementVectorEnv):
    metadata: ClassVar[dict[str, Any]] = PlacementVectorEnv.metadata | {  # type: ignore[misc]
        "autoreset_mode": AutoresetMode.SAME_STEP
    }


def test_an_environment_that_resets_in_the_same_step_is_refused() -> None:
    register_env("same-step", lambda context: SameStep("lwmecps-v2", NUM_ENVS, scenario=SHORT))
    with pytest.raises(InvalidInputError, match="needs NEXT_STEP autoreset, not .*SAME_STEP"):
        ArrayEnvRunner(config=config_of().environment("same-step"))


def test_pods_are_scattered_between_samples_and_no_chunk_spans_the_leap(
    kind: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(*kind).environment(env_config={"scatter_steps": 1})  # all, at each sample
    runner = ArrayEnvRunner(config=config)
    seen: list[tuple[Any, Any]] = []
    scatter = runner.vector.scatter

    def observed(*args: Any) -> Any:
        before = runner.vector.core.observe()
        seen.append((before, scatter(*args)))
        return seen[-1][1]

    monkeypatch.setattr(runner.vector, "scatter", observed)
    first, second = (runner.sample(num_timesteps=2 * NUM_ENVS) for _ in range(2))
    (before, after), _ = seen
    for index, (chunk, following) in enumerate(zip(first, second, strict=True)):
        assert following.id_ == chunk.id_ and following.t_started == len(chunk) == 2
        for name, values in observations(chunk).items():
            assert np.array_equal(values[-1], _named(before)[name][index])
        for name, values in observations(following).items():
            assert np.array_equal(values[0], _named(after)[name][index])
    assert any(
        not np.array_equal(_named(before)[name], _named(after)[name]) for name in _named(before)
    )


def test_no_pods_are_scattered_unless_it_is_asked_for(runner: ArrayEnvRunner) -> None:
    for _ in range(2):
        (chunk, *_) = runner.sample(num_timesteps=NUM_ENVS)
        last = observations(chunk)
    (following, *_) = runner.sample(num_timesteps=NUM_ENVS)
    for name, values in observations(following).items():
        assert np.array_equal(values[0], last[name][-1])
