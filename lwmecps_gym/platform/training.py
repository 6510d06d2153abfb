"""Trainings from request to result: who may run one, when, and what becomes of one that is lost.

A task lives in the store and nowhere else, so any number of services may look after the same ones.
`task_states` has its states; each launch is an attempt with a number of its own.

The keeping of the queue is `task_queue.TaskQueue`, what a running training does `task_run.TaskRun`.

Not guaranteed: requests in the same instant can exceed the limit of the queue for a while.
"""

from collections.abc import Callable, Sequence
from typing import Any

from lwmecps_gym.platform.config import Settings
from lwmecps_gym.platform.database import Store
from lwmecps_gym.platform.database.records import Check, anything
from lwmecps_gym.platform.errors import ConflictError, QueueFullError
from lwmecps_gym.platform.models import (
    MetricRecord,
    TaskState,
    TrainingRequest,
    TrainingTask,
    now,
)
from lwmecps_gym.platform.task_progress import Progress
from lwmecps_gym.platform.task_queue import (
    BEGIN_LEASE_S,
    LAST_WORD_S,
    MAX_ATTEMPTS,
    Clock,
    Launcher,
    TaskQueue,
)
from lwmecps_gym.platform.task_states import Event, after, change

MAX_QUEUED = 100
"""How many trainings may wait."""


class TrainingService:
    """Accepts trainings, launches them in order of creation, and answers for their state.

    Args:
        store: Where tasks live.
        prepare: Turns a request into a complete task, or raises `InvalidInputError` or
            `NotFoundError` that name the field.
        launcher: Starts a task's run.
        max_concurrent: How many tasks may be claimed or running at once; None: what the launcher
            has room for.
        clock: Current time, UTC.
        max_queued: How many tasks may wait.
        max_attempts: How many attempts in a row may be lost without a checkpoint in between.
        begin_lease_s: How long an attempt may take until it begins, s.
        last_word_s: How long a suspect has to speak, s.
    """

    def __init__(
        self,
        store: Store,
        prepare: Callable[[TrainingRequest], TrainingTask],
        launcher: Launcher,
        max_concurrent: int | None,
        *,
        clock: Clock = now,
        max_queued: int = MAX_QUEUED,
        max_attempts: int = MAX_ATTEMPTS,
        begin_lease_s: float = BEGIN_LEASE_S,
        last_word_s: float = LAST_WORD_S,
    ) -> None:
        self._store = store
        self._prepare = prepare
        self._clock = clock
        self._max_queued = max_queued
        self._queue = TaskQueue(
            store, launcher, max_concurrent, clock, max_attempts, begin_lease_s, last_word_s
        )

    @classmethod
    def of(
        cls,
        settings: Settings,
        store: Store,
        prepare: Callable[[TrainingRequest], TrainingTask],
        launcher: Launcher,
    ) -> "TrainingService":
        """Make the service that the settings describe."""
        return cls(
            store,
            prepare,
            launcher,
            settings.max_concurrent_trainings,
            max_queued=settings.max_queued_trainings,
            max_attempts=settings.max_attempts,
            begin_lease_s=settings.begin_lease_s,
            last_word_s=settings.lease_s / 3,
        )

    def create(self, request: TrainingRequest, **given: Any) -> TrainingTask:
        """Accept a training, and launch it if a slot is free.

        Args:
            request: What to train.
            given: Fields of the task that the caller sets, such as `id` and `request_id`.

        Raises:
            InvalidInputError: A value is wrong; nothing was stored.
            NotFoundError: A name in the request is unknown; nothing was stored.
            QueueFullError: Too many trainings wait; nothing was stored.
            StoreUnavailableError: The store does not answer.
        """
        task = self._prepare(request).model_copy(update=given)
        if len(self._queue.waiting()) >= self._max_queued:
            raise QueueFullError(
                f"{self._max_queued} trainings wait already, and no more may"
                " (LWMECPS_MAX_QUEUED_TRAININGS); try again later, or cancel one that waits"
            )
        self._store.create_task(task)
        self._queue.launch_waiting()
        return self._store.get_task(task.id)

    def run_now(self, request: TrainingRequest) -> TrainingTask:
        """Accept a training and launch it at once, past the queue and its limit.

        For whoever brings the resources along, as a command with a Ray of its own does.

        Raises:
            InvalidInputError: A value is wrong; nothing was stored.
            NotFoundError: A name in the request is unknown; nothing was stored.
        """
        task = self._prepare(request)
        self._queue.start(self._store.create_task(task.model_copy(update=self._queue.claim(task))))
        return self._store.get_task(task.id)

    def take_now(self, task_id: str) -> TrainingTask:
        """Launch a task that nobody runs at once, past the queue and its limit.

        One that waits, is paused, was lost, or ended without being completed.

        Raises:
            NotFoundError: There is no such task.
            ConflictError: It is completed, or someone runs it: its lease has not run out.
        """

        def taken(task: TrainingTask) -> dict[str, Any]:
            if task.lease_until is not None and task.lease_until >= self._clock():
                raise ConflictError(
                    f"training {task.id} is {task.state}, and who runs it has promised to speak "
                    f"before {task.lease_until:%H:%M:%S} UTC; wait for that, or cancel it"
                )
            changes: dict[str, Any] = {}
            if task.state.active:
                changes = {"state": after(task, Event.LOSE)}
            elif task.state.ended:
                changes = self._retried(task)
            if changes.get("state", task.state) is TaskState.PAUSED:
                changes["state"] = TaskState.PENDING
            return {**changes, **self._queue.claim(task)}

        self._queue.start(change(self._store, task_id, taken))
        return self._store.get_task(task_id)

    # Those that steer take a `check`, which is called with the task that is changed.

    def pause(self, task_id: str, check: Check = anything) -> TrainingTask:
        """Let a training end its iteration, write a checkpoint and wait; raises `ConflictError`."""
        return self._move(task_id, Event.PAUSE, check, _unclaimed)

    def resume(self, task_id: str, check: Check = anything) -> TrainingTask:
        """Put a paused training back into the queue; raises `ConflictError`."""
        return self._move(task_id, Event.RESUME, check)

    def stop(self, task_id: str, check: Check = anything) -> TrainingTask:
        """Let a training end its iteration and keep its model; raises `ConflictError`."""
        return self._move(task_id, Event.STOP, check)

    def cancel(self, task_id: str, check: Check = anything) -> TrainingTask:
        """End a training without a model.

        Raises:
            ConflictError: It has ended, or its model is being stored at this moment.
        """

        def ended(task: TrainingTask) -> dict[str, Any]:
            if task.saving:
                raise ConflictError(
                    f"training {task.id} is {task.state} and its model is being stored; "
                    "it is too late to cancel it"
                )
            return {"lease_until": None, "finished_at": self._clock()}

        return self._move(task_id, Event.CANCEL, check, ended)

    def retry(self, task_id: str, check: Check = anything) -> TrainingTask:
        """Queue a training that ended without being completed, from its last checkpoint if any.

        Raises:
            ConflictError: It has not ended, or is completed.
        """
        return self._move(task_id, Event.RETRY, check, self._retried)

    def get(self, task_id: str) -> TrainingTask:
        """Return a task; raises `NotFoundError`."""
        return self._store.get_task(task_id)

    def progress(self, task_id: str) -> Progress:
        """Tell how far a task is; raises `NotFoundError`."""
        task = self._store.get_task(task_id)
        return Progress.of(task, self._clock(), self._queue.ahead_of(task))

    def metrics(self, task_id: str, since: int = -1, limit: int = 1000) -> Sequence[MetricRecord]:
        """Return a task's history after iteration `since`, oldest first; raises `NotFoundError`."""
        self._store.get_task(task_id)
        return self._store.list_metrics(task_id, since=since, limit=limit)

    def list(
        self,
        state: TaskState | None = None,
        model_type: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
        oldest_first: bool = False,
    ) -> tuple[Sequence[TrainingTask], str | None]:
        """Return one page of tasks and the cursor of the next page, None at the end."""
        return self._store.list_tasks(state, model_type, limit, cursor, oldest_first)

    def reconcile(self) -> None:
        """Take back what was lost and launch what waits; call it every second or so.

        Raises:
            StoreUnavailableError: The store does not answer; the next call tries again.
        """
        self._queue.take_back_lost()
        self._queue.launch_waiting()

    def take_back_lost(self) -> None:
        """Take back what was lost, and launch nothing; see `reconcile`."""
        self._queue.take_back_lost()

    def _move(
        self,
        task_id: str,
        event: Event,
        check: Check,
        changes: Callable[[TrainingTask], dict[str, Any]] = lambda task: {},
    ) -> TrainingTask:
        def moved(task: TrainingTask) -> dict[str, Any]:
            check(task)
            return {"state": after(task, event), **changes(task)}

        return change(self._store, task_id, moved)

    def _retried(self, task: TrainingTask) -> dict[str, Any]:
        if task.deleting:
            raise ConflictError(f"training {task.id} is being deleted; delete it again")
        return {
            "state": after(task, Event.RETRY),
            "retries": task.retries + 1,
            "losses": 0,
            "error": None,
            "finished_at": None,
            "model_id": None,
            "version": None,
        }


def _unclaimed(task: TrainingTask) -> dict[str, Any]:
    """Take a claim away before its attempt began; a process that runs keeps its lease."""
    return {"lease_until": None} if task.state is TaskState.PENDING else {}
