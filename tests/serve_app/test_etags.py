"""A change that names what it saw is made only if that is still true."""

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from lwmecps_gym.platform.database import Store
from lwmecps_gym.platform.database.documents import Document
from lwmecps_gym.platform.models import ModelVersion

MODEL = "/api/v1/models/untrained"


@pytest.fixture
def model(add_version: Callable[[], ModelVersion]) -> None:
    """A model with one version."""
    add_version()


def etag(client: TestClient) -> str:
    return client.get(MODEL).headers["etag"]


def test_a_tag_changes_with_what_is_shown_and_only_then(client: TestClient, model: None) -> None:
    first = etag(client)
    assert first.startswith('"') and etag(client) == first
    client.post(f"{MODEL}/deploy")
    second = etag(client)
    client.patch(MODEL, json={"tags": {"team": "edge"}})
    assert len({first, second, etag(client)}) == 3


@pytest.mark.parametrize("action", ["deploy", "rollback", "undeploy"])
def test_a_change_on_an_old_tag_changes_nothing(
    client: TestClient, model: None, action: str
) -> None:
    old = etag(client)
    client.patch(MODEL, json={"tags": {"team": "edge"}})
    before = client.get(MODEL).json()
    refusal = client.post(f"{MODEL}/{action}", headers={"If-Match": old})
    assert refusal.status_code == 412
    assert refusal.json()["type"] == "urn:lwmecps:problem:precondition-failed"
    assert client.get(MODEL).json() == before
    assert client.delete(MODEL, headers={"If-Match": old}).status_code == 412


def test_a_change_on_the_present_tag_is_made(client: TestClient, model: None) -> None:
    headers = {"If-Match": f'"another", {etag(client)}'}
    assert client.post(f"{MODEL}/deploy", headers=headers).status_code == 200
    assert client.post(f"{MODEL}/undeploy", headers={"If-Match": "*"}).status_code == 200


def test_a_version_is_tagged_on_its_present_tag(client: TestClient, model: None) -> None:
    version = f"{MODEL}/versions/1"
    old = {"If-Match": client.get(version).headers["etag"]}
    body = {"tags": {"stage": "lab"}}
    assert client.patch(version, json=body, headers=old).status_code == 200
    assert client.patch(version, json=body, headers=old).status_code == 412
    assert client.delete(version, headers=old).status_code == 412


def test_a_training_is_steered_on_its_present_tag(client: TestClient) -> None:
    body = {"name": "a training", "model_type": "ppo", "total_episodes": 100}
    location = client.post("/api/v1/training", json=body).headers["location"]
    old = client.get(location).headers["etag"]
    assert client.get(location).headers["etag"] == old
    assert client.post(f"{location}/cancel", headers={"If-Match": old}).status_code == 200
    assert client.post(f"{location}/retry", headers={"If-Match": old}).status_code == 412


CHANGES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "tag the model": ("PATCH", MODEL, {"json": {"tags": {"mine": "1"}}}),
    "tag the version": ("PATCH", f"{MODEL}/versions/1", {"json": {"tags": {"mine": "1"}}}),
    "deploy": ("POST", f"{MODEL}/deploy", {}),
    "undeploy": ("POST", f"{MODEL}/undeploy", {}),
    "roll back": ("POST", f"{MODEL}/rollback", {}),
    "delete the version": ("DELETE", f"{MODEL}/versions/2", {}),
    "cancel": ("POST", "/cancel", {}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_of_two_changes_on_one_tag_the_one_that_is_written_second_is_refused(
    client: TestClient,
    store: Store,
    add_version: Callable[[], ModelVersion],
    monkeypatch: pytest.MonkeyPatch,
    change: str,
) -> None:
    for number in (1, 2, 3):
        assert add_version().version == number
        if number < 3:
            client.post(f"{MODEL}/deploy", json={"version": number})
    if change == "delete the version":
        client.post(f"{MODEL}/deploy", json={"version": 1})
    method, url, body = CHANGES[change]
    seen = f"{MODEL}/versions/{url[-1]}" if "/versions/" in url else MODEL
    if url == "/cancel":
        wanted = {"name": "a training", "model_type": "ppo", "total_episodes": 100}
        seen = client.post("/api/v1/training", json=wanted).headers["location"]
        url = seen + url
    tag = client.get(seen).headers["etag"]
    documents = store._documents
    replace, first = documents.replace, []

    def replace_after_another(collection: str, document: Document, revision: int) -> bool:
        if not first:  # someone else changes the same record right before the write
            first.append(collection)
            before = documents.get(collection, document["id"])
            assert before is not None
            other = {"tags": {"other": "1"}, "version": 3, "episode": 7}
            if collection == "versions":
                del other["version"]
            known = {name: value for name, value in other.items() if name in before}
            following = {**before, **known, "revision": revision + 1}
            assert replace(collection, following, revision)
        return replace(collection, document, revision)

    monkeypatch.setattr(documents, "replace", replace_after_another)
    refusal = client.request(method, url, headers={"If-Match": tag}, **body)
    assert first
    assert (refusal.status_code, refusal.json()["type"].rpartition(":")[2]) == (
        412,
        "precondition-failed",
    )
    monkeypatch.undo()
    fresh = {"If-Match": client.get(seen).headers["etag"]}
    assert client.request(method, url, headers=fresh, **body).status_code in (200, 204)
