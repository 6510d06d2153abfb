"""The policy server as the API sees it: behind a Serve handle."""

from collections.abc import Awaitable
from typing import Any, TypeVar

from ray.exceptions import RayTaskError
from ray.serve.handle import DeploymentHandle

from lwmecps_gym.algorithms.decision import Decision, DecisionRequest
from lwmecps_gym.platform.errors import LwmecpsError
from lwmecps_gym.serve_app.statistics import ServingStatistics

T = TypeVar("T")


class RemotePolicies:
    """A `PolicyServing` elsewhere; the platform's errors arrive as they were raised there."""

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
