"""The REST API as a FastAPI application over plain objects."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI
from prometheus_client import CollectorRegistry, ProcessCollector
from starlette.concurrency import run_in_threadpool
from starlette.middleware.cors import CORSMiddleware

from lwmecps_gym.platform.config import Settings
from lwmecps_gym.platform.errors import StoreUnavailableError
from lwmecps_gym.platform.models import now
from lwmecps_gym.serve_app import problems
from lwmecps_gym.serve_app.access import KeyRing
from lwmecps_gym.serve_app.body_limit import BodyLimit
from lwmecps_gym.serve_app.feed import Feed
from lwmecps_gym.serve_app.gate import Gate
from lwmecps_gym.serve_app.headers import SecurityHeaders
from lwmecps_gym.serve_app.observing import Observing, RequestMetrics
from lwmecps_gym.serve_app.recording import Recording
from lwmecps_gym.serve_app.request_id import HEADER, RequestId
from lwmecps_gym.serve_app.route_names import RouteNames
from lwmecps_gym.serve_app.routes import make_routes
from lwmecps_gym.serve_app.services import Services

RECONCILE_INTERVAL_S = 1.0
FORGET_INTERVAL_S = 3600.0

logger = logging.getLogger(__name__)


def create_app(services: Services, settings: Settings, behind_serve: bool = False) -> FastAPI:
    """Build the application; while it runs it also looks after the trainings.

    Args:
        services: What the routes work with.
        settings: Who may call, and how often.
        behind_serve: Requests come through the proxy of Ray Serve.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        work = (_look_after(services), services.policies.keep_counts())
        tasks = [asyncio.create_task(part) for part in work]
        yield
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task

    app = make_routes(lifespan=lifespan)
    app.state.services = services
    app.state.data_dir = settings.data_dir
    app.state.feed = Feed(services.training)
    app.state.registry = CollectorRegistry()
    ProcessCollector(registry=app.state.registry)
    _add_middleware(app, services, settings)
    app.add_middleware(RequestId, behind_serve=behind_serve)
    return app


def _add_middleware(app: FastAPI, services: Services, settings: Settings) -> None:
    """Put around the routes what every request goes through; the last added meets it first."""
    routes, metrics = RouteNames(app), RequestMetrics(app.state.registry)
    app.add_middleware(BodyLimit)
    app.add_middleware(Recording, store=services.store, routes=routes)
    app.add_middleware(Gate, keys=KeyRing(services.store, settings), settings=settings)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "If-Match", HEADER],
            expose_headers=["ETag", "Location", "Retry-After", HEADER],
        )
    app.add_middleware(problems.UnexpectedErrors)
    app.add_middleware(Observing, metrics=metrics, routes=routes)
    app.add_middleware(SecurityHeaders)


async def _look_after(services: Services) -> None:
    forgotten_at = -FORGET_INTERVAL_S
    while True:
        try:
            await run_in_threadpool(services.training.reconcile)
            if time.monotonic() - forgotten_at > FORGET_INTERVAL_S:
                await run_in_threadpool(services.store.answers.forget_old, now())
                forgotten_at = time.monotonic()
        except StoreUnavailableError as outage:
            logger.warning("trainings are not looked after: %s", outage)
        except Exception:  # one bad round must not end the loop that launches every training
            logger.exception("a round of looking after the trainings failed")
        await asyncio.sleep(RECONCILE_INTERVAL_S)
