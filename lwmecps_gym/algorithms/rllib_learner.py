"""Trainings by RLlib as a `Learner`."""

from pathlib import Path

from lwmecps_gym.algorithms.array_env_runner import ArrayEnvRunner
from lwmecps_gym.algorithms.ended_episodes import EndedEpisode, columns_of
from lwmecps_gym.algorithms.entries import Export, Iteration
from lwmecps_gym.algorithms.training import (
    configure,
    export,
    iteration_values,
    played_scenario,
)
from lwmecps_gym.platform.artifacts import WEIGHTS, encode_tensors
from lwmecps_gym.platform.checkpoints import Reached
from lwmecps_gym.platform.errors import InvalidInputError
from lwmecps_gym.platform.models import TrainingTask


class RLlibLearner:
    """Trains a task by the RLlib algorithm that it is configured for."""

    def __init__(self, task: TrainingTask) -> None:
        self._task = task
        self._resources_weight = played_scenario(task).weights.resources
        self._algorithm = configure(task).build_algo()
        if self._algorithm.get_module().is_stateful():
            self._algorithm.stop()
            raise InvalidInputError(f"algorithm {task.model_type!r}: its RLModule has a state")

    def train(self) -> Iteration:
        """See `Learner.train`: one RLlib iteration."""
        result = self._algorithm.train()
        sampled = result["env_runners"]
        steps = int(sampled["num_env_steps_sampled_lifetime"])
        value = sampled.get("episode_return_mean")
        return Iteration(
            episodes=steps // self._task.scenario["episode_steps"],
            env_steps=steps,
            episode_return=None if value is None else float(value),
            values=iteration_values(result, self._resources_weight),
            ended=columns_of(self._ended(), self._resources_weight),
        )

    def _ended(self) -> list[EndedEpisode]:
        """Episodes that ended, of the runners that know them; RLlib's own do not."""
        found = self._algorithm.env_runner_group.foreach_env_runner(
            lambda runner: runner.take_ended() if isinstance(runner, ArrayEnvRunner) else []
        )
        return [episode for of_runner in found for episode in of_runner]

    def save(self, folder: Path) -> None:
        """See `Learner.save`; RLlib can restore it."""
        self._algorithm.save_to_path(str(folder.resolve()))

    def restore(self, folder: Path, reached: Reached) -> None:
        """See `Learner.restore`: weights, optimiser, schedules, counts and DQN's replay.

        Episodes under way and the state of random numbers are not in a checkpoint: all
        environments begin an episode anew.
        """
        self._algorithm.restore_from_path(str(folder.resolve()))
        # Runners that RLlib found busy are left with their own weights by its restore.
        self._algorithm.env_runner_group.sync_weights(
            from_worker_or_learner_group=self._algorithm.learner_group, inference_only=True
        )

    def export(self) -> Export:
        """See `Learner.export`: one file of weights."""
        tensors, architecture = export(self._algorithm, self._task)
        return Export({WEIGHTS: encode_tensors(tensors)}, architecture)

    def stop(self) -> None:
        """See `Learner.stop`."""
        self._algorithm.stop()
