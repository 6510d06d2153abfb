"""What Prometheus scrapes: requests of this process, and the state of the platform."""

from collections.abc import Iterator
from typing import cast

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.concurrency import run_in_threadpool
from starlette.responses import PlainTextResponse

from lwmecps_gym.platform.database import Store
from lwmecps_gym.platform.models import TaskState
from lwmecps_gym.serve_app.feed import Feed
from lwmecps_gym.serve_app.services import ServicesDep
from lwmecps_gym.serve_app.statistics import ServingStatistics

router = APIRouter(tags=["platform"])


@router.get("/metrics", response_class=PlainTextResponse)
async def scrape(request: Request, services: ServicesDep) -> PlainTextResponse:
    """Read the platform's metrics in the text format of Prometheus."""
    deployments = await run_in_threadpool(services.store.list_deployments)
    serving = {
        each.model_id: await services.policies.statistics(each.model_id, each.version)
        for each in deployments
        if each.version is not None
    }
    watchers = cast(Feed, request.app.state.feed).watchers
    families = await run_in_threadpool(lambda: list(_platform(services.store, serving, watchers)))
    platform = CollectorRegistry()
    platform.register(_Found(families))
    text = generate_latest(request.app.state.registry) + generate_latest(platform)
    return PlainTextResponse(text, media_type=CONTENT_TYPE_LATEST)


class _Found(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        return iter(self._families)


def _platform(
    store: Store, serving: dict[str, ServingStatistics], watchers: int
) -> Iterator[Metric]:
    states = GaugeMetricFamily("lwmecps_trainings", "Trainings by state.", labels=["state"])
    for state in TaskState:
        states.add_metric([state], store.count_tasks(state))
    yield states
    yield GaugeMetricFamily(
        "lwmecps_training_queue_length",
        "Trainings that wait for a place.",
        value=store.count_tasks(TaskState.PENDING),
    )
    yield GaugeMetricFamily("lwmecps_models", "Models.", value=len(store.list_models()))
    yield GaugeMetricFamily("lwmecps_deployments", "Models that are deployed.", value=len(serving))
    yield GaugeMetricFamily(
        "lwmecps_event_watchers", "Streams of events that are open.", value=watchers
    )
    predictions = CounterMetricFamily(
        "lwmecps_predictions", "Decisions that deployed models were asked for.", labels=["model"]
    )
    errors = CounterMetricFamily(
        "lwmecps_prediction_errors", "Decisions that were refused or failed.", labels=["model"]
    )
    for model, counted in serving.items():
        predictions.add_metric([model], counted.requests)
        errors.add_metric([model], counted.errors)
    yield predictions
    yield errors
