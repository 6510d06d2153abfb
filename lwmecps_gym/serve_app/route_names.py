"""The template of the route that answered a request: `/api/v1/training/{task_id}`."""

from collections.abc import Callable, Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.types import Scope

UNMATCHED = "unmatched"


class RouteNames:
    """Route templates by endpoint, because a request alone knows no more than a part of its own."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._known: dict[Callable[..., Any], str] = {}

    def of(self, scope: Scope) -> str:
        """Return the template of a request that was routed; `unmatched` if no route took it."""
        endpoint = scope.get("endpoint")
        if endpoint is None:
            return UNMATCHED
        if endpoint not in self._known:
            self._known = {found: path for path, _, found in api_routes(self._app)}
        return self._known.get(endpoint, UNMATCHED)


def api_routes(app: FastAPI) -> Iterator[tuple[str, set[str], Callable[..., Any]]]:
    """Yield every route that has an endpoint: its whole template, its methods, the endpoint."""
    for route in iter_route_contexts(app.routes):
        if route.path_format is not None and route.endpoint is not None:
            yield route.path_format, route.methods or set(), route.endpoint
