"""Trainings in Ray actors; RLlib is imported by the actors alone, for it takes seconds."""

import logging

import ray

from lwmecps_gym.platform.config import Settings
from lwmecps_gym.platform.models import TrainingTask

logger = logging.getLogger(__name__)


class TrainingActor:
    """Runs one task in a process of its own."""

    def run(self, settings: Settings, task_id: str) -> None:
        """Run the task, then end the process; errors are in the store by then."""
        from lwmecps_gym.algorithms.training import run_task

        try:
            run_task(settings, task_id)
        except Exception:
            logger.exception("training %s ended", task_id)
        ray.actor.exit_actor()


class RayLauncher:
    """Starts each task in a detached Ray actor, which outlives whoever launched it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def launch(self, task: TrainingTask) -> None:
        """Start the task's actor; it begins the task when Ray has room for it."""
        actor = (
            ray.remote(TrainingActor)
            .options(name=f"training-{task.id}", lifetime="detached", num_cpus=1, max_restarts=0)
            .remote()
        )
        actor.run.remote(self._settings, task.id)
