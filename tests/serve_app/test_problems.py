"""Every refusal is a problem+json that says what was wrong, and leaves nothing behind."""

import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from lwmecps_gym.envs.scenario import load_scenario
from lwmecps_gym.platform.database import Store
from lwmecps_gym.platform.errors import StoreUnavailableError
from lwmecps_gym.serve_app.body_limit import MAX_BODY_BYTES
from lwmecps_gym.serve_app.problems import TYPE_PREFIX, kinds

from ..pages import page_of

TRAINING = "/api/v1/training"
JSON = {"Content-Type": "application/json"}
GOOD = {
    "name": "a training",
    "model_type": "ppo",
    "parameters": {"learning_rate": 0.001, "discount_factor": 0.95},
    "total_episodes": 100,
}


def problem(response: httpx.Response, status: int) -> dict[str, Any]:
    """Check that a response is a problem of this status, and return it."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    content: dict[str, Any] = response.json()
    assert content["status"] == status
    assert content["type"].removeprefix(TYPE_PREFIX) in kinds()
    assert content["title"] and content["detail"]
    assert content["instance"] == response.request.url.path
    return content


@pytest.fixture(autouse=True)
def nothing_is_left(store: Store) -> Iterator[None]:
    """After each of these requests there is no training in the store."""
    yield
    assert store.list_tasks() == ([], None)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model_type": "alchemy"}, "alchemy"),
        ({"parameters": {"learning_rate": "abc"}}, "learning_rate"),
        ({"parameters": {"learning_rat": 0.1}}, "learning_rat"),
        ({"parameters": {"discount_factor": 1.5}}, "discount_factor"),
        ({"total_episodes": -1}, "total_episodes"),
        ({"total_episodes": 0}, "total_episodes"),
        ({"total_episodes": "many"}, "total_episodes"),
        ({"total_episodes": True}, "total_episodes"),
        ({"total_episodes": 1.5}, "total_episodes"),
        ({"total_episodes": float("nan")}, "total_episodes"),
        ({"total_episodes": 10**400}, "total_episodes"),
        ({"name": ""}, "name"),
        ({"name": "\ud800"}, "name"),
        ({"seed": -1}, "seed"),
        ({"env": "lwmecps-v9"}, "lwmecps-v9"),
        ({"scenario": {"name": "mine"}}, "nodes"),
        ({"colour": "red"}, "colour"),
        ({"parameters": {"\ud800": 1}}, "parameters"),
        ({"parameters": [1]}, "parameters"),
    ],
)
def test_a_wrong_value_is_refused_by_name(
    client: TestClient, change: dict[str, Any], named: str
) -> None:
    body = json.dumps({**GOOD, **change})
    content = problem(client.post(TRAINING, content=body, headers=JSON), 422)
    assert named in content["detail"]


def test_every_wrong_field_is_listed_with_its_value(client: TestClient) -> None:
    body = {**GOOD, "total_episodes": -5, "seed": "x" * 1000}
    content = problem(client.post(TRAINING, json=body), 422)
    errors = {error["field"]: error for error in content["errors"]}
    assert errors["total_episodes"]["value"] == -5
    assert "greater than or equal to 1" in errors["total_episodes"]["message"]
    assert len(errors["seed"]["value"]) == 200


@pytest.mark.parametrize("scenario", ["nowhere", "/etc/passwd", "../scenarios/tiny.yaml"])
def test_a_scenario_is_a_packaged_one_and_never_a_file_of_the_server(
    client: TestClient, scenario: str
) -> None:
    response = client.post(TRAINING, json={**GOOD, "scenario": scenario})
    assert "no packaged scenario" in problem(response, 404)["detail"]


def test_a_scenario_may_not_name_files_of_the_server(client: TestClient) -> None:
    scenario = load_scenario("tiny").document()
    scenario["workload"] = {
        "csv": {"file": "/etc/passwd", "requests_per_user_rps": 1, "share": {"video": {"mean": 1}}}
    }
    content = problem(client.post(TRAINING, json={**GOOD, "scenario": scenario}), 422)
    assert "only a scenario that is itself a file may" in content["detail"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b"[1, 2]", 422),
        (b'"text"', 422),
        (b"null", 422),
        (b'{"name": ', 400),
        (b"\xff\xfe\x00", 400),
        (b"[" * 100_000, 400),
    ],
)
def test_a_body_that_is_no_json_object_is_refused(
    client: TestClient, body: bytes, status: int
) -> None:
    problem(client.post(TRAINING, content=body, headers=JSON), status)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_a_body_of_another_content_type_is_refused(client: TestClient, kind: str) -> None:
    response = client.post(TRAINING, content=json.dumps(GOOD), headers={"Content-Type": kind})
    assert "Content-Type: application/json" in problem(response, 415)["detail"]


def test_a_body_that_declares_more_than_the_limit_is_refused(client: TestClient) -> None:
    body = json.dumps({**GOOD, "name": "x" * 10_000_000})
    problem(client.post(TRAINING, content=body, headers=JSON), 413)


def test_a_body_in_chunks_is_refused_once_it_exceeds_the_limit(client: TestClient) -> None:
    chunks = (b" " * 65_536 for _ in range(MAX_BODY_BYTES // 65_536 + 1))
    problem(client.post(TRAINING, content=chunks, headers=JSON), 413)


@pytest.mark.parametrize(
    "path",
    [
        f"{TRAINING}/nowhere",
        f"{TRAINING}/nowhere/progress",
        f"{TRAINING}/nowhere/metrics",
        "/api/v1/models/nowhere",
        "/api/v1/models/nowhere/versions",
        "/api/v1/models/nowhere/metrics",
        "/api/v1/scenarios/nowhere",
    ],
)
def test_an_unknown_id_is_not_found(client: TestClient, path: str) -> None:
    assert "nowhere" in problem(client.get(path), 404)["detail"]


@pytest.mark.parametrize("action", ["deploy", "undeploy"])
def test_an_unknown_model_cannot_be_deployed_or_undeployed(client: TestClient, action: str) -> None:
    problem(client.post(f"/api/v1/models/nowhere/{action}"), 404)


def test_a_path_without_route_is_not_found(client: TestClient) -> None:
    assert "/docs" in problem(client.get("/api/v2/training"), 404)["detail"]


def test_a_wrong_method_is_refused_with_those_that_are_allowed(client: TestClient) -> None:
    response = client.put(TRAINING, json=GOOD)
    problem(response, 405)
    assert response.headers["allow"] == "GET, POST"


@pytest.mark.parametrize("query", ["state=lost", "limit=0", "limit=501", "limit=x"])
def test_a_wrong_query_is_refused_by_name(client: TestClient, query: str) -> None:
    field = query.partition("=")[0]
    content = problem(client.get(f"{TRAINING}?{query}"), 422)
    assert [error["field"] for error in content["errors"]] == [field]


def test_a_store_that_does_not_answer_is_503_with_retry_after(
    client: TestClient, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise StoreUnavailableError("the database at db:27017 does not answer")

    monkeypatch.setattr(store, "ping", refuse)
    monkeypatch.setattr(store, "list_models", refuse)
    response = client.get("/api/v1/models")
    assert "db:27017" in problem(response, 503)["detail"]
    assert response.headers["retry-after"] == "5"
    probe = client.get("/readyz")
    assert "store is unavailable" in problem(probe, 503)["detail"]
    assert "db:27017" not in probe.text
    assert probe.headers["retry-after"] == "5"


def test_an_unexpected_error_is_logged_under_the_id_that_the_answer_names(
    app: FastAPI, client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    @app.get("/broken")
    async def broken() -> None:
        raise ZeroDivisionError("secret detail")

    with caplog.at_level(logging.ERROR):
        content = problem(client.get("/broken"), 500)
    assert "secret" not in content["detail"]
    assert content["detail"].rsplit(" ", 1)[1].rstrip(".") in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_every_kind_of_problem_is_on_its_page_and_no_other() -> None:
    section = page_of("api.md").partition("## Problems")[2]
    rows = re.findall(r"^\| [0-9]{3} \| ([^|]+) \|", section, re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"`([a-z-]+)`", row)]
    assert sorted(named) == sorted(kinds())


def test_the_openapi_document_names_the_media_type_of_problems(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    for path, operations in document["paths"].items():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                if status[0] in "45":
                    assert list(response["content"]) == ["application/problem+json"], path
