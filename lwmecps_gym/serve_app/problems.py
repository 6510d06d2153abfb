"""Errors on the wire: every one is an RFC 9457 `application/problem+json` document."""

import json
import logging
import math
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.routing import Match

from lwmecps_gym.platform.errors import LwmecpsError, StoreUnavailableError
from lwmecps_gym.platform.models import new_id, slug

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 5
_VALUE_CHARS = 200

logger = logging.getLogger(__name__)


class FieldError(BaseModel):
    """What is wrong with one field of a request."""

    field: str = Field(description="Path of the field, dots between its parts.")
    message: str
    value: Any = Field(description="The value that was sent, shortened if it is long.")


class Problem(BaseModel):
    """A problem detail (RFC 9457, section 3)."""

    type: str = Field(description="What kind of problem this is; listed in docs/api.md.")
    title: str
    status: int
    detail: str = Field(description="What was wrong, where, and what to do about it.")
    instance: str = Field(description="Path of the request that met the problem.")
    errors: list[FieldError] | None = None


class ProblemResponse(JSONResponse):
    """A problem as a response; plain ASCII, because a refused value can be any string."""

    media_type = MEDIA_TYPE

    def render(self, content: Any) -> bytes:
        """Encode the problem as JSON."""
        return json.dumps(content, allow_nan=False).encode("ascii")


class ProblemApi(FastAPI):
    """A FastAPI application whose OpenAPI document names the media type of problems."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document, made once."""
        if self.openapi_schema is None:
            for path in super().openapi()["paths"].values():
                for operation in path.values():
                    for status, response in operation["responses"].items():
                        if status[0] in "45":
                            content = response["content"]
                            content[MEDIA_TYPE] = content.pop("application/json")
        return super().openapi()


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI responses of a route that answers these statuses with problems."""
    return {
        status: {"model": Problem, "description": HTTPStatus(status).phrase} for status in statuses
    }


def problem(
    request_path: str,
    status: int,
    title: str,
    detail: str,
    *,
    errors: list[FieldError] | None = None,
    headers: dict[str, str] | None = None,
) -> ProblemResponse:
    """Build the response for a problem met at `request_path`."""
    content = Problem(
        type=f"urn:lwmecps:problem:{slug(title)}",
        title=title,
        status=status,
        detail=detail,
        instance=request_path,
        errors=errors,
    )
    return ProblemResponse(
        content.model_dump(exclude_none=errors is None), status_code=status, headers=headers
    )


def install(app: FastAPI) -> None:
    """Make `app` answer every error with a problem."""
    app.add_exception_handler(LwmecpsError, _own_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _unexpected)


async def _own_error(request: Request, error: Exception) -> ProblemResponse:
    assert isinstance(error, LwmecpsError)
    headers = None
    if isinstance(error, StoreUnavailableError):
        headers = {"Retry-After": str(RETRY_AFTER_S)}
    return problem(request.url.path, error.status, error.title, str(error), headers=headers)


async def _invalid_request(request: Request, error: Exception) -> ProblemResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        detail = f"The body is not JSON: {first['ctx']['error']}, at character {first['loc'][-1]}."
        return problem(request.url.path, HTTPStatus.BAD_REQUEST, "Malformed JSON", detail)
    errors = [
        FieldError(
            field=_field(item["loc"]), message=item["msg"], value=_printable(item.get("input"))
        )
        for item in error.errors()
    ]
    named = "; ".join(f"{item.field}: {item.message}" for item in errors[:3])
    more = f"; and {len(errors) - 3} more" if len(errors) > 3 else ""
    return problem(
        request.url.path,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "Invalid input",
        f"{named}{more}",
        errors=errors,
    )


async def _http_error(request: Request, error: Exception) -> ProblemResponse:
    assert isinstance(error, HTTPException)
    phrase = HTTPStatus(error.status_code).phrase
    detail = str(error.detail)
    headers = dict(error.headers or {})
    if detail == phrase and error.status_code == HTTPStatus.NOT_FOUND:
        detail = f"There is nothing at {request.url.path}; /docs lists every route."
    elif detail == phrase and error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = _allowed_methods(request)
        detail = f"{request.method} is not allowed at {request.url.path}; use {headers['Allow']}."
    title = phrase.capitalize()
    return problem(request.url.path, error.status_code, title, detail, headers=headers)


async def _unexpected(request: Request, error: Exception) -> ProblemResponse:
    log_id = new_id()
    logger.error("error %s at %s %s", log_id, request.method, request.url.path, exc_info=error)
    detail = f"The server met an error that it did not expect; its log has it as {log_id}."
    return problem(request.url.path, HTTPStatus.INTERNAL_SERVER_ERROR, LwmecpsError.title, detail)


def _allowed_methods(request: Request) -> str:
    """List what a path answers; FastAPI names the methods of the first of its routes only."""
    return ", ".join(
        method
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
        if any(
            route.matches({**request.scope, "method": method})[0] is Match.FULL
            for route in request.app.routes
        )
    )


def _field(location: tuple[int | str, ...]) -> str:
    """Name the field of a validation error: without `body`, `query`, ... unless it is all."""
    return ".".join(str(part) for part in location[1:] or location)


def _printable(value: Any) -> Any:
    """Return a refused value as JSON can hold it, at most `_VALUE_CHARS` long."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and abs(value) < 2**53:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= _VALUE_CHARS else f"{text[: _VALUE_CHARS - 1]}…"
