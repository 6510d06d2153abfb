"""Makes methods of both kinds of client from the same functions."""

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import httpx

from lwmecps_gym.client.call import Call

P = ParamSpec("P")
T = TypeVar("T")


class Sends(Protocol):
    """What `Client` is to its resources."""

    http: httpx.Client
    attempts: int

    def send(self, call: Call[T]) -> T:
        """Send a call."""
        ...


class SendsLater(Protocol):
    """What `AsyncClient` is to its resources."""

    http: httpx.AsyncClient
    attempts: int

    async def send(self, call: Call[T]) -> T:
        """Send a call."""
        ...


class Resource:
    """A part of the API that `Client` shows."""

    def __init__(self, client: Sends) -> None:
        self.client = client


class AsyncResource:
    """A part of the API that `AsyncClient` shows."""

    def __init__(self, client: SendsLater) -> None:
        self.client = client


def sync(build: Callable[P, Call[T]]) -> Callable[Concatenate[Resource, P], T]:
    """A method that sends what `build` makes of its arguments."""

    @wraps(build)
    def method(self: Resource, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.client.send(build(*args, **kwargs))

    return method


def awaited(
    build: Callable[P, Call[T]],
) -> Callable[Concatenate[AsyncResource, P], Coroutine[Any, Any, T]]:
    """As `sync`, to be awaited."""

    @wraps(build)
    async def method(self: AsyncResource, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.client.send(build(*args, **kwargs))

    return method
