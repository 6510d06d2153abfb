"""Lists of models and versions: paged, sorted and filtered alike."""

from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient

from lwmecps_gym.platform.database import Store
from lwmecps_gym.platform.models import ModelVersion

MODELS = "/api/v1/models"


@pytest.fixture
def models(store: Store) -> list[str]:
    """Five models, of which every second one is tagged."""
    names = [f"model-{number}" for number in range(5)]
    for number, name in enumerate(names):
        store.add_version(name, model_type="ppo", task_id=None, digest="d", metrics={})
        if number % 2:
            store.tag_model(name, {"stage": "lab:1"})
    return names


def read(client: TestClient, path: str, name: str, **query: str) -> list[str]:
    """Read a list to its end, two at a time."""
    seen: list[str] = []
    query["limit"] = "2"
    while True:
        page = client.get(path, params=query).json()
        assert len(page["items"]) <= 2
        seen += [str(item[name]) for item in page["items"]]
        if page["next_cursor"] is None:
            return seen
        query["cursor"] = page["next_cursor"]


def test_models_are_paged_sorted_and_filtered(client: TestClient, models: list[str]) -> None:
    assert read(client, MODELS, "id") == models
    assert read(client, MODELS, "id", sort="-id") == models[::-1]
    assert read(client, MODELS, "id", tag="stage:lab:1") == models[1::2]
    assert read(client, MODELS, "id", tag="stage:other") == []


def test_versions_are_paged_sorted_and_filtered(
    client: TestClient, store: Store, add_version: Callable[[], ModelVersion]
) -> None:
    for _ in range(3):
        add_version()
    store.tag_version("untrained", 2, {"stage": "lab"})
    path = f"{MODELS}/untrained/versions"
    assert read(client, path, "version") == ["1", "2", "3"]
    assert read(client, path, "version", sort="-version") == ["3", "2", "1"]
    assert read(client, path, "version", tag="stage:lab") == ["2"]


@pytest.mark.parametrize("path", ["", "/untrained/versions", "/untrained/deployments"])
@pytest.mark.parametrize("query", ["cursor=%00nonsense/", "limit=0", "limit=501"])
def test_a_wrong_query_of_a_list_is_refused_by_name(
    client: TestClient, add_version: Callable[[], ModelVersion], path: str, query: str
) -> None:
    add_version()
    refusal = client.get(f"{MODELS}{path}?{query}")
    assert refusal.status_code == 422
    assert [each["field"] for each in refusal.json()["errors"]] == [query.partition("=")[0]]


@pytest.mark.parametrize("query", ["sort=colour", "tag=stage"])
def test_a_wrong_sort_or_tag_is_refused_by_name(client: TestClient, query: str) -> None:
    refusal = client.get(f"{MODELS}?{query}")
    assert refusal.status_code == 422
    assert [each["field"] for each in refusal.json()["errors"]] == [query.partition("=")[0]]
