"""Versions of models: list, read, tag, download, upload, delete."""

import hashlib
from typing import Annotated, Literal

from fastapi import APIRouter, Header, HTTPException, Path, Query, Request, Response, status
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from lwmecps_gym.algorithms.uploads import add_upload
from lwmecps_gym.platform.access import Scope
from lwmecps_gym.platform.errors import InvalidInputError
from lwmecps_gym.platform.model_archive import MEDIA_TYPE, pack
from lwmecps_gym.platform.models import slug
from lwmecps_gym.serve_app.access import needs
from lwmecps_gym.serve_app.etags import VersionMatches, put_etag
from lwmecps_gym.serve_app.idempotency import IdempotencyKey, Made, create_once
from lwmecps_gym.serve_app.model_views import (
    TagChanges,
    VersionList,
    VersionView,
)
from lwmecps_gym.serve_app.paging import PageLimit, Tag, VersionCursor, page_of, tagged
from lwmecps_gym.serve_app.problems import documented
from lwmecps_gym.serve_app.services import Services, ServicesDep, json_body

router = APIRouter()

Version = Annotated[
    str, Path(min_length=1, max_length=63, description="A number, an alias, or `latest`.")
]


@router.get("/{model_id}/versions", responses=documented(404, 422))
async def list_versions(
    model_id: str,
    services: ServicesDep,
    tag: Tag = None,
    sort: Annotated[
        Literal["version", "-version"], Query(description="-version: newest first.")
    ] = "version",
    limit: PageLimit = 50,
    cursor: VersionCursor = None,
) -> VersionList:
    """List a model's versions, page by page."""
    versions = await run_in_threadpool(services.store.list_versions, model_id)
    aliases = await run_in_threadpool(services.store.alias_versions, model_id)
    found = [version for version in versions if tagged(version.tags, tag)]
    items, next_cursor = page_of(
        found, lambda version: version.id, limit, cursor, sort == "-version"
    )
    views = [VersionView.of(version, aliases) for version in items]
    return VersionList(items=views, next_cursor=next_cursor)


@router.post(
    "/{model_id}/versions",
    status_code=status.HTTP_201_CREATED,
    response_model=VersionView,
    responses=documented(400, 404, 413, 415, 422),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
@needs(Scope.TRAINER)
async def upload_version(
    model_id: str,
    request: Request,
    services: ServicesDep,
    idempotency_key: IdempotencyKey = None,
    parent: Annotated[
        str | None,
        Query(max_length=150, description="MODEL:VERSION that its training began with."),
    ] = None,
) -> Response:
    """Register a file, as a download gives it, as the next version of a model.

    The file is checked, loaded, and asked for a decision first. One that is refused leaves nothing
    behind. A model of that id is made if there is none.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != MEDIA_TYPE:
        raise HTTPException(
            415, f"The body is {kind or 'of no stated type'}; send Content-Type: {MEDIA_TYPE}."
        )
    if slug(model_id) != model_id:
        raise InvalidInputError(
            f"model_id: {model_id!r} can be no model's id; {slug(model_id)!r} can"
        )
    asked = hashlib.sha256(f"{parent}\n".encode())

    async def make(upload_id: str) -> Made:
        file.seek(0)
        version = await run_in_threadpool(
            add_upload,
            services.store,
            services.artifacts,
            model_id,
            file,
            parent=parent,
            upload_id=upload_id,
        )
        return Made(str(version.version), VersionView.of(version, {}))

    with services.artifacts.workspace() as folder, (folder / "upload.tar").open("w+b") as file:
        try:
            async for chunk in request.stream():
                asked.update(chunk)
                await run_in_threadpool(file.write, chunk)
        except ClientDisconnect:
            raise HTTPException(400, "The client left before its file had come whole.") from None
        return await create_once(request, services, idempotency_key, asked.digest(), make)


@router.get("/{model_id}/versions/{version}", responses=documented(404, 422))
async def read_version(
    model_id: str, version: Version, services: ServicesDep, response: Response
) -> VersionView:
    """Read a version: where it comes from, and what it reached."""
    view = await run_in_threadpool(VersionView.read, services.store, model_id, version)
    put_etag(response, view)
    return view


@router.patch(
    "/{model_id}/versions/{version}",
    dependencies=[json_body],
    responses=documented(400, 404, 412, 413, 415, 422),
)
@needs(Scope.TRAINER)
async def tag_version(
    model_id: str,
    version: Version,
    body: TagChanges,
    services: ServicesDep,
    matches: VersionMatches,
) -> VersionView:
    """Set and remove tags of a version."""
    found = await run_in_threadpool(
        services.store.tag_version, model_id, version, body.tags, matches
    )
    return VersionView.of(found, await run_in_threadpool(services.store.alias_versions, model_id))


@router.delete(
    "/{model_id}/versions/{version}",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=documented(404, 409, 412, 413, 422),
)
@needs(Scope.DEPLOYER)
async def delete_version(
    model_id: str, version: Version, services: ServicesDep, matches: VersionMatches
) -> None:
    """Delete a version that is neither deployed nor has an alias; its number is not used again."""
    await run_in_threadpool(services.store.delete_version, model_id, version, matches)
    await run_in_threadpool(tidy, services)


@router.get(
    "/{model_id}/versions/{version}/file",
    response_class=Response,
    responses={
        **documented(404, 422),
        200: {
            "description": "The manifest and the weights, as one uncompressed tar.",
            "content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
        },
        304: {"description": "The client has this content already."},
    },
)
async def download_version(
    model_id: str,
    version: Version,
    services: ServicesDep,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Download a version as one file; the ETag is the SHA-256 of its manifest."""
    found = await run_in_threadpool(services.store.get_version, model_id, version)
    etag = f'"{found.digest}"'
    known = [tag.strip().removeprefix("W/") for tag in (if_none_match or "").split(",")]
    headers = {"ETag": etag, "Cache-Control": "no-cache"}
    if etag in known or "*" in known:
        return Response(status_code=status.HTTP_304_NOT_MODIFIED, headers=headers)
    files = await run_in_threadpool(services.artifacts.files, found.digest)
    name = f"{model_id}-{found.version}.tar"
    return Response(
        await run_in_threadpool(pack, files),
        media_type=MEDIA_TYPE,
        headers={**headers, "Content-Disposition": f'attachment; filename="{name}"'},
    )


def tidy(services: Services) -> None:
    """Remove the files of versions that are gone."""
    services.artifacts.remove_unused(services.store.used_digests())
