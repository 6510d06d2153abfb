"""What answers for models: deploy, undeploy, roll back, and ask."""

from fastapi import APIRouter, Response
from starlette.concurrency import run_in_threadpool

from lwmecps_gym.algorithms.decision_request import Decision, DecisionBatch, DecisionRequest
from lwmecps_gym.platform.access import Scope
from lwmecps_gym.platform.errors import InvalidInputError
from lwmecps_gym.serve_app.access import needs
from lwmecps_gym.serve_app.etags import ModelMatches
from lwmecps_gym.serve_app.model_views import (
    DeploymentHistory,
    DeploymentView,
    DeployRequest,
    ModelView,
)
from lwmecps_gym.serve_app.paging import NumberCursor, PageLimit, page_of
from lwmecps_gym.serve_app.problems import documented
from lwmecps_gym.serve_app.services import CallerName, ServicesDep, json_body

router = APIRouter()


@router.post(
    "/{model_id}/deploy",
    dependencies=[json_body],
    responses=documented(400, 404, 409, 412, 413, 415, 422),
)
@needs(Scope.DEPLOYER)
async def deploy_model(
    model_id: str,
    services: ServicesDep,
    caller: CallerName,
    matches: ModelMatches,
    body: DeployRequest | None = None,
) -> DeploymentView:
    """Make a version answer `predict`; it is loaded before the answer comes."""
    wish = body or DeployRequest()
    if wish.mode != "serve":
        raise InvalidInputError(
            f"mode: {wish.mode!r} works on a live cluster and comes with the Kubernetes operation; "
            "deploy with mode 'serve'"
        )
    version = await run_in_threadpool(services.store.get_version, model_id, wish.version)
    await services.policies.load(model_id, version.version)
    deployment = await run_in_threadpool(
        services.store.deploy,
        model_id,
        version.version,
        by=caller,
        mode=wish.mode,
        check=matches,
    )
    services.deployed.forget(model_id)
    return DeploymentView.of(deployment)


@router.post(
    "/{model_id}/undeploy",
    responses=documented(404, 409, 412, 413, 422),
)
@needs(Scope.DEPLOYER)
async def undeploy_model(
    model_id: str, services: ServicesDep, caller: CallerName, matches: ModelMatches
) -> ModelView:
    """Let a model answer no more."""
    await services.deployed.answering(model_id)
    await run_in_threadpool(services.store.undeploy, model_id, by=caller, check=matches)
    services.deployed.forget(model_id)
    return await run_in_threadpool(ModelView.read, services.store, model_id)


@router.post(
    "/{model_id}/rollback",
    responses=documented(404, 409, 412, 413, 422),
)
@needs(Scope.DEPLOYER)
async def roll_back_model(
    model_id: str, services: ServicesDep, caller: CallerName, matches: ModelMatches
) -> DeploymentView:
    """Deploy the version that was deployed before; it is loaded before the answer comes."""
    version = await run_in_threadpool(services.store.rollback_version, model_id)
    await services.policies.load(model_id, version)
    deployment = await run_in_threadpool(
        services.store.rollback, model_id, by=caller, check=matches
    )
    services.deployed.forget(model_id)
    return DeploymentView.of(deployment)


@router.get("/{model_id}/deployments", responses=documented(404, 422))
async def list_deployment_changes(
    model_id: str, services: ServicesDep, limit: PageLimit = 50, cursor: NumberCursor = None
) -> DeploymentHistory:
    """List what was deployed, undeployed and rolled back, oldest first, page by page."""
    changes = await run_in_threadpool(services.store.list_deployment_changes, model_id)
    numbered = [(f"{number:09d}", change) for number, change in enumerate(changes)]
    items, next_cursor = page_of(numbered, lambda item: item[0], limit, cursor)
    return DeploymentHistory(items=[change for _, change in items], next_cursor=next_cursor)


@router.post(
    "/{model_id}/predict",
    dependencies=[json_body],
    response_model=Decision | DecisionBatch,
    responses=documented(400, 404, 409, 413, 415, 422),
)
@needs(Scope.VIEWER)
async def predict(model_id: str, body: DecisionRequest, services: ServicesDep) -> Response:
    """Ask a deployed model for a decision, or for up to 1,024 at once.

    The body holds one of `state`, `observation`, `states` and `observations`; for the last two the
    answer is a list.
    """
    version = await services.deployed.answering(model_id)
    answer = await services.policies.predict(model_id, version, body)
    return Response(answer.model_dump_json(), media_type="application/json")
