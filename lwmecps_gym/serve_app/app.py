"""The Serve application; `lwmecps_gym.serve_app.app:build` is what a RayService imports.

What only the replicas need (torch, RLlib, FastAPI's routes) they import when they start: whoever
deploys them would wait seconds for it, one after the other.
"""

import asyncio
from typing import TYPE_CHECKING, Any

from ray import serve
from ray.serve import Application
from ray.serve.handle import DeploymentHandle

from lwmecps_gym.platform.config import Settings, read_settings
from lwmecps_gym.serve_app.limits import MAX_REQUESTS

if TYPE_CHECKING:
    from fastapi import FastAPI

    from lwmecps_gym.algorithms.decision_request import (
        Decision,
        DecisionBatch,
        DecisionRequest,
    )
    from lwmecps_gym.serve_app.statistics import ServingStatistics


def build(args: dict[str, Any]) -> Application:
    """Build the application.

    A cluster's Serve listens where others can reach it, so keys are asked for unless the settings
    say `off`.

    Args:
        args: Fields of `Settings` that differ from the environment; in a RayService, `args`.
    """
    return application(read_settings(**args).with_keys_required())


def application(settings: Settings) -> Application:
    """Build the application with these settings on every replica."""
    # No CPU is reserved: trainings need them, and both deployments wait most of the time.
    deploy = serve.deployment(
        ray_actor_options={"num_cpus": 0},
        max_ongoing_requests=100,
        graceful_shutdown_wait_loop_s=0.5,
        logging_config={"enable_access_log": False},  # each line costs time; /metrics counts
        graceful_shutdown_timeout_s=5.0,  # streams of events end with it, and are taken up again
    )
    api = deploy(serve.ingress()(Api)).options(max_ongoing_requests=MAX_REQUESTS)
    return api.bind(settings, deploy(PolicyServer).bind(settings))


class PolicyServer:
    """Hosts a `PolicyHost` for what the replicas of the API leave to it; see `remote_policies`."""

    def __init__(self, settings: Settings) -> None:
        import torch

        from lwmecps_gym.algorithms.registry import import_algorithms
        from lwmecps_gym.platform.artifacts import ArtifactStore
        from lwmecps_gym.platform.database import open_store
        from lwmecps_gym.serve_app.policy_host import PolicyHost

        torch.set_num_threads(1)  # more only get in each other's way on networks this small
        import_algorithms(settings.algorithms)
        artifacts = ArtifactStore(settings.data_dir / "artifacts")
        self._host = PolicyHost(open_store(settings), artifacts)
        self._keeper: asyncio.Task[None] | None = None

    async def load(self, model_id: str, version: int) -> None:
        """See `PolicyHost.load`."""
        await self._host.load(model_id, version)

    async def predict(
        self, model_id: str, version: int, request: "DecisionRequest"
    ) -> "Decision | DecisionBatch":
        """See `PolicyHost.predict`."""
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._host.keep_counts())
        return await self._host.predict(model_id, version, request)

    async def statistics(self, model_id: str, version: int) -> "ServingStatistics":
        """See `PolicyHost.statistics`."""
        return await self._host.statistics(model_id, version)

    async def ping(self) -> None:
        """Return, which shows that it is up."""


class Api:
    """Hosts the REST API; any number of replicas may run."""

    def __init__(self, settings: Settings, policies: DeploymentHandle[Any]) -> None:
        self._settings = settings
        self._policies = policies

    def __serve_build_asgi_app__(self) -> "FastAPI":
        """Build the FastAPI application inside the replica."""
        import ray
        import torch

        from lwmecps_gym.algorithms.catalog import prepare
        from lwmecps_gym.algorithms.launcher import RayLauncher
        from lwmecps_gym.algorithms.registry import import_algorithms
        from lwmecps_gym.platform.artifacts import ArtifactStore
        from lwmecps_gym.platform.database import open_store
        from lwmecps_gym.platform.logs import set_up_logging
        from lwmecps_gym.platform.training import TrainingService
        from lwmecps_gym.serve_app.api import create_app
        from lwmecps_gym.serve_app.policy_host import PolicyHost
        from lwmecps_gym.serve_app.remote_policies import SharedPolicies
        from lwmecps_gym.serve_app.services import Services

        set_up_logging(self._settings)
        torch.set_num_threads(1)
        import_algorithms(self._settings.algorithms)
        settings, store = self._settings, open_store(self._settings)
        training = TrainingService.of(settings, store, prepare, RayLauncher(settings))
        artifacts = ArtifactStore(settings.data_dir / "artifacts")
        policies = SharedPolicies(PolicyHost(store, artifacts), self._policies)
        services = Services(store, training, policies, artifacts, ray.cluster_resources)
        return create_app(services, settings, behind_serve=True)
