"""The Serve application; `lwmecps_gym.serve_app.app:build` is what a RayService imports."""

from collections.abc import Awaitable
from typing import Any, TypeVar

from fastapi import FastAPI
from ray import serve
from ray.exceptions import RayTaskError
from ray.serve import Application
from ray.serve.handle import DeploymentHandle

from lwmecps_gym.algorithms.catalog import prepare
from lwmecps_gym.algorithms.decision import Decision, DecisionRequest
from lwmecps_gym.algorithms.training import RayLauncher
from lwmecps_gym.platform.artifacts import ArtifactStore
from lwmecps_gym.platform.config import Settings
from lwmecps_gym.platform.database import open_store
from lwmecps_gym.platform.errors import LwmecpsError
from lwmecps_gym.platform.training import TrainingService
from lwmecps_gym.serve_app.api import create_app
from lwmecps_gym.serve_app.policy_host import PolicyHost
from lwmecps_gym.serve_app.services import Services
from lwmecps_gym.serve_app.statistics import ServingStatistics

T = TypeVar("T")


def build(args: dict[str, Any]) -> Application:
    """Build the application.

    Args:
        args: Fields of `Settings` that differ from the environment; in a RayService, `args`.
    """
    return application(Settings(**args))


def application(settings: Settings) -> Application:
    """Build the application with these settings on every replica."""
    # No CPU is reserved: trainings need them, and both deployments wait most of the time.
    deploy = serve.deployment(
        ray_actor_options={"num_cpus": 0},
        max_ongoing_requests=100,
        graceful_shutdown_wait_loop_s=0.5,
    )
    api = deploy(serve.ingress()(Api))
    return api.bind(settings, deploy(PolicyServer).bind(settings))


class PolicyServer(PolicyHost):
    """Answers for models. One replica, so that its counts are of the whole platform."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(open_store(settings), ArtifactStore(settings.data_dir / "artifacts"))


class Api:
    """Hosts the REST API; any number of replicas may run."""

    def __init__(self, settings: Settings, policies: DeploymentHandle[Any]) -> None:
        self._settings = settings
        self._policies = policies

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Build the FastAPI application inside the replica."""
        store = open_store(self._settings)
        training = TrainingService(
            store, prepare, RayLauncher(self._settings), self._settings.max_concurrent_trainings
        )
        return create_app(Services(store, training, RemotePolicies(self._policies)))


class RemotePolicies:
    """The policy server behind its handle; its own errors arrive as they were raised."""

    def __init__(self, handle: DeploymentHandle[Any]) -> None:
        self._handle = handle

    async def load(self, model_id: str, version: int) -> None:
        """Make a version ready to answer."""
        await _own_errors(self._handle.load.remote(model_id, version))

    async def predict(self, model_id: str, version: int, request: DecisionRequest) -> Decision:
        """Decide by a version."""
        return await _own_errors(self._handle.predict.remote(model_id, version, request))

    async def statistics(self, model_id: str) -> ServingStatistics:
        """Return what was counted for a model."""
        return await _own_errors(self._handle.statistics.remote(model_id))

    async def total_requests(self) -> int:
        """Return the number of decisions asked for, over all models."""
        return await _own_errors(self._handle.total_requests.remote())


async def _own_errors(response: Awaitable[T]) -> T:
    """Await a response; take the platform's errors out of Ray's wrapping."""
    try:
        return await response
    except RayTaskError as error:
        if isinstance(error.cause, LwmecpsError):
            raise error.cause from None
        raise
