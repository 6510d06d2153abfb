"""The REST API as a FastAPI application over plain objects."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from lwmecps_gym.platform.errors import StoreUnavailableError
from lwmecps_gym.platform.training import TrainingService
from lwmecps_gym.serve_app import problems
from lwmecps_gym.serve_app.body_limit import BodyLimit
from lwmecps_gym.serve_app.pages import add_docs
from lwmecps_gym.serve_app.routers import catalog, health, models, overview, training
from lwmecps_gym.serve_app.services import Services

RECONCILE_INTERVAL_S = 1.0

logger = logging.getLogger(__name__)


def create_app(services: Services) -> FastAPI:
    """Build the application; while it runs it also looks after the trainings."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        caretaker = asyncio.create_task(_look_after(services.training))
        yield
        caretaker.cancel()
        with suppress(asyncio.CancelledError):
            await caretaker

    app = problems.ProblemApi(
        title="lwmecps-gym",
        version=version("lwmecps-gym"),
        summary="Train, store and serve policies that place services on an edge cluster.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        responses=problems.documented(500, 503),
    )
    app.state.services = services
    app.add_middleware(BodyLimit)
    problems.install(app)
    for router in (training, models, overview, catalog):
        app.include_router(router.router, prefix="/api/v1")
    app.include_router(health.router)
    add_docs(app)
    return app


async def _look_after(training: TrainingService) -> None:
    while True:
        try:
            await run_in_threadpool(training.reconcile)
        except StoreUnavailableError as outage:
            logger.warning("trainings are not looked after: %s", outage)
        except Exception:  # one bad round must not end the loop that launches every training
            logger.exception("a round of looking after the trainings failed")
        await asyncio.sleep(RECONCILE_INTERVAL_S)
