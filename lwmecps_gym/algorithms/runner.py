"""Train one model in this process's own Ray, from request to model version."""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from pydantic import ValidationError

from lwmecps_gym.algorithms.catalog import prepare
from lwmecps_gym.algorithms.registry import import_algorithms
from lwmecps_gym.envs.workload_config import describe_errors
from lwmecps_gym.platform.config import Settings
from lwmecps_gym.platform.database import open_store
from lwmecps_gym.platform.errors import (
    ConflictError,
    InvalidInputError,
    LwmecpsError,
    StoreUnavailableError,
)
from lwmecps_gym.platform.models import TaskState, TrainingRequest, TrainingTask, now
from lwmecps_gym.platform.task_progress import Progress
from lwmecps_gym.platform.training import TrainingService

POLL_S = 0.5


def train_here(
    request: dict[str, Any],
    settings: Settings,
    show: Callable[[Progress], None],
    begun: Callable[[TrainingTask], None] = lambda task: None,
) -> TrainingTask:
    """Train and wait; gives the completed task.

    Args:
        request: fields of `TrainingRequest`.
        settings: where results go.
        show: called with the progress twice a second.
        begun: called once with the task.

    Raises:
        InvalidInputError: the request is wrong; nothing was stored.
        LwmecpsError: the training failed, or someone paused or cancelled it.
    """
    try:
        wanted = TrainingRequest.model_validate(request)
    except ValidationError as error:
        raise InvalidInputError(describe_errors(error)) from error
    import_algorithms(settings.algorithms)
    prepare(wanted)  # refuse before Ray starts
    return _follow(settings, lambda service: service.run_now(wanted), show, begun)


def resume_here(
    task_id: str,
    settings: Settings,
    show: Callable[[Progress], None],
    begun: Callable[[TrainingTask], None] = lambda task: None,
) -> TrainingTask:
    """Go on with a training that nobody runs, from its last checkpoint, and wait for its end.

    If it ran until a moment ago, its lease is waited for.

    Raises:
        NotFoundError: there is no such training.
        ConflictError: it is completed, or someone runs it.
        LwmecpsError: as `train_here`.
    """
    import_algorithms(settings.algorithms)
    store = open_store(settings)
    lease = store.get_task(task_id).lease_until
    while lease is not None and lease >= now() and store.get_task(task_id).lease_until == lease:
        time.sleep(POLL_S)
    store.close()
    return _follow(settings, lambda service: service.take_now(task_id), show, begun)


def _follow(
    settings: Settings,
    start: Callable[[TrainingService], TrainingTask],
    show: Callable[[Progress], None],
    begun: Callable[[TrainingTask], None],
) -> TrainingTask:
    """Start a training in a Ray of this process, and watch over it until its end."""
    from lwmecps_gym.algorithms.launcher import RayLauncher
    from lwmecps_gym.algorithms.ray_session import ray_running

    store = open_store(settings)
    with ray_running():
        service = TrainingService.of(settings, store, prepare, RayLauncher(settings))
        task = start(service)
        begun(task)
        while not task.state.ended and task.state is not TaskState.PAUSED:
            time.sleep(POLL_S)
            # Without the store the training goes on, and so does waiting for it. A task that was
            # taken back may be launched by a platform over the same store, before it is here.
            with suppress(StoreUnavailableError, ConflictError):
                service.take_back_lost()
                show(service.progress(task.id))
                task = service.get(task.id)
                if not task.state.ended and task.lease_until is None:
                    service.take_now(task.id)
    store.close()
    if task.state in (TaskState.COMPLETED, TaskState.STOPPED):
        return task
    reason = f": {task.error}" if task.error else ""
    raise LwmecpsError(
        f"training {task.id} {task.state}{reason} (lwmecps train --resume {task.id} goes on)"
    )
