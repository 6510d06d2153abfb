"""The history of a training by episode."""

from collections.abc import Callable, Iterator

import pytest
from fastapi.testclient import TestClient

from lwmecps_gym.algorithms.ended_episodes import MOST_KEPT, columns_of
from lwmecps_gym.platform.database import Store
from lwmecps_gym.platform.task_run import TaskRun

BODY = {"name": "a training", "model_type": "ppo", "total_episodes": 100}
Report = Callable[[int, list[float]], None]


@pytest.fixture
def url(client: TestClient) -> str:
    return client.post("/api/v1/training", json=BODY).headers["location"] + "/episodes"


@pytest.fixture
def report(store: Store, url: str) -> Iterator[Report]:
    """Tells of an iteration in which episodes of 10 steps with these returns ended."""
    run = TaskRun.begin(store, url.split("/")[-2], attempt=1)

    def tell(iteration: int, returns: list[float]) -> None:
        episodes = [(total, 10.0, 250.0, 1.0, 5.0, 4.0) for total in returns]
        run.report(
            iteration=iteration,
            episode=iteration,
            env_steps=iteration,
            episode_return=None,
            env_steps_per_s=1.0,
            values={"step_reward": -1.0},
            episodes=columns_of(episodes, resources_weight=0.5),
        )

    yield tell
    run.fail("over")


def returns(client: TestClient, url: str, **query: int) -> list[float]:
    items = client.get(url, params=query).json()["items"]
    return [item["values"]["return"] for item in items]


def test_every_episode_that_ended_is_a_line(client: TestClient, url: str, report: Report) -> None:
    report(1, [-3.0, -1.0])
    report(2, [])
    report(3, [-2.0])
    answer = client.get(url).json()
    assert [(item["iteration"], item["episodes"]) for item in answer["items"]] == [
        (1, 1),
        (1, 1),
        (3, 1),
    ]
    assert answer["items"][0]["values"] == {
        "return": -3.0,
        "steps": 10.0,
        "latency_ms": 25.0,
        "violated": 0.1,
        "migrations": 0.5,
        "used_cpu": 0.8,
    }
    assert answer["next_since"] == 3


def test_they_are_read_by_iterations(client: TestClient, url: str, report: Report) -> None:
    for iteration in (1, 2, 3):
        report(iteration, [-float(iteration)] * 2)
    assert returns(client, url, since=1, limit=1) == [-2.0, -2.0]
    assert client.get(url, params={"since": 3}).json() == {"items": [], "next_since": 3}


def test_of_many_at_once_each_line_is_the_mean_of_several(
    client: TestClient, url: str, report: Report
) -> None:
    report(1, [float(number) for number in range(3 * MOST_KEPT)])
    items = client.get(url).json()["items"]
    assert [item["episodes"] for item in items] == [3] * MOST_KEPT
    assert returns(client, url)[:2] == [1.0, 4.0]


def test_points_join_lines_by_the_episodes_that_they_stand_for(
    client: TestClient, url: str, report: Report
) -> None:
    report(1, [0.0] * (MOST_KEPT * 2))
    report(2, [3.0] * MOST_KEPT)
    assert returns(client, url, points=1) == [1.0]
    assert returns(client, url, points=2) == [0.0, 3.0]


def test_they_are_a_table_for_others(client: TestClient, url: str, report: Report) -> None:
    report(1, [-3.0])
    header, line = client.get(url, params={"format": "csv"}).text.splitlines()
    assert header.startswith("iteration,time,episodes,return,steps,latency_ms")
    assert line.startswith("1,") and ",1,-3.0,10.0,25.0," in line


def test_a_training_without_any_has_none_and_one_that_is_not_there_is_not_found(
    client: TestClient, url: str
) -> None:
    assert client.get(url).json() == {"items": [], "next_since": -1}
    assert client.get(url, params={"points": 5}).json()["items"] == []
    assert client.get("/api/v1/training/nowhere/episodes").status_code == 404
