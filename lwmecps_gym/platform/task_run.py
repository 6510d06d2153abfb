"""The side of a training that runs: begin the task, renew its lease, report, and end it."""

import logging
import math
import threading
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from lwmecps_gym.platform.database import Store
from lwmecps_gym.platform.errors import ConflictError, StoreUnavailableError
from lwmecps_gym.platform.models import (
    MetricRecord,
    ModelVersion,
    TaskState,
    TrainingTask,
    now,
)
from lwmecps_gym.platform.training import Clock, error_text

LEASE_S = 30.0
"""How long a running training may be silent before it counts as dead, in seconds."""

_ATTEMPTS = 100
"""How often a change is tried again because someone else wrote first."""

logger = logging.getLogger(__name__)


class TaskRun:
    """One run of a task, from `begin` to `complete` or `fail`.

        with TaskRun.begin(store, task_id) as run:
            for ...:
                run.report(...)
            run.complete(version)

    A daemon thread renews the lease every third of it. Leaving the block by an error ends the task
    as failed with the error as its reason, and the error goes on; leaving it without `complete`
    is a failure too. Once the task was ended by someone else, `report` and `complete` raise
    `ConflictError`: the run has nothing left to do.
    """

    def __init__(self, store: Store, task: TrainingTask, clock: Clock, lease_s: float) -> None:
        self._store = store
        self._task = task
        self._clock = clock
        self._lease = timedelta(seconds=lease_s)
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._heartbeat = threading.Thread(
            target=self._renew, name=f"lease-{task.id}", args=(lease_s / 3,), daemon=True
        )

    @classmethod
    def begin(
        cls, store: Store, task_id: str, *, clock: Clock = now, lease_s: float = LEASE_S
    ) -> Self:
        """Take a pending task and start to renew its lease.

        Raises:
            NotFoundError: No task has that id.
            ConflictError: The task is not pending: it was begun before, or has ended.
        """
        run = cls(store, store.get_task(task_id), clock, lease_s)
        time = clock()
        run._change(
            TaskState.PENDING,
            lambda task: {
                "state": TaskState.RUNNING,
                "started_at": time,
                "lease_until": time + run._lease,
            },
        )
        run._heartbeat.start()
        return run

    @property
    def task(self) -> TrainingTask:
        """The task as this run last saw it."""
        return self._task

    def tracked_by(self, wandb_run_id: str) -> None:
        """Store the id of the W&B run that tracks the training; raises `ConflictError`."""
        self._change(TaskState.RUNNING, lambda task: {"wandb_run_id": wandb_run_id})

    def report(
        self,
        *,
        iteration: int,
        episode: int,
        env_steps: int,
        episode_return: float | None,
        env_steps_per_s: float,
        values: dict[str, float],
    ) -> None:
        """Store what one iteration brought, and show it as the task's progress.

        Args:
            iteration: Number of the iteration; a repeated report of it is the same report.
            episode: Episodes done so far.
            env_steps: Environment steps done so far.
            episode_return: Mean return of the latest episodes; None or not finite: none ended yet.
            env_steps_per_s: Environment steps per second of wall time.
            values: More numbers of this iteration; those that are not finite are left out.

        Raises:
            ConflictError: The task was ended by someone else, for one because its lease ran out.
        """
        if episode_return is not None and not math.isfinite(episode_return):
            episode_return = None

        def progress(task: TrainingTask) -> dict[str, Any]:
            changes: dict[str, Any] = {
                "episode": episode,
                "env_steps": env_steps,
                "env_steps_per_s": env_steps_per_s,
                "lease_until": self._clock() + self._lease,
            }
            if episode_return is not None:
                changes["episode_return"] = episode_return
                if task.first_return is None:
                    changes["first_return"] = episode_return
            return changes

        self._change(TaskState.RUNNING, progress)
        record = MetricRecord(
            id=f"{self._task.id}/{iteration:010d}",
            task_id=self._task.id,
            iteration=iteration,
            episode=episode,
            env_steps=env_steps,
            time=self._clock(),
            values={key: value for key, value in values.items() if math.isfinite(value)},
        )
        self._store.append_metrics([record])

    def complete(self, version: ModelVersion) -> None:
        """End the task with the model version that it made; raises `ConflictError`."""
        self._end(
            {
                "state": TaskState.COMPLETED,
                "model_id": version.model_id,
                "version": version.version,
            }
        )

    def fail(self, reason: str) -> None:
        """End the task as failed, with the reason in words; raises `ConflictError`."""
        self._end({"state": TaskState.FAILED, "error": reason})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        self._heartbeat.join()
        if self._task.state.ended:
            return
        if error is None:
            self.fail("The training ended without a model version.")
            return
        try:
            self.fail(error_text(error))
        except (ConflictError, StoreUnavailableError) as refusal:
            # The error on its way out says more; the lease ends the task if nobody did.
            logger.warning("training %s: its failure was not stored: %s", self._task.id, refusal)

    def _end(self, changes: dict[str, Any]) -> None:
        finished = {**changes, "finished_at": self._clock(), "lease_until": None}
        self._change(TaskState.RUNNING, lambda task: finished)
        self._over.set()

    def _renew(self, interval_s: float) -> None:
        while not self._over.wait(interval_s):
            try:
                self._change(
                    TaskState.RUNNING, lambda task: {"lease_until": self._clock() + self._lease}
                )
            except ConflictError as conflict:
                if self._task.state is not TaskState.RUNNING:
                    logger.warning("training %s is over: %s", self._task.id, conflict)
                    return
            except StoreUnavailableError as outage:
                logger.warning("training %s: lease not renewed: %s", self._task.id, outage)

    def _change(self, state: TaskState, changes: Callable[[TrainingTask], dict[str, Any]]) -> None:
        """Store changes on the latest revision; a lost race is run again from what won it.

        Raises:
            ConflictError: The task is no longer in `state`, or every attempt lost its race.
        """
        with self._lock:
            for _ in range(_ATTEMPTS):
                task = self._store.get_task(self._task.id)
                if task.state is not state:
                    self._task = task
                    raise ConflictError(
                        f"training {task.id} is {task.state}, not {state}: it was begun or ended "
                        "by someone else"
                    )
                try:
                    self._task = self._store.update_task(task, **changes(task))
                except ConflictError:
                    continue
                return
        raise ConflictError(
            f"training {self._task.id} changed {_ATTEMPTS} times while a change was tried; retry"
        )
