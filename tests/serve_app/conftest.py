"""What the tests of the API share: the application over real parts."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient

from lwmecps_gym.algorithms.catalog import prepare
from lwmecps_gym.algorithms.networks import NetworkConfig, ScoreNetwork, flat_size
from lwmecps_gym.algorithms.rehearsal import with_profile
from lwmecps_gym.envs.encoding import make_encoding
from lwmecps_gym.envs.scenario import load_scenario
from lwmecps_gym.platform.artifacts import WEIGHTS, ArtifactStore, encode_tensors
from lwmecps_gym.platform.config import Settings
from lwmecps_gym.platform.database import Store, open_store
from lwmecps_gym.platform.models import ModelVersion, TrainingTask
from lwmecps_gym.platform.training import TrainingService
from lwmecps_gym.serve_app.api import create_app
from lwmecps_gym.serve_app.policy_host import PolicyHost
from lwmecps_gym.serve_app.services import Services

MakeApp = Callable[..., FastAPI]


class RecordingLauncher:
    """Launches nothing, and knows what it was told to launch."""

    def __init__(self) -> None:
        self.launched: list[str] = []

    def launch(self, task: TrainingTask) -> None:
        self.launched.append(task.id)


@pytest.fixture
def launcher() -> RecordingLauncher:
    return RecordingLauncher()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(Settings(data_dir=tmp_path))


@pytest.fixture
def make_app(tmp_path: Path, store: Store, launcher: RecordingLauncher) -> MakeApp:
    """Make the API without Ray: real store, artifacts, validation; launches are recorded."""

    def make(store: Store = store, **settings: Any) -> FastAPI:
        training = TrainingService(store, prepare, launcher, max_concurrent=1)
        artifacts = ArtifactStore(tmp_path / "artifacts")
        services = Services(store, training, PolicyHost(store, artifacts), artifacts)
        given = {"data_dir": tmp_path, "allowed_hosts": ("testserver",), **settings}
        return create_app(services, Settings(**given))

    return make


@pytest.fixture
def app(make_app: MakeApp) -> FastAPI:
    """The API as it is before there is a key."""
    return make_app()


@pytest.fixture
def client(app: FastAPI) -> TestClient:
    return TestClient(app, raise_server_exceptions=False)


@pytest.fixture
def add_version(tmp_path: Path, store: Store) -> Callable[[], ModelVersion]:
    """Add the next version of the model `untrained`: a fresh network for v2 on `tiny`."""
    return lambda: _add_version(tmp_path, store, lambda manifest, files, artifacts: manifest)


@pytest.fixture
def add_profiled_version(tmp_path: Path, store: Store) -> Callable[[], ModelVersion]:
    """The same, with a profile of what it sees."""
    return lambda: _add_version(tmp_path, store, with_profile)


def _add_version(tmp_path: Path, store: Store, complete: Callable[..., Any]) -> ModelVersion:
    artifacts = ArtifactStore(tmp_path / "artifacts")
    scenario = load_scenario("tiny")
    encoding = make_encoding("lwmecps-v2", scenario)
    config = NetworkConfig(
        inputs=flat_size(encoding.observation_space),
        outputs=int(encoding.action_space.n),
        hidden=(8,),
    )

    manifest = {
        "name": "untrained",
        "env": {"id": "lwmecps-v2", "options": {}},
        "scenario": scenario.document(),
        "network": config.model_dump(mode="json"),
    }
    tensors = {name: v.numpy() for name, v in ScoreNetwork(config).state_dict().items()}
    files = {WEIGHTS: encode_tensors(tensors)}
    digest = artifacts.put_files(files, complete(manifest, files, artifacts))
    return store.add_version(
        "untrained", model_type="ppo", task_id=None, digest=digest, metrics={"return": -5.0}
    )


@pytest.fixture
def url(app: FastAPI) -> Iterator[str]:
    """A real server of the application."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()
