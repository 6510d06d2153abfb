"""What the routes work with, as plain objects: Serve only hosts them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Protocol, cast

from fastapi import Depends, HTTPException, Request

from lwmecps_gym.algorithms.decision_request import Decision, DecisionBatch, DecisionRequest
from lwmecps_gym.platform.artifacts import ArtifactStore
from lwmecps_gym.platform.database import Store
from lwmecps_gym.platform.training import TrainingService
from lwmecps_gym.serve_app.access import caller_of
from lwmecps_gym.serve_app.deployed import DeployedVersions
from lwmecps_gym.serve_app.statistics import ServingStatistics


class PolicyServing(Protocol):
    """Whatever answers for models: a `PolicyHost` here, or the handle of one elsewhere."""

    async def load(self, model_id: str, version: int) -> None:
        """Make a version ready to answer; raises `NotFoundError` and `InvalidInputError`."""

    async def predict(
        self, model_id: str, version: int, request: DecisionRequest
    ) -> Decision | DecisionBatch:
        """Decide by a version; raises `InvalidInputError`."""

    async def statistics(self, model_id: str, version: int) -> ServingStatistics:
        """Return what was counted for a version."""

    async def ping(self) -> None:
        """Return if all that decides answers."""

    async def total_requests(self) -> int:
        """Return the number of requests for decisions, over all models."""

    async def keep_counts(self) -> None:
        """Take what was counted to the store again and again, until it is cancelled."""


@dataclass(frozen=True)
class Services:
    """All that the routes need.

    `ping_ray` returns if Ray answers; None where there is no Ray.
    """

    store: Store
    training: TrainingService
    policies: PolicyServing
    artifacts: ArtifactStore
    ping_ray: Callable[[], object] | None = None

    @cached_property
    def deployed(self) -> DeployedVersions:
        """Which versions answer."""
        return DeployedVersions(self.store)


async def _services(request: Request) -> Services:
    return cast(Services, request.app.state.services)


async def _caller_name(request: Request) -> str:
    caller = caller_of(request.scope)
    assert caller is not None, "the gate is before every route that changes something"
    return caller.name


async def _data_dir(request: Request) -> Path:
    return cast(Path, request.app.state.data_dir)


async def _json_body(request: Request) -> None:
    """Refuse a body of another kind than JSON, by name rather than as a body without fields."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    has_body = (
        request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers
    )
    if has_body and kind != "application/json":
        raise HTTPException(
            415, f"The body is {kind or 'of no stated type'}; send Content-Type: application/json."
        )


ServicesDep = Annotated[Services, Depends(_services)]
DataDir = Annotated[Path, Depends(_data_dir)]
CallerName = Annotated[str, Depends(_caller_name)]
json_body = Depends(_json_body)
