"""Models, as `client.models`."""

from collections.abc import Mapping, Sequence
from types import EllipsisType
from typing import Any
from uuid import uuid4

from lwmecps_gym.algorithms.decision_request import (
    Decision,
    DecisionBatch,
    DecisionRequest,
    PlainState,
)
from lwmecps_gym.client.binding import AsyncResource, Resource, awaited, sync
from lwmecps_gym.client.call import Call, api, as_model, as_nothing, checked
from lwmecps_gym.platform.model_archive import MEDIA_TYPE
from lwmecps_gym.serve_app.model_views import (
    AliasList,
    AliasView,
    DeploymentHistory,
    DeploymentView,
    ModelList,
    ModelMetrics,
    ModelView,
    VersionList,
    VersionView,
)


def _list(*, limit: int | None = None, cursor: str | None = None) -> Call[ModelList]:
    """List models, a page of `limit` at a time."""
    return Call("GET", api("models"), as_model(ModelList), {"limit": limit, "cursor": cursor})


def _get(model_id: str) -> Call[ModelView]:
    """Read a model."""
    return Call("GET", api("models", model_id), as_model(ModelView))


def _tag(model_id: str, tags: Mapping[str, str | None]) -> Call[ModelView]:
    """Set tags of a model, and remove those that are None."""
    body = {"tags": dict(tags)}
    return Call("PATCH", api("models", model_id), as_model(ModelView), body=body)


def _delete(model_id: str) -> Call[None]:
    """Delete a model with all its versions, of which none is deployed or has an alias."""
    return Call("DELETE", api("models", model_id), as_nothing)


def _metrics(model_id: str) -> Call[ModelMetrics]:
    """Read what is known of a model from its training and from answering requests."""
    return Call("GET", api("models", model_id, "metrics"), as_model(ModelMetrics))


def _versions(
    model_id: str, *, limit: int | None = None, cursor: str | None = None
) -> Call[VersionList]:
    """List a model's versions, oldest first, a page of `limit` at a time."""
    params = {"limit": limit, "cursor": cursor}
    return Call("GET", api("models", model_id, "versions"), as_model(VersionList), params)


def _version(model_id: str, version: int | str = "latest") -> Call[VersionView]:
    """Read a version by number, alias, or `latest`."""
    return Call("GET", api("models", model_id, "versions", version), as_model(VersionView))


def _tag_version(
    model_id: str, version: int | str, tags: Mapping[str, str | None]
) -> Call[VersionView]:
    """Set tags of a version, and remove those that are None."""
    path = api("models", model_id, "versions", version)
    return Call("PATCH", path, as_model(VersionView), body={"tags": dict(tags)})


def _delete_version(model_id: str, version: int | str) -> Call[None]:
    """Delete a version that is neither deployed nor has an alias."""
    return Call("DELETE", api("models", model_id, "versions", version), as_nothing)


def _download(model_id: str, version: int | str = "latest") -> Call[bytes]:
    """Read a version as one file, which `upload` takes: the manifest and the weights in a tar."""
    path = api("models", model_id, "versions", version, "file")
    return Call("GET", path, lambda response: response.content)


def _upload(
    model_id: str,
    file: bytes,
    *,
    parent: str | None = None,
    idempotency_key: str | None = None,
) -> Call[VersionView]:
    """Register a file as the next version of a model.

    Args:
        model_id: of a model that is there, or a new one.
        file: as `download` gives it.
        parent: MODEL:VERSION that its training began with.
        idempotency_key: the same one makes no second version; unset: one of its own, so that the
            call can be repeated when its answer is lost.
    """
    return Call(
        "POST",
        api("models", model_id, "versions"),
        as_model(VersionView),
        params={"parent": parent},
        content=file,
        headers={"content-type": MEDIA_TYPE, "idempotency-key": idempotency_key or uuid4().hex},
    )


def _aliases(
    model_id: str, *, limit: int | None = None, cursor: str | None = None
) -> Call[AliasList]:
    """List a model's aliases, a page of `limit` at a time."""
    params = {"limit": limit, "cursor": cursor}
    return Call("GET", api("models", model_id, "aliases"), as_model(AliasList), params)


def _set_alias(
    model_id: str,
    alias: str,
    version: int | str,
    *,
    expected_version: int | EllipsisType | None = ...,
) -> Call[AliasView]:
    """Let an alias name a version.

    Args:
        model_id: of the model.
        alias: `champion`, or any other name.
        version: by number, alias, or `latest`.
        expected_version: what it must name now, None for nothing; unset: anything.
    """
    body: dict[str, Any] = {"version": version}
    if expected_version is not ...:
        body["expected_version"] = expected_version
    path = api("models", model_id, "aliases", alias)
    return Call("PUT", path, as_model(AliasView), body=body)


def _remove_alias(model_id: str, alias: str) -> Call[None]:
    """Let an alias name nothing."""
    return Call("DELETE", api("models", model_id, "aliases", alias), as_nothing)


def _deploy(model_id: str, version: int | str | None = None) -> Call[DeploymentView]:
    """Let a version answer `predict`; unset: the latest."""
    body = {} if version is None else {"version": version}
    return Call("POST", api("models", model_id, "deploy"), as_model(DeploymentView), body=body)


def _undeploy(model_id: str) -> Call[ModelView]:
    """Let a model answer no more."""
    path = api("models", model_id, "undeploy")
    return Call("POST", path, as_model(ModelView), repeatable=False)


def _roll_back(model_id: str) -> Call[DeploymentView]:
    """Deploy the version that was deployed before."""
    path = api("models", model_id, "rollback")
    return Call("POST", path, as_model(DeploymentView), repeatable=False)


def _deployments(
    model_id: str, *, limit: int | None = None, cursor: str | None = None
) -> Call[DeploymentHistory]:
    """List what was deployed, undeployed and rolled back, oldest first."""
    params = {"limit": limit, "cursor": cursor}
    path = api("models", model_id, "deployments")
    return Call("GET", path, as_model(DeploymentHistory), params)


def _predict(
    model_id: str,
    state: PlainState | Mapping[str, Any] | None = None,
    *,
    observation: Any = None,
) -> Call[Decision]:
    """Ask a deployed model for a decision.

    Args:
        model_id: of the model.
        state: the cluster in plain terms.
        observation: instead of it, as the environment gives it.
    """
    body = checked(DecisionRequest, {"state": state, "observation": observation})
    path = api("models", model_id, "predict")
    return Call("POST", path, as_model(Decision), body=body.model_dump(exclude_none=True))


def _predict_batch(
    model_id: str,
    states: Sequence[PlainState | Mapping[str, Any]] | None = None,
    *,
    observations: Sequence[Any] | None = None,
) -> Call[DecisionBatch]:
    """Ask a deployed model for up to 1,024 decisions at once; arguments as of `predict`."""
    body = checked(DecisionRequest, {"states": states, "observations": observations})
    path = api("models", model_id, "predict")
    return Call("POST", path, as_model(DecisionBatch), body=body.model_dump(exclude_none=True))


class Models(Resource):
    """See `Client.models`."""

    list = sync(_list)
    get = sync(_get)
    tag = sync(_tag)
    delete = sync(_delete)
    metrics = sync(_metrics)
    versions = sync(_versions)
    version = sync(_version)
    tag_version = sync(_tag_version)
    delete_version = sync(_delete_version)
    download = sync(_download)
    upload = sync(_upload)
    aliases = sync(_aliases)
    set_alias = sync(_set_alias)
    remove_alias = sync(_remove_alias)
    deploy = sync(_deploy)
    undeploy = sync(_undeploy)
    roll_back = sync(_roll_back)
    deployments = sync(_deployments)
    predict = sync(_predict)
    predict_batch = sync(_predict_batch)


class AsyncModels(AsyncResource):
    """See `AsyncClient.models`."""

    list = awaited(_list)
    get = awaited(_get)
    tag = awaited(_tag)
    delete = awaited(_delete)
    metrics = awaited(_metrics)
    versions = awaited(_versions)
    version = awaited(_version)
    tag_version = awaited(_tag_version)
    delete_version = awaited(_delete_version)
    download = awaited(_download)
    upload = awaited(_upload)
    aliases = awaited(_aliases)
    set_alias = awaited(_set_alias)
    remove_alias = awaited(_remove_alias)
    deploy = awaited(_deploy)
    undeploy = awaited(_undeploy)
    roll_back = awaited(_roll_back)
    deployments = awaited(_deployments)
    predict = awaited(_predict)
    predict_batch = awaited(_predict_batch)
