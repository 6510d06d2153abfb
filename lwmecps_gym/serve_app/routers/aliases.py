"""Aliases of models' versions: list, read, move by compare-and-set, remove."""

from typing import Annotated

from fastapi import APIRouter, Path, status
from starlette.concurrency import run_in_threadpool

from lwmecps_gym.platform.access import Scope
from lwmecps_gym.serve_app.access import needs
from lwmecps_gym.serve_app.model_views import (
    AliasList,
    AliasRequest,
    AliasView,
)
from lwmecps_gym.serve_app.paging import AliasCursor, PageLimit, page_of
from lwmecps_gym.serve_app.problems import documented
from lwmecps_gym.serve_app.services import CallerName, ServicesDep, json_body

router = APIRouter()

Alias = Annotated[str, Path(min_length=1, max_length=63, examples=["champion"])]


@router.get("/{model_id}/aliases", responses=documented(404, 422))
async def list_aliases(
    model_id: str, services: ServicesDep, limit: PageLimit = 50, cursor: AliasCursor = None
) -> AliasList:
    """List a model's aliases by name, page by page."""
    found = await run_in_threadpool(services.store.list_aliases, model_id)
    items, next_cursor = page_of(found, lambda alias: alias.name, limit, cursor)
    views = [AliasView.model_validate(alias.model_dump()) for alias in items]
    return AliasList(items=views, next_cursor=next_cursor)


@router.get("/{model_id}/aliases/{alias}", responses=documented(404, 422))
async def read_alias(model_id: str, alias: Alias, services: ServicesDep) -> AliasView:
    """Read which version an alias names, and which it named before."""
    found = await run_in_threadpool(services.store.get_alias, model_id, alias)
    return AliasView.model_validate(found.model_dump())


@router.put(
    "/{model_id}/aliases/{alias}",
    dependencies=[json_body],
    responses=documented(400, 404, 409, 413, 415, 422),
)
@needs(Scope.DEPLOYER)
async def set_alias(
    model_id: str, alias: Alias, body: AliasRequest, services: ServicesDep, caller: CallerName
) -> AliasView:
    """Let an alias name a version; with `expected_version`, only if it names that one now."""
    expected = body.expected_version if "expected_version" in body.model_fields_set else ...
    moved = await run_in_threadpool(
        services.store.set_alias, model_id, alias, body.version, by=caller, expected=expected
    )
    return AliasView.model_validate(moved.model_dump())


@router.delete(
    "/{model_id}/aliases/{alias}",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=documented(404, 413, 422),
)
@needs(Scope.DEPLOYER)
async def remove_alias(
    model_id: str, alias: Alias, services: ServicesDep, caller: CallerName
) -> None:
    """Let an alias name nothing; its history stays, and goes on when it is set again."""
    await run_in_threadpool(services.store.remove_alias, model_id, alias, by=caller)
