"""The audit: who changed what."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from lwmecps_gym.platform.access import Scope
from lwmecps_gym.serve_app.access import needs
from lwmecps_gym.serve_app.paging import IdCursor, NextCursor, PageLimit
from lwmecps_gym.serve_app.problems import documented
from lwmecps_gym.serve_app.services import ServicesDep

router = APIRouter(tags=["platform"])


class AuditLine(BaseModel):
    """One change that was made or tried."""

    model_config = ConfigDict(extra="ignore")

    id: str
    time: datetime
    who: str = Field(description="Name of the key; `anyone` without keys, `cli:USER` for commands.")
    key_id: str | None
    verb: str
    route: str
    object_id: str | None = Field(description="What was changed; null where nothing came to be.")
    status: int | None = Field(description="Status of the answer; null for a command.")
    request_id: str | None


class AuditPage(BaseModel):
    """One page of the audit."""

    items: list[AuditLine]
    next_cursor: NextCursor


@router.get("/audit", responses=documented(422))
@needs(Scope.ADMIN)
async def list_audit(
    services: ServicesDep,
    who: Annotated[str | None, Query(description="Only what was done under this name.")] = None,
    sort: Annotated[
        Literal["-time", "time"], Query(description="-time: newest first; time: oldest first.")
    ] = "-time",
    limit: PageLimit = 50,
    cursor: IdCursor = None,
) -> AuditPage:
    """List who changed what, page by page."""
    entries, next_cursor = await run_in_threadpool(
        services.store.audit.list, who, limit, cursor, sort == "time"
    )
    items = [AuditLine.model_validate(entry.model_dump()) for entry in entries]
    return AuditPage(items=items, next_cursor=next_cursor)
