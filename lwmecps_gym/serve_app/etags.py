"""`ETag` on what is read alone, and `If-Match` on what changes it.

A tag is a digest of what the caller was shown, so it changes with anything that they can see, and
with nothing else. It is compared right before the change; two changes in the same instant are
settled by the store, as without it.
"""

import hashlib
from typing import Annotated

from fastapi import Depends, Header, HTTPException, Response
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

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


async def _training_matches(task_id: str, services: ServicesDep, if_match: IfMatch = None) -> None:
    if if_match is not None:
        task = await run_in_threadpool(services.training.get, task_id)
        _check(if_match, TrainingDetail.of(task), f"training {task_id}")


async def _model_matches(model_id: str, services: ServicesDep, if_match: IfMatch = None) -> None:
    if if_match is not None:
        view = await run_in_threadpool(ModelView.read, services.store, model_id)
        _check(if_match, view, f"model {model_id!r}")


async def _version_matches(
    model_id: str, version: str, services: ServicesDep, if_match: IfMatch = None
) -> None:
    if if_match is not None:
        view = await run_in_threadpool(VersionView.read, services.store, model_id, version)
        _check(if_match, view, f"version {version} of model {model_id!r}")


training_matches = Depends(_training_matches)
model_matches = Depends(_model_matches)
version_matches = Depends(_version_matches)
"""Dependencies of routes that change a training, a model, or a version of one: 412 unless what
`If-Match` names is still true."""


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
