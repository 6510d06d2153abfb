"""Train one model in this process's own Ray, from request to model version."""

import time
from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from lwmecps_gym.algorithms.catalog import prepare
from lwmecps_gym.algorithms.registry import import_algorithms
from lwmecps_gym.envs.workload_config import describe_errors
from lwmecps_gym.platform.config import Settings
from lwmecps_gym.platform.database import open_store
from lwmecps_gym.platform.errors import InvalidInputError, LwmecpsError
from lwmecps_gym.platform.models import TaskState, TrainingRequest, TrainingTask
from lwmecps_gym.platform.training import Progress, TrainingService

POLL_S = 0.5


def train_here(
    request: dict[str, Any], settings: Settings, show: Callable[[Progress], None]
) -> TrainingTask:
    """Train and wait; gives the completed task.

    Args:
        request: fields of `TrainingRequest`.
        settings: where results go.
        show: called with the progress twice a second.

    Raises:
        InvalidInputError: the request is wrong; nothing was stored.
        LwmecpsError: the training failed; the message holds the reason.
    """
    try:
        wanted = TrainingRequest.model_validate(request)
    except ValidationError as error:
        raise InvalidInputError(describe_errors(error)) from error
    import_algorithms(settings.algorithms)
    prepare(wanted)  # refuse before Ray starts
    from lwmecps_gym.algorithms.launcher import RayLauncher
    from lwmecps_gym.algorithms.ray_session import ray_running

    store = open_store(settings)
    with ray_running():
        service = TrainingService(store, prepare, RayLauncher(settings), max_concurrent=1)
        task = service.run_now(wanted)
        while not task.state.ended:
            time.sleep(POLL_S)
            service.end_silent()
            show(service.progress(task.id))
            task = service.get(task.id)
    store.close()
    if task.state is TaskState.FAILED:
        raise LwmecpsError(f"training {task.id} failed: {task.error}")
    return task
