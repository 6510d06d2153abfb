"""`ETag` on what is read alone, and `If-Match` on what changes it.

A tag is a digest of what the caller was shown, so it changes with anything that they can see, and
with nothing else. It is compared with the very record that the store then replaces, if that has
not changed: of two changes on one tag, one is made. What else a model's or a version's tag
covers (its aliases, and where a deployment changes the model, or the other way round) is read in
the moment before.
"""

import hashlib
from typing import Annotated

from fastapi import Depends, Header, HTTPException, Response
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from lwmecps_gym.platform.database.records import Check, anything
from lwmecps_gym.platform.models import (
    Deployment,
    ModelRecord,
    ModelVersion,
    Record,
    TrainingTask,
)
from lwmecps_gym.serve_app.model_views import ModelView, VersionView
from lwmecps_gym.serve_app.services import ServicesDep
from lwmecps_gym.serve_app.views import TrainingDetail

IfMatch = Annotated[
    str | None,
    Header(
        alias="If-Match",
        description="The `ETag` that was read: the change is made only if it is still true; `*`: "
        "if there is anything.",
    ),
]


def put_etag(response: Response, view: BaseModel) -> None:
    """Put the tag of what is shown on its answer."""
    response.headers["ETag"] = _tag_of(view)


def _training_matches(task_id: str, if_match: IfMatch = None) -> Check:
    if if_match is None:
        return anything

    def check(task: Record | None) -> None:
        assert isinstance(task, TrainingTask)
        _check(if_match, TrainingDetail.of(task), f"training {task_id}")

    return check


async def _model_matches(model_id: str, services: ServicesDep, if_match: IfMatch = None) -> Check:
    if if_match is None:
        return anything
    store = services.store

    def check(record: Record | None) -> None:
        aliases = store.alias_versions(model_id)
        if isinstance(record, ModelRecord):
            view = ModelView.of(record, store.deployed_version(model_id), aliases)
        else:
            deployed = record.version if isinstance(record, Deployment) else None
            view = ModelView.of(store.get_model(model_id), deployed, aliases)
        _check(if_match, view, f"model {model_id!r}")

    await run_in_threadpool(lambda: check(store.get_model(model_id)))
    return check


async def _version_matches(
    model_id: str, version: str, services: ServicesDep, if_match: IfMatch = None
) -> Check:
    if if_match is None:
        return anything
    store = services.store

    def check(record: Record | None) -> None:
        assert isinstance(record, ModelVersion)
        view = VersionView.of(record, store.alias_versions(model_id))
        _check(if_match, view, f"version {version} of model {model_id!r}")

    await run_in_threadpool(lambda: check(store.get_version(model_id, version)))
    return check


TrainingMatches = Annotated[Check, Depends(_training_matches)]
ModelMatches = Annotated[Check, Depends(_model_matches)]
VersionMatches = Annotated[Check, Depends(_version_matches)]
"""What a change of a training, a model, or a version hands to the store: 412 unless what `If-Match`
names is true at the moment of the write. Models and versions are looked at before, too, so that
nothing is loaded for a change that will not be made."""


def _check(if_match: str, view: BaseModel, what: str) -> None:
    current = _tag_of(view)
    wanted = [each.strip() for each in if_match.split(",")]
    if current not in wanted and wanted != ["*"]:
        raise HTTPException(
            412,
            f"If-Match is {if_match[:100]}, and {what} is {current} by now; read it again.",
        )


def _tag_of(view: BaseModel) -> str:
    return f'"{hashlib.sha256(view.model_dump_json().encode()).hexdigest()[:20]}"'
