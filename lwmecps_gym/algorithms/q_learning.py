"""Tabular Q-learning (Watkins 1989) as an RLlib Algorithm: sample, update the table, share it."""

from typing import Any

import numpy as np
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig, NotProvided
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.core.learner.training_data import TrainingData
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    LEARNER_RESULTS,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
)
from ray.rllib.utils.schedules.scheduler import Scheduler

from lwmecps_gym.algorithms.entries import Plan
from lwmecps_gym.algorithms.parameters import QLearningParameters
from lwmecps_gym.algorithms.schedules import falling
from lwmecps_gym.algorithms.table import Discretiser


class QTable(TorchRLModule):  # type: ignore[misc]
    """Action values by discretised state; epsilon-greedy while exploring."""

    q: torch.Tensor

    def setup(self) -> None:
        """Make the table."""
        self.discretiser = Discretiser.model_validate(self.model_config["discretiser"])
        shape = (self.discretiser.states, int(self.action_space.n))
        self.register_buffer("q", torch.full(shape, float(self.model_config["initial_value"])))
        self.epsilon_schedule = Scheduler(
            fixed_value_or_schedule=self.model_config["epsilon"], framework="torch"
        )

    def _greedy(self, batch: dict[str, Any]) -> torch.Tensor:
        rows = self.discretiser.index(np.asarray(batch[Columns.OBS]))
        return torch.argmax(self.q[torch.from_numpy(rows)], dim=1)

    def _forward_inference(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return {Columns.ACTIONS: self._greedy(batch)}

    def _forward_exploration(
        self, batch: dict[str, Any], t: int = 0, **kwargs: Any
    ) -> dict[str, Any]:
        self.epsilon_schedule.update(t)
        greedy = self._greedy(batch)
        explore = torch.rand(greedy.shape) < self.epsilon_schedule.get_current_value()
        return {
            Columns.ACTIONS: torch.where(
                explore, torch.randint_like(greedy, self.q.shape[1]), greedy
            )
        }

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        raise NotImplementedError("a table is not trained by gradients")


class QTableLearner(TorchLearner):  # type: ignore[misc]
    """Writes the table: Q(s, a) += alpha (r + gamma max Q(s', .) - Q(s, a)), step by step."""

    def build(self) -> None:
        """Build RLlib's part, and the schedule of alpha."""
        super().build()
        self._alpha = Scheduler(fixed_value_or_schedule=self.config.lr)

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """There is nothing to optimise."""

    def compute_loss_for_module(self, **kwargs: Any) -> Any:
        """There is no loss."""
        raise NotImplementedError("a table is not trained by gradients")

    def update(
        self, *, training_data: TrainingData, timesteps: dict[str, int], **kwargs: Any
    ) -> dict[str, Any]:
        """Walk the episodes and update the table."""
        training_data.validate()
        training_data.solve_refs()
        self._weights_seq_no += 1  # or the runners would keep their old table
        module = self.module[DEFAULT_MODULE_ID].unwrapped()
        alpha = self._alpha.update(timesteps[NUM_ENV_STEPS_SAMPLED_LIFETIME])
        gamma = float(self.config.gamma)
        table = module.q.numpy()
        errors = []
        for episode in training_data.episodes:
            states = module.discretiser.index(episode.get_observations())
            for s, a, r, after in zip(
                states[:-1], episode.get_actions(), episode.get_rewards(), states[1:], strict=True
            ):
                error = r + gamma * table[after].max() - table[s, a]
                table[s, a] += alpha * error
                errors.append(abs(error))
        self.metrics.log_value(
            (DEFAULT_MODULE_ID, "td_error_mean"), float(np.mean(errors)), window=1
        )
        self.metrics.log_value(
            (DEFAULT_MODULE_ID, "visited_share"),
            float((table != float(module.model_config["initial_value"])).mean()),
            window=1,
        )
        result: dict[str, Any] = self.metrics.reduce()
        return result


class QLearningConfig(AlgorithmConfig):  # type: ignore[misc]
    """Configuration of `QLearning`."""

    def __init__(self, algo_class: Any = None) -> None:
        super().__init__(algo_class=algo_class or QLearning)
        self.lr = 0.2
        self.gamma = 0.9
        self.epsilon: Any = [[0, 1.0], [40_000, 0.05]]
        self.initial_value = 0.0
        self.discretiser: dict[str, Any] | None = None
        self.num_env_runners = 0

    def training(
        self,
        *,
        epsilon: Any = NotProvided,
        initial_value: Any = NotProvided,
        discretiser: Any = NotProvided,
        **kwargs: Any,
    ) -> "QLearningConfig":
        """Set what is special to Q-learning, and what all algorithms have."""
        super().training(**kwargs)
        given = {"epsilon": epsilon, "initial_value": initial_value, "discretiser": discretiser}
        for name, value in given.items():
            if value is not NotProvided:
                setattr(self, name, value)
        return self

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """The table."""
        return RLModuleSpec(module_class=QTable)

    def get_default_learner_class(self) -> type[QTableLearner]:
        """The learner that writes the table."""
        return QTableLearner

    @property
    def _model_config_auto_includes(self) -> dict[str, Any]:
        return super()._model_config_auto_includes | {
            "epsilon": self.epsilon,
            "initial_value": self.initial_value,
            "discretiser": self.discretiser,
        }


class QLearning(Algorithm):  # type: ignore[misc]
    """Sample, update the table, share it."""

    @classmethod
    def get_default_config(cls) -> QLearningConfig:
        """The default configuration."""
        return QLearningConfig(algo_class=cls)

    def training_step(self) -> None:
        """One iteration."""
        sampled = self.env_runner_group.foreach_env_runner(
            lambda runner: (runner.sample(), runner.get_metrics())
        )
        self.metrics.aggregate([metrics for _, metrics in sampled], key=ENV_RUNNER_RESULTS)
        episodes = [episode for some, _ in sampled for episode in some]
        steps = self.metrics.peek((ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME))
        results = self.learner_group.update(
            episodes=episodes, timesteps={NUM_ENV_STEPS_SAMPLED_LIFETIME: steps}
        )
        self.metrics.aggregate(results, key=LEARNER_RESULTS)
        self.env_runner_group.sync_weights(
            from_worker_or_learner_group=self.learner_group, inference_only=True
        )


def configure(plan: Plan[QLearningParameters]) -> QLearningConfig:
    """RLlib configuration of a training; sampling and environment come later.

    Raises:
        InvalidInputError: the table would be too large for the scenario.
    """
    parameters = plan.parameters
    discretiser = Discretiser.of(plan.scenario, parameters.demand_bins)
    decay = max(1, round(parameters.epsilon_decay * plan.total_steps))
    return QLearningConfig().training(
        lr=falling(parameters.learning_rate, parameters.learning_rate_end, plan.total_steps),
        gamma=parameters.discount_factor,
        epsilon=[[0, 1.0], [decay, parameters.epsilon_end]],
        initial_value=parameters.initial_value,
        discretiser=discretiser.model_dump(mode="json"),
    )
