"""The audit of requests: every change that someone was let in to try, with how it ended."""

import logging

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lwmecps_gym.platform.access import AuditEntry
from lwmecps_gym.platform.access import Scope as KeyScope
from lwmecps_gym.platform.database import Store
from lwmecps_gym.platform.errors import StoreUnavailableError
from lwmecps_gym.platform.models import new_id
from lwmecps_gym.serve_app.access import caller_of, needed_scope
from lwmecps_gym.serve_app.route_names import RouteNames

logger = logging.getLogger(__name__)


class Recording:
    """ASGI middleware behind the gate. The entry is written before the answer goes out.

    A change cannot be undone because its entry could not be written: that is an error in the log,
    with everything that the entry would have said.
    """

    def __init__(self, app: ASGIApp, store: Store, routes: RouteNames) -> None:
        self._app = app
        self._audit = store.audit
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self._app(scope, receive, send)
            return

        async def send_recorded(message: Message) -> None:
            if message["type"] == "http.response.start":
                await self._record(scope, message)
            await send(message)

        await self._app(scope, receive, send_recorded)

    async def _record(self, scope: Scope, start: Message) -> None:
        endpoint = scope.get("endpoint")
        caller = caller_of(scope)
        if endpoint is None or caller is None:
            return
        if needed_scope(endpoint, scope["method"]) is KeyScope.VIEWER:
            return
        made = Headers(raw=start.get("headers", [])).get("location", "").rpartition("/")[2]
        entry = AuditEntry(
            id=new_id(),
            who=caller.name,
            key_id=caller.key_id,
            verb=scope["method"],
            route=self._routes.of(scope),
            object_id="/".join(map(str, scope.get("path_params", {}).values())) or made or None,
            status=start["status"],
            request_id=scope["state"].get("request_id"),
        )
        try:
            await run_in_threadpool(self._audit.append, entry)
        except StoreUnavailableError:
            logger.exception("the audit misses an entry: %s", entry.model_dump_json())
