"""The platform as a whole, as `client.platform`."""

from typing import Any

from lwmecps_gym.client.binding import AsyncResource, Resource, awaited, sync
from lwmecps_gym.client.call import Call, api, as_model
from lwmecps_gym.serve_app.routers.audit import AuditPage
from lwmecps_gym.serve_app.routers.catalog import AlgorithmList, EnvList, ScenarioList
from lwmecps_gym.serve_app.views import Overview


def _overview() -> Call[Overview]:
    """Read the whole platform in numbers."""
    return Call("GET", api("metrics"), as_model(Overview))


def _algorithms() -> Call[AlgorithmList]:
    """List the algorithms, with the JSON schemas of their parameters."""
    return Call("GET", api("algorithms"), as_model(AlgorithmList))


def _envs() -> Call[EnvList]:
    """List the environments."""
    return Call("GET", api("envs"), as_model(EnvList))


def _scenarios() -> Call[ScenarioList]:
    """List the packaged scenarios, and the JSON schema of one's own."""
    return Call("GET", api("scenarios"), as_model(ScenarioList))


def _scenario(name: str) -> Call[dict[str, Any]]:
    """Read a packaged scenario whole."""
    return Call("GET", api("scenarios", name), lambda response: dict(response.json()))


def _audit(
    *,
    who: str | None = None,
    sort: str | None = None,
    limit: int | None = None,
    cursor: str | None = None,
) -> Call[AuditPage]:
    """List who changed what, newest first, or with `sort="time"` oldest first."""
    params = {"who": who, "sort": sort, "limit": limit, "cursor": cursor}
    return Call("GET", api("audit"), as_model(AuditPage), params)


class Platform(Resource):
    """See `Client.platform`."""

    overview = sync(_overview)
    algorithms = sync(_algorithms)
    envs = sync(_envs)
    scenarios = sync(_scenarios)
    scenario = sync(_scenario)
    audit = sync(_audit)


class AsyncPlatform(AsyncResource):
    """See `AsyncClient.platform`."""

    overview = awaited(_overview)
    algorithms = awaited(_algorithms)
    envs = awaited(_envs)
    scenarios = awaited(_scenarios)
    scenario = awaited(_scenario)
    audit = awaited(_audit)
