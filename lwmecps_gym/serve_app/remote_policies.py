"""Who decides: the replica that the request reached, or the policy server behind a Serve handle.

A call of a handle takes longer than most decisions, so those are made where the request arrives.
What a user's class decides, and what takes long, goes to the policy server: neither must hold up
the API.
"""

from collections.abc import Awaitable
from typing import Any, TypeVar

from ray.exceptions import RayTaskError
from ray.serve.handle import DeploymentHandle
from starlette.concurrency import run_in_threadpool

from lwmecps_gym.algorithms.decision_request import Decision, DecisionBatch, DecisionRequest
from lwmecps_gym.platform.errors import LwmecpsError
from lwmecps_gym.serve_app.policy_host import PolicyHost
from lwmecps_gym.serve_app.statistics import ServingStatistics

T = TypeVar("T")


class SharedPolicies:
    """A `PolicyServing` of two.

    Args:
        here: What is decided in this process.
        there: The policy server; the platform's errors arrive as they were raised there.
    """

    def __init__(self, here: PolicyHost, there: DeploymentHandle[Any]) -> None:
        self._here = here
        self._there = there
        self._own_code: dict[tuple[str, int], bool] = {}

    async def load(self, model_id: str, version: int) -> None:
        """Make a version ready to answer."""
        if await self._is_own_code(model_id, version):
            await _own_errors(self._there.load.remote(model_id, version))
        else:
            await self._here.load(model_id, version)

    async def predict(
        self, model_id: str, version: int, request: DecisionRequest
    ) -> Decision | DecisionBatch:
        """Decide by a version."""
        if await self._is_own_code(model_id, version) or await self._here.is_slow(
            model_id, version, request
        ):
            return await _own_errors(self._there.predict.remote(model_id, version, request))
        return await self._here.predict(model_id, version, request)

    async def statistics(self, model_id: str, version: int) -> ServingStatistics:
        """Return what was counted for a version; what the other counted, some seconds late."""
        if await self._is_own_code(model_id, version):
            return await _own_errors(self._there.statistics.remote(model_id, version))
        return await self._here.statistics(model_id, version)

    async def total_requests(self) -> int:
        """Return the number of requests for decisions, over all models."""
        return await self._here.total_requests()

    async def ping(self) -> None:
        """Return if the policy server answers."""
        await _own_errors(self._there.ping.remote())

    async def keep_counts(self) -> None:
        """Take what was counted here to the store; the policy server does so itself."""
        await self._here.keep_counts()

    async def _is_own_code(self, model_id: str, version: int) -> bool:
        key = (model_id, version)
        if key not in self._own_code:
            self._own_code[key] = await run_in_threadpool(self._here.is_own_code, *key)
        return self._own_code[key]


async def _own_errors(response: Awaitable[T]) -> T:
    """Await a response; take the platform's errors out of Ray's wrapping."""
    try:
        return await response
    except RayTaskError as error:
        if isinstance(error.cause, LwmecpsError):
            raise error.cause from None
        raise
