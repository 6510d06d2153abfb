"""The platform that a command speaks to: a running one, or the store of this machine by itself.

What it takes is imported when a command connects: it takes seconds.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lwmecps_gym.platform.config import read_settings
from lwmecps_gym.platform.models import TrainingTask

if TYPE_CHECKING:
    from fastapi import FastAPI

    from lwmecps_gym.client import Client


class NoLauncher:
    """Runs nothing: what is queued waits for a platform on the same store."""

    def launch(self, task: TrainingTask) -> None:
        """Never called, as there is no room."""
        raise AssertionError(task.id)

    def capacity(self) -> int:
        """No training."""
        return 0


@contextmanager
def connect() -> Iterator["Client"]:
    """The platform at `LWMECPS_URL`, or the same API over the store of this machine.

    Raises:
        LwmecpsError: a setting is wrong, or the store does not answer.
    """
    from lwmecps_gym.client import Client
    from lwmecps_gym.client.in_process import InProcess

    if os.environ.get("LWMECPS_URL"):
        client = Client()
    else:
        client = Client("http://localhost", transport=InProcess(local_app()))
    with client:
        yield client


def local_app() -> "FastAPI":
    """The API over the store of this machine, for who may read and write it anyway: no keys."""
    from lwmecps_gym.algorithms.catalog import prepare
    from lwmecps_gym.algorithms.registry import import_algorithms
    from lwmecps_gym.platform.artifacts import ArtifactStore
    from lwmecps_gym.platform.database import open_store
    from lwmecps_gym.platform.training import TrainingService
    from lwmecps_gym.serve_app.api import create_app
    from lwmecps_gym.serve_app.policy_host import PolicyHost
    from lwmecps_gym.serve_app.services import Services

    settings = read_settings(auth="off")
    import_algorithms(settings.algorithms)
    store = open_store(settings)
    artifacts = ArtifactStore(settings.data_dir / "artifacts")
    nowhere = settings.model_copy(update={"max_concurrent_trainings": None})
    training = TrainingService.of(nowhere, store, prepare, NoLauncher())
    return create_app(Services(store, training, PolicyHost(store, artifacts), artifacts), settings)
