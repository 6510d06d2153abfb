"""Models: list, read, deploy, undeploy, ask, and what was counted for them."""

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool

from lwmecps_gym.algorithms.decision import Decision, DecisionRequest
from lwmecps_gym.platform.access import Scope
from lwmecps_gym.platform.errors import ConflictError, NotFoundError
from lwmecps_gym.platform.models import Deployment
from lwmecps_gym.serve_app.access import needs
from lwmecps_gym.serve_app.problems import documented
from lwmecps_gym.serve_app.services import Services, ServicesDep, json_body
from lwmecps_gym.serve_app.views import (
    DeploymentView,
    DeployRequest,
    ModelList,
    ModelMetrics,
    ModelView,
    VersionList,
    VersionView,
)

router = APIRouter(prefix="/models", tags=["models"])


@router.get("")
async def list_models(services: ServicesDep) -> ModelList:
    """List all models."""
    models = await run_in_threadpool(services.store.list_models)
    deployments = await run_in_threadpool(services.store.list_deployments)
    deployed = {deployment.model_id: deployment.version for deployment in deployments}
    return ModelList(items=[ModelView.of(model, deployed.get(model.id)) for model in models])


@router.get("/{model_id}", responses=documented(404, 422))
async def read_model(model_id: str, services: ServicesDep) -> ModelView:
    """Read a model."""
    model = await run_in_threadpool(services.store.get_model, model_id)
    deployment = await _deployment(services, model_id)
    return ModelView.of(model, deployment.version if deployment else None)


@router.get("/{model_id}/versions", responses=documented(404, 422))
async def list_versions(model_id: str, services: ServicesDep) -> VersionList:
    """List a model's versions, oldest first."""
    versions = await run_in_threadpool(services.store.list_versions, model_id)
    return VersionList(items=[VersionView.of(version) for version in versions])


@router.post(
    "/{model_id}/deploy",
    dependencies=[json_body],
    responses=documented(400, 404, 409, 413, 415, 422),
)
@needs(Scope.DEPLOYER)
async def deploy_model(
    model_id: str, services: ServicesDep, body: DeployRequest | None = None
) -> DeploymentView:
    """Make a version answer `predict`; it is loaded before the answer comes."""
    wish = body or DeployRequest()
    version = await run_in_threadpool(services.store.get_version, model_id, wish.version)
    await services.policies.load(model_id, version.version)
    deployment = await run_in_threadpool(
        services.store.deploy, model_id, version.version, by="api", mode=wish.mode
    )
    return DeploymentView.of(deployment)


@router.post("/{model_id}/undeploy", responses=documented(404, 409, 413, 422))
@needs(Scope.DEPLOYER)
async def undeploy_model(model_id: str, services: ServicesDep) -> ModelView:
    """Let a model answer no more."""
    model = await run_in_threadpool(services.store.get_model, model_id)
    await _deployed(services, model_id)
    await run_in_threadpool(services.store.undeploy, model_id, by="api")
    return ModelView.of(model, None)


@router.get("/{model_id}/metrics", responses=documented(404, 422))
async def read_model_metrics(model_id: str, services: ServicesDep) -> ModelMetrics:
    """Read what is known of a model from its training and from answering requests."""
    deployment = await _deployment(services, model_id)
    deployed_version = deployment.version if deployment else None
    version = await run_in_threadpool(services.store.get_version, model_id, deployed_version)
    return ModelMetrics(
        model_id=model_id,
        deployed_version=deployed_version,
        training=version.metrics,
        serving=await services.policies.statistics(model_id),
    )


@router.post(
    "/{model_id}/predict",
    dependencies=[json_body],
    responses=documented(400, 404, 409, 413, 415, 422),
)
@needs(Scope.VIEWER)
async def predict(model_id: str, body: DecisionRequest, services: ServicesDep) -> Decision:
    """Ask a deployed model for a decision."""
    deployment = await _deployed(services, model_id)
    assert deployment.version is not None
    return await services.policies.predict(model_id, deployment.version, body)


async def _deployment(services: Services, model_id: str) -> Deployment | None:
    """Return the deployment of a model, None if it has none; `NotFoundError` without model."""
    try:
        return await run_in_threadpool(services.store.get_deployment, model_id)
    except NotFoundError:
        await run_in_threadpool(services.store.get_model, model_id)
        return None


async def _deployed(services: Services, model_id: str) -> Deployment:
    deployment = await _deployment(services, model_id)
    if deployment is None:
        raise ConflictError(
            f"model {model_id!r} is not deployed; POST /api/v1/models/{model_id}/deploy first"
        )
    return deployment
