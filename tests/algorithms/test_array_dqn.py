"""DQN on arrays learns what RLlib's DQN learns from the same transitions."""

from typing import Any

import numpy as np
import pytest
import torch
from ray.rllib.algorithms.dqn.torch.default_dqn_torch_rl_module import DefaultDQNTorchRLModule
from ray.rllib.algorithms.dqn.torch.dqn_torch_learner import DQNTorchLearner
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME, TD_ERROR_KEY

from lwmecps_gym.algorithms.array_dqn import ArrayDQNLearner
from lwmecps_gym.algorithms.array_env_runner import ArrayEnvRunner
from lwmecps_gym.algorithms.networks import to_tensors
from lwmecps_gym.algorithms.replay import TransitionBuffer
from lwmecps_gym.algorithms.rl_modules import MaskedQNetwork
from lwmecps_gym.algorithms.training import ROUNDS
from lwmecps_gym.platform.errors import LwmecpsError

from .test_array_env_runner import NUM_ENVS, STEPS, config_of
from .test_array_ppo import TIMESTEPS, built, gradients

pytestmark = pytest.mark.filterwarnings("ignore:.*Overriding environment rllib-single-agent-env-v0")

SIZE = 64


class OneBatch(TransitionBuffer):
    """Gives the same transitions whenever it is asked, and remembers their priorities."""

    def sample(self, count: int) -> Any:
        """See `TransitionBuffer.sample`."""
        if not hasattr(self, "drawn"):
            self.drawn = super().sample(count)
            self.drawn[0]["terminateds"][::5] = True
        return self.drawn

    def prioritise(self, rows: Any, errors: Any) -> None:
        """See `TransitionBuffer.prioritise`."""
        self.errors = errors


class OfRLlib(MaskedQNetwork):
    """The same network, put through RLlib's own forward passes."""

    _forward_train = DefaultDQNTorchRLModule._forward_train


def played(runner: ArrayEnvRunner) -> OneBatch:
    replay = OneBatch(1000, n_step=3, gamma=0.9, alpha=0.6, beta=0.4, centred=True, seed=0)
    replay.add(runner.sample_rollout(NUM_ENVS * (2 * STEPS + 5)))
    return replay


@pytest.mark.parametrize("double_q", [True, False])
@pytest.mark.parametrize("env", ["lwmecps-v2", "lwmecps-v3"])
def test_transitions_give_the_errors_and_gradients_that_rllib_finds(
    env: str, double_q: bool
) -> None:
    config = config_of("dqn", env)
    config.training(grad_clip=1e9, gamma=0.9, double_q=double_q, train_batch_size_per_learner=SIZE)
    config.rl_module_spec.model_config["double_q"] = double_q
    runner = ArrayEnvRunner(config=config)
    replay = played(runner)

    told = config.rl_module_spec.model_config
    theirs_config = config.copy().rl_module(
        rl_module_spec=RLModuleSpec(module_class=OfRLlib, model_config=told)
    )
    ours = built(ArrayDQNLearner, config, runner)
    target = ours.module[DEFAULT_MODULE_ID].unwrapped()._target_network
    next(target.parameters()).data += 0.1
    theirs = built(DQNTorchLearner, theirs_config, runner)
    theirs.set_state(ours.get_state())
    state = theirs.module.get_state()
    assert all(
        torch.equal(torch.as_tensor(value), torch.as_tensor(state[DEFAULT_MODULE_ID][name]))
        for name, value in ours.module.get_state()[DEFAULT_MODULE_ID].items()
    )

    told_by_us = ours.update_from(replay, 1, TIMESTEPS)[DEFAULT_MODULE_ID]
    columns, _ = replay.drawn
    batch = MultiAgentBatch({DEFAULT_MODULE_ID: SampleBatch(columns)}, env_steps=SIZE)
    told_by_them = theirs.update(batch=batch, timesteps=TIMESTEPS)[DEFAULT_MODULE_ID]

    errors = np.ravel(told_by_them[TD_ERROR_KEY].peek())
    assert (errors > 1).any() and (errors < 1).any()  # both branches of the loss
    np.testing.assert_allclose(replay.errors, errors, rtol=1e-4, atol=1e-4)
    for name in ("qf_loss", "qf_mean", "qf_max", "qf_min", "td_error_mean"):
        assert told_by_us[name].peek() == pytest.approx(float(told_by_them[name].peek()), rel=1e-4)
    found, expected = gradients(ours), gradients(theirs)
    learned = {name for name, gradient in expected.items() if gradient is not None}
    assert learned == {name for name, gradient in found.items() if gradient is not None}
    assert len(learned) == 8
    for name in learned:
        largest = float(expected[name].abs().max())
        assert largest > 0
        torch.testing.assert_close(found[name], expected[name], rtol=1e-3, atol=1e-4 * largest)


def test_the_target_network_averages_the_weights_over_so_many_steps() -> None:
    config = config_of("dqn")
    planned = NUM_ENVS * ROUNDS * STEPS
    assert config.tau == 1.0  # a round is more than a twentieth of so short a training
    assert config_of("dqn", rollout_steps=1).tau == pytest.approx(NUM_ENVS / (planned * 0.05))
    rare = config_of("dqn", rollout_steps=1, target_update_steps=4)
    assert rare.tau == NUM_ENVS / 4

    runner = ArrayEnvRunner(config=config)
    learner = built(ArrayDQNLearner, rare, runner)
    module = learner.module[DEFAULT_MODULE_ID].unwrapped()
    before = [value.clone() for value in module._target_network.state_dict().values()]
    learner.update_from(played(runner), 2, {NUM_ENV_STEPS_SAMPLED_LIFETIME: 100})
    states = module.network.state_dict(), module._target_network.state_dict()
    for old, now, target in zip(before, *(state.values() for state in states), strict=True):
        assert not torch.equal(old, now)
        torch.testing.assert_close(target, 0.25 * old + 0.75 * now)


def test_exploration_takes_the_best_action_or_any_legal_one_as_often_as_the_schedule_says() -> None:
    config = config_of("dqn", "lwmecps-v2")
    config.rl_module_spec.model_config["epsilon"] = [[0, 1.0], [100, 0.25]]
    runner = ArrayEnvRunner(config=config)
    runner.sample_rollout(NUM_ENVS * 3)
    seen = {name: values[:1].repeat(4000, 0) for name, values in runner._observation.items()}
    mask = seen["action_mask"][0] != 0
    batch = {Columns.OBS: to_tensors(seen)}
    best = int(runner.module.forward_inference(batch)[Columns.ACTIONS][0])

    for step, epsilon in ((0, 1.0), (100, 0.25)):
        actions = runner.module.forward_exploration(batch, t=step)[Columns.ACTIONS].numpy()
        shares = np.bincount(actions, minlength=len(mask)) / len(actions)
        wanted = epsilon * mask / mask.sum()
        wanted[best] += 1 - epsilon
        assert (shares[~mask] == 0).all() and not mask.all()
        assert shares == pytest.approx(wanted, abs=0.03)


def test_action_values_that_are_not_finite_end_the_training_with_a_reason() -> None:
    config = config_of("dqn", "lwmecps-v2")
    runner = ArrayEnvRunner(config=config)
    replay = played(runner)
    learner = built(ArrayDQNLearner, config, runner)
    replay.sample(SIZE)[0]["rewards"][0] = np.inf
    with pytest.raises(LwmecpsError, match="not finite; try a lower learning_rate"):
        learner.update_from(replay, 1, TIMESTEPS)
