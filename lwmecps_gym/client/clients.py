"""The two kinds of client: the same calls, carried by httpx with threads or with asyncio."""

import asyncio
import os
import time
from importlib.metadata import version
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from lwmecps_gym.client import models, platform, training
from lwmecps_gym.client.call import Call, exchange
from lwmecps_gym.platform.errors import InvalidInputError

T = TypeVar("T")

DEFAULT_URL = "http://127.0.0.1:8000"


def _options(url: str | None, key: str | None, timeout_s: float, transport: Any) -> dict[str, Any]:
    """Options of httpx's clients."""
    base = url or os.environ.get("LWMECPS_URL") or DEFAULT_URL
    if not base.startswith(("http://", "https://")):
        raise InvalidInputError(f"url: {base!r} does not begin with http:// or https://")
    key = key or os.environ.get("LWMECPS_API_KEY")
    headers = {"user-agent": f"lwmecps-gym/{version('lwmecps-gym')}"}
    if key:
        headers["authorization"] = f"Bearer {key}"
    return {
        "base_url": base,
        "headers": headers,
        "timeout": httpx.Timeout(timeout_s, connect=5.0),
        # A proxy that the environment names is for other machines.
        "trust_env": httpx.URL(base).host not in ("127.0.0.1", "localhost", "::1"),
        "transport": transport,
    }


def _request(http: httpx.Client | httpx.AsyncClient, call: Call[Any]) -> httpx.Request:
    params = {name: value for name, value in call.params.items() if value is not None}
    return http.build_request(
        call.method,
        call.path,
        params=params,
        json=call.body,
        content=call.content,
        headers=dict(call.headers),
    )


class Client:
    """The platform at a URL.

        with Client("http://edge-lab:8000", key="...") as lwmecps:
            task = lwmecps.training.create(name="mine", model_type="ppo", total_episodes=600)
            for event in lwmecps.training.events(task.id):
                print(event.name, event.data)
            lwmecps.models.deploy("mine")

    Every method raises the errors of `lwmecps_gym.platform.errors` as the platform itself does, and
    `RemoteError` where it does not answer or refuses the key.

    Args:
        url: of the platform; unset: `LWMECPS_URL`, else this machine.
        key: one that `lwmecps keys create` made; unset: `LWMECPS_API_KEY`, else none.
        timeout_s: how long an answer may take, s.
        attempts: how often a call is sent, if it is refused for the time being or finds no one.
        transport: of httpx, for tests and proxies.
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        timeout_s: float = 60.0,
        attempts: int = 4,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.http = httpx.Client(**_options(url, key, timeout_s, transport))
        self.attempts = attempts
        self.training = training.Training(self)
        self.models = models.Models(self)
        self.platform = platform.Platform(self)

    def send(self, call: Call[T]) -> T:
        """Send a call and return its result."""
        talk = exchange(call, self.attempts)
        wait_s = next(talk)
        while True:
            time.sleep(wait_s)
            answer: httpx.Response | httpx.TransportError
            try:
                answer = self.http.send(_request(self.http, call))
            except httpx.TransportError as error:
                answer = error
            try:
                wait_s = talk.send(answer)
            except StopIteration as end:
                return end.value

    def close(self) -> None:
        """Close the connections."""
        self.http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class AsyncClient:
    """As `Client`; every method is awaited, and events come by `async for`."""

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        timeout_s: float = 60.0,
        attempts: int = 4,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.http = httpx.AsyncClient(**_options(url, key, timeout_s, transport))
        self.attempts = attempts
        self.training = training.AsyncTraining(self)
        self.models = models.AsyncModels(self)
        self.platform = platform.AsyncPlatform(self)

    async def send(self, call: Call[T]) -> T:
        """See `Client.send`."""
        talk = exchange(call, self.attempts)
        wait_s = next(talk)
        while True:
            await asyncio.sleep(wait_s)
            answer: httpx.Response | httpx.TransportError
            try:
                answer = await self.http.send(_request(self.http, call))
            except httpx.TransportError as error:
                answer = error
            try:
                wait_s = talk.send(answer)
            except StopIteration as end:
                return end.value

    async def close(self) -> None:
        """Close the connections."""
        await self.http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
