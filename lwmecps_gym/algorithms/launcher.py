"""Trainings in Ray actors; RLlib is imported by the actors alone, for it takes seconds."""

import logging
from contextlib import suppress

import ray

from lwmecps_gym.platform.config import Settings
from lwmecps_gym.platform.errors import ConflictError
from lwmecps_gym.platform.models import TrainingTask

NAMESPACE = "lwmecps"
"""Namespace of the actors in Ray."""

logger = logging.getLogger(__name__)


class TrainingActor:
    """Runs one task in a process of its own."""

    def run(self, settings: Settings, task_id: str, attempt: int) -> None:
        """Run an attempt at the task, then end the process; errors are in the store by then."""
        from lwmecps_gym.algorithms.attempt import run_task

        try:
            run_task(settings, task_id, attempt)
        except ConflictError as refusal:
            logger.info("training %s: %s", task_id, refusal)
        except Exception:
            logger.exception("training %s ended", task_id)
        ray.actor.exit_actor()


class RayLauncher:
    """Starts each task in a detached Ray actor, which outlives whoever launched it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def launch(self, task: TrainingTask) -> None:
        """Start an actor for the attempt, which begins when Ray has room; end that before it."""
        _end(_name(task.id, task.attempt - 1))
        actor = (
            ray.remote(TrainingActor)
            .options(
                name=_name(task.id, task.attempt),
                namespace=NAMESPACE,
                lifetime="detached",
                num_cpus=1,
                max_restarts=0,
            )
            .remote()
        )
        actor.run.remote(self._settings, task.id, task.attempt)

    def capacity(self) -> int:
        """One training for each core that Ray has, at least one."""
        return max(1, int(ray.cluster_resources().get("CPU", 1)))


def _name(task_id: str, attempt: int) -> str:
    return f"training-{task_id}-{attempt}"


def _end(name: str) -> None:
    """End an actor that was taken for dead: it may wait for room, or hang."""
    with suppress(ValueError):  # there is none
        ray.kill(ray.get_actor(name, namespace=NAMESPACE))
