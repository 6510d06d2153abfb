"""What can be asked for: algorithms, environments, scenarios."""

from typing import Any

import gymnasium
from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from lwmecps_gym.algorithms import catalog
from lwmecps_gym.envs.scenario import Scenario, load_scenario, packaged_scenarios
from lwmecps_gym.platform.errors import NotFoundError
from lwmecps_gym.serve_app.problems import documented

router = APIRouter(tags=["catalog"])


class AlgorithmList(BaseModel):
    """Algorithms by `model_type`, with the JSON schema of their parameters."""

    items: list[dict[str, Any]]


class EnvView(BaseModel):
    """An environment that is registered with Gymnasium."""

    id: str
    entry_point: str
    description: str


class EnvList(BaseModel):
    """All environments of this package."""

    items: list[EnvView]


class ScenarioView(BaseModel):
    """A packaged scenario in short."""

    name: str
    description: str
    nodes: list[str]
    services: list[str]
    sites: list[str]
    episode_steps: int
    control_interval_s: float


class ScenarioList(BaseModel):
    """The packaged scenarios, and the JSON schema that a scenario of one's own must fit."""

    items: list[ScenarioView]
    json_schema: dict[str, Any] = Field(description="For `scenario` as an object.")


@router.get("/algorithms")
async def list_algorithms() -> AlgorithmList:
    """List the algorithms."""
    return AlgorithmList(items=await run_in_threadpool(catalog.describe))


@router.get("/envs")
async def list_envs() -> EnvList:
    """List the environments."""
    return EnvList(items=await run_in_threadpool(_envs))


@router.get("/scenarios")
async def list_scenarios() -> ScenarioList:
    """List the packaged scenarios."""
    return ScenarioList(
        items=await run_in_threadpool(_scenarios), json_schema=Scenario.model_json_schema()
    )


@router.get("/scenarios/{name}", responses=documented(404, 422))
async def read_scenario(name: str) -> dict[str, Any]:
    """Read a packaged scenario whole."""
    check_packaged(name)
    scenario = await run_in_threadpool(load_scenario, name)
    return scenario.document()


def check_packaged(scenario: str) -> None:
    """Raise `NotFoundError` unless a scenario of that name comes with the package."""
    names = packaged_scenarios()
    if scenario not in names:
        raise NotFoundError(f"scenario: no packaged scenario {scenario!r}; there are {names}")


def _envs() -> list[EnvView]:
    views = []
    for env_id in sorted(gymnasium.registry):
        if env_id.startswith("lwmecps-"):
            entry_point = gymnasium.spec(env_id).entry_point
            assert isinstance(entry_point, str)
            doc = gymnasium.envs.registration.load_env_creator(entry_point).__doc__ or ""
            views.append(
                EnvView(id=env_id, entry_point=entry_point, description=doc.partition("\n")[0])
            )
    return views


def _scenarios() -> list[ScenarioView]:
    scenarios = [load_scenario(name) for name in packaged_scenarios()]
    return [
        ScenarioView(
            name=scenario.name,
            description=scenario.description,
            nodes=[node.name for node in scenario.nodes],
            services=[service.name for service in scenario.services],
            sites=[site.name for site in scenario.sites],
            episode_steps=scenario.episode_steps,
            control_interval_s=scenario.control_interval_s,
        )
        for scenario in scenarios
    ]
