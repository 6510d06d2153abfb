"""The client says what the API says, and asks again where that does no harm."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from lwmecps_gym import AsyncClient, Client
from lwmecps_gym.client.in_process import InProcess
from lwmecps_gym.platform.database import Store
from lwmecps_gym.platform.errors import (
    ConflictError,
    InvalidInputError,
    NotFoundError,
    RemoteError,
    StoreUnavailableError,
)
from lwmecps_gym.platform.models import MetricRecord, ModelVersion, TaskState

URL = "http://testserver"
Answer = Callable[[httpx.Request], httpx.Response]


@pytest.fixture
def platform(app: FastAPI) -> Iterator[Client]:
    with Client(URL, transport=InProcess(app)) as client:
        yield client


def scripted(*answers: Answer | int | Exception, **options: Any) -> tuple[Client, list[str]]:
    """A client to a server that gives these answers in turn, and what was asked of it."""
    asked: list[str] = []
    left = list(answers)

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(f"{request.method} {request.url.path}")
        now = left.pop(0)
        if isinstance(now, Exception):
            raise now
        if isinstance(now, int):
            return httpx.Response(now, headers={"retry-after": "0"}, text="busy")
        return now(request)

    return Client(URL, transport=httpx.MockTransport(answer), **options), asked


def overview(request: httpx.Request) -> httpx.Response:
    numbers = ("env_steps", "models", "model_versions", "deployments", "predictions")
    return httpx.Response(200, json={"trainings": {}, **dict.fromkeys(numbers, 0)})


def test_a_training_is_created_read_and_listed(platform: Client) -> None:
    created = platform.training.create("mine", "ppo", 3, scenario="tiny", seed=7)
    read = platform.training.get(created.id)
    assert (read.id, read.name, read.seed, read.scenario_name) == (created.id, "mine", 7, "tiny")
    assert platform.training.progress(created.id).total_episodes == 3
    assert [task.id for task in platform.training.list(state=TaskState.PENDING).items] == [read.id]
    assert platform.training.list(state="completed").items == []
    assert platform.platform.overview().trainings[TaskState.PENDING] == 1


def test_the_same_key_makes_one_training(platform: Client) -> None:
    ids = {platform.training.create("a", "ppo", 3, idempotency_key="k").id for _ in range(2)}
    assert len(ids) == 1
    ids |= {platform.training.create("a", "ppo", 3).id for _ in range(2)}
    assert len(ids) == 3


def test_a_model_is_named_deployed_asked_and_moved(
    platform: Client, add_version: Callable[[], ModelVersion]
) -> None:
    add_version(), add_version()
    assert platform.models.set_alias("untrained", "champion", 1).version == 1
    assert platform.models.deploy("untrained", "champion").version == 1
    assert platform.models.get("untrained").deployed_version == 1
    decision = platform.models.predict("untrained", {"placement": {"video": {"bs_1": 1}}})
    assert decision.kind in ("nothing", "place", "remove", "move")
    batch = platform.models.predict_batch("untrained", [{"placement": {"video": {"bs_1": 1}}}] * 3)
    assert [each.action for each in batch.decisions] == [decision.action] * 3
    copied = platform.models.upload(
        "a copy".replace(" ", "-"), platform.models.download("untrained")
    )
    assert copied.digest == platform.models.version("untrained").digest
    assert platform.models.delete_version("untrained", 2) is None
    assert [item.version for item in platform.models.versions("untrained").items] == [1]


def test_errors_are_those_of_the_platform(platform: Client, store: Store) -> None:
    with pytest.raises(NotFoundError, match="nobody"):
        platform.models.get("nobody")
    with pytest.raises(NotFoundError, match="a/b"):
        platform.models.get("a/b")
    with pytest.raises(InvalidInputError, match="learning_rat"):
        platform.training.create("mine", "ppo", 3, parameters={"learning_rat": 1})
    task = platform.training.create("mine", "ppo", 3)
    platform.training.cancel(task.id)
    with pytest.raises(ConflictError, match="cancelled"):
        platform.training.pause(task.id)


def test_a_key_is_sent_and_asked_for(make_app: Callable[..., FastAPI]) -> None:
    key = "k" * 40
    app = make_app(admin_key=key)
    with Client(URL, key, transport=InProcess(app)) as client:
        assert client.platform.audit().items == []
    with (
        Client(URL, transport=InProcess(app)) as client,
        pytest.raises(RemoteError, match="key") as refusal,
    ):
        client.platform.overview()
    assert refusal.value.status == 401


def test_the_other_kind_of_client_is_awaited(app: FastAPI) -> None:
    async def use() -> list[str]:
        transport = httpx.ASGITransport(app)
        async with AsyncClient(URL, transport=transport) as client:
            made = await asyncio.gather(
                *(client.training.create(f"mine {n}", "ppo", 3) for n in range(3))
            )
            with pytest.raises(NotFoundError):
                await client.models.get("nobody")
            return sorted([(await client.training.get(task.id)).name for task in made])

    assert asyncio.run(use()) == ["mine 0", "mine 1", "mine 2"]


def test_a_call_is_repeated_while_the_platform_refuses_it_for_now() -> None:
    client, asked = scripted(503, 429, overview)
    assert client.platform.overview().models == 0
    assert len(asked) == 3


def test_it_is_given_up_after_so_many_attempts() -> None:
    client, asked = scripted(503, 503, attempts=2)
    with pytest.raises(RemoteError, match="503") as refusal:
        client.platform.overview()
    assert (refusal.value.status, len(asked)) == (503, 2)


def test_what_might_be_done_twice_is_sent_once() -> None:
    client, asked = scripted(httpx.ReadError("gone"), overview)
    with pytest.raises(RemoteError, match="does not answer POST .*rollback: gone"):
        client.models.roll_back("mine")
    assert len(asked) == 1


def test_what_was_never_sent_is_sent_again() -> None:
    client, asked = scripted(httpx.ConnectError("refused"), 409)
    with pytest.raises(RemoteError, match="409"):
        client.models.roll_back("mine")
    assert len(asked) == 2


def test_a_store_that_is_away_is_an_error_of_its_own() -> None:
    document = {
        "type": "urn:lwmecps:problem:store-unavailable", "title": "Store unavailable",
        "status": 503, "detail": "the store is locked", "instance": "/",
    }  # fmt: skip

    def away(request: httpx.Request) -> httpx.Response:
        kind = {"content-type": "application/problem+json"}
        return httpx.Response(503, json=document, headers=kind)

    client, _ = scripted(away, attempts=1)
    with pytest.raises(StoreUnavailableError, match="locked"):
        client.platform.overview()


@pytest.mark.parametrize(
    "answer",
    [
        lambda request: httpx.Response(404, text="<html>nginx</html>"),
        lambda request: httpx.Response(200, text="<html>hello</html>"),
        lambda request: httpx.Response(200, json={"models": 1}),
    ],
    ids=["error page", "page", "another version"],
)
def test_an_answer_of_something_else_is_told(answer: Answer) -> None:
    client, _ = scripted(answer)
    with pytest.raises(RemoteError, match="lwmecps-gym that listens|same version"):
        client.platform.overview()


def test_a_url_without_a_scheme_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="edge:8000"):
        Client("edge:8000")


def finished(platform: Client, store: Store) -> str:
    """A training that was cancelled after two iterations."""
    task_id = platform.training.create("mine", "ppo", 3).id
    for iteration in (1, 2):
        record = MetricRecord(
            id=f"{task_id}/{iteration:010d}", task_id=task_id, iteration=iteration, episode=1,
            env_steps=10, values={"reward": -1.0},
        )  # fmt: skip
        store.append_metrics([record])
    platform.training.cancel(task_id)
    return task_id


def test_events_tell_a_training_to_its_end(platform: Client, store: Store, url: str) -> None:
    task_id = finished(platform, store)
    with Client(url) as client:
        events = list(client.training.events(task_id))
        assert events[-1].name == "end"
        assert [e.data["iteration"] for e in events if e.name == "metrics"] == [1, 2]
        later = client.training.events(task_id, since=1)
        assert [e.data["iteration"] for e in later if e.name == "metrics"] == [2]
        with pytest.raises(NotFoundError):
            next(client.training.events("0" * 20))

    async def names() -> list[str]:
        async with AsyncClient(url) as client:
            return [event.name async for event in client.training.events(task_id)]

    assert asyncio.run(names()) == [event.name for event in events]


def test_a_broken_stream_goes_on_behind_the_last_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lwmecps_gym.client.events.RETRY_S", 0.0)
    last_ids = []

    class Breaks(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            yield b'event: metrics\nid: 3.1\ndata: {"iteration": 1}\n\n'
            raise httpx.ReadError("cut")

    def first(request: httpx.Request) -> httpx.Response:
        last_ids.append(request.headers.get("last-event-id"))
        kind = {"content-type": "text/event-stream"}
        return httpx.Response(200, headers=kind, stream=Breaks())

    def second(request: httpx.Request) -> httpx.Response:
        last_ids.append(request.headers.get("last-event-id"))
        kind = {"content-type": "text/event-stream"}
        return httpx.Response(200, headers=kind, content=b'event: end\ndata: {"state": "x"}\n\n')

    client, _ = scripted(first, 503, second)
    names = [event.name for event in client.training.events("t")]
    assert (names, last_ids) == (["metrics", "end"], [None, "3.1"])
