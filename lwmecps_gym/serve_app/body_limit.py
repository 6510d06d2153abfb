"""The largest request body that is read: what says it is larger, or turns out so, is refused."""

from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lwmecps_gym.serve_app.problems import problem

MAX_BODY_BYTES = 1024 * 1024
_DRAIN_BYTES = 64 * MAX_BODY_BYTES
_DETAIL = f"The body is larger than {MAX_BODY_BYTES} bytes; send less."


class BodyLimit:
    """ASGI middleware that answers 413 to bodies over `MAX_BODY_BYTES`.

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
        declared = Headers(scope=scope).get("content-length", "0")
        if declared.isdecimal() and int(declared) > MAX_BODY_BYTES:
            await _drain(receive)
            path = scope["path"]
            title = HTTPStatus.REQUEST_ENTITY_TOO_LARGE.phrase.capitalize()
            refusal = problem(path, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, title, _DETAIL)
            await refusal(scope, receive, send)
            return

        received = 0

        async def receive_limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > MAX_BODY_BYTES:
                if message.get("more_body"):
                    await _drain(receive)
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _DETAIL)
            return message

        await self._app(scope, receive_limited, send)


async def _drain(receive: Receive) -> None:
    drained = 0
    while drained <= _DRAIN_BYTES:
        message = await receive()
        drained += len(message.get("body", b""))
        if not message.get("more_body"):
            return
