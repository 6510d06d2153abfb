"""Who calls, and whether they may: keys are checked here, and the scope that a route declares.

    @router.post("")
    @needs(Scope.TRAINER)
    async def create_training(...): ...

A route that declares nothing needs a viewer to read and an admin to change. Whatever a route needs
more than a viewer for is a change, and goes to the audit.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from hmac import compare_digest
from typing import Any, TypeVar

from fastapi import HTTPException, Request
from starlette.concurrency import run_in_threadpool
from starlette.types import Scope as AsgiScope

from lwmecps_gym.platform.access import Scope, digest_of, key_id_of
from lwmecps_gym.platform.config import Settings
from lwmecps_gym.platform.database import Store
from lwmecps_gym.platform.models import now

REMEMBER_S = 2.0
"""How long an answer of the store about a key holds, in seconds: so long may a revoked one work."""
_MAX_REMEMBERED = 10_000

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


def needs(scope: Scope) -> Callable[[Endpoint], Endpoint]:
    """Declare the scope that an endpoint asks for; stands below the decorator of its route."""

    def declare(endpoint: Endpoint) -> Endpoint:
        endpoint.__dict__["needed_scope"] = scope
        return endpoint

    return declare


def needed_scope(endpoint: Callable[..., Any], method: str) -> Scope:
    """Return the scope that an endpoint asks for."""
    default = Scope.VIEWER if method in ("GET", "HEAD", "OPTIONS") else Scope.ADMIN
    declared: Scope = getattr(endpoint, "needed_scope", default)
    return declared


def is_public(path: str) -> bool:
    """Whether a path needs no key: it tells nothing that is not in the source of this package.

    Probes have no key to show; the documentation and the OpenAPI document are the same everywhere.
    """
    return path in ("/healthz", "/readyz", "/docs", "/openapi.json") or path.startswith(
        "/docs/assets/"
    )


@dataclass(frozen=True)
class Caller:
    """Who sent a request."""

    name: str
    scope: Scope
    key_id: str | None = None


ANYONE = Caller("anyone", Scope.ADMIN)
"""Who calls where no keys are asked for."""


class RefusedError(Exception):
    """A key is needed; the message says why the request has none that will do."""


class KeyRing:
    """Tells callers by their keys.

    Args:
        store: Where the keys are.
        settings: Whether keys are asked for, and the admin's key.
        clock: Seconds, never going back.
    """

    def __init__(
        self, store: Store, settings: Settings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._keys = store.keys
        self._mode = settings.auth
        admin_key = settings.admin_key
        self._admin = None if admin_key is None else digest_of(admin_key.get_secret_value())
        self._clock = clock
        self._remembered: dict[str, tuple[float, Caller]] = {}
        self._asks = self._mode == "required" or self._admin is not None
        self._asked_at = -REMEMBER_S

    async def asks(self) -> bool:
        """Whether a key is asked for; from the first key on, for ever."""
        if self._mode == "off":
            return False
        if not self._asks and self._clock() - self._asked_at >= REMEMBER_S:
            self._asks = await run_in_threadpool(self._keys.exist)
            self._asked_at = self._clock()
        return self._asks

    def seen(self, authorization: str | None) -> Caller | None:
        """Return who sent this header before, when it was last found to be right."""
        found = self._remembered.get(authorization or "")
        return None if found is None else found[1]

    async def tell(self, authorization: str | None) -> Caller:
        """Return who calls.

        Args:
            authorization: The value of the header, None without.

        Raises:
            RefusedError: A key is asked for, and this is none.
            StoreUnavailableError: The store does not answer.
        """
        if not await self.asks():
            return ANYONE
        if authorization is None:
            raise RefusedError("This needs a key: send it as Authorization: Bearer KEY.")
        kind, _, text = authorization.partition(" ")
        if kind.lower() != "bearer":
            raise RefusedError("The header Authorization must read: Bearer KEY.")
        at, caller = self._remembered.get(authorization, (-REMEMBER_S, ANYONE))
        if self._clock() - at < REMEMBER_S:
            return caller
        try:
            caller = await self._look_up(text.strip())
        except RefusedError:
            self._remembered.pop(authorization, None)
            raise
        if len(self._remembered) >= _MAX_REMEMBERED:
            self._remembered.clear()
        self._remembered[authorization] = (self._clock(), caller)
        return caller

    async def _look_up(self, text: str) -> Caller:
        digest = digest_of(text)
        if self._admin is not None and compare_digest(digest, self._admin):
            return Caller("admin-key", Scope.ADMIN)
        key_id = key_id_of(text)
        key = None if key_id is None else await run_in_threadpool(self._keys.find, key_id)
        if key is None or not compare_digest(digest, key.digest):
            raise RefusedError("There is no such key; `lwmecps keys list` shows those that exist.")
        if not key.usable(now()):
            raise RefusedError(f"The key {key.id} has expired or was revoked; ask for a new one.")
        return Caller(key.name, key.scope, key.id)


def caller_of(scope: AsgiScope) -> Caller | None:
    """Return who sent a request that passed the gate; None for one of a public path."""
    caller: Caller | None = scope["state"].get("caller")
    return caller


async def guard(request: Request) -> None:
    """Refuse a caller whose key does not have the scope of the route; a dependency of all routes.

    Raises:
        HTTPException: 403, with the scope that is needed.
    """
    if is_public(request.url.path):
        return
    caller = caller_of(request.scope)
    needed = needed_scope(request.scope["endpoint"], request.method)
    if caller is None or not caller.scope.includes(needed):
        held = "nothing" if caller is None else caller.scope
        raise HTTPException(
            403,
            f"This needs the scope {needed}; the key has {held}.",
            headers={
                "WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{needed}"',
            },
        )
