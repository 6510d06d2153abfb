"""The id of a request: in its answer, in the log, in the audit, and on the training it made."""

import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lwmecps_gym.platform.logs import request_id_var
from lwmecps_gym.platform.models import new_id

HEADER = "X-Request-ID"
_SANE = re.compile(r"[A-Za-z0-9._-]{8,64}")


class RequestId:
    """ASGI middleware that takes the caller's id if it is 8 to 64 of `A-Za-z0-9._-`, or makes one.

    Anything else could break a log's lines, or fill it.

    Args:
        app: What answers.
        behind_serve: Ray Serve's proxy gives a request an id, and adds the id that a request has to
            its answer; then it is added here only if it is another one.
    """

    def __init__(self, app: ASGIApp, behind_serve: bool) -> None:
        self._app = app
        self._behind_serve = behind_serve

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its id."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        request_id = given if _SANE.fullmatch(given) else new_id()
        scope.setdefault("state", {})["request_id"] = request_id

        added = not (self._behind_serve and request_id == given)

        async def send_with_id(message: Message) -> None:
            if added and message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        token = request_id_var.set(request_id)
        try:
            await self._app(scope, receive, send_with_id)
        finally:
            request_id_var.reset(token)
