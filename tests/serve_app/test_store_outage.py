"""What the API answers while another program holds the store."""

import sqlite3
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from lwmecps_gym.platform.database import SqliteDocuments, Store

TRAINING = {"name": "a training", "model_type": "ppo", "total_episodes": 100}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(SqliteDocuments(tmp_path / "lwmecps.sqlite3", busy_timeout_s=0.05))


def test_a_locked_store_is_told_with_when_to_come_again_and_makes_nothing(
    client: TestClient, store: Store, tmp_path: Path
) -> None:
    known = client.post("/api/v1/training", json=TRAINING).json()["id"]
    other = sqlite3.connect(tmp_path / "lwmecps.sqlite3", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    for url, body in ((f"/api/v1/training/{known}/pause", None), ("/api/v1/training", TRAINING)):
        refusal = client.post(url, json=body)
        assert refusal.status_code == 503
        assert refusal.json()["type"] == "urn:lwmecps:problem:store-unavailable"
        assert int(refusal.headers["retry-after"]) > 0
    assert client.get(f"/api/v1/training/{known}").json()["state"] == "pending"
    other.execute("ROLLBACK")
    other.close()
    assert len(client.get("/api/v1/training").json()["items"]) == 1
    assert client.post(f"/api/v1/training/{known}/pause").json()["state"] == "paused"
