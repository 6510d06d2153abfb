"""Trainings from request to result: who may run one, when, and what becomes of one that is lost.

A task lives in the store and nowhere else, so any number of services may look after the same ones.
`task_states` has its states; each launch is an attempt with a number of its own.

A lease on a waiting task is the claim: whoever set it, and nobody else, launches the attempt. A
lease on a running task is a promise to speak again. When it runs out, `reconcile` first writes down
that the task is suspected: a store that takes this takes the process's word too, so that an outage
of the store ends no training. A suspect that stays silent goes back to the queue, its next attempt
goes on from the last checkpoint, and what the old one still sends is refused by its number. The
other half, what a running training does, is `task_run.TaskRun`.

Not guaranteed: several services that launch in the same instant on clocks that disagree can exceed
the limit for a while, and requests in the same instant that of the queue. No attempt is launched
twice.
"""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

from lwmecps_gym.platform.config import Settings
from lwmecps_gym.platform.database import Store
from lwmecps_gym.platform.errors import ConflictError, QueueFullError
from lwmecps_gym.platform.models import (
    MetricRecord,
    TaskState,
    TrainingRequest,
    TrainingTask,
    now,
)
from lwmecps_gym.platform.task_progress import Progress
from lwmecps_gym.platform.task_states import Event, after, change

BEGIN_LEASE_S = 120.0
"""How long a launched training may take until it begins, s."""
LAST_WORD_S = 10.0
"""How long a training whose lease ran out has to speak before it counts as lost, s."""
MAX_QUEUED = 100
"""How many trainings may wait."""
MAX_ATTEMPTS = 5
"""How many attempts in a row may be lost before the training fails; a checkpoint counts anew."""

Clock = Callable[[], datetime]

logger = logging.getLogger(__name__)


class Launcher(Protocol):
    """Whatever can run a training somewhere else."""

    def launch(self, task: TrainingTask) -> None:
        """Start the task's attempt and return at once; it begins by itself, later."""

    def capacity(self) -> int:
        """How many trainings there is room for at once."""


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
        self._launcher = launcher
        self._max_concurrent = max_concurrent
        self._clock = clock
        self._max_queued = max_queued
        self._max_attempts = max_attempts
        self._begin_lease = timedelta(seconds=begin_lease_s)
        self._last_word = timedelta(seconds=last_word_s)

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
        if len(self._waiting()) >= self._max_queued:
            raise QueueFullError(
                f"{self._max_queued} trainings wait already, and no more may"
                " (LWMECPS_MAX_QUEUED_TRAININGS); try again later, or cancel one that waits"
            )
        self._store.create_task(task)
        self._launch_waiting()
        return self._store.get_task(task.id)

    def run_now(self, request: TrainingRequest) -> TrainingTask:
        """Accept a training and launch it at once, past the queue and its limit.

        For whoever brings the resources along, as a command with a Ray of its own does.

        Raises:
            InvalidInputError: A value is wrong; nothing was stored.
            NotFoundError: A name in the request is unknown; nothing was stored.
        """
        task = self._prepare(request)
        self._start(self._store.create_task(task.model_copy(update=self._claim(task))))
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
            return {**changes, **self._claim(task)}

        self._start(change(self._store, task_id, taken))
        return self._store.get_task(task_id)

    def pause(self, task_id: str) -> TrainingTask:
        """Let a training end its iteration, write a checkpoint and wait; raises `ConflictError`."""
        return self._move(task_id, Event.PAUSE, _unclaimed)

    def resume(self, task_id: str) -> TrainingTask:
        """Put a paused training back into the queue; raises `ConflictError`."""
        return self._move(task_id, Event.RESUME)

    def stop(self, task_id: str) -> TrainingTask:
        """Let a training end its iteration and keep its model; raises `ConflictError`."""
        return self._move(task_id, Event.STOP)

    def cancel(self, task_id: str) -> TrainingTask:
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

        return self._move(task_id, Event.CANCEL, ended)

    def retry(self, task_id: str) -> TrainingTask:
        """Queue a training that ended without being completed, from its last checkpoint if any.

        Raises:
            ConflictError: It has not ended, or is completed.
        """
        return self._move(task_id, Event.RETRY, self._retried)

    def get(self, task_id: str) -> TrainingTask:
        """Return a task; raises `NotFoundError`."""
        return self._store.get_task(task_id)

    def progress(self, task_id: str) -> Progress:
        """Tell how far a task is; raises `NotFoundError`."""
        task = self._store.get_task(task_id)
        ahead = None
        if task.state is TaskState.PENDING and task.lease_until is None:
            ahead = sum(_place(other) < _place(task) for other in self._waiting())
        return Progress.of(task, self._clock(), ahead)

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
        self.take_back_lost()
        self._launch_waiting()

    def take_back_lost(self) -> None:
        """Suspect tasks whose lease ran out; put those that stay silent back into the queue."""
        time = self._clock()
        for state in TaskState:
            if state is not TaskState.PENDING and not state.active:
                continue
            for task in self._all(state):
                if task.lease_until is None or task.lease_until >= time:
                    continue
                if task.begun and not task.suspected:
                    self._update(task, suspected=True, lease_until=time + self._last_word)
                else:
                    self._lose(task)

    def _move(
        self,
        task_id: str,
        event: Event,
        changes: Callable[[TrainingTask], dict[str, Any]] = lambda task: {},
    ) -> TrainingTask:
        return change(
            self._store, task_id, lambda task: {"state": after(task, event), **changes(task)}
        )

    def _waiting(self) -> Sequence[TrainingTask]:
        """Tasks that nobody has claimed, oldest first."""
        tasks = (*self._all(TaskState.PENDING), *self._all(TaskState.STOPPING))
        return sorted((task for task in tasks if task.lease_until is None), key=_place)

    def _launch_waiting(self) -> None:
        """Launch the oldest waiting tasks while slots are free.

        Every service goes for the oldest task, so of two that see the same free slot one loses the
        claim, looks again and sees the slot taken.
        """
        while True:
            waiting = self._waiting()
            # In this order: a task that begins between the reads is seen twice, never missed.
            states = (state for state in TaskState if state is TaskState.PENDING or state.active)
            held = {t.id for state in states for t in self._all(state) if t.lease_until is not None}
            room = self._max_concurrent or self._launcher.capacity() if waiting else 0
            if not waiting or len(held) >= room:
                return
            task = waiting[0]
            claimed = self._update(task, **self._claim(task))
            if claimed is not None:
                self._start(claimed)

    def _claim(self, task: TrainingTask) -> dict[str, Any]:
        """What makes the next attempt of a task this service's own."""
        return {
            "attempt": task.attempt + 1,
            "begun": False,
            "suspected": False,
            "saving": False,
            "lease_until": self._clock() + self._begin_lease,
        }

    def _retried(self, task: TrainingTask) -> dict[str, Any]:
        return {
            "state": after(task, Event.RETRY),
            "retries": task.retries + 1,
            "losses": 0,
            "error": None,
            "finished_at": None,
            "model_id": None,
            "version": None,
        }

    def _start(self, claimed: TrainingTask) -> None:
        try:
            self._launcher.launch(claimed)
        except Exception as error:  # whatever a launcher meets is the task's reason to fail
            logger.exception("training %s could not be launched", claimed.id)
            self._fail(claimed, f"The training could not be launched: {error_text(error)}")

    def _lose(self, task: TrainingTask) -> None:
        """Put a task back whose attempt was lost; fail it if that happened too often."""
        if task.losses + 1 >= self._max_attempts:
            self._fail(task, _lost_for_good(task))
            return
        state = after(task, Event.LOSE)
        changes = {"state": state, "lease_until": None, "suspected": False, "saving": False}
        if self._update(task, losses=task.losses + 1, **changes) is not None:
            logger.warning("training %s: attempt %d was lost", task.id, task.attempt)

    def _fail(self, task: TrainingTask, reason: str) -> None:
        self._update(
            task,
            state=after(task, Event.FAIL),
            error=reason,
            finished_at=self._clock(),
            lease_until=None,
        )

    def _update(self, task: TrainingTask, **changes: Any) -> TrainingTask | None:
        """Change a task; None if it changed since it was read: it is alive, or someone else's."""
        try:
            return self._store.update_task(task, **changes)
        except ConflictError:
            logger.info("training %s moved on meanwhile", task.id)
            return None

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


def _place(task: TrainingTask) -> tuple[datetime, str]:
    """Where a task stands in the queue."""
    return task.created_at, task.id


def _unclaimed(task: TrainingTask) -> dict[str, Any]:
    """Take a claim away before its attempt began; a process that runs keeps its lease."""
    return {"lease_until": None} if task.state is TaskState.PENDING else {}


def _lost_for_good(task: TrainingTask) -> str:
    often = f"{task.losses + 1} attempts in a row were lost; the last one"
    if not task.begun:
        return (
            f"{often} was launched but did not begin in time: the cluster had no room for it, or "
            "its process died at the start. Retry the training when that is mended."
        )
    return (
        f"{often} fell silent: its lease ran out at {task.lease_until:%Y-%m-%d %H:%M:%S} UTC. Its "
        "process or machine died each time before a checkpoint; it may need more memory. Retry it."
    )
