"""Trainings as they happen: events, and the log."""

import time
from collections.abc import AsyncIterable, AsyncIterator
from datetime import datetime
from typing import Annotated, cast

from fastapi import APIRouter, Depends, Header, HTTPException, Query, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from lwmecps_gym.platform.errors import StoreUnavailableError
from lwmecps_gym.platform.task_log import read_task_log, tail_task_log
from lwmecps_gym.serve_app.feed import Feed, Watch
from lwmecps_gym.serve_app.limits import MAX_WATCHERS
from lwmecps_gym.serve_app.problems import RETRY_AFTER_S, documented
from lwmecps_gym.serve_app.services import DataDir, ServicesDep
from lwmecps_gym.serve_app.views import MetricLine

STREAM_S = 3600.0
"""How long one stream of events lasts, in seconds; the client comes back by itself."""

router = APIRouter(prefix="/training", tags=["training"])

LastEventId = Annotated[
    str | None,
    Header(
        alias="Last-Event-ID",
        pattern=r"^(-1|[0-9]{1,15})\.(-1|[0-9]{1,15})$",
        description="`id` of the last event that arrived; the stream goes on behind it.",
    ),
]


class LogLine(BaseModel):
    """One line of a log."""

    model_config = ConfigDict(extra="allow")

    time: datetime
    level: str
    logger: str
    message: str
    request_id: str | None = Field(
        default=None, description="Id of the request that created the training."
    )
    error: str | None = Field(default=None, description="A traceback.")


async def _watch(task_id: str, request: Request) -> AsyncIterator[Watch]:
    feed = cast(Feed, request.app.state.feed)
    if feed.watchers >= MAX_WATCHERS:
        raise HTTPException(
            503,
            f"{MAX_WATCHERS} watch trainings already; repeat later, or poll /progress.",
            headers={"Retry-After": str(RETRY_AFTER_S)},
        )
    async with feed.watch(task_id) as watch:
        yield watch


class LogLines(BaseModel):
    """A part of a training's log, oldest line first."""

    items: list[LogLine]
    next_since: int = Field(description="Send it as `since` for what comes after these.")


@router.get("/{task_id}/logs", responses=documented(404, 422))
async def read_logs(
    task_id: str,
    services: ServicesDep,
    data_dir: DataDir,
    since: Annotated[
        int, Query(ge=0, le=10**15, description="`next_since` of an earlier answer; 0: all.")
    ] = 0,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
    tail: Annotated[
        int | None, Query(ge=1, le=10_000, description="Only the last lines; not with `since`.")
    ] = None,
) -> LogLines:
    """Read a training's log: what its process wrote, with the id of the request that created it."""
    await run_in_threadpool(services.training.get, task_id)
    if tail is not None:
        lines, position = await run_in_threadpool(tail_task_log, data_dir, task_id, tail)
    else:
        lines, position = await run_in_threadpool(read_task_log, data_dir, task_id, since, limit)
    return LogLines(items=[LogLine.model_validate(line) for line in lines], next_since=position)


@router.get(
    "/{task_id}/events",
    response_class=EventSourceResponse,
    responses=documented(404, 422),
)
async def stream_events(
    watch: Annotated[Watch, Depends(_watch)],
    last_event_id: LastEventId = None,
    since: Annotated[
        int, Query(ge=-1, le=10**15, description="Only metrics of iterations after this one.")
    ] = -1,
) -> AsyncIterable[ServerSentEvent]:
    """Follow a training by server-sent events until it has ended.

    `state` tells a new state, `progress` what `/progress` answers, `metrics` a line of `/metrics`,
    `end` that no more comes. A client that comes back with `Last-Event-ID` gets what it missed.
    """
    revision, iteration = -1, since
    if last_event_id is not None:
        revision, iteration = (int(part) for part in last_event_id.split("."))
    told, deadline = None, time.monotonic() + STREAM_S
    while time.monotonic() < deadline:
        look = watch.look
        try:
            while lines := await watch.metrics(iteration):
                for line in lines:
                    iteration = line.iteration
                    yield ServerSentEvent(
                        event="metrics",
                        id=f"{revision}.{iteration}",
                        data=MetricLine.model_validate(line.model_dump()),
                    )
        except StoreUnavailableError:
            await watch.wait()
            continue
        if look.revision != revision:
            revision = look.revision
            if look.state is not told:
                told = look.state
                yield ServerSentEvent(event="state", data={"state": told})
            yield ServerSentEvent(
                event="progress", id=f"{revision}.{iteration}", data=look.progress
            )
        if look.state.ended:
            yield ServerSentEvent(event="end", data={"state": look.state})
            return
        if watch.look is look:
            await watch.wait()
