"""The queue of trainings: claims, launches, and what becomes of a training that falls silent.

A lease on a waiting task is the claim: whoever set it, and nobody else, launches the attempt. A
lease on a running task is a promise to speak again. When it runs out, `take_back_lost` first writes
down that the task is suspected: a store that takes this takes the process's word too, so that an
outage of the store ends no training. A suspect that stays silent goes back to the queue, its next
attempt goes on from the last checkpoint, and what the old one still sends is refused by its number.

Not guaranteed: several services that launch in the same instant on clocks that disagree can exceed
the limit for a while. No attempt is launched twice.
"""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

from lwmecps_gym.platform.database import Store
from lwmecps_gym.platform.errors import ConflictError
from lwmecps_gym.platform.models import TaskState, TrainingTask
from lwmecps_gym.platform.task_states import Event, after

BEGIN_LEASE_S = 120.0
"""How long a launched training may take until it begins, s."""
LAST_WORD_S = 10.0
"""How long a training whose lease ran out has to speak before it counts as lost, s."""
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


class TaskQueue:
    """Launches waiting tasks in order of their creation, and takes lost ones back.

    Args:
        store: Where tasks live.
        launcher: Starts a task's run.
        max_concurrent: How many tasks may be claimed or running at once; None: what the launcher
            has room for.
        clock: Current time, UTC.
        max_attempts: How many attempts in a row may be lost without a checkpoint in between.
        begin_lease_s: How long an attempt may take until it begins, s.
        last_word_s: How long a suspect has to speak, s.
    """

    def __init__(
        self,
        store: Store,
        launcher: Launcher,
        max_concurrent: int | None,
        clock: Clock,
        max_attempts: int,
        begin_lease_s: float,
        last_word_s: float,
    ) -> None:
        self._store = store
        self._launcher = launcher
        self._max_concurrent = max_concurrent
        self._clock = clock
        self._max_attempts = max_attempts
        self._begin_lease = timedelta(seconds=begin_lease_s)
        self._last_word = timedelta(seconds=last_word_s)

    def ahead_of(self, task: TrainingTask) -> int | None:
        """How many tasks wait before it; None if it does not wait."""
        if task.state is not TaskState.PENDING or task.lease_until is not None:
            return None
        return sum(_place(other) < _place(task) for other in self.waiting())

    def waiting(self) -> Sequence[TrainingTask]:
        """Tasks that nobody has claimed, oldest first."""
        tasks = (*self._all(TaskState.PENDING), *self._all(TaskState.STOPPING))
        return sorted((task for task in tasks if task.lease_until is None), key=_place)

    def launch_waiting(self) -> None:
        """Launch the oldest waiting tasks while slots are free.

        Every service goes for the oldest task, so of two that see the same free slot one loses the
        claim, looks again and sees the slot taken.
        """
        while True:
            waiting = self.waiting()
            # In this order: a task that begins between the reads is seen twice, never missed.
            states = (state for state in TaskState if state is TaskState.PENDING or state.active)
            held = {t.id for state in states for t in self._all(state) if t.lease_until is not None}
            room = self._max_concurrent or self._launcher.capacity() if waiting else 0
            if not waiting or len(held) >= room:
                return
            task = waiting[0]
            claimed = self._update(task, **self.claim(task))
            if claimed is not None:
                self.start(claimed)

    def claim(self, task: TrainingTask) -> dict[str, Any]:
        """What makes the next attempt of a task this service's own."""
        return {
            "attempt": task.attempt + 1,
            "begun": False,
            "suspected": False,
            "saving": False,
            "lease_until": self._clock() + self._begin_lease,
        }

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

    def start(self, claimed: TrainingTask) -> None:
        """Launch a claimed attempt; what a launcher raises is the task's reason to fail."""
        try:
            self._launcher.launch(claimed)
        except Exception as error:
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
