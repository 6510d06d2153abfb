"""Trainings, as `client.training`."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any
from uuid import uuid4

from lwmecps_gym.client.binding import AsyncResource, Resource, awaited, sync
from lwmecps_gym.client.call import Call, api, as_model, as_nothing, checked
from lwmecps_gym.client.events import TrainingEvent, follow, follow_async
from lwmecps_gym.platform.models import TaskState, TrainingRequest
from lwmecps_gym.platform.task_progress import Progress
from lwmecps_gym.serve_app.routers.live import LogLines
from lwmecps_gym.serve_app.views import EpisodeLines, MetricLines, TrainingDetail, TrainingPage


def _create(
    name: str,
    model_type: str,
    total_episodes: int,
    *,
    parameters: Mapping[str, Any] | None = None,
    scenario: str | Mapping[str, Any] = "four-stations",
    env: str | None = None,
    seed: int = 0,
    idempotency_key: str | None = None,
) -> Call[TrainingDetail]:
    """Create a training; it starts as soon as there is room for it.

    Args:
        name: of the model that it makes a version of.
        model_type: ppo, dqn, q_learning, or one of the platform's own.
        total_episodes: to train.
        parameters: of the algorithm.
        scenario: a packaged one's name, or `load_scenario(FILE).document()`.
        env: lwmecps-v1, -v2 or -v3; unset: what the algorithm prefers.
        seed: of everything random.
        idempotency_key: the same one makes no second training; unset: one of its own, so that the
            call can be repeated when its answer is lost.
    """
    fields = {
        "name": name,
        "model_type": model_type,
        "parameters": parameters or {},
        "total_episodes": total_episodes,
        "scenario": scenario,
        "env": env,
        "seed": seed,
    }
    body = checked(TrainingRequest, fields)
    return Call(
        "POST",
        api("training"),
        as_model(TrainingDetail),
        body=body.model_dump(mode="json"),
        headers={"idempotency-key": idempotency_key or uuid4().hex},
    )


def _list(
    *,
    state: TaskState | str | None = None,
    model_type: str | None = None,
    sort: str | None = None,
    limit: int | None = None,
    cursor: str | None = None,
) -> Call[TrainingPage]:
    """List trainings, newest first or with `sort="created_at"` oldest first.

    A page has `limit` of them; `cursor` is `next_cursor` of the page before.
    """
    params = {
        "state": state,
        "model_type": model_type,
        "sort": sort,
        "limit": limit,
        "cursor": cursor,
    }
    return Call("GET", api("training"), as_model(TrainingPage), params)


def _get(task_id: str) -> Call[TrainingDetail]:
    """Read a training in full."""
    return Call("GET", api("training", task_id), as_model(TrainingDetail))


def _progress(task_id: str) -> Call[Progress]:
    """Read how far a training is, its pace, and the time that is left."""
    return Call("GET", api("training", task_id, "progress"), as_model(Progress))


def _metrics(
    task_id: str,
    *,
    since: int | None = None,
    limit: int | None = None,
    points: int | None = None,
) -> Call[MetricLines]:
    """Read a training's history, oldest first.

    Args:
        task_id: of the training.
        since: only iterations after this one.
        limit: at most so many lines.
        points: instead of it, the whole history in so many lines, each a mean.
    """
    params = {"since": since, "limit": limit, "points": points}
    return Call("GET", api("training", task_id, "metrics"), as_model(MetricLines), params)


def _episodes(
    task_id: str,
    *,
    since: int | None = None,
    limit: int | None = None,
    points: int | None = None,
) -> Call[EpisodeLines]:
    """Read a training's episodes, those that ended first before others.

    Args:
        task_id: of the training.
        since: only those that ended after this iteration.
        limit: those of so many iterations at most.
        points: instead of it, all of them in so many lines, each a mean.
    """
    params = {"since": since, "limit": limit, "points": points}
    return Call("GET", api("training", task_id, "episodes"), as_model(EpisodeLines), params)


def _changes(verb: str) -> Callable[[str], Call[TrainingDetail]]:
    def build(task_id: str) -> Call[TrainingDetail]:
        path = api("training", task_id, verb)
        return Call("POST", path, as_model(TrainingDetail), repeatable=False)

    build.__doc__ = f"Tell a training to {verb}; returns it as it is then."
    return build


_pause, _resume, _stop, _cancel, _retry = map(
    _changes, ("pause", "resume", "stop", "cancel", "retry")
)


def _delete(task_id: str) -> Call[None]:
    """Delete a training that has ended, all but the models that it made."""
    return Call("DELETE", api("training", task_id), as_nothing)


def _logs(
    task_id: str, *, since: int | None = None, limit: int | None = None, tail: int | None = None
) -> Call[LogLines]:
    """Read a training's log from position `since` on, or its last `tail` lines."""
    params = {"since": since, "limit": limit, "tail": tail}
    return Call("GET", api("training", task_id, "logs"), as_model(LogLines), params)


class Training(Resource):
    """See `Client.training`."""

    create = sync(_create)
    list = sync(_list)
    get = sync(_get)
    progress = sync(_progress)
    metrics = sync(_metrics)
    episodes = sync(_episodes)
    logs = sync(_logs)
    pause = sync(_pause)
    resume = sync(_resume)
    stop = sync(_stop)
    cancel = sync(_cancel)
    retry = sync(_retry)
    delete = sync(_delete)

    def events(self, task_id: str, *, since: int = -1) -> Iterator[TrainingEvent]:
        """Yield what happens to a training until it has ended; the connection may break meanwhile.

        Args:
            task_id: of the training.
            since: only metrics of iterations after this one.
        """
        return follow(self.client.http, task_id, since, self.client.attempts)


class AsyncTraining(AsyncResource):
    """See `AsyncClient.training`."""

    create = awaited(_create)
    list = awaited(_list)
    get = awaited(_get)
    progress = awaited(_progress)
    metrics = awaited(_metrics)
    episodes = awaited(_episodes)
    logs = awaited(_logs)
    pause = awaited(_pause)
    resume = awaited(_resume)
    stop = awaited(_stop)
    cancel = awaited(_cancel)
    retry = awaited(_retry)
    delete = awaited(_delete)

    def events(self, task_id: str, *, since: int = -1) -> AsyncIterator[TrainingEvent]:
        """See `Training.events`."""
        return follow_async(self.client.http, task_id, since, self.client.attempts)
