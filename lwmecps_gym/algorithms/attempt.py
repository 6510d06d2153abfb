"""One attempt at a training: from its last checkpoint, or the beginning, to a model version."""

import logging
import math
import time
from dataclasses import dataclass

import numpy as np

from lwmecps_gym.algorithms.ended_episodes import MOST_KEPT
from lwmecps_gym.algorithms.entries import Iteration, Learner
from lwmecps_gym.algorithms.registry import entry_of, import_algorithms
from lwmecps_gym.algorithms.rehearsal import with_profile
from lwmecps_gym.algorithms.training import make_manifest
from lwmecps_gym.platform.artifacts import ArtifactStore
from lwmecps_gym.platform.checkpoints import Checkpoints, Reached, folder_of
from lwmecps_gym.platform.config import Settings
from lwmecps_gym.platform.database import open_store
from lwmecps_gym.platform.models import ModelVersion, TaskState, TrainingTask
from lwmecps_gym.platform.task_log import task_log
from lwmecps_gym.platform.task_run import TaskRun
from lwmecps_gym.platform.wandb_config import Tracker

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Made:
    """What a training has made, stored as an artifact."""

    digest: str
    metrics: dict[str, float]


def run_task(settings: Settings, task_id: str, attempt: int = 0) -> ModelVersion | None:
    """Run an attempt at a task; progress, metrics and the model version go to the store.

    Returns:
        The version; None if the task was paused.

    Raises:
        ConflictError: the task does not wait for this attempt, or was cancelled meanwhile.
        Exception: whatever ended the training; the task is then `failed` and holds the reason.
    """
    store = open_store(settings)
    with (
        TaskRun.begin(store, task_id, attempt=attempt, lease_s=settings.lease_s) as run,
        task_log(settings.data_dir, run.task),
    ):
        import_algorithms(settings.algorithms)
        logger.info("training %s: attempt %d begins", task_id, attempt)
        tracker = Tracker.start(settings, run.task)
        exit_code = 1
        try:
            if tracker.run_id is not None:
                run.tracked_by(tracker.run_id)
            # An attempt may have died after it stored the model.
            version = store.version_of_task(run.task.name, task_id, run.task.retries)
            if version is None:
                made = _train(settings, run, tracker)
                if made is None:
                    exit_code = 0
                    return None
                version = run.add_version(made.digest, made.metrics)
            directory = artifacts_of(settings).path(version.digest)
            metadata = {"version": version.version, **version.metrics}
            tracker.log_model(version.model_id, directory, metadata, ["latest"])
            done = run.task.episode >= run.task.total_episodes
            run.complete(version, whole=done or run.task.state is not TaskState.STOPPING)
            exit_code = 0
        finally:
            tracker.finish(exit_code)
    return version


def artifacts_of(settings: Settings) -> ArtifactStore:
    """Where models lie."""
    return ArtifactStore(settings.data_dir / "artifacts")


def checkpoints_of(settings: Settings, task: TrainingTask) -> Checkpoints:
    """Where a task's checkpoints lie."""
    return Checkpoints(folder_of(settings.data_dir, task.id), task.attempt)


def _train(settings: Settings, run: TaskRun, tracker: Tracker) -> Made | None:
    """Train until all is done or the task is stopped; None if it was paused."""
    task, checkpoints = run.task, checkpoints_of(settings, run.task)
    checkpoints.tidy()
    found = checkpoints.latest()
    reached = found.reached if found else Reached()
    run.go_on_from(found.reached if found else None)
    learner = entry_of(task.model_type).begin(_reseeded(task, reached.iteration))
    try:
        if found:
            logger.info("training %s goes on from iteration %d", task.id, reached.iteration)
            learner.restore(found.learner, reached)
        first_step, spent, saved = reached.env_steps, 0.0, time.monotonic()
        while reached.episode < task.total_episodes:
            if run.task.state is TaskState.STOPPING and reached.iteration > 0:
                break
            if run.task.state is TaskState.PAUSING:
                if reached.iteration > 0:
                    _save(checkpoints, learner, reached, run)
                if run.park():
                    logger.info("training %s is paused", task.id)
                    return None
            begin = time.monotonic()
            done = learner.train()
            spent += time.monotonic() - begin
            value = done.episode_return
            if value is None or not math.isfinite(value):
                value = reached.episode_return
            first = reached.first_return
            reached = Reached(
                iteration=reached.iteration + 1,
                episode=min(task.total_episodes, done.episodes),
                env_steps=done.env_steps,
                episode_return=value,
                first_return=value if first is None else first,
                spent_s=run.spent_s,
            )
            run.report(
                iteration=reached.iteration,
                episode=reached.episode,
                env_steps=reached.env_steps,
                episode_return=done.episode_return,
                env_steps_per_s=(reached.env_steps - first_step) / spent,
                values=done.values,
                episodes=done.ended,
            )
            _track(tracker, reached, done)
            if time.monotonic() - saved > settings.checkpoint_interval_s:
                _save(checkpoints, learner, reached, run)
                saved = time.monotonic()
        _save(checkpoints, learner, reached, run)
        metrics = {"env_steps": float(reached.env_steps), "training_s": run.spent_s}
        if reached.first_return is not None and reached.episode_return is not None:
            metrics |= {"first_return": reached.first_return, "last_return": reached.episode_return}
        model = learner.export()
        artifacts = artifacts_of(settings)
        manifest = with_profile(
            make_manifest(task, model.architecture, metrics), model.files, artifacts
        )
        return Made(artifacts.put_files(model.files, manifest), metrics)
    finally:
        learner.stop()


def _track(tracker: Tracker, reached: Reached, done: Iteration) -> None:
    """Tell W&B of an iteration, and before it of the episodes that ended in it.

    Its steps only go up, so each iteration has as many as it can have lines.
    """
    first = (reached.iteration - 1) * (MOST_KEPT + 1)
    axis = {"iteration": reached.iteration}
    for number, line in enumerate(zip(*done.ended.values(), strict=True)):
        named = {f"episode/{name}": v for name, v in zip(done.ended, line, strict=True)}
        tracker.log({**named, **axis}, step=first + number)
    progress = {"env_steps": reached.env_steps, "episode": reached.episode, **axis}
    tracker.log({**done.values, **progress}, step=first + MOST_KEPT)


def _save(checkpoints: Checkpoints, learner: Learner, reached: Reached, run: TaskRun) -> None:
    checkpoints.write(learner.save, reached)
    run.saved_checkpoint(reached.iteration)


def _reseeded(task: TrainingTask, iteration: int) -> TrainingTask:
    """The task with another seed after each checkpoint.

    The state of random numbers is in no checkpoint; from the task's own seed a training that goes
    on would draw once more what it drew at its beginning, days and all.
    """
    if iteration == 0:
        return task
    seed = np.random.SeedSequence([task.seed, iteration]).generate_state(1)[0] % 2**31
    return task.model_copy(update={"seed": int(seed)})
