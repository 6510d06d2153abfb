"""The same API and the same models under plain uvicorn, without Ray.

    python -m lwmecps_gym.serve_app.bench.plain PORT

The settings come from the environment, as everywhere.
"""

import sys

import torch
import uvicorn

from lwmecps_gym.algorithms.catalog import prepare
from lwmecps_gym.platform.artifacts import ArtifactStore
from lwmecps_gym.platform.config import read_settings
from lwmecps_gym.platform.database import open_store
from lwmecps_gym.platform.models import TrainingTask
from lwmecps_gym.platform.training import TrainingService
from lwmecps_gym.serve_app.api import create_app
from lwmecps_gym.serve_app.policy_host import PolicyHost
from lwmecps_gym.serve_app.services import Services


class _NoLauncher:
    def launch(self, task: TrainingTask) -> None:
        """Leave the task as it is: nothing is trained here."""

    def capacity(self) -> int:
        return 0


def run(port: int) -> None:
    """Serve until the process is told to end."""
    torch.set_num_threads(1)
    settings = read_settings()
    store = open_store(settings)
    artifacts = ArtifactStore(settings.data_dir / "artifacts")
    training = TrainingService(store, prepare, _NoLauncher(), 1)
    services = Services(store, training, PolicyHost(store, artifacts), artifacts)
    app = create_app(services, settings)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error", access_log=False)


if __name__ == "__main__":
    run(int(sys.argv[1]))
