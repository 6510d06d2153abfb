"""A create that is sent again under its key happens once."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from lwmecps_gym.platform.config import Settings
from lwmecps_gym.platform.database import Store, open_store
from lwmecps_gym.platform.idempotency import KEPT, KeptAnswer
from lwmecps_gym.platform.models import ModelVersion, now

TRAINING = "/api/v1/training"
BODY = {"name": "a training", "model_type": "ppo", "total_episodes": 100}
KEY = {"Idempotency-Key": "nightly-2026-11-22"}


def tasks(store: Store) -> list[str]:
    return [task.id for task in store.list_tasks(limit=500)[0]]


def test_the_same_request_under_the_same_key_gives_the_same_answer(
    client: TestClient, store: Store
) -> None:
    first = client.post(TRAINING, json=BODY, headers=KEY)
    task = store.get_task(first.json()["id"])
    store.update_task(task, episode=50)
    again = client.post(TRAINING, json=dict(reversed(BODY.items())), headers=KEY)
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["location"] == first.headers["location"]
    assert tasks(store) == [task.id]


def test_requests_without_a_key_or_under_another_make_another_training(
    client: TestClient, store: Store
) -> None:
    for headers in ({}, {}, KEY, {"Idempotency-Key": "another"}):
        client.post(TRAINING, json=BODY, headers=headers)
    assert len(tasks(store)) == 4


def test_another_request_under_the_same_key_is_refused(client: TestClient, store: Store) -> None:
    client.post(TRAINING, json=BODY, headers=KEY)
    refusal = client.post(TRAINING, json={**BODY, "seed": 1}, headers=KEY)
    assert refusal.status_code == 422
    assert refusal.json()["type"] == "urn:lwmecps:problem:idempotency-key-reused"
    assert len(tasks(store)) == 1


def test_the_answer_is_the_same_after_a_restart(
    client: TestClient, make_app: Callable[..., FastAPI], tmp_path: Path
) -> None:
    first = client.post(TRAINING, json=BODY, headers=KEY)
    restarted = TestClient(make_app(store=open_store(Settings(data_dir=tmp_path))))
    assert restarted.post(TRAINING, json=BODY, headers=KEY).content == first.content


def test_requests_that_come_at_once_make_one_training(client: TestClient, store: Store) -> None:
    def create(_: int) -> Any:
        return client.post(TRAINING, json=BODY, headers=KEY)

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(create, range(8)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert len(tasks(store)) == 1


def test_a_create_that_died_before_its_training_was_stored_is_made_up_for(
    client: TestClient, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(store, "create_task", lambda task: 1 / 0)
        assert client.post(TRAINING, json=BODY, headers=KEY).status_code == 500
    made = client.post(TRAINING, json=BODY, headers=KEY)
    assert made.status_code == 201
    assert tasks(store) == [made.json()["id"]]


def test_a_create_that_died_before_its_answer_was_kept_makes_no_second_training(
    client: TestClient, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(store.answers, "keep", lambda *_: 1 / 0)
        assert client.post(TRAINING, json=BODY, headers=KEY).status_code == 500
    [made] = tasks(store)
    assert client.post(TRAINING, json=BODY, headers=KEY).json()["id"] == made


def test_a_refused_request_can_be_put_right_under_another_key_only(
    client: TestClient, store: Store
) -> None:
    wrong = {**BODY, "model_type": "alchemy"}
    assert client.post(TRAINING, json=wrong, headers=KEY).status_code == 422
    assert client.post(TRAINING, json=wrong, headers=KEY).status_code == 422
    assert client.post(TRAINING, json=BODY, headers=KEY).status_code == 422
    assert tasks(store) == []


@pytest.mark.parametrize("key", ["", "x" * 256, "a b", "\xff"])
def test_a_key_that_is_none_is_refused_by_name(client: TestClient, key: str) -> None:
    headers = {"Idempotency-Key": key.encode("latin-1")}
    refusal = client.post(TRAINING, json=BODY, headers=headers)
    assert refusal.status_code == 422
    assert "idempotency-key" in refusal.json()["detail"].lower()


def test_a_key_is_forgotten_after_a_day(store: Store) -> None:
    old = KeptAnswer(id="a", request_digest="x", object_id="1", created_at=now() - KEPT)
    store.answers.reserve(old)
    fresh = KeptAnswer(id="b", request_digest="x", object_id="2")
    store.answers.reserve(fresh)
    renewed = KeptAnswer(id="a", request_digest="y", object_id="3")
    assert store.answers.reserve(renewed) == renewed
    assert store.answers.forget_old(now() + KEPT - timedelta(minutes=1)) == 0
    assert store.answers.forget_old(now() + KEPT) == 2


@pytest.fixture
def upload(client: TestClient, add_version: Callable[[], ModelVersion]) -> Callable[..., Any]:
    """Uploads a model's file as a version of the model `copy`, under `KEY`."""
    add_version()
    file = client.get("/api/v1/models/untrained/versions/1/file").content
    type_ = {"Content-Type": "application/x-tar"}

    def send(content: bytes = file, query: str = "") -> Any:
        url = f"/api/v1/models/copy/versions{query}"
        return client.post(url, content=content, headers={**KEY, **type_})

    return send


def test_an_upload_that_is_sent_again_makes_one_version(
    upload: Callable[..., Any], store: Store
) -> None:
    first, again = upload(), upload()
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    assert (
        again.headers["location"] == first.headers["location"] == "/api/v1/models/copy/versions/1"
    )
    assert len(store.list_versions("copy")) == 1


def test_another_file_or_parent_under_the_key_of_an_upload_is_refused(
    upload: Callable[..., Any], store: Store
) -> None:
    upload()
    for refusal in (upload(b"another"), upload(query="?parent=untrained:1")):
        assert refusal.status_code == 422
        assert refusal.json()["type"] == "urn:lwmecps:problem:idempotency-key-reused"
    assert len(store.list_versions("copy")) == 1


def test_uploads_that_come_at_once_make_one_version(
    upload: Callable[..., Any], store: Store
) -> None:
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: upload(), range(4)))
    assert len({answer.content for answer in answers}) == 1
    assert len(store.list_versions("copy")) == 1


def test_an_upload_that_died_before_its_answer_was_kept_makes_no_second_version(
    upload: Callable[..., Any], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(store.answers, "keep", lambda *_: 1 / 0)
        assert upload().status_code == 500
    assert upload().json()["version"] == 1
    assert len(store.list_versions("copy")) == 1
