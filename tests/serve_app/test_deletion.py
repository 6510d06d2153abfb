"""Deleting a training takes all of it, and nothing of what it made."""

from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from lwmecps_gym.platform.checkpoints import Checkpoints, Reached, folder_of
from lwmecps_gym.platform.database import Store
from lwmecps_gym.platform.errors import ConflictError, NotFoundError
from lwmecps_gym.platform.task_log import log_path, task_log
from lwmecps_gym.platform.task_run import TaskRun

BODY = {"name": "untrained", "model_type": "ppo", "total_episodes": 100}


@pytest.fixture
def url(client: TestClient) -> str:
    """A training that was launched."""
    return client.post("/api/v1/training", json=BODY).headers["location"]


def report(run: TaskRun, iteration: int = 1) -> None:
    run.report(
        iteration=iteration,
        episode=iteration,
        env_steps=10,
        episode_return=-1.0,
        env_steps_per_s=1.0,
        values={"step_reward": -0.1},
    )


@pytest.fixture
def ended(url: str, store: Store, tmp_path: Path) -> str:
    """The same, with a history, a log, a checkpoint, and a model version."""
    task_id = url.rpartition("/")[2]
    with TaskRun.begin(store, task_id, attempt=1) as run, task_log(tmp_path, run.task):
        report(run)
        reached = Reached(iteration=1)
        Checkpoints(folder_of(tmp_path, task_id), 1).write(lambda folder: None, reached)
        run.complete(run.add_version("0" * 64, {}))
    return url


def parts(store: Store, data_dir: Path, url: str) -> list[Any]:
    """What is left of a training."""
    task_id = url.rpartition("/")[2]
    files = [folder_of(data_dir, task_id), log_path(data_dir, task_id)]
    return [*store.list_metrics(task_id), *(file for file in files if file.exists())]


def test_a_training_that_ended_is_deleted_with_all_its_parts(
    client: TestClient, store: Store, tmp_path: Path, ended: str
) -> None:
    assert len(parts(store, tmp_path, ended)) == 3
    assert client.delete(ended).status_code == 204
    assert parts(store, tmp_path, ended) == []
    assert client.get(ended).status_code == client.delete(ended).status_code == 404
    assert client.get("/api/v1/training").json()["items"] == []


def test_the_model_of_a_deleted_training_still_tells_where_it_comes_from(
    client: TestClient, ended: str
) -> None:
    version = "/api/v1/models/untrained/versions/1"
    before = client.get(version).json()
    client.delete(ended)
    assert client.get(version).json() == before
    assert before["lineage"]["scenario"] == "four-stations"


def test_a_training_that_has_not_ended_is_not_deleted(
    client: TestClient, store: Store, url: str
) -> None:
    refusal = client.delete(url)
    assert (refusal.status_code, client.get(url).json()["state"]) == (409, "pending")
    with TaskRun.begin(store, url.rpartition("/")[2], attempt=1) as run:
        assert client.delete(url).status_code == 409
        report(run)
        run.fail("over")
    assert client.delete(url).status_code == 204


def test_a_deletion_that_was_cut_short_is_repeated_and_meanwhile_nobody_retries(
    client: TestClient, store: Store, tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.post(f"{url}/cancel")
    with monkeypatch.context() as patched:
        patched.setattr(store, "drop_metrics", lambda *_, **__: 1 / 0)
        assert client.delete(url).status_code == 500
    assert client.post(f"{url}/retry").status_code == 409
    assert client.delete(url).status_code == 204
    assert parts(store, tmp_path, url) == []


def test_a_process_that_still_runs_a_deleted_training_learns_that_it_is_over(
    client: TestClient, store: Store, url: str
) -> None:
    run = TaskRun.begin(store, url.rpartition("/")[2], attempt=1)
    with pytest.raises(ConflictError, match="deleted"), run:
        client.post(f"{url}/cancel")
        client.delete(url)
        report(run)
    with pytest.raises(NotFoundError):
        store.get_task(url.rpartition("/")[2])
    assert store.list_metrics(url.rpartition("/")[2]) == []


def test_an_old_tag_deletes_nothing(client: TestClient, url: str) -> None:
    old = {"If-Match": client.get(url).headers["etag"]}
    client.post(f"{url}/cancel")
    assert client.delete(url, headers=old).status_code == 412
    assert client.delete(url, headers={"If-Match": "*"}).status_code == 204
