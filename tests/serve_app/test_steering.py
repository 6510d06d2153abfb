"""The verbs of the API that steer a training, and a queue that is full."""

from dataclasses import replace

from fastapi import FastAPI
from fastapi.testclient import TestClient

from lwmecps_gym.algorithms.catalog import prepare
from lwmecps_gym.platform.database import Store
from lwmecps_gym.platform.training import TrainingService

from .conftest import RecordingLauncher

REQUEST = {"name": "a training", "model_type": "ppo", "total_episodes": 100}


def create(client: TestClient) -> str:
    """Create a training and return its id."""
    response = client.post("/api/v1/training", json=REQUEST)
    assert response.status_code == 201, response.text
    task_id: str = response.json()["id"]
    return task_id


def test_a_training_is_paused_resumed_cancelled_and_retried(client: TestClient) -> None:
    training = f"/api/v1/training/{create(client)}"
    for verb, state in (
        ("pause", "paused"), ("resume", "pending"), ("cancel", "cancelled"), ("retry", "pending"),
    ):  # fmt: skip
        answer = client.post(f"{training}/{verb}")
        assert (answer.status_code, answer.json()["state"]) == (200, state)
    refusal = client.post(f"{training}/stop")
    assert refusal.status_code == 409
    assert "is pending; stop is for one that is running or" in refusal.json()["detail"]
    assert client.get(training).json()["retries"] == 1


def test_a_full_queue_is_told_with_when_to_come_again(
    client: TestClient, app: FastAPI, store: Store, launcher: RecordingLauncher
) -> None:
    full = TrainingService(store, prepare, launcher, max_concurrent=1, max_queued=1)
    app.state.services = replace(app.state.services, training=full)
    create(client), create(client)
    refusal = client.post("/api/v1/training", json=REQUEST)
    assert refusal.status_code == 503
    assert refusal.json()["type"] == "urn:lwmecps:problem:queue-full"
    assert int(refusal.headers["retry-after"]) > 0
    assert client.get("/api/v1/metrics").json()["trainings"]["pending"] == 2
