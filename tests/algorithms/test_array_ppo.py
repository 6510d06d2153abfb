"""PPO on arrays learns what RLlib's PPO learns from episodes."""

from collections import defaultdict
from typing import Any

import numpy as np
import pytest
import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.learner import Learner
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.evaluation.postprocessing import Postprocessing
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME
from ray.rllib.utils.postprocessing.value_predictions import compute_value_targets

from lwmecps_gym.algorithms.array_env_runner import ArrayEnvRunner
from lwmecps_gym.algorithms.array_ppo import ArrayPPOLearner
from lwmecps_gym.algorithms.networks import to_tensors
from lwmecps_gym.algorithms.rollout import Rollout, advantages
from lwmecps_gym.platform.errors import LwmecpsError

from .test_array_env_runner import NUM_ENVS, STEPS, config_of

pytestmark = pytest.mark.filterwarnings("ignore:.*Overriding environment rllib-single-agent-env-v0")

TIMESTEPS = {NUM_ENV_STEPS_SAMPLED_LIFETIME: 0}


def built(learner: type[Learner], config: AlgorithmConfig, runner: ArrayEnvRunner) -> Any:
    made = learner(config=config, module_spec=config.get_multi_rl_module_spec(env=runner.env))
    made.build()
    return made


def gradients(learner: Any) -> dict[str, torch.Tensor]:
    module = learner.module[DEFAULT_MODULE_ID].unwrapped()
    return {name: value.grad for name, value in module.named_parameters()}


def rllib_batch(episodes: list[SingleAgentEpisode], config: AlgorithmConfig, learner: Any) -> Any:
    """The episodes as RLlib's loss takes them, advantages and targets by RLlib."""
    module = learner.module[DEFAULT_MODULE_ID].unwrapped()
    parts: dict[str, list[Any]] = defaultdict(list)
    for episode in episodes:
        seen = to_tensors(episode.get_observations())
        values = module.compute_values({Columns.OBS: seen}).detach().numpy()
        steps = len(episode)
        rewards, none = np.append(episode.get_rewards(), 0.0), np.zeros(steps + 1)
        ends = np.eye(steps + 1)[steps - 1]
        targets = compute_value_targets(values, rewards, none, ends, config.gamma, config.lambda_)[
            :-1
        ]
        parts[Postprocessing.VALUE_TARGETS].append(targets)
        parts[Postprocessing.ADVANTAGES].append(targets - values[:-1])
        parts[Columns.ACTIONS].append(episode.get_actions())
        for name in (Columns.ACTION_LOGP, Columns.ACTION_DIST_INPUTS):
            parts[name].append(episode.get_extra_model_outputs(name))
        for name, tensor in seen.items():
            parts[f"obs {name}"].append(tensor[:-1])
    columns = {name: np.concatenate(values) for name, values in parts.items()}
    advantage = columns[Postprocessing.ADVANTAGES]
    columns[Postprocessing.ADVANTAGES] = (advantage - advantage.mean()) / advantage.std()
    tensors = {name: torch.from_numpy(values) for name, values in columns.items()}
    tensors[Columns.OBS] = {
        name.removeprefix("obs "): tensors.pop(name) for name in parts if name.startswith("obs ")
    }
    batch = SampleBatch(tensors)
    return MultiAgentBatch({DEFAULT_MODULE_ID: batch}, env_steps=len(advantage))


@pytest.mark.parametrize("env", ["lwmecps-v2", "lwmecps-v3"])
def test_a_rollout_gives_the_gradients_that_rllib_finds_in_the_same_episodes(env: str) -> None:
    config = config_of("ppo", env)
    config.training(num_epochs=1, minibatch_size=None, grad_clip=1e9)
    steps = NUM_ENVS * (2 * STEPS + 5)  # two resets and a begun episode
    runner = ArrayEnvRunner(config=config)  # which seeds all that is random
    rollout = runner.sample_rollout(steps)
    twin = ArrayEnvRunner(config=config)
    episodes = twin.sample(num_timesteps=steps)

    ours = built(ArrayPPOLearner, config.copy().training(minibatch_size=steps), runner)
    theirs = built(PPOTorchLearner, config, twin)
    theirs.set_state(ours.get_state())
    batch = rllib_batch(episodes, config, theirs)
    ours.update_from([rollout], TIMESTEPS)
    theirs.update(batch=batch, timesteps=TIMESTEPS, num_epochs=1)

    found, expected = gradients(ours), gradients(theirs)
    assert found.keys() == expected.keys() and len(found) == 12
    for name, gradient in expected.items():
        largest = float(gradient.abs().max())
        assert largest > 0
        torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-4 * largest)


def test_a_rollout_holds_what_the_episodes_of_a_sample_hold() -> None:
    config = config_of("ppo", "lwmecps-v2")
    steps = NUM_ENVS * (2 * STEPS)
    runner = ArrayEnvRunner(config=config)  # which seeds all that is random
    rollout = runner.sample_rollout(steps)
    twin = ArrayEnvRunner(config=config)
    episodes = twin.sample(num_timesteps=steps)
    played = ~rollout.resetting
    assert played.sum() == sum(map(len, episodes)) == steps
    rewards = np.sort(np.concatenate([episode.get_rewards() for episode in episodes]))
    np.testing.assert_allclose(np.sort(rollout.rewards[played]), rewards, rtol=1e-6)
    ours, theirs = runner.get_metrics(), twin.get_metrics()
    for name in ("num_env_steps_sampled_lifetime", "num_episodes_lifetime", "episode_return_mean"):
        assert ours[name].peek() == theirs[name].peek()


def test_advantages_end_with_the_episode_and_go_on_from_what_followed() -> None:
    gamma, lambda_ = 0.9, 0.8
    flags = np.zeros((4, 3), dtype=bool)
    terminated, truncated, resetting = flags.copy(), flags.copy(), flags.copy()
    terminated[1, 0] = truncated[1, 1] = True
    resetting[2, :2] = True
    rewards = np.arange(12.0).reshape(4, 3)
    values = np.arange(15.0).reshape(5, 3) / 2
    rollout = Rollout(
        observations=None, actions=flags.astype(np.int64), logp=flags.astype(np.float32),
        rewards=rewards, terminated=terminated, truncated=truncated, resetting=resetting,
    )  # fmt: skip
    found = advantages(rollout, values, gamma, lambda_)

    def delta(t: int, env: int, follows: bool = True) -> float:
        return float(rewards[t, env] + gamma * follows * values[t + 1, env] - values[t, env])

    assert found[1, 0] == pytest.approx(delta(1, 0, follows=False))
    assert found[1, 1] == pytest.approx(delta(1, 1))
    assert found[0, 1] == pytest.approx(delta(0, 1) + gamma * lambda_ * delta(1, 1))
    assert (found[2, :2] == 0).all()
    assert found[3, 0] == pytest.approx(delta(3, 0))
    whole = [delta(t, 2) for t in range(4)]
    assert found[0, 2] == pytest.approx(
        sum((gamma * lambda_) ** t * d for t, d in enumerate(whole))
    )


def test_gradients_that_are_not_finite_end_the_training_with_a_reason() -> None:
    config = config_of("ppo", "lwmecps-v2")
    runner = ArrayEnvRunner(config=config)
    rollout = runner.sample_rollout(NUM_ENVS * 4)
    rollout.logp[0, 0] = -np.inf
    learner = built(ArrayPPOLearner, config, runner)
    with pytest.raises(LwmecpsError, match="not finite; try a lower learning_rate"):
        learner.update_from([rollout], TIMESTEPS)
