"""The API of an application in this process, as a transport of httpx."""

from contextlib import ExitStack

import httpx
from anyio.from_thread import start_blocking_portal
from fastapi import FastAPI


class InProcess(httpx.BaseTransport):
    """Carries the calls of a `Client` to an application, without a server; answers come whole."""

    def __init__(self, app: FastAPI) -> None:
        self._app = httpx.ASGITransport(app)
        self._open = ExitStack()
        self._portal = self._open.enter_context(start_blocking_portal())

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """See `httpx.BaseTransport.handle_request`."""
        return self._portal.call(self._ask, request)

    async def _ask(self, request: httpx.Request) -> httpx.Response:
        answer = await self._app.handle_async_request(request)
        assert isinstance(answer.stream, httpx.AsyncByteStream)
        content = b"".join([chunk async for chunk in answer.stream])
        return httpx.Response(answer.status_code, headers=answer.headers, content=content)

    def close(self) -> None:
        """End the loop that the application runs in."""
        self._open.close()
