"""Trainings: create, list, read, progress, metrics, and the verbs that steer them."""

from contextlib import suppress
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response, status
from starlette.concurrency import run_in_threadpool

from lwmecps_gym.platform.access import Scope
from lwmecps_gym.platform.deletion import delete_training
from lwmecps_gym.platform.errors import ConflictError, NotFoundError
from lwmecps_gym.platform.logs import request_id_var
from lwmecps_gym.platform.models import TaskState, TrainingRequest
from lwmecps_gym.platform.task_progress import Progress
from lwmecps_gym.serve_app import episodes
from lwmecps_gym.serve_app.access import needs
from lwmecps_gym.serve_app.etags import TrainingMatches, put_etag
from lwmecps_gym.serve_app.history import CSV, as_csv, thinned, whole
from lwmecps_gym.serve_app.idempotency import IdempotencyKey, Made, create_once
from lwmecps_gym.serve_app.paging import IdCursor, PageLimit
from lwmecps_gym.serve_app.problems import documented
from lwmecps_gym.serve_app.routers.catalog import check_packaged
from lwmecps_gym.serve_app.services import DataDir, ServicesDep, json_body
from lwmecps_gym.serve_app.views import (
    EpisodeLines,
    MetricLines,
    TrainingDetail,
    TrainingPage,
    TrainingSummary,
)

router = APIRouter(prefix="/training", tags=["training"])

_STEERED = documented(404, 409, 412, 413, 422)

Since = Annotated[int, Query(ge=-1, lt=2**53, description="Only iterations after this one.")]
Format = Annotated[Literal["json", "csv"], Query(description="How to write the lines.")]


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    response_model=TrainingDetail,
    dependencies=[json_body],
    responses=documented(400, 404, 413, 415, 422),
)
@needs(Scope.TRAINER)
async def create_training(
    body: TrainingRequest,
    services: ServicesDep,
    request: Request,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Create a training; it starts as soon as there is room for it."""
    # Elsewhere a scenario may be a path, but a caller must not read the server's files.
    if isinstance(body.scenario, str):
        check_packaged(body.scenario)

    def make(task_id: str) -> TrainingDetail:
        given = {"id": task_id, "request_id": request_id_var.get()}
        try:
            return TrainingDetail.of(services.store.get_task(task_id))
        except NotFoundError:
            with suppress(ConflictError):  # the same request, sent twice, was faster
                return TrainingDetail.of(services.training.create(body, **given))
        return TrainingDetail.of(services.store.get_task(task_id))

    async def make_elsewhere(task_id: str) -> Made:
        return Made(task_id, await run_in_threadpool(make, task_id))

    asked = body.model_dump_json().encode()
    return await create_once(request, services, idempotency_key, asked, make_elsewhere)


@router.get("", responses=documented(422))
async def list_trainings(
    services: ServicesDep,
    state: TaskState | None = None,
    model_type: str | None = None,
    sort: Annotated[
        Literal["-created_at", "created_at"], Query(description="-created_at: newest first.")
    ] = "-created_at",
    limit: PageLimit = 50,
    cursor: IdCursor = None,
) -> TrainingPage:
    """List trainings, page by page."""
    tasks, next_cursor = await run_in_threadpool(
        services.training.list, state, model_type, limit, cursor, sort == "created_at"
    )
    return TrainingPage(items=[TrainingSummary.of(task) for task in tasks], next_cursor=next_cursor)


@router.get("/{task_id}", responses=documented(404, 422))
async def read_training(task_id: str, services: ServicesDep, response: Response) -> TrainingDetail:
    """Read a training in full."""
    view = TrainingDetail.of(await run_in_threadpool(services.training.get, task_id))
    put_etag(response, view)
    return view


@router.delete("/{task_id}", status_code=status.HTTP_204_NO_CONTENT, responses=_STEERED)
@needs(Scope.TRAINER)
async def remove_training(
    task_id: str, services: ServicesDep, data_dir: DataDir, matches: TrainingMatches
) -> None:
    """Delete one that has ended: record, history, log, checkpoints; models that it made stay."""
    await run_in_threadpool(delete_training, services.store, data_dir, task_id, matches)


@router.get("/{task_id}/progress", responses=documented(404, 422))
async def read_progress(task_id: str, services: ServicesDep) -> Progress:
    """Read how far a training is, its pace, and the time that is left."""
    return await run_in_threadpool(services.training.progress, task_id)


@router.get(
    "/{task_id}/metrics",
    response_model=MetricLines,
    responses={200: {"content": {CSV: {"schema": {"type": "string"}}}}, **documented(404, 422)},
)
async def read_metrics(
    task_id: str,
    services: ServicesDep,
    since: Since = -1,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
    points: Annotated[
        int | None,
        Query(
            ge=1,
            le=10_000,
            description="The whole history after `since` in so many lines at most, each the mean "
            "of the iterations since the line before; `limit` counts no more then.",
        ),
    ] = None,
    format: Format = "json",
) -> Response:
    """Read a training's history, oldest iteration first."""
    if points is None:
        records = await run_in_threadpool(services.training.metrics, task_id, since, limit)
    else:
        records = await run_in_threadpool(thinned, services.training, task_id, since, points)
    if format == "csv":
        return Response(as_csv(records), media_type=CSV)
    lines = MetricLines.of(records, since)
    return Response(lines.model_dump_json(), media_type="application/json")


@router.get(
    "/{task_id}/episodes",
    response_model=EpisodeLines,
    responses={200: {"content": {CSV: {"schema": {"type": "string"}}}}, **documented(404, 422)},
)
async def read_episodes(
    task_id: str,
    services: ServicesDep,
    since: Since = -1,
    limit: Annotated[
        int, Query(ge=1, le=10_000, description="Of iterations, each with up to 16 lines.")
    ] = 1000,
    points: Annotated[
        int | None,
        Query(
            ge=1,
            le=10_000,
            description="All episodes after `since` in so many lines at most, each a mean; "
            "`limit` counts no more then.",
        ),
    ] = None,
    format: Format = "json",
) -> Response:
    """Read a training's episodes; of an iteration in which more than 16 ended, means of several."""
    if points is None:
        records = await run_in_threadpool(services.training.metrics, task_id, since, limit)
        lines = episodes.episode_lines(records)
    else:
        records = await run_in_threadpool(whole, services.training, task_id, since)
        lines = episodes.joined(episodes.episode_lines(records), points)
    if format == "csv":
        return Response(episodes.as_csv(lines), media_type=CSV)
    answer = EpisodeLines(items=lines, next_since=records[-1].iteration if records else since)
    return Response(answer.model_dump_json(), media_type="application/json")


@router.post("/{task_id}/pause", responses=_STEERED)
@needs(Scope.TRAINER)
async def pause_training(
    task_id: str, services: ServicesDep, matches: TrainingMatches
) -> TrainingDetail:
    """Let it end its iteration, write a checkpoint and wait; it gives its place to others."""
    return TrainingDetail.of(await run_in_threadpool(services.training.pause, task_id, matches))


@router.post("/{task_id}/resume", responses=_STEERED)
@needs(Scope.TRAINER)
async def resume_training(
    task_id: str, services: ServicesDep, matches: TrainingMatches
) -> TrainingDetail:
    """Put it back into the queue after a pause; it goes on from its checkpoint."""
    return TrainingDetail.of(await run_in_threadpool(services.training.resume, task_id, matches))


@router.post("/{task_id}/stop", responses=_STEERED)
@needs(Scope.TRAINER)
async def stop_training(
    task_id: str, services: ServicesDep, matches: TrainingMatches
) -> TrainingDetail:
    """Let it end its iteration and keep what it learned as a version of its model."""
    return TrainingDetail.of(await run_in_threadpool(services.training.stop, task_id, matches))


@router.post("/{task_id}/cancel", responses=_STEERED)
@needs(Scope.TRAINER)
async def cancel_training(
    task_id: str, services: ServicesDep, matches: TrainingMatches
) -> TrainingDetail:
    """End it without a model; a retry could still go on from its last checkpoint."""
    return TrainingDetail.of(await run_in_threadpool(services.training.cancel, task_id, matches))


@router.post("/{task_id}/retry", responses=_STEERED)
@needs(Scope.TRAINER)
async def retry_training(
    task_id: str, services: ServicesDep, matches: TrainingMatches
) -> TrainingDetail:
    """Queue it again after it failed, was cancelled or stopped, from its last checkpoint if any."""
    return TrainingDetail.of(await run_in_threadpool(services.training.retry, task_id, matches))
