"""The whole platform in numbers."""

from collections import Counter

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool

from lwmecps_gym.platform.database import Store
from lwmecps_gym.platform.models import TaskState
from lwmecps_gym.serve_app.services import ServicesDep
from lwmecps_gym.serve_app.views import Overview

router = APIRouter(tags=["platform"])


@router.get("/metrics")
async def read_metrics(services: ServicesDep) -> Overview:
    """Count trainings by state, environment steps, models, deployments and predictions."""
    predictions = await services.policies.total_requests()
    return await run_in_threadpool(_count, services.store, predictions)


def _count(store: Store, predictions: int) -> Overview:
    states: Counter[TaskState] = Counter()
    env_steps = 0
    cursor: str | None = None
    while True:
        tasks, cursor = store.list_tasks(limit=500, cursor=cursor)
        states.update(task.state for task in tasks)
        env_steps += sum(task.env_steps for task in tasks)
        if cursor is None:
            break
    models = store.list_models()
    return Overview(
        trainings={state: states[state] for state in TaskState},
        env_steps=env_steps,
        models=len(models),
        model_versions=sum(len(store.list_versions(model.id)) for model in models),
        deployments=len(store.list_deployments()),
        predictions=predictions,
    )
