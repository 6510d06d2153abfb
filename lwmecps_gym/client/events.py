"""Server-sent events of a training, taken up again where the connection breaks."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
from httpx_sse import ServerSentEvent, aconnect_sse, connect_sse

from lwmecps_gym.client.call import Call, api, as_nothing, error_of, unreachable

RETRY_S = 1.0
"""Time before a broken stream is taken up again, s."""
_END = "end"


@dataclass(frozen=True)
class TrainingEvent:
    """What happened to a training.

    Attributes:
        name: `state`, `progress`, `metrics`, or at last `end`.
        data: as the API's documentation says for each name.
    """

    name: str
    data: dict[str, Any]


class _Stream:
    """One stream over all its connections."""

    def __init__(self, task_id: str, since: int, attempts: int) -> None:
        self.path = api("training", task_id, "events")
        self._since = since
        self._last_id = ""
        self._attempts = attempts
        self._failures = 0

    @property
    def request(self) -> dict[str, Any]:
        headers = {"last-event-id": self._last_id} if self._last_id else {}
        return {"params": {"since": self._since}, "headers": headers}

    def take(self, event: ServerSentEvent) -> TrainingEvent:
        self._last_id, self._failures = event.id or self._last_id, 0
        return TrainingEvent(event.event, event.json())

    def refused(self, response: httpx.Response) -> None:
        """Go on only if the platform may answer later."""
        self._failures += 1
        if response.status_code not in (429, 503) or self._failures >= self._attempts:
            raise error_of(response)

    def broken(self, error: httpx.TransportError) -> None:
        """Go on unless it broke too often in a row."""
        self._failures += 1
        if self._failures >= self._attempts:
            raise unreachable(Call("GET", self.path, as_nothing), error) from error


def follow(http: httpx.Client, task_id: str, since: int, attempts: int) -> Iterator[TrainingEvent]:
    """Yield the events of a training until it has ended.

    Raises:
        LwmecpsError: there is no such training, or the platform does not come back.
    """
    stream = _Stream(task_id, since, attempts)
    while True:
        try:
            with connect_sse(http, "GET", stream.path, **stream.request) as source:
                if source.response.is_success:
                    for event in source.iter_sse():
                        taken = stream.take(event)
                        yield taken
                        if taken.name == _END:
                            return
                else:
                    source.response.read()
                    stream.refused(source.response)
        except httpx.TransportError as error:
            stream.broken(error)
        time.sleep(RETRY_S)


async def follow_async(
    http: httpx.AsyncClient, task_id: str, since: int, attempts: int
) -> AsyncIterator[TrainingEvent]:
    """See `follow`."""
    stream = _Stream(task_id, since, attempts)
    while True:
        try:
            async with aconnect_sse(http, "GET", stream.path, **stream.request) as source:
                if source.response.is_success:
                    async for event in source.aiter_sse():
                        taken = stream.take(event)
                        yield taken
                        if taken.name == _END:
                            return
                else:
                    await source.response.aread()
                    stream.refused(source.response)
        except httpx.TransportError as error:
            stream.broken(error)
        await asyncio.sleep(RETRY_S)
