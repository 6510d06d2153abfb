"""The side of a training that runs: begin an attempt, keep its lease, report, and end it."""

import logging
import math
from collections.abc import Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from lwmecps_gym.platform.checkpoints import Reached
from lwmecps_gym.platform.database import Store
from lwmecps_gym.platform.errors import ConflictError, StoreUnavailableError
from lwmecps_gym.platform.held_task import LEASE_S, HeldTask
from lwmecps_gym.platform.models import (
    Lineage,
    MetricRecord,
    ModelVersion,
    TaskState,
    TrainingTask,
    now,
)
from lwmecps_gym.platform.task_queue import Clock, error_text
from lwmecps_gym.platform.task_states import Event, after, change

logger = logging.getLogger(__name__)


class TaskRun(HeldTask):
    """One attempt at a task, from `begin` to `complete`, `park` or `fail`.

        with TaskRun.begin(store, task_id, attempt=1) as run:
            for ...:
                run.report(...)
            run.complete(run.add_version(digest, metrics))

    A daemon thread renews the lease every third of it. While the store is away, reports are kept
    and the training goes on; the thread writes them, in their order, when it is back. Leaving the
    block by an error ends the task as failed with the error as its reason, and the error goes on;
    leaving it by what is no `Exception`, as when the process is told to end, gives the task back;
    leaving it without an end is a failure. Once someone else ended the task, or began another
    attempt, every method raises `ConflictError`: this one has nothing left to do.
    """

    def __init__(self, store: Store, task: TrainingTask, clock: Clock, lease_s: float) -> None:
        super().__init__(store, task, clock, lease_s)
        self._begun_at = clock()
        self._spent_before = 0.0
        self._first_return = task.first_return

    @classmethod
    def begin(
        cls,
        store: Store,
        task_id: str,
        *,
        attempt: int = 0,
        clock: Clock = now,
        lease_s: float = LEASE_S,
    ) -> Self:
        """Begin an attempt at a task and start to renew its lease.

        Raises:
            NotFoundError: No task has that id.
            ConflictError: The task does not wait for this attempt: it was begun before, another
                one was launched since, or it was paused or has ended.
        """
        begun_at = clock()

        def begun(task: TrainingTask) -> dict[str, Any]:
            state = after(task, Event.BEGIN)
            if task.begun or task.attempt != attempt:
                raise ConflictError(
                    f"training {task.id} is at attempt {task.attempt}"
                    f"{', which has begun' if task.begun else ''}: attempt {attempt} is out of turn"
                )
            return {
                "state": state,
                "begun": True,
                "started_at": task.started_at or begun_at,
                "lease_until": begun_at + timedelta(seconds=lease_s),
            }

        run = cls(store, change(store, task_id, begun), clock, lease_s)
        run._heartbeat.start()
        return run

    @property
    def spent_s(self) -> float:
        """Time spent on what the training is by now, s: without lost work and pauses."""
        return self._spent_before + (self._clock() - self._begun_at).total_seconds()

    def go_on_from(self, reached: Reached | None) -> None:
        """Set the task back to a checkpoint, or to its beginning; the history after it goes.

        Raises:
            ConflictError: This attempt is over.
        """
        start = reached or Reached()
        self._begun_at, self._spent_before = self._clock(), start.spent_s
        self._first_return = start.first_return
        resumed = self._task.resumed + (reached is not None)
        self._patiently(
            lambda: self._change(lambda task: {**start.model_dump(), "resumed": resumed})
        )
        self._patiently(lambda: self._store.drop_metrics(self._task.id, start.iteration))

    def tracked_by(self, wandb_run_id: str) -> None:
        """Store the id of the W&B run that tracks the training; raises `ConflictError`."""
        self._patiently(lambda: self._change(lambda task: {"wandb_run_id": wandb_run_id}))

    def report(
        self,
        *,
        iteration: int,
        episode: int,
        env_steps: int,
        episode_return: float | None,
        env_steps_per_s: float,
        values: Mapping[str, float],
        episodes: Mapping[str, Sequence[float]] | None = None,
    ) -> None:
        """Store what one iteration brought, and show it as the task's progress.

        While the store is away this returns at once and what was reported is written later.

        Args:
            iteration: Number of the iteration; a repeated report of it is the same report.
            episode: Episodes done so far.
            env_steps: Environment steps done so far.
            episode_return: Mean return of the latest episodes; None or not finite: none ended yet.
            env_steps_per_s: Environment steps per second of wall time.
            values: More numbers of this iteration; those that are not finite are left out.
            episodes: Columns of the episodes that ended in it, all of one length.

        Raises:
            ConflictError: This attempt is over: its lease ran out, or someone ended the task.
            StoreUnavailableError: The store was away for longer than reports could be kept.
        """
        record = MetricRecord(
            id=f"{self._task.id}/{iteration:010d}",
            revision=self._task.attempt,
            task_id=self._task.id,
            iteration=iteration,
            episode=episode,
            env_steps=env_steps,
            time=self._clock(),
            values={key: value for key, value in values.items() if math.isfinite(value)},
            episodes={name: list(column) for name, column in (episodes or {}).items()},
        )
        progress: dict[str, Any] = {
            "iteration": iteration,
            "episode": episode,
            "env_steps": env_steps,
            "env_steps_per_s": env_steps_per_s,
            "spent_s": self.spent_s,
        }
        if episode_return is not None and math.isfinite(episode_return):
            progress["episode_return"] = episode_return
            if self._first_return is None:
                self._first_return = progress["first_return"] = episode_return
        self._keep(record, progress)

    def saved_checkpoint(self, iteration: int) -> None:
        """Tell, with the next report, that the training could go on from this iteration."""
        with self._lock:
            self._progress |= {"checkpoint_iteration": iteration, "losses": 0}

    def add_version(self, digest: str, metrics: Mapping[str, float]) -> ModelVersion:
        """Store what the task has made as a version of its model; once, whoever calls again.

        Args:
            digest: The address of its artifact, which must be in its place already.
            metrics: What it reached.

        Raises:
            ConflictError: This attempt is over; nothing was stored.
        """
        self._patiently(self._write)
        self._patiently(lambda: self._change(lambda task: {"saving": True}))
        task = self._task
        return self._patiently(
            lambda: self._store.add_version(
                task.name,
                model_type=task.model_type,
                task_id=task.id,
                retry=task.retries,
                digest=digest,
                metrics=metrics,
                lineage=Lineage.of(
                    task.scenario,
                    task.env,
                    parameters=task.parameters,
                    total_episodes=task.total_episodes,
                    seed=task.seed,
                ),
            )
        )

    def complete(self, version: ModelVersion, *, whole: bool = True) -> None:
        """End the task with the model version that it made.

        Args:
            version: The version.
            whole: All episodes were done; False: the task was stopped before.

        Raises:
            ConflictError: This attempt is over.
        """
        made = {"model_id": version.model_id, "version": version.version}
        self._end(Event.COMPLETE if whole else Event.HALT, made)

    def park(self) -> bool:
        """Pause the task, whose checkpoint is written; False if that is no longer wanted.

        Raises:
            ConflictError: This attempt is over.
        """

        def parked(task: TrainingTask) -> dict[str, Any]:
            if task.state is not TaskState.PAUSING:
                return {}
            return {"state": after(task, Event.PARK), "lease_until": None}

        self._patiently(self._write)
        self._patiently(lambda: self._change(parked))
        return self._over.is_set()

    def fail(self, reason: str) -> None:
        """End the task as failed, with the reason in words; raises `ConflictError`."""
        self._end(Event.FAIL, {"error": reason})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if not self.alive:
                return
            if error is None:
                self.fail("The training ended without a model version.")
            elif isinstance(error, Exception):
                self.fail(error_text(error))
            else:
                self._change(
                    lambda task: {
                        "state": after(task, Event.LOSE),
                        "lease_until": None,
                        "saving": False,
                    }
                )
        except (ConflictError, StoreUnavailableError) as refusal:
            if error is None:
                raise
            # The error on its way out says more; the lease ends this attempt if nobody did.
            logger.warning("training %s: its end was not stored: %s", self._task.id, refusal)
        finally:
            self._over.set()
            self._heartbeat.join()

    def _end(self, event: Event, changes: Mapping[str, Any]) -> None:
        def ended(task: TrainingTask) -> dict[str, Any]:
            return {
                **changes,
                "state": after(task, event),
                "finished_at": self._clock(),
                "lease_until": None,
                "saving": False,
            }

        self._patiently(self._write)
        self._patiently(lambda: self._change(ended))
