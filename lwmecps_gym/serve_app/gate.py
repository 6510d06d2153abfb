"""The gate before all routes: the host that was asked, the key, and how often it is used."""

import math
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from lwmecps_gym.platform.config import Settings
from lwmecps_gym.platform.errors import StoreUnavailableError
from lwmecps_gym.serve_app.access import KeyRing, RefusedError, is_public
from lwmecps_gym.serve_app.problems import ProblemResponse, problem, problem_of
from lwmecps_gym.serve_app.rate_limit import RateLimit

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


class Gate:
    """ASGI middleware that lets through who may come in, and says who it is.

    A page from elsewhere can make a browser ask this machine under a name of its own (DNS
    rebinding). Where no key protects the API, only the names of this machine are answered, and
    those of the settings.
    """

    def __init__(self, app: ASGIApp, keys: KeyRing, settings: Settings) -> None:
        self._app = app
        self._keys = keys
        self._hosts = settings.allowed_hosts
        self._limit = RateLimit(settings.requests_per_s)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] == "http" and not is_public(scope["path"]):
            refusal = await self._check(scope)
            if refusal is not None:
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _check(self, scope: Scope) -> ProblemResponse | None:
        headers, path = Headers(scope=scope), scope["path"]
        try:
            asks = await self._keys.asks()
            if not self._answers(headers.get("host", ""), asks):
                return _refuse(
                    path,
                    HTTPStatus.MISDIRECTED_REQUEST,
                    "The header Host names none of this server's names; LWMECPS_ALLOWED_HOSTS "
                    "adds names.",
                )
            authorization = headers.get("authorization")
            if asks:
                # Behind a proxy all come from one address: who was let in before counts by the key,
                # so that nobody without one can use up the share of those who have.
                known = self._keys.seen(authorization)
                client = scope.get("client") or ("unknown", 0)
                wait_s = self._limit.take(client[0] if known is None else f"key {known.key_id}")
                if wait_s > 0:
                    return _refuse(
                        path,
                        HTTPStatus.TOO_MANY_REQUESTS,
                        "Too many requests; repeat after Retry-After seconds.",
                        {"Retry-After": str(math.ceil(wait_s))},
                    )
            scope["state"]["caller"] = await self._keys.tell(authorization)
        except RefusedError as refused:
            given = ', error="invalid_token"' if authorization else ""
            return _refuse(
                path,
                HTTPStatus.UNAUTHORIZED,
                str(refused),
                {"WWW-Authenticate": f'Bearer realm="lwmecps"{given}'},
            )
        except StoreUnavailableError as outage:
            return problem_of(path, outage)
        return None

    def _answers(self, host: str, asks_for_keys: bool) -> bool:
        name = _host_name(host)
        if "*" in self._hosts or (asks_for_keys and not self._hosts):
            return True
        return name in LOOPBACK_NAMES or name in self._hosts


def is_loopback(host: str) -> bool:
    """Whether a server that binds to this host can be reached from this machine alone."""
    return host == "localhost" or host == "::1" or host.startswith("127.")


def _host_name(host: str) -> str:
    """Take the port off the value of a Host header."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


def _refuse(
    path: str, status: HTTPStatus, detail: str, headers: dict[str, str] | None = None
) -> ProblemResponse:
    return problem(path, status, status.phrase.capitalize(), detail, headers=headers)
