r"""Trainings from request to result: who may run one, when, and what ends one that falls silent.

A task lives in the store and nowhere else, so any number of services may look after the same ones:

    pending -> pending, claimed -> running -> completed
                     \-> failed     \-> failed

A lease on a pending task is the claim: whoever set it, and nobody else, launches the task. A lease
on a running task is a promise to speak again; `reconcile` fails a task whose lease ran out. The
other half, what a running training does, is `task_run.TaskRun`.

Not guaranteed: several services that launch in the same instant on clocks that disagree can exceed
`max_concurrent` for a while. A task is never launched twice.
"""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field

from lwmecps_gym.platform.database import Store
from lwmecps_gym.platform.errors import ConflictError
from lwmecps_gym.platform.models import (
    MetricRecord,
    TaskState,
    TrainingRequest,
    TrainingTask,
    now,
)

BEGIN_LEASE_S = 120.0
"""How long a launched training may take until it begins, in seconds."""

Clock = Callable[[], datetime]

logger = logging.getLogger(__name__)


class Launcher(Protocol):
    """Whatever can run a training somewhere else."""

    def launch(self, task: TrainingTask) -> None:
        """Start the training and return at once; it begins the task by itself, later."""


class Progress(BaseModel):
    """How far a training is."""

    model_config = ConfigDict(protected_namespaces=())

    state: TaskState
    episode: int
    total_episodes: int
    share: float = Field(description="Part of the training that is done, 0 to 1.")
    episode_return: float | None = Field(description="Mean return of the latest episodes.")
    env_steps: int
    env_steps_per_s: float | None
    elapsed_s: float = Field(description="Seconds since the training began.")
    time_left_s: float | None = Field(description="Seconds left at the pace so far.")
    error: str | None
    model_id: str | None
    version: int | None


class TrainingService:
    """Accepts trainings, launches them in order of creation, and answers for their state.

    Args:
        store: Where tasks live.
        prepare: Turns a request into a complete task, or raises `InvalidInputError` or
            `NotFoundError` that name the field.
        launcher: Starts a task's run.
        max_concurrent: How many tasks may be claimed or running at once.
        clock: Current time, UTC.
    """

    def __init__(
        self,
        store: Store,
        prepare: Callable[[TrainingRequest], TrainingTask],
        launcher: Launcher,
        max_concurrent: int,
        *,
        clock: Clock = now,
    ) -> None:
        self._store = store
        self._prepare = prepare
        self._launcher = launcher
        self._max_concurrent = max_concurrent
        self._clock = clock

    def create(self, request: TrainingRequest, **given: Any) -> TrainingTask:
        """Accept a training, and launch it if a slot is free.

        Args:
            request: What to train.
            given: Fields of the task that the caller sets, such as `id` and `request_id`.

        Raises:
            InvalidInputError: A value is wrong; nothing was stored.
            NotFoundError: A name in the request is unknown; nothing was stored.
            StoreUnavailableError: The store does not answer.
        """
        task = self._store.create_task(self._prepare(request).model_copy(update=given))
        self._launch_waiting()
        return self._store.get_task(task.id)

    def run_now(self, request: TrainingRequest) -> TrainingTask:
        """Accept a training and launch it at once, past the queue and its limit.

        For whoever brings the resources along, as a command with a Ray of its own does.

        Raises:
            InvalidInputError: A value is wrong; nothing was stored.
            NotFoundError: A name in the request is unknown; nothing was stored.
        """
        lease_until = self._clock() + timedelta(seconds=BEGIN_LEASE_S)
        task = self._prepare(request).model_copy(update={"lease_until": lease_until})
        self._start(self._store.create_task(task))
        return self._store.get_task(task.id)

    def get(self, task_id: str) -> TrainingTask:
        """Return a task; raises `NotFoundError`."""
        return self._store.get_task(task_id)

    def progress(self, task_id: str) -> Progress:
        """Tell how far a task is; raises `NotFoundError`."""
        task = self._store.get_task(task_id)
        elapsed_s = 0.0
        if task.started_at is not None:
            until = task.finished_at or self._clock()
            elapsed_s = max(0.0, (until - task.started_at).total_seconds())
        time_left_s = None
        if task.state is TaskState.RUNNING and task.episode > 0:
            left = max(0, task.total_episodes - task.episode)
            time_left_s = elapsed_s / task.episode * left
        done = task.state is TaskState.COMPLETED
        return Progress(
            state=task.state,
            episode=task.episode,
            total_episodes=task.total_episodes,
            share=1.0 if done else min(1.0, task.episode / task.total_episodes),
            episode_return=task.episode_return,
            env_steps=task.env_steps,
            env_steps_per_s=task.env_steps_per_s,
            elapsed_s=elapsed_s,
            time_left_s=time_left_s,
            error=task.error,
            model_id=task.model_id,
            version=task.version,
        )

    def metrics(self, task_id: str, since: int = -1, limit: int = 1000) -> Sequence[MetricRecord]:
        """Return a task's history after iteration `since`, oldest first; raises `NotFoundError`."""
        self._store.get_task(task_id)
        return self._store.list_metrics(task_id, since=since, limit=limit)

    def reconcile(self) -> None:
        """End what went silent and launch what waits; call it every second or so.

        Raises:
            StoreUnavailableError: The store does not answer; the next call tries again.
        """
        self.end_silent()
        self._launch_waiting()

    def end_silent(self) -> None:
        """End the tasks whose lease ran out as failed."""
        time = self._clock()
        for task in (*self._all(TaskState.PENDING), *self._all(TaskState.RUNNING)):
            if task.lease_until is not None and task.lease_until < time:
                self._fail(task, _silence(task))

    def list(
        self,
        state: TaskState | None = None,
        model_type: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> tuple[Sequence[TrainingTask], str | None]:
        """Return one page of tasks and the cursor of the next page, None at the end."""
        return self._store.list_tasks(
            state=state, model_type=model_type, limit=limit, cursor=cursor
        )

    def _launch_waiting(self) -> None:
        """Launch the oldest waiting tasks while slots are free.

        Every service goes for the oldest task, so of two that see the same free slot one loses the
        claim, looks again and sees the slot taken.
        """
        while True:
            pending = self._all(TaskState.PENDING)
            # In this order: a task that begins between the two reads is seen twice, never missed.
            running = self._all(TaskState.RUNNING)
            taken = {task.id for task in running}
            taken |= {task.id for task in pending if task.lease_until is not None}
            waiting = [task for task in pending if task.lease_until is None]
            if not waiting or len(taken) >= self._max_concurrent:
                return
            self._launch(min(waiting, key=lambda task: (task.created_at, task.id)))

    def _launch(self, task: TrainingTask) -> None:
        """Claim a waiting task and launch it; do nothing if someone else claimed it first."""
        lease_until = self._clock() + timedelta(seconds=BEGIN_LEASE_S)
        try:
            claimed = self._store.update_task(task, lease_until=lease_until)
        except ConflictError:
            return
        self._start(claimed)

    def _start(self, claimed: TrainingTask) -> None:
        try:
            self._launcher.launch(claimed)
        except Exception as error:  # whatever a launcher meets is the task's reason to fail
            logger.exception("training %s could not be launched", claimed.id)
            self._fail(claimed, f"The training could not be launched: {error_text(error)}")

    def _fail(self, task: TrainingTask, reason: str) -> None:
        """End a task as failed, unless it changed since it was read: then it is alive."""
        try:
            self._store.update_task(
                task,
                state=TaskState.FAILED,
                error=reason,
                finished_at=self._clock(),
                lease_until=None,
            )
        except ConflictError:
            logger.info("training %s moved on before it was failed: %s", task.id, reason)

    def _all(self, state: TaskState) -> Sequence[TrainingTask]:
        tasks: list[TrainingTask] = []
        cursor: str | None = None
        while True:
            page, cursor = self._store.list_tasks(state=state, limit=500, cursor=cursor)
            tasks.extend(page)
            if cursor is None:
                return tasks


def error_text(error: BaseException) -> str:
    """Put an error into one paragraph: its type and its message, at most 1,000 characters."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= 1000 else f"{text[:999]}…"


def _silence(task: TrainingTask) -> str:
    if task.state is TaskState.PENDING:
        return (
            f"The training was launched but did not begin within {BEGIN_LEASE_S:.0f} s: "
            "the cluster had no room for it, or its process died at the start."
        )
    return (
        f"The training fell silent: its lease ran out at {task.lease_until:%Y-%m-%d %H:%M:%S} UTC. "
        "Its process or machine died or was suspended; create the training again."
    )
