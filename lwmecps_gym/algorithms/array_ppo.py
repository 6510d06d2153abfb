"""PPO on whole arrays: rollouts [T, N] from the array runner, minibatches straight from them.

RLlib cuts rollouts into episodes, joins them again, and walks through connectors and sample batches
on the way to the loss. Its configuration, modules, optimiser, schedules, metrics and checkpoints
are used as they are, and so are the equations, with one difference: RLlib appends a step to every
piece of an episode and counts it when it standardises the advantages, here only steps that were
played count. The standardised advantages come out several times larger that way, so that the same
entropy bonus weighs less.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.ppo import PPO
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.learner import ENTROPY_KEY, POLICY_LOSS_KEY, VF_LOSS_KEY
from ray.rllib.utils.metrics import LEARNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME
from ray.rllib.utils.typing import ModuleID
from torch import Tensor

from lwmecps_gym.algorithms.layers import surrogate
from lwmecps_gym.algorithms.networks import Observations, to_tensors
from lwmecps_gym.algorithms.optimizer import descend, register_adam
from lwmecps_gym.algorithms.rollout import Rollout, advantages
from lwmecps_gym.algorithms.sampling import sample_rollouts


class ArrayPPO(PPO):  # type: ignore[misc]
    """RLlib's PPO with `ArrayEnvRunner`s and an `ArrayPPOLearner`."""

    def training_step(self) -> None:
        """Sample a rollout from every runner, learn from it, share the weights."""
        rollouts, lifetime = sample_rollouts(self, self.config.total_train_batch_size)
        if not rollouts:
            return
        learned = self.learner_group.foreach_learner(
            lambda learner: learner.update_from(
                rollouts, {NUM_ENV_STEPS_SAMPLED_LIFETIME: lifetime}
            )
        )
        self.metrics.aggregate([result.get() for result in learned], key=LEARNER_RESULTS)
        self.env_runner_group.sync_weights(
            from_worker_or_learner_group=self.learner_group, inference_only=True
        )


class ArrayPPOLearner(PPOTorchLearner):  # type: ignore[misc]
    """Learns from rollouts, with the loss of `PPOTorchLearner` without its KL term."""

    def update_from(self, rollouts: list[Rollout], timesteps: dict[str, Any]) -> Any:
        """Go through the steps of the rollouts `num_epochs` times, in shuffled minibatches.

        Returns:
            RLlib's reduced metrics.

        Raises:
            LwmecpsError: gradients are not finite.
        """
        self.before_gradient_based_update(timesteps=timesteps)
        self._weights_seq_no += 1
        batch = _batch(rollouts, self._values, self.config.gamma, self.config.lambda_)
        count = len(batch.actions)
        pieces = -(-count // min(self.config.minibatch_size, count))
        losses = [
            self._learn(batch.take(rows))
            for _ in range(self.config.num_epochs)
            for rows in torch.tensor_split(torch.randperm(count), pieces)
        ]
        policy_loss, vf_loss, entropy = np.mean(losses, axis=0).tolist()
        logged = {
            POLICY_LOSS_KEY: policy_loss,
            VF_LOSS_KEY: vf_loss,
            ENTROPY_KEY: entropy,
            "vf_explained_var": batch.explained_variance,
        }
        self.metrics.log_dict(logged, key=DEFAULT_MODULE_ID, window=1)
        self.after_gradient_based_update(timesteps=timesteps)
        return self.metrics.reduce()

    def configure_optimizers_for_module(self, module_id: ModuleID, config: AlgorithmConfig) -> None:
        """See `register_adam`."""
        register_adam(self, module_id, config)

    def _values(self, observations: Observations) -> Tensor:
        with torch.inference_mode():
            module = self.module[DEFAULT_MODULE_ID].unwrapped()
            values: Tensor = module.compute_values({Columns.OBS: observations})
        return values

    def _learn(self, batch: "Batch") -> tuple[float, float, float]:
        """One step of the optimiser; returns policy loss, value loss and entropy."""
        config, module = self.config, self.module[DEFAULT_MODULE_ID].unwrapped()
        columns = {Columns.OBS: batch.observations}
        out = module.forward_train(columns)
        entropy_coeff = self.entropy_coeff_schedulers_per_module[DEFAULT_MODULE_ID]
        loss, policy_loss, entropy = surrogate(
            out[Columns.ACTION_DIST_INPUTS],
            batch.actions,
            batch.logp,
            batch.advantages,
            config.clip_param,
            float(entropy_coeff.get_current_value()),
        )
        values = module.compute_values(columns, embeddings=out.get(Columns.EMBEDDINGS))
        errors = (values - batch.targets).square()
        vf_loss = errors.clamp(max=config.vf_clip_param).mean()
        descend(self, loss + config.vf_loss_coeff * vf_loss)
        return policy_loss, float(vf_loss.detach()), entropy


@dataclass(frozen=True)
class Batch:
    """Steps of rollouts, those of resets left out, [M]; advantages are standardised.

    Attributes:
        observations: [M, ...], one tensor or a dict of them.
        actions: [M].
        logp: of the actions when they were chosen, [M].
        advantages: [M].
        targets: of the values, [M].
        explained_variance: share of the targets' variance that the values explained.
    """

    observations: Observations
    actions: Tensor
    logp: Tensor
    advantages: Tensor
    targets: Tensor
    explained_variance: float

    def take(self, rows: Tensor) -> "Batch":
        """The steps `rows`."""
        return Batch(
            observations=_rows(self.observations, rows),
            actions=self.actions[rows],
            logp=self.logp[rows],
            advantages=self.advantages[rows],
            targets=self.targets[rows],
            explained_variance=self.explained_variance,
        )


def _batch(
    rollouts: list[Rollout],
    evaluate: Callable[[Observations], Tensor],
    gamma: float,
    lambda_: float,
) -> Batch:
    """Join rollouts, their advantages by `evaluate`, the value of observations [M, ...] as [M]."""
    parts: list[tuple[Any, ...]] = []
    for rollout in rollouts:
        assert rollout.logp is not None
        steps, width = rollout.actions.shape
        observations = _flattened(rollout.observations)
        values = evaluate(observations).numpy().reshape(steps + 1, width).astype(np.float64)
        advantage = advantages(rollout, values, gamma, lambda_)
        target = advantage + values[:-1]
        rows = np.flatnonzero(~rollout.resetting)
        columns = (rollout.actions, rollout.logp, advantage, target, values[:-1])
        parts.append(
            (_rows(observations, torch.from_numpy(rows)), *(c.ravel()[rows] for c in columns))
        )
    every = zip(*parts, strict=True)
    observations = _joined(list(next(every)))
    actions, logp, advantage, target, value = (np.concatenate(column) for column in every)
    spread = float(target.var())
    return Batch(
        observations=observations,
        actions=torch.from_numpy(actions),
        logp=torch.from_numpy(logp),
        advantages=_singles((advantage - advantage.mean()) / max(1e-4, advantage.std())),
        targets=_singles(target),
        explained_variance=1 - float((target - value).var()) / spread if spread > 0 else 0.0,
    )


def _singles(values: NDArray[Any]) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))


def _flattened(observations: Any) -> Observations:
    """Tensors [T * N, ...] of arrays [T, N, ...]."""
    if isinstance(observations, dict):
        return to_tensors({k: v.reshape(-1, *v.shape[2:]) for k, v in observations.items()})
    return to_tensors(observations.reshape(-1, *observations.shape[2:]))


def _rows(observations: Observations, rows: Tensor) -> Observations:
    if isinstance(observations, Tensor):
        return observations.index_select(0, rows)
    return {name: values.index_select(0, rows) for name, values in observations.items()}


def _joined(observations: list[Any]) -> Observations:
    if len(observations) == 1:
        joined: Observations = observations[0]
        return joined
    if isinstance(observations[0], Tensor):
        return torch.cat(observations)
    return {name: torch.cat([each[name] for each in observations]) for name in observations[0]}
