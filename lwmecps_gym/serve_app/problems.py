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
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lwmecps_gym.platform.errors import LwmecpsError, RemoteError
from lwmecps_gym.platform.logs import request_id_var
from lwmecps_gym.platform.models import slug

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 5
TYPE_PREFIX = "urn:lwmecps:problem:"
_VALUE_CHARS = 200
_MALFORMED = "Malformed JSON"
_OWN_STATUSES = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.METHOD_NOT_ALLOWED,
    HTTPStatus.PRECONDITION_FAILED,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.MISDIRECTED_REQUEST,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.SERVICE_UNAVAILABLE,
)
"""Statuses of the API itself; the others come with the platform's errors."""

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
    request_id: str | None = Field(
        default=None, description="Id of the request, as in X-Request-ID and in the log."
    )
    errors: list[FieldError] | None = None


class ProblemResponse(JSONResponse):
    """A problem as a response; plain ASCII, because a refused value can be any string."""

    media_type = MEDIA_TYPE

    def render(self, content: Any) -> bytes:
        """Encode the problem as JSON."""
        return json.dumps(content, allow_nan=False).encode("ascii")


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI responses of a route that answers these statuses with problems."""
    return {
        status: {"model": Problem, "description": HTTPStatus(status).phrase} for status in statuses
    }


def problem_type(title: str) -> str:
    """The `type` of problems with this title."""
    return f"{TYPE_PREFIX}{slug(title)}"


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
        type=problem_type(title),
        title=title,
        status=status,
        detail=detail,
        instance=request_path,
        request_id=request_id_var.get(),
        errors=errors,
    )
    left_out = {name for name in ("request_id", "errors") if getattr(content, name) is None}
    return ProblemResponse(
        content.model_dump(exclude=left_out), status_code=status, headers=headers
    )


def problem_of(request_path: str, error: LwmecpsError) -> ProblemResponse:
    """Build the response for one of the platform's errors."""
    again = error.status == HTTPStatus.SERVICE_UNAVAILABLE
    headers = {"Retry-After": str(RETRY_AFTER_S)} if again else None
    return problem(request_path, error.status, error.title, str(error), headers=headers)


def kinds() -> set[str]:
    """Return every `type` that an answer may have, without what they have in common."""
    families, titles = [LwmecpsError], {_MALFORMED}
    while families:
        family = families.pop()
        families += family.__subclasses__()
        if family is not RemoteError:  # that is a client's
            titles.add(family.title)
    titles |= {status.phrase for status in _OWN_STATUSES}
    return {slug(title) for title in titles}


def install(app: FastAPI) -> None:
    """Make `app` answer every error with a problem."""
    app.add_exception_handler(LwmecpsError, _own_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_error)


class UnexpectedErrors:
    """ASGI middleware that logs what nothing else caught, and answers 500 without a word of it.

    A handler for `Exception` would answer outside of all middleware, without their headers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        started = False

        async def send_noted(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, send_noted)
        except Exception as error:
            if started or scope["type"] != "http":
                raise
            request_id, path = scope["state"]["request_id"], scope["path"]
            logger.error("error %s at %s %s", request_id, scope["method"], path, exc_info=error)
            detail = f"The server met an unexpected error; its log has it as {request_id}."
            answer = problem(path, HTTPStatus.INTERNAL_SERVER_ERROR, LwmecpsError.title, detail)
            await answer(scope, receive, send)


async def _own_error(request: Request, error: Exception) -> ProblemResponse:
    assert isinstance(error, LwmecpsError)
    return problem_of(request.url.path, error)


async def _invalid_request(request: Request, error: Exception) -> ProblemResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        detail = f"The body is not JSON: {first['ctx']['error']}, at character {first['loc'][-1]}."
        return problem(request.url.path, HTTPStatus.BAD_REQUEST, _MALFORMED, detail)
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
