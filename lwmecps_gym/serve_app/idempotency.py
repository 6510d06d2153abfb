"""`Idempotency-Key`: a create that is sent again gives the first answer and makes nothing new."""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Header, Request
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from lwmecps_gym.platform.errors import KeyReusedError
from lwmecps_gym.platform.idempotency import KeptAnswer, reservation_id
from lwmecps_gym.platform.models import new_id
from lwmecps_gym.serve_app.access import caller_of
from lwmecps_gym.serve_app.services import Services

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[!-~]{1,255}$",
        description="A value of your own, 1 to 255 visible ASCII characters: the same request "
        "under the same key within a day gives the same answer and makes nothing new.",
    ),
]


@dataclass(frozen=True)
class Made:
    """What a create has made: its name under the path of the request, and the answer's body."""

    name: str
    view: BaseModel


async def create_once(
    request: Request,
    services: Services,
    key: str | None,
    asked: bytes,
    make: Callable[[str], Awaitable[Made]],
) -> Response:
    """Answer a create: 201, with the URL of what was made in `Location`.

    Args:
        request: The create; what it makes is found under its path.
        services: Where answers are kept.
        key: The caller's key, None without.
        asked: What is asked for, or a digest of that.
        make: Makes it under the given id, or finds that it is made.

    Raises:
        KeyReusedError: The key was used for another body.
    """
    path = request.url.path
    if key is None:
        made = await make(new_id())
        return _answer(201, f"{path}/{made.name}", made.view.model_dump_json())
    answers, caller = services.store.answers, caller_of(request.scope)
    who = "" if caller is None else caller.key_id or caller.name
    digest = hashlib.sha256(asked).hexdigest()
    wish = KeptAnswer(id=reservation_id(who, path, key), request_digest=digest, object_id=new_id())
    kept = await run_in_threadpool(answers.reserve, wish)
    if kept.request_digest != digest:
        raise KeyReusedError(
            f"Idempotency-Key {key!r} was used within the last day for another body; send a "
            "new key with a new request"
        )
    if kept.body is None:
        made = await make(kept.object_id)
        location, body = f"{path}/{made.name}", made.view.model_dump_json()
        kept = await run_in_threadpool(answers.keep, kept, 201, location, body)
    assert kept.status is not None and kept.location is not None and kept.body is not None
    return _answer(kept.status, kept.location, kept.body)


def _answer(status: int, location: str, body: str) -> Response:
    return Response(
        body, status_code=status, media_type="application/json", headers={"Location": location}
    )
