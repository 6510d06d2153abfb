"""Deleting trainings that have ended: record, history, log and checkpoints.

A version that the training made stays, and stays whole: its lineage and its manifest hold the
scenario, the parameters and the seed.
"""

import shutil
from pathlib import Path
from typing import Any

from lwmecps_gym.platform.checkpoints import folder_of
from lwmecps_gym.platform.database import Store
from lwmecps_gym.platform.database.records import Check, anything
from lwmecps_gym.platform.errors import ConflictError, StoreUnavailableError
from lwmecps_gym.platform.models import TrainingTask
from lwmecps_gym.platform.task_log import log_path
from lwmecps_gym.platform.task_states import change


def delete_training(
    store: Store, data_dir: Path, task_id: str, check: Check = anything
) -> TrainingTask:
    """Delete a training. One that was cut short can be repeated; until then nobody retries it.

    Args:
        store: Where the task is.
        data_dir: Where its log and checkpoints lie.
        task_id: Its id.
        check: Called with the task that is deleted.

    Returns:
        The training as it was.

    Raises:
        NotFoundError: There is no such training.
        ConflictError: It has not ended.
        StoreUnavailableError: The store does not answer, or a file cannot be removed.
    """

    def marked(task: TrainingTask) -> dict[str, Any]:
        check(task)
        if not task.state.ended:
            raise ConflictError(
                f"training {task_id} is {task.state}; cancel it, or wait for its end, before it is "
                "deleted"
            )
        return {"deleting": True}

    task = change(store, task_id, marked)
    checkpoints = folder_of(data_dir, task_id)
    try:
        if checkpoints.exists():
            shutil.rmtree(checkpoints)
        log_path(data_dir, task_id).unlink(missing_ok=True)
    except OSError as error:
        raise StoreUnavailableError(
            f"training {task_id} cannot be deleted yet: {error}; see that the data folder can be "
            "written, and repeat it"
        ) from error
    store.drop_metrics(task_id, after=-1)
    store.delete_task(task_id)
    return task
