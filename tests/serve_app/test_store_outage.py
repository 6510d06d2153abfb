"""What the API answers while another program holds the store, or its server is away."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from lwmecps_gym.platform.database import Store

from ..outages import BACK_ENDS, Outage, store_with_outage

TRAINING = {"name": "a training", "model_type": "ppo", "total_episodes": 100}


@pytest.fixture(params=BACK_ENDS)
def store_and_outage(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[Store, Outage]]:
    with store_with_outage(request.param, tmp_path) as found:
        yield found


@pytest.fixture
def store(store_and_outage: tuple[Store, Outage]) -> Store:
    return store_and_outage[0]


@pytest.fixture
def outage(store_and_outage: tuple[Store, Outage]) -> Outage:
    return store_and_outage[1]


def test_a_store_that_is_away_is_told_with_when_to_come_again_and_nothing_is_made(
    client: TestClient, outage: Outage
) -> None:
    known = client.post("/api/v1/training", json=TRAINING).json()["id"]
    with outage():
        for url, body in (
            (f"/api/v1/training/{known}/pause", None),
            ("/api/v1/training", TRAINING),
        ):
            refusal = client.post(url, json=body)
            assert refusal.status_code == 503
            assert refusal.json()["type"] == "urn:lwmecps:problem:store-unavailable"
            assert int(refusal.headers["retry-after"]) > 0
    assert client.get(f"/api/v1/training/{known}").json()["state"] == "pending"
    assert len(client.get("/api/v1/training").json()["items"]) == 1
    assert client.post(f"/api/v1/training/{known}/pause").json()["state"] == "paused"
