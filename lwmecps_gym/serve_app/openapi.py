"""The OpenAPI document: what FastAPI knows of the routes, and what all of them have in common."""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI

from lwmecps_gym.serve_app.access import is_public, needed_scope
from lwmecps_gym.serve_app.problems import MEDIA_TYPE
from lwmecps_gym.serve_app.route_names import api_routes

_SCHEME = "key"
_GATE_STATUSES = (
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.MISDIRECTED_REQUEST,
    HTTPStatus.TOO_MANY_REQUESTS,
)
_PROBLEM = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}


class DocumentedApi(FastAPI):
    """A FastAPI application whose document tells of keys, scopes and the media type of problems."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document, made once."""
        if self.openapi_schema is None:
            document = super().openapi()
            document.setdefault("components", {})["securitySchemes"] = {
                _SCHEME: {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A key made by `lwmecps keys create`.",
                }
            }
            endpoints = {
                (path, method): endpoint
                for path, methods, endpoint in api_routes(self)
                for method in methods
            }
            for path, operations in document["paths"].items():
                for name, operation in operations.items():
                    if not is_public(path):
                        scope = needed_scope(endpoints[path, name.upper()], name.upper())
                        _guarded(operation, scope)
                    for status, response in operation["responses"].items():
                        if status[0] in "45":
                            response["content"] = _PROBLEM
        return super().openapi()


def _guarded(operation: dict[str, Any], scope: str) -> None:
    """Document what the gate and the guard ask of a route, and answer in its place."""
    operation["security"] = [{_SCHEME: []}]
    operation["description"] = f"{operation.get('description', '')}\n\nNeeds the scope `{scope}`."
    for status in _GATE_STATUSES:
        operation["responses"][str(status.value)] = {
            "description": status.phrase,
            "content": _PROBLEM,
        }
