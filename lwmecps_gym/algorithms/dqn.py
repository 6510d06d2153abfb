"""DQN by RLlib on the native vector environment, with replay from arrays.

RLlib's own replay handles each replayed transition as an episode in Python, which took nine tenths
of the time; its modules, learner, loss and target networks are used as they are.
"""

from pathlib import Path
from typing import Any

import numpy as np
from ray.rllib.algorithms.dqn import DQN, DQNConfig
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.execution.rollout_ops import synchronous_parallel_sample
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    LEARNER_RESULTS,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    TD_ERROR_KEY,
)

from lwmecps_gym.algorithms.entries import Plan
from lwmecps_gym.algorithms.parameters import DQNParameters
from lwmecps_gym.algorithms.replay import TransitionBuffer
from lwmecps_gym.algorithms.rl_modules import AnySizeQNetwork, MaskedQNetwork
from lwmecps_gym.algorithms.schedules import falling

TRANSITIONS = "transitions.npz"
PRIORITY_EXPONENT = 0.6
IMPORTANCE_EXPONENT = 0.4


class ArrayDQN(DQN):  # type: ignore[misc]
    """RLlib's DQN with a `TransitionBuffer`, which lies beside RLlib's files in a checkpoint."""

    def setup(self, config: Any) -> None:
        """Set up RLlib's part, and the buffer."""
        super().setup(config)
        settings = self.config.replay_buffer_config
        self._transitions = TransitionBuffer(
            capacity=settings["capacity"],
            n_step=self.config.n_step,
            gamma=self.config.gamma,
            alpha=settings["alpha"],
            beta=settings["beta"],
            centred=settings["centred"],
            seed=self.config.seed or 0,
        )
        self._owed = 0.0

    def _create_local_replay_buffer_if_necessary(self, config: Any) -> None:
        return None

    def save_to_path(self, path: Any = None, **kwargs: Any) -> str:
        """Write RLlib's checkpoint, and the buffer into the same folder."""
        folder: str = super().save_to_path(path, **kwargs)
        self._transitions.save(Path(folder) / TRANSITIONS)
        return folder

    def restore_from_path(self, path: Any, **kwargs: Any) -> None:
        """Read what `save_to_path` wrote."""
        super().restore_from_path(path, **kwargs)
        file = Path(path) / TRANSITIONS
        if file.exists():  # RLlib calls this too for a part of a checkpoint alone
            self._transitions.load(file)

    def training_step(self) -> None:
        """Sample, replay `training_intensity` times as many steps, share the weights."""
        episodes, sampled = synchronous_parallel_sample(
            worker_set=self.env_runner_group,
            concat=True,
            sample_timeout_s=self.config.sample_timeout_s,
            _uses_new_env_runners=True,
            _return_metrics=True,
        )
        self.metrics.aggregate(sampled, key=ENV_RUNNER_RESULTS)
        added = self._transitions.add(episodes)
        steps = self.metrics.peek((ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME), default=0)
        if steps < self.config.num_steps_sampled_before_learning_starts:
            return
        size = self.config.total_train_batch_size
        self._owed += added * self.config.training_intensity / size
        while self._owed >= 1:
            self._owed -= 1
            self._update(size, steps)
        self.env_runner_group.sync_weights(
            from_worker_or_learner_group=self.learner_group, inference_only=True
        )

    def _update(self, size: int, steps: int) -> None:
        columns, rows = self._transitions.sample(size)
        batch = MultiAgentBatch({DEFAULT_MODULE_ID: SampleBatch(columns)}, env_steps=size)
        results = self.learner_group.update(
            batch=batch, timesteps={NUM_ENV_STEPS_SAMPLED_LIFETIME: steps}
        )
        errors = [result[DEFAULT_MODULE_ID].pop(TD_ERROR_KEY).peek() for result in results]
        self._transitions.prioritise(rows, np.concatenate([np.ravel(e) for e in errors]))
        self.metrics.aggregate(results, key=LEARNER_RESULTS)


def configure(plan: Plan[DQNParameters]) -> DQNConfig:
    """RLlib configuration of a training; sampling and environment come later."""
    parameters = plan.parameters
    decay = max(1, round(parameters.epsilon_decay * plan.total_steps))
    epsilon = [[0, 1.0], [decay, parameters.epsilon_end]]
    return (
        DQNConfig(algo_class=ArrayDQN)
        .training(
            lr=falling(parameters.learning_rate, parameters.learning_rate_end, plan.total_steps),
            gamma=parameters.discount_factor,
            double_q=parameters.double_q,
            dueling=parameters.dueling,
            n_step=parameters.n_step,
            epsilon=epsilon,
            num_steps_sampled_before_learning_starts=parameters.learning_starts,
            target_network_update_freq=parameters.target_update_steps,
            train_batch_size_per_learner=parameters.batch_size,
            training_intensity=parameters.training_intensity,
            grad_clip=parameters.grad_clip,
            grad_clip_by="global_norm",
            replay_buffer_config={
                "type": "PrioritizedEpisodeReplayBuffer",
                "capacity": parameters.buffer_steps,
                "alpha": PRIORITY_EXPONENT if parameters.prioritised else 0.0,
                "beta": IMPORTANCE_EXPONENT if parameters.prioritised else 0.0,
                "centred": parameters.centred,
            },
        )
        .rl_module(
            rl_module_spec=RLModuleSpec(
                module_class=AnySizeQNetwork if parameters.any_size else MaskedQNetwork,
                model_config={
                    "hidden": list(parameters.hidden),
                    "width": parameters.width,
                    "rounds": parameters.rounds,
                    "dueling": parameters.dueling,
                    "double_q": parameters.double_q,
                    "epsilon": epsilon,
                },
            )
        )
    )
