"""The history of a training, page by page, thinned, and as CSV."""

import csv
import io

import pytest
from fastapi.testclient import TestClient

from lwmecps_gym.platform.database import Store
from lwmecps_gym.platform.models import MetricRecord

TRAINING = "/api/v1/training"
BODY = {"name": "a training", "model_type": "ppo", "total_episodes": 100}


@pytest.fixture
def metrics(client: TestClient, store: Store) -> str:
    """Path of the metrics of a training with ten iterations; every second one has a loss."""
    task_id = client.post(TRAINING, json=BODY).json()["id"]
    store.append_metrics(
        [
            MetricRecord(
                id=f"{task_id}/{number:010d}",
                task_id=task_id,
                iteration=number,
                episode=10 * number,
                env_steps=100 * number,
                values={"return": float(number)} | ({"loss": 0.5} if number % 2 == 0 else {}),
            )
            for number in range(1, 11)
        ]
    )
    return f"{TRAINING}/{task_id}/metrics"


def test_a_history_is_read_page_by_page(client: TestClient, metrics: str) -> None:
    seen, since = [], -1
    while items := client.get(metrics, params={"since": since, "limit": 4}).json()["items"]:
        seen += [item["iteration"] for item in items]
        since = seen[-1]
    assert seen == list(range(1, 11))


def test_a_thinned_history_has_means_and_the_last_counters(
    client: TestClient, metrics: str
) -> None:
    lines = client.get(metrics, params={"points": 3}).json()
    assert [item["iteration"] for item in lines["items"]] == [3, 6, 10]
    assert [item["values"]["return"] for item in lines["items"]] == [2.0, 5.0, 8.5]
    assert [item["values"]["loss"] for item in lines["items"]] == [0.5, 0.5, 0.5]
    assert [item["env_steps"] for item in lines["items"]] == [300, 600, 1000]
    assert lines["next_since"] == 10


@pytest.mark.parametrize(("since", "points", "left"), [(-1, 200, 10), (8, 5, 2), (10, 5, 0)])
def test_a_thinned_history_has_no_more_lines_than_there_are(
    client: TestClient, metrics: str, since: int, points: int, left: int
) -> None:
    items = client.get(metrics, params={"since": since, "points": points}).json()["items"]
    assert len(items) == left


def test_a_history_is_written_as_csv(client: TestClient, metrics: str) -> None:
    answer = client.get(metrics, params={"format": "csv", "limit": 2})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [(row["iteration"], row["return"], row["loss"]) for row in rows] == [
        ("1", "1.0", ""),
        ("2", "2.0", "0.5"),
    ]


@pytest.mark.parametrize("query", ["points=0", "points=10001", "format=xml", "limit=0", "since=-2"])
def test_a_wrong_query_of_a_history_is_refused_by_name(
    client: TestClient, metrics: str, query: str
) -> None:
    refusal = client.get(f"{metrics}?{query}")
    assert refusal.status_code == 422
    assert [each["field"] for each in refusal.json()["errors"]] == [query.partition("=")[0]]
