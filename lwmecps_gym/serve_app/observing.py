"""What is counted, timed and logged of every request."""

import logging
import time

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lwmecps_gym.serve_app.access import caller_of
from lwmecps_gym.serve_app.route_names import RouteNames

_METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
_UNFINISHED = 499
"""Status of a request whose caller went away before the answer; nginx's number for it."""
_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

logger = logging.getLogger(__name__)


class RequestMetrics:
    """Requests by route and status, and the time they took.

    Args:
        registry: Where Prometheus finds them.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "lwmecps_http_requests",
            "Requests that were answered.",
            ("method", "route", "status"),
            registry=registry,
        )
        self.duration = Histogram(
            "lwmecps_http_request_duration_seconds",
            "Time from a request to the beginning of its answer.",
            ("method", "route"),
            buckets=_BUCKETS_S,
            registry=registry,
        )


class Observing:
    """ASGI middleware that counts, times and logs requests by the template of their route.

    A request that changed nothing and went well is logged at DEBUG, every other one at INFO.
    """

    def __init__(self, app: ASGIApp, metrics: RequestMetrics, routes: RouteNames) -> None:
        self._app = app
        self._metrics = metrics
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begin = time.perf_counter()
        answered: tuple[int, float] | None = None

        async def send_timed(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = message["status"], time.perf_counter() - begin
            await send(message)

        try:
            await self._app(scope, receive, send_timed)
        finally:
            status, seconds = answered or (_UNFINISHED, time.perf_counter() - begin)
            self._note(scope, status, seconds)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route = self._routes.of(scope)
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._metrics.requests.labels(method, route, status).inc()
        self._metrics.duration.labels(method, route).observe(seconds)
        quiet = status < 400 and (method in ("GET", "HEAD") or route.endswith("/predict"))
        level = logging.DEBUG if quiet else logging.INFO
        if logger.isEnabledFor(level):
            caller = caller_of(scope)
            logger.log(
                level,
                "%s %s: %d in %.1f ms",
                method,
                route,
                status,
                seconds * 1000,
                extra={
                    "method": method,
                    "path": scope["path"],
                    "route": route,
                    "status": status,
                    "duration_ms": round(seconds * 1000, 3),
                    "caller": None if caller is None else caller.name,
                },
            )
