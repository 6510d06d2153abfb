"""The API over real parts, without Ray: trainings, models, decisions, catalog."""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from lwmecps_gym.platform.database import Store
from lwmecps_gym.platform.models import ModelVersion, TaskState
from lwmecps_gym.platform.task_run import TaskRun

AddVersion = Callable[[], ModelVersion]

MODEL = "/api/v1/models/untrained"
STATE = {
    "state": {
        "placement": {"video": {"bs_1": 1}},
        "demand_rps": {"video": {"bs_1": 20, "bs_2": 5}},
    }
}


def create(client: TestClient, name: str = "a training", model_type: str = "ppo") -> str:
    """Create a training as the users' documents do, and return its id."""
    response = client.post(
        "/api/v1/training",
        json={
            "name": name,
            "model_type": model_type,
            "parameters": {"learning_rate": 0.001, "discount_factor": 0.95},
            "total_episodes": 100,
        },
    )
    assert response.status_code == 201, response.text
    task_id: str = response.json()["id"]
    assert response.headers["location"] == f"/api/v1/training/{task_id}"
    return task_id


def test_a_created_training_can_be_read_in_full(client: TestClient) -> None:
    task_id = create(client)
    training = client.get(f"/api/v1/training/{task_id}").json()
    assert (training["state"], training["model_type"]) == ("pending", "ppo")
    assert training["parameters"]["discount_factor"] == 0.95
    assert training["scenario_name"] == training["scenario"]["name"] == "four-stations"
    assert "lease_until" not in training


def test_trainings_are_listed_page_by_page(client: TestClient) -> None:
    ids = {create(client, f"number {number}") for number in range(5)}
    seen: list[str] = []
    query = {"limit": "2"}
    while True:
        page = client.get("/api/v1/training", params=query).json()
        assert len(page["items"]) <= 2
        seen += [item["id"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert len(seen) == 5 and set(seen) == ids


def test_trainings_are_listed_oldest_first_if_asked(client: TestClient) -> None:
    first, second = create(client, "first"), create(client, "second")
    for sort, ids in (("created_at", [first, second]), ("-created_at", [second, first])):
        items = client.get("/api/v1/training", params={"sort": sort}).json()["items"]
        assert [item["id"] for item in items] == ids


@pytest.mark.parametrize("query", ["cursor=nonsense", "sort=colour", "sort=-name"])
def test_a_wrong_cursor_or_sort_is_refused_by_name(client: TestClient, query: str) -> None:
    refusal = client.get(f"/api/v1/training?{query}")
    assert refusal.status_code == 422
    assert [each["field"] for each in refusal.json()["errors"]] == [query.partition("=")[0]]


def test_trainings_are_filtered_by_state_and_algorithm(client: TestClient) -> None:
    ppo, dqn = create(client), create(client, model_type="dqn")

    def listed(**query: str) -> list[str]:
        items = client.get("/api/v1/training", params=query).json()["items"]
        return [item["id"] for item in items]

    assert listed(model_type="dqn") == [dqn]
    assert sorted(listed(state="pending")) == sorted([ppo, dqn])
    assert listed(state="failed") == []


def test_progress_and_metrics_follow_the_run(client: TestClient, store: Store) -> None:
    task_id = create(client)
    with pytest.raises(RuntimeError), TaskRun.begin(store, task_id, attempt=1) as run:
        for iteration in (1, 2, 3):
            run.report(
                iteration=iteration,
                episode=10 * iteration,
                env_steps=1000 * iteration,
                episode_return=-float(iteration),
                env_steps_per_s=500.0,
                values={"loss": 0.5},
            )
        progress = client.get(f"/api/v1/training/{task_id}/progress").json()
        raise RuntimeError("out of memory")
    assert (progress["state"], progress["share"]) == ("running", 0.3)
    assert (progress["env_steps"], progress["episode_return"]) == (3000, -3.0)
    assert progress["time_left_s"] > 0
    ended = client.get(f"/api/v1/training/{task_id}/progress").json()
    assert (ended["state"], ended["error"]) == ("failed", "RuntimeError: out of memory")
    lines = client.get(f"/api/v1/training/{task_id}/metrics", params={"since": 1}).json()
    assert [line["iteration"] for line in lines["items"]] == [2, 3]
    assert lines["next_since"] == 3
    rest = client.get(f"/api/v1/training/{task_id}/metrics", params={"since": 3}).json()
    assert rest == {"items": [], "next_since": 3}


def test_the_running_application_launches_what_waits(
    app: FastAPI, client: TestClient, store: Store
) -> None:
    first, second = create(client, "first"), create(client, "second")
    with pytest.raises(RuntimeError), TaskRun.begin(store, first, attempt=1):
        raise RuntimeError("over")
    assert store.get_task(second).lease_until is None
    with TestClient(app):
        deadline = time.monotonic() + 10
        while store.get_task(second).lease_until is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_model_is_deployed_asked_and_undeployed(
    client: TestClient, add_version: AddVersion
) -> None:
    add_version()
    model = client.get(MODEL).json()
    assert (model["latest_version"], model["deployed_version"]) == (1, None)
    refusal = client.post(f"{MODEL}/predict", json=STATE)
    assert refusal.status_code == 409
    assert "/deploy first" in refusal.json()["detail"]

    deployment = client.post(f"{MODEL}/deploy").json()
    assert (deployment["version"], deployment["mode"]) == (1, "serve")
    assert client.get(MODEL).json()["deployed_version"] == 1
    decision = client.post(f"{MODEL}/predict", json=STATE).json()
    assert decision["kind"] in ("nothing", "place", "remove", "move")
    assert set(decision["placement"]) == {"video"}
    assert decision["effect"]["latency_ms_before"] > 0

    assert client.post(f"{MODEL}/undeploy").json()["deployed_version"] is None
    assert client.post(f"{MODEL}/undeploy").status_code == 409
    assert client.post(f"{MODEL}/predict", json=STATE).status_code == 409


def test_a_policy_decides_on_an_observation_of_its_environment(
    client: TestClient, add_version: AddVersion
) -> None:
    add_version()
    client.post(f"{MODEL}/deploy")
    env = gymnasium.make("lwmecps-v2", scenario="tiny")
    observation, _ = env.reset(seed=0)
    body = {"observation": {name: np.asarray(v).tolist() for name, v in observation.items()}}
    decision = client.post(f"{MODEL}/predict", json=body).json()
    assert observation["action_mask"][decision["action"]]


def test_the_latest_version_is_deployed_unless_one_is_named(
    client: TestClient, add_version: AddVersion
) -> None:
    add_version(), add_version()
    assert client.post(f"{MODEL}/deploy").json()["version"] == 2
    assert client.post(f"{MODEL}/deploy", json={"version": 1}).json()["version"] == 1
    assert client.post(f"{MODEL}/deploy", json={"version": 3}).status_code == 404
    assert client.post(f"{MODEL}/deploy", json={"mode": "act"}).status_code == 422
    assert client.get(MODEL).json()["deployed_version"] == 1
    versions = client.get(f"{MODEL}/versions").json()["items"]
    assert [version["version"] for version in versions] == [1, 2]


def test_a_version_whose_artifact_was_changed_is_not_deployed(
    client: TestClient, add_version: AddVersion, tmp_path: Path
) -> None:
    version = add_version()
    weights = tmp_path / "artifacts" / version.digest / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    refusal = client.post(f"{MODEL}/deploy")
    assert refusal.status_code == 422
    assert "was changed" in refusal.json()["detail"]
    assert client.get(MODEL).json()["deployed_version"] is None


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"state": {}, "observation": []},
        {"state": {"placement": {"game": {"bs_1": 1}}}},
        {"state": {"demand_rps": {"video": {"bs_1": -1}}}},
        {"observation": [0.0]},
    ],
)
def test_a_request_that_does_not_fit_the_model_is_refused_and_counted(
    client: TestClient, add_version: AddVersion, body: dict[str, Any]
) -> None:
    add_version()
    client.post(f"{MODEL}/deploy")
    refusal = client.post(f"{MODEL}/predict", json=body)
    assert refusal.status_code == 422
    assert refusal.headers["content-type"] == "application/problem+json"


def test_a_models_metrics_count_requests_errors_latency_and_actions(
    client: TestClient, add_version: AddVersion
) -> None:
    add_version()
    client.post(f"{MODEL}/deploy")
    before = client.get(f"{MODEL}/metrics").json()
    assert before["serving"] == {
        "requests": 0,
        "decisions": 0,
        "errors": 0,
        "latency_ms": None,
        "actions": {},
        "drift": None,
    }
    for _ in range(3):
        client.post(f"{MODEL}/predict", json=STATE)
    client.post(f"{MODEL}/predict", json={"observation": [0.0]})
    metrics = client.get(f"{MODEL}/metrics").json()
    assert (metrics["deployed_version"], metrics["training"]) == (1, {"return": -5.0})
    serving = metrics["serving"]
    assert (serving["requests"], serving["errors"]) == (4, 1)
    latency = serving["latency_ms"]
    assert 0 < latency["p50"] <= latency["p95"] <= latency["p99"]
    assert sum(serving["actions"].values()) == 3


def test_the_overview_counts_the_whole_platform(
    client: TestClient, add_version: AddVersion
) -> None:
    create(client)
    add_version(), add_version()
    client.post(f"{MODEL}/deploy")
    client.post(f"{MODEL}/predict", json=STATE)
    assert client.get("/api/v1/metrics").json() == {
        "trainings": {state.value: int(state is TaskState.PENDING) for state in TaskState},
        "env_steps": 0,
        "models": 1,
        "model_versions": 2,
        "deployments": 1,
        "predictions": 1,
    }


def test_the_catalog_tells_what_can_be_asked_for(client: TestClient) -> None:
    algorithms = client.get("/api/v1/algorithms").json()["items"]
    ppo = next(item for item in algorithms if item["model_type"] == "ppo")
    assert "learning_rate" in ppo["parameters"]["properties"]
    envs = client.get("/api/v1/envs").json()["items"]
    assert [env["id"] for env in envs] == ["lwmecps-v1", "lwmecps-v2", "lwmecps-v3"]
    scenarios = client.get("/api/v1/scenarios").json()
    assert {"four-stations", "tiny"} <= {item["name"] for item in scenarios["items"]}
    assert "workload" in scenarios["json_schema"]["properties"]


def test_a_packaged_scenario_read_from_the_api_can_be_sent_back(client: TestClient) -> None:
    scenario = client.get("/api/v1/scenarios/tiny").json()
    body = {"name": "n", "model_type": "dqn", "total_episodes": 1, "scenario": scenario}
    response = client.post("/api/v1/training", json=body)
    assert response.status_code == 201, response.text


def test_the_platform_is_alive_and_ready(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    parts = {"store": "ok", "policy_server": "ok"}
    assert client.get("/readyz").json() == {"status": "ok", "parts": parts}
    assert client.get("/docs").status_code == 200


def test_the_documentation_page_needs_nothing_from_elsewhere(client: TestClient) -> None:
    page = client.get("/docs").text
    named = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(named) >= 3
    for address in named:
        assert address.startswith("/"), address
        assert client.get(address).status_code == 200, address
