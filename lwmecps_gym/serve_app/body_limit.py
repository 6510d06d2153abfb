"""The largest request body that is read: what says it is larger, or turns out so, is refused."""

import re
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lwmecps_gym.platform.model_archive import MAX_ARCHIVE_BYTES
from lwmecps_gym.serve_app.problems import problem

MAX_BODY_BYTES = 1024 * 1024
MAX_PREDICT_BYTES = 16 * 1024 * 1024
_LARGER = (
    (re.compile(r"/api/v1/models/[^/]+/versions"), MAX_ARCHIVE_BYTES + 1024 * 1024),
    (re.compile(r"/api/v1/models/[^/]+/predict"), MAX_PREDICT_BYTES),
)
"""Paths that take more."""
_DRAIN_BYTES = 64 * 1024 * 1024


class BodyLimit:
    """ASGI middleware that answers 413 to bodies over `MAX_BODY_BYTES`, or what a path may take.

    FastAPI's own `max_body_size` does the same with a plain text answer that no handler can change.
    A refused body is still received, up to 64 MiB, and dropped piece by piece: a server that
    closes while the client is sending makes many clients miss the answer.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, with a body that cannot exceed the limit."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        most = next((most for larger, most in _LARGER if larger.fullmatch(path)), MAX_BODY_BYTES)
        detail = f"The body is larger than {most} bytes; send less."
        declared = Headers(scope=scope).get("content-length", "0")
        if declared.isdecimal() and int(declared) > most:
            await _drain(receive)
            title = HTTPStatus.REQUEST_ENTITY_TOO_LARGE.phrase.capitalize()
            refusal = problem(path, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, title, detail)
            await refusal(scope, receive, send)
            return

        received = 0

        async def receive_limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > most:
                if message.get("more_body"):
                    await _drain(receive)
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)
            return message

        await self._app(scope, receive_limited, send)


async def _drain(receive: Receive) -> None:
    drained = 0
    while drained <= _DRAIN_BYTES:
        message = await receive()
        drained += len(message.get("body", b""))
        if not message.get("more_body"):
            return
