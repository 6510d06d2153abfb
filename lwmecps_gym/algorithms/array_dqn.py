"""DQN on whole arrays: rollouts [T, N] from the array runner, replay straight from them.

RLlib's replay handles each replayed transition as an episode in Python, and its learner walks
through connectors and sample batches on the way to the loss. Its configuration, modules, target
networks, optimiser, schedules, metrics and checkpoints are used as they are, and so are the
equations of its learner for `num_atoms` 1 and the Huber loss.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.dqn import DQN
from ray.rllib.algorithms.dqn.dqn_learner import (
    QF_LOSS_KEY,
    QF_MAX_KEY,
    QF_MEAN_KEY,
    QF_MIN_KEY,
    QF_NEXT_PREDS,
    QF_PREDS,
    QF_TARGET_NEXT_PREDS,
    TD_ERROR_MEAN_KEY,
)
from ray.rllib.algorithms.dqn.torch.dqn_torch_learner import DQNTorchLearner
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.utils.metrics import LEARNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME
from ray.rllib.utils.typing import ModuleID

from lwmecps_gym.algorithms.networks import to_tensors
from lwmecps_gym.algorithms.optimizer import descend, register_adam
from lwmecps_gym.algorithms.replay import TransitionBuffer
from lwmecps_gym.algorithms.sampling import sample_rollouts
from lwmecps_gym.algorithms.td_loss import TDLoss, td_loss
from lwmecps_gym.platform.errors import LwmecpsError

TRANSITIONS = "transitions.npz"


class ArrayDQN(DQN):  # type: ignore[misc]
    """RLlib's DQN with `ArrayEnvRunner`s, an `ArrayDQNLearner` and a `TransitionBuffer`.

    The buffer lies beside RLlib's files in a checkpoint. The learner replays from it, so there is
    one, in the same process.
    """

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

    def target_network(self) -> torch.nn.Module:
        """The target of the network: an average of its last weights, where updates are partial."""
        found = self.learner_group.foreach_learner(
            lambda learner: learner.module[DEFAULT_MODULE_ID].unwrapped().get_target_network_pairs()
        )
        [(_, target)] = next(iter(found)).get()
        network: torch.nn.Module = target
        return network

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
        config = self.config
        steps = config.get_rollout_fragment_length() * config.num_envs_per_env_runner
        rollouts, lifetime = sample_rollouts(self, steps * max(1, config.num_env_runners))
        added = sum(self._transitions.add(rollout) for rollout in rollouts)
        if lifetime < config.num_steps_sampled_before_learning_starts:
            return
        self._owed += added * config.training_intensity / config.total_train_batch_size
        updates = int(self._owed)
        if updates == 0:
            return
        self._owed -= updates
        timesteps = {NUM_ENV_STEPS_SAMPLED_LIFETIME: lifetime}
        learned = self.learner_group.foreach_learner(
            lambda learner: learner.update_from(self._transitions, updates, timesteps)
        )
        self.metrics.aggregate([result.get() for result in learned], key=LEARNER_RESULTS)
        self.env_runner_group.sync_weights(
            from_worker_or_learner_group=self.learner_group, inference_only=True
        )


class ArrayDQNLearner(DQNTorchLearner):  # type: ignore[misc]
    """Learns from a `TransitionBuffer`, with the loss of `DQNTorchLearner`."""

    def update_from(
        self, transitions: TransitionBuffer, updates: int, timesteps: dict[str, Any]
    ) -> Any:
        """Learn from batches of transitions, and set their priorities.

        Args:
            transitions: to draw from.
            updates: how many batches of `total_train_batch_size` there are.
            timesteps: as RLlib's schedules and target updates take them.

        Returns:
            RLlib's reduced metrics.

        Raises:
            LwmecpsError: action values or gradients are not finite.
        """
        self.before_gradient_based_update(timesteps=timesteps)
        self._weights_seq_no += 1
        found = []
        for _ in range(updates):
            batch, rows = transitions.sample(self.config.total_train_batch_size)
            learned = self._learn(batch)
            transitions.prioritise(rows, learned.errors)
            values = learned.values
            found.append(
                (learned.loss, values.mean(), values.max(), values.min(), learned.errors.mean())
            )
        names = (QF_LOSS_KEY, QF_MEAN_KEY, QF_MAX_KEY, QF_MIN_KEY, TD_ERROR_MEAN_KEY)
        means = np.mean(found, axis=0).tolist()
        self.metrics.log_dict(dict(zip(names, means, strict=True)), key=DEFAULT_MODULE_ID, window=1)
        self.after_gradient_based_update(timesteps=timesteps)
        return self.metrics.reduce()

    def configure_optimizers_for_module(self, module_id: ModuleID, config: AlgorithmConfig) -> None:
        """See `register_adam`."""
        register_adam(self, module_id, config)

    def _learn(self, batch: dict[str, Any]) -> TDLoss:
        """One step of the optimiser."""
        config, module = self.config, self.module[DEFAULT_MODULE_ID].unwrapped()
        seen = {name: to_tensors(batch[name]) for name in (Columns.OBS, Columns.NEXT_OBS)}
        out = module.forward_train(seen)
        learned = td_loss(
            out[QF_PREDS].detach().numpy(),
            out[QF_NEXT_PREDS if config.double_q else QF_TARGET_NEXT_PREDS].detach().numpy(),
            out[QF_TARGET_NEXT_PREDS].detach().numpy(),
            batch[Columns.ACTIONS],
            batch[Columns.REWARDS],
            config.gamma ** batch["n_step"] * ~batch[Columns.TERMINATEDS],
            batch["weights"],
        )
        if not np.isfinite(learned.loss):
            raise LwmecpsError("the action values are not finite; try a lower learning_rate")
        # Own modules compute with the minus infinity of illegal actions; 0 times that is no number.
        descend(self, out[QF_PREDS], torch.from_numpy(learned.gradients), zero_nans=True)
        return learned
