"""Aliases, tags, deployments and their history through the API."""

from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient

from lwmecps_gym.platform.models import ModelVersion

AddVersion = Callable[[], ModelVersion]
MODEL = "/api/v1/models/untrained"


def test_a_version_is_deployed_by_its_alias(client: TestClient, add_version: AddVersion) -> None:
    add_version(), add_version()
    alias = client.put(f"{MODEL}/aliases/champion", json={"version": 1})
    assert alias.json()["history"][0]["by"] == "anyone"
    assert client.get(f"{MODEL}/versions/champion").json()["aliases"] == ["champion"]
    assert client.get(MODEL).json()["aliases"] == {"champion": 1}
    assert client.post(f"{MODEL}/deploy", json={"version": "champion"}).json()["version"] == 1
    assert client.post(f"{MODEL}/deploy", json={"version": "nobody"}).status_code == 404
    assert client.delete(f"{MODEL}/aliases/champion").status_code == 204
    assert client.get(f"{MODEL}/aliases/champion").status_code == 404


def test_an_alias_moves_only_from_where_it_was_expected(
    client: TestClient, add_version: AddVersion
) -> None:
    add_version(), add_version()
    first = {"version": 1, "expected_version": None}
    assert client.put(f"{MODEL}/aliases/champion", json=first).status_code == 200
    again = client.put(f"{MODEL}/aliases/champion", json=first)
    assert again.status_code == 409
    assert "names version 1, not none" in again.json()["detail"]
    body = {"version": "latest", "expected_version": 1}
    assert client.put(f"{MODEL}/aliases/champion", json=body).json()["version"] == 2
    assert client.put(f"{MODEL}/aliases/champion", json={"version": 1}).json()["version"] == 1


@pytest.mark.parametrize("mode", ["shadow", "act"])
def test_modes_that_are_not_there_yet_are_refused_by_name(
    client: TestClient, add_version: AddVersion, mode: str
) -> None:
    add_version()
    refusal = client.post(f"{MODEL}/deploy", json={"mode": mode})
    assert refusal.status_code == 422
    assert "Kubernetes" in refusal.json()["detail"]
    assert client.get(MODEL).json()["deployed_version"] is None


def test_a_rollback_deploys_the_version_before(client: TestClient, add_version: AddVersion) -> None:
    add_version(), add_version()
    assert client.post(f"{MODEL}/rollback").status_code == 409
    for version in (1, 2):
        client.post(f"{MODEL}/deploy", json={"version": version})
    assert client.post(f"{MODEL}/rollback").json()["version"] == 1
    assert client.get(MODEL).json()["deployed_version"] == 1
    changes = client.get(f"{MODEL}/deployments", params={"limit": 2}).json()
    rest = client.get(f"{MODEL}/deployments", params={"cursor": changes["next_cursor"]}).json()
    assert [item["action"] for item in changes["items"] + rest["items"]] == [
        "deploy",
        "deploy",
        "rollback",
    ]
    assert rest["next_cursor"] is None


def test_what_is_deployed_is_not_deleted(client: TestClient, add_version: AddVersion) -> None:
    add_version(), add_version()
    client.post(f"{MODEL}/deploy", json={"version": 1})
    for path in (MODEL, f"{MODEL}/versions/1"):
        refusal = client.delete(path)
        assert refusal.status_code == 409
        assert "is deployed" in refusal.json()["detail"]
    assert client.delete(f"{MODEL}/versions/2").status_code == 204
    assert client.get(f"{MODEL}/versions/2").status_code == 404


def test_tags_are_changed_one_by_one(client: TestClient, add_version: AddVersion) -> None:
    add_version()
    for path in (MODEL, f"{MODEL}/versions/latest"):
        client.patch(path, json={"tags": {"stage": "lab", "owner": "ann"}})
        assert client.patch(path, json={"tags": {"stage": None}}).json()["tags"] == {"owner": "ann"}
        assert client.patch(path, json={"tags": {"": "x"}}).status_code == 422


def test_lists_come_in_pages(client: TestClient, add_version: AddVersion) -> None:
    for _ in range(5):
        add_version()
    seen: list[int] = []
    cursor = None
    while True:
        page = client.get(
            f"{MODEL}/versions", params={"limit": 2, "cursor": cursor} if cursor else {"limit": 2}
        ).json()
        seen += [item["version"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == [1, 2, 3, 4, 5]
    assert client.get("/api/v1/models", params={"cursor": "untrained"}).json()["items"] == []
