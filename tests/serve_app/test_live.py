"""Trainings as they happen, over HTTP from a real server."""

import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient

from lwmecps_gym.platform.database import Store
from lwmecps_gym.platform.task_log import task_log
from lwmecps_gym.platform.task_run import TaskRun

TRAINING = "/api/v1/training"
BODY = {"name": "a training", "model_type": "ppo", "total_episodes": 100}

Event = dict[str, str]


@pytest.fixture
def server(app: FastAPI) -> Iterator[str]:
    """The API at a free port of this machine."""
    running = uvicorn.Server(
        uvicorn.Config(app, port=0, lifespan="off", log_level="error", ws="none")
    )
    thread = threading.Thread(target=running.run)
    thread.start()
    while not running.started:
        thread.join(0.01)
    [listening] = running.servers
    yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    running.should_exit = True
    thread.join()


@contextmanager
def following(server: str, task_id: str, **headers: str) -> Iterator[Iterator[Event]]:
    """Follow a training; gives its events as they come."""
    url = f"{server}{TRAINING}/{task_id}/events"
    with httpx.stream("GET", url, headers=headers, trust_env=False, timeout=20) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        yield events_of(response.iter_lines())


def events_of(lines: Iterator[str]) -> Iterator[Event]:
    event: Event = {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            event[name] = value
        elif event:
            yield event
            event = {}


def created(client: TestClient) -> str:
    task_id: str = client.post(TRAINING, json=BODY).json()["id"]
    return task_id


def report(run: TaskRun, iteration: int) -> None:
    run.report(
        iteration=iteration,
        episode=10 * iteration,
        env_steps=1000 * iteration,
        episode_return=-float(iteration),
        env_steps_per_s=500.0,
        values={"loss": 0.5},
    )


def iterations(events: list[Event]) -> list[int]:
    return [json.loads(each["data"])["iteration"] for each in events if each["event"] == "metrics"]


def states(events: list[Event]) -> list[str]:
    return [json.loads(each["data"])["state"] for each in events if each["event"] == "state"]


@pytest.fixture
def ended(client: TestClient, store: Store) -> str:
    """A training that reported three iterations and failed."""
    task_id = created(client)
    with pytest.raises(RuntimeError), TaskRun.begin(store, task_id, attempt=1) as run:
        for iteration in (1, 2, 3):
            report(run, iteration)
        raise RuntimeError("over")
    return task_id


def test_a_training_is_followed_from_its_creation_to_its_end(
    server: str, client: TestClient, store: Store
) -> None:
    task_id = created(client)
    with following(server, task_id) as events:
        seen = [next(events), next(events)]
        assert [each["event"] for each in seen] == ["state", "progress"]
        with pytest.raises(RuntimeError), TaskRun.begin(store, task_id, attempt=1) as run:
            report(run, 1)
            while iterations(seen) != [1]:
                seen.append(next(events))
            report(run, 2)
            raise RuntimeError("over")
        seen += events
    assert iterations(seen) == [1, 2]
    assert states(seen) == ["pending", "running", "failed"]
    assert seen[-1]["event"] == "end"
    progress = [json.loads(each["data"]) for each in seen if each["event"] == "progress"]
    assert progress[-1]["error"] == "RuntimeError: over"


def test_one_who_comes_back_gets_what_was_missed_and_nothing_twice(server: str, ended: str) -> None:
    with following(server, ended) as events:
        whole = list(events)
    assert iterations(whole) == [1, 2, 3]
    ids = [each["id"] for each in whole if "id" in each]
    for position, last in enumerate(ids):
        with following(server, ended, **{"Last-Event-ID": last}) as events:
            rest = [each["id"] for each in events if "id" in each]
        assert rest == ids[position + 1 :]


def test_many_follow_one_training_without_a_thread_each(
    server: str, client: TestClient, store: Store
) -> None:
    task_id = created(client)
    before = threading.active_count()
    with httpx.Client(trust_env=False, limits=httpx.Limits(max_connections=None)) as many:
        url = f"{server}{TRAINING}/{task_id}/events"
        requests = [many.build_request("GET", url) for _ in range(60)]
        responses = [many.send(request, stream=True) for request in requests]
        assert threading.active_count() - before < 30
        with pytest.raises(RuntimeError), TaskRun.begin(store, task_id, attempt=1) as run:
            report(run, 1)
            raise RuntimeError("over")
        for response in responses:
            assert iterations(list(events_of(response.iter_lines()))) == [1]


def test_what_cannot_be_followed_is_a_problem(client: TestClient, ended: str) -> None:
    assert client.get(f"{TRAINING}/nowhere/events").status_code == 404
    url = f"{TRAINING}/{ended}/events"
    refusal = client.get(url, headers={"Last-Event-ID": "yesterday"})
    assert refusal.status_code == 422
    assert refusal.json()["errors"][0]["field"].lower() == "last-event-id"


def test_only_later_metrics_are_told_if_asked(client: TestClient, ended: str) -> None:
    answer = client.get(f"{TRAINING}/{ended}/events", params={"since": 2})
    assert iterations(list(events_of(iter(answer.text.split("\n"))))) == [3]


def test_a_trainings_log_has_the_id_of_its_request(
    client: TestClient, store: Store, tmp_path: Path
) -> None:
    headers = {"X-Request-ID": "nightly-0001"}
    task = store.get_task(client.post(TRAINING, json=BODY, headers=headers).json()["id"])
    logs = f"{TRAINING}/{task.id}/logs"
    assert client.get(logs).json() == {"items": [], "next_since": 0}
    with pytest.raises(ZeroDivisionError), task_log(tmp_path, task):
        logging.getLogger("lwmecps_gym.algorithms").info("iteration %d", 1)
        logging.getLogger("lwmecps_gym.algorithms").debug("not kept")
        logging.getLogger("ray").error("an actor\ndied")  # it may be hushed below
        raise ZeroDivisionError("secret")
    lines = client.get(logs).json()["items"]
    assert [(line["level"], line["message"]) for line in lines] == [
        ("info", "iteration 1"),
        ("error", "an actor\ndied"),
        ("error", "the training met an error"),
    ]
    assert {line["request_id"] for line in lines} == {"nightly-0001"}
    assert "ZeroDivisionError: secret" in lines[-1]["error"]


def test_a_log_is_read_on_from_where_it_ended_and_from_its_end(
    client: TestClient, store: Store, tmp_path: Path
) -> None:
    task = store.get_task(created(client))
    logs = f"{TRAINING}/{task.id}/logs"

    def write(*numbers: int) -> None:
        with task_log(tmp_path, task):
            for number in numbers:
                logging.getLogger("lwmecps_gym").info("line %d", number)

    def read(**query: int) -> tuple[list[str], int]:
        answer = client.get(logs, params=query).json()
        return [line["message"] for line in answer["items"]], answer["next_since"]

    write(1, 2, 3)
    first, position = read(limit=2)
    second, position = read(since=position)
    assert (first, second) == (["line 1", "line 2"], ["line 3"])
    write(4)
    with (tmp_path / "logs" / f"{task.id}.jsonl").open("a") as log:
        log.write('{"half": ')
    assert read(since=position)[0] == ["line 4"]
    assert read(tail=2)[0] == ["line 3", "line 4"]


def test_a_log_that_is_full_says_so_once(
    client: TestClient, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lwmecps_gym.platform.task_log.MAX_BYTES", 1000)
    task = store.get_task(created(client))
    with task_log(tmp_path, task):
        for number in range(50):
            logging.getLogger("lwmecps_gym").info("line %d", number)
    items = client.get(f"{TRAINING}/{task.id}/logs").json()["items"]
    assert "full" in items[-1]["message"]
    assert len(items) < 20


def test_the_log_of_no_training_is_not_found(client: TestClient) -> None:
    assert client.get(f"{TRAINING}/nowhere/logs").status_code == 404
