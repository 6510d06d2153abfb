"""Models: list, read, tag, delete, and what was counted for them."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response, status
from starlette.concurrency import run_in_threadpool

from lwmecps_gym.platform.access import Scope
from lwmecps_gym.serve_app.access import needs
from lwmecps_gym.serve_app.etags import ModelMatches, put_etag
from lwmecps_gym.serve_app.model_views import (
    ModelList,
    ModelMetrics,
    ModelView,
    TagChanges,
)
from lwmecps_gym.serve_app.paging import ModelCursor, PageLimit, Tag, page_of, tagged
from lwmecps_gym.serve_app.problems import documented
from lwmecps_gym.serve_app.routers import aliases, deployments, versions
from lwmecps_gym.serve_app.services import ServicesDep, json_body

router = APIRouter(prefix="/models", tags=["models"])


@router.get("", responses=documented(422))
async def list_models(
    services: ServicesDep,
    tag: Tag = None,
    sort: Annotated[Literal["id", "-id"], Query(description="-id: from z to a.")] = "id",
    limit: PageLimit = 50,
    cursor: ModelCursor = None,
) -> ModelList:
    """List models, page by page."""
    models = await run_in_threadpool(services.store.list_models)
    found = [model for model in models if tagged(model.tags, tag)]
    items, next_cursor = page_of(found, lambda model: model.id, limit, cursor, sort == "-id")
    views = await run_in_threadpool(ModelView.page, services.store, items)
    return ModelList(items=views, next_cursor=next_cursor)


@router.get("/{model_id}", responses=documented(404, 422))
async def read_model(model_id: str, services: ServicesDep, response: Response) -> ModelView:
    """Read a model."""
    view = await run_in_threadpool(ModelView.read, services.store, model_id)
    put_etag(response, view)
    return view


@router.patch(
    "/{model_id}",
    dependencies=[json_body],
    responses=documented(400, 404, 412, 413, 415, 422),
)
@needs(Scope.TRAINER)
async def tag_model(
    model_id: str, body: TagChanges, services: ServicesDep, matches: ModelMatches
) -> ModelView:
    """Set and remove tags of a model."""
    model = await run_in_threadpool(services.store.tag_model, model_id, body.tags, matches)
    return await run_in_threadpool(ModelView.complete, services.store, model)


@router.delete(
    "/{model_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=documented(404, 409, 412, 413, 422),
)
@needs(Scope.DEPLOYER)
async def delete_model(model_id: str, services: ServicesDep, matches: ModelMatches) -> None:
    """Delete a model with all its versions, of which none is deployed or has an alias."""
    await run_in_threadpool(services.store.delete_model, model_id, matches)
    await run_in_threadpool(versions.tidy, services)


@router.get("/{model_id}/metrics", responses=documented(404, 422))
async def read_model_metrics(
    model_id: str,
    services: ServicesDep,
    version: Annotated[
        str | None,
        Query(
            min_length=1,
            max_length=63,
            description="A number, an alias or `latest`; unset: what is deployed, else the latest.",
        ),
    ] = None,
) -> ModelMetrics:
    """Read what is known of a version from its training and from answering requests."""
    deployed = await run_in_threadpool(services.store.deployed_version, model_id)
    found = await run_in_threadpool(services.store.get_version, model_id, version or deployed)
    return ModelMetrics(
        model_id=model_id,
        version=found.version,
        deployed_version=deployed,
        training=found.metrics,
        serving=await services.policies.statistics(model_id, found.version),
    )


for part in (versions, aliases, deployments):
    router.include_router(part.router)
