"""What can happen to a training, and where it stands afterwards: `TABLE`, and nothing else.

    pending -> running -> completed
               running -> pausing -> paused -> pending
               running -> stopping -> stopped
    all that have not ended -> cancelled
    all that wait or run -> failed
    failed, cancelled, stopped -> pending, by a retry

A task whose process is lost goes back to the queue: as pending, or as stopping, which is launched
again only to store its model. One that was to be paused is paused.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

from lwmecps_gym.platform.database import Store
from lwmecps_gym.platform.errors import ConflictError
from lwmecps_gym.platform.models import TaskState, TrainingTask

_ATTEMPTS = 100
"""How often a change is tried again because someone else wrote first."""


class Event(StrEnum):
    """What happens to a task: what users ask for, and what its process and its keeper do."""

    PAUSE = "pause"
    RESUME = "resume"
    STOP = "stop"
    CANCEL = "cancel"
    RETRY = "retry"

    BEGIN = "begin"
    """The process of an attempt starts."""
    PARK = "park"
    """It has written a checkpoint, and ends."""
    HALT = "halt"
    """It was stopped, and has stored its model."""
    COMPLETE = "complete"
    """All episodes are done, and the model is stored."""
    FAIL = "fail"
    LOSE = "lose"
    """Its process fell silent, or never began."""


_S = TaskState

TABLE: Mapping[Event, Mapping[TaskState, TaskState]] = {
    Event.PAUSE: {_S.PENDING: _S.PAUSED, _S.RUNNING: _S.PAUSING},
    Event.RESUME: {_S.PAUSING: _S.RUNNING, _S.PAUSED: _S.PENDING},
    Event.STOP: {_S.RUNNING: _S.STOPPING, _S.PAUSING: _S.STOPPING, _S.PAUSED: _S.STOPPING},
    Event.CANCEL: dict.fromkeys(
        (_S.PENDING, _S.RUNNING, _S.PAUSING, _S.PAUSED, _S.STOPPING), _S.CANCELLED
    ),
    Event.RETRY: dict.fromkeys((_S.FAILED, _S.CANCELLED, _S.STOPPED), _S.PENDING),
    Event.BEGIN: {_S.PENDING: _S.RUNNING, _S.STOPPING: _S.STOPPING},
    Event.PARK: {_S.PAUSING: _S.PAUSED},
    Event.HALT: {_S.STOPPING: _S.STOPPED},
    Event.COMPLETE: dict.fromkeys((_S.RUNNING, _S.PAUSING, _S.STOPPING), _S.COMPLETED),
    Event.FAIL: dict.fromkeys((_S.PENDING, _S.RUNNING, _S.PAUSING, _S.STOPPING), _S.FAILED),
    Event.LOSE: {
        _S.PENDING: _S.PENDING,
        _S.RUNNING: _S.PENDING,
        _S.PAUSING: _S.PAUSED,
        _S.STOPPING: _S.STOPPING,
    },
}
"""Where an event leads from each state that it can happen in."""


def after(task: TrainingTask, event: Event) -> TaskState:
    """Where an event leads; raises `ConflictError`, which names the state, where it cannot be."""
    following = TABLE[event].get(task.state)
    if following is None:
        states = " or ".join(state.value for state in TABLE[event])
        raise ConflictError(
            f"training {task.id} is {task.state}; {event} is for one that is {states}"
        )
    return following


def change(
    store: Store, task_id: str, changes: Callable[[TrainingTask], Mapping[str, Any]]
) -> TrainingTask:
    """Change a task's latest revision; a lost race is run again from what won it.

    Args:
        store: Where the task is.
        task_id: Its id.
        changes: New values by field, for the task as it is; may raise to change nothing.

    Raises:
        NotFoundError: There is no such task.
        ConflictError: Every attempt lost its race, or `changes` raised it.
    """
    for _ in range(_ATTEMPTS):
        task = store.get_task(task_id)
        new = changes(task)
        try:
            return store.update_task(task, **new)
        except ConflictError:
            continue
    raise ConflictError(
        f"training {task_id} changed {_ATTEMPTS} times while a change was tried; try again"
    )
