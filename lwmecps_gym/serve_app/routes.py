"""All routes of the API, without what stands before them and behind them."""

from importlib.metadata import version
from typing import Any

from fastapi import Depends

from lwmecps_gym.serve_app import problems
from lwmecps_gym.serve_app.access import guard
from lwmecps_gym.serve_app.openapi import DocumentedApi
from lwmecps_gym.serve_app.pages import add_docs
from lwmecps_gym.serve_app.routers import (
    audit,
    catalog,
    health,
    live,
    models,
    overview,
    prometheus,
    training,
)


def make_routes(**options: Any) -> DocumentedApi:
    """Return an application with all routes, which can tell of them and answer nothing yet.

    Args:
        options: More of FastAPI's.
    """
    app = DocumentedApi(
        title="lwmecps-gym",
        version=version("lwmecps-gym"),
        summary="Train, store and serve policies that place services on an edge cluster.",
        dependencies=[Depends(guard)],
        docs_url=None,
        redoc_url=None,
        responses=problems.documented(500, 503),
        **options,
    )
    problems.install(app)
    for router in (training, live, models, overview, catalog, audit):
        app.include_router(router.router, prefix="/api/v1")
    for router in (health, prometheus):
        app.include_router(router.router)
    add_docs(app)
    return app
