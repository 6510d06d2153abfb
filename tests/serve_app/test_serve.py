"""The platform as users meet it: Ray Serve over HTTP, real trainings in their own actors."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from lwmecps_gym.platform.config import Settings
from lwmecps_gym.serve_app.server import running

from ..pages import commands_of, files_of

OWN = "algorithms/your-own.md"

pytestmark = [pytest.mark.ray, pytest.mark.slow]

MODEL = "/api/v1/models/edge-table"
STATE = {
    "state": {
        "placement": {"video": {"bs_1": 1}},
        "demand_rps": {"video": {"bs_1": 20, "bs_2": 5}},
    }
}


@contextmanager
def connected(settings: Settings) -> Iterator[httpx.Client]:
    """Run the platform and talk to it."""
    with (
        running(settings) as url,
        httpx.Client(base_url=url, trust_env=False, timeout=30) as client,
    ):
        yield client


def follow(client: httpx.Client, training: str) -> dict[str, Any]:
    """Read a training's progress until it ends."""
    deadline = time.monotonic() + 120
    while True:
        progress: dict[str, Any] = client.get(f"{training}/progress").json()
        if progress["state"] in ("completed", "failed"):
            return progress
        assert time.monotonic() < deadline, progress
        time.sleep(0.2)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("platform")
    own = folder / "reinforce.py"
    own.write_text(files_of(OWN)[own.name])
    return Settings(data_dir=folder, wandb_mode="disabled", algorithms=(str(own),))


@pytest.fixture(scope="module")
def trained(ray_session: None, settings: Settings) -> dict[str, Any]:
    """A training created over HTTP and followed to its end; its model is deployed and asked."""
    with connected(settings) as client:
        created = client.post(
            "/api/v1/training",
            json={
                "name": "Edge table",
                "model_type": "q_learning",
                "parameters": {"learning_rate": 0.3, "discount_factor": 0.9},
                "total_episodes": 16,
                "scenario": "tiny",
            },
        )
        assert created.status_code == 201, created.text
        training = created.headers["location"]
        return {
            "progress": follow(client, training),
            "metrics": client.get(f"{training}/metrics").json()["items"],
            "deployment": client.post(f"{MODEL}/deploy").json(),
            "decision": client.post(f"{MODEL}/predict", json=STATE).json(),
        }


@pytest.fixture(scope="module")
def client(trained: dict[str, Any], settings: Settings) -> Iterator[httpx.Client]:
    """A client of the platform after a restart."""
    with connected(settings) as client:
        yield client


def test_a_training_runs_in_its_own_actor_and_ends_as_a_model_version(
    trained: dict[str, Any],
) -> None:
    progress = trained["progress"]
    assert progress["state"] == "completed", progress["error"]
    assert (progress["model_id"], progress["version"]) == ("edge-table", 1)
    assert (progress["episode"], progress["share"]) == (16, 1.0)
    assert trained["metrics"][-1]["env_steps"] == progress["env_steps"] > 0


def test_the_model_is_deployed_and_decides(trained: dict[str, Any]) -> None:
    assert trained["deployment"]["version"] == 1
    assert trained["decision"]["kind"] in ("nothing", "place", "remove", "move")


def test_what_was_deployed_still_answers_after_a_restart(
    trained: dict[str, Any], client: httpx.Client
) -> None:
    decision = client.post(f"{MODEL}/predict", json=STATE).json()
    assert decision["action"] == trained["decision"]["action"]
    serving = client.get(f"{MODEL}/metrics").json()["serving"]
    assert (serving["requests"], serving["errors"]) == (2, 0), "those before the restart count"


def test_an_algorithm_of_ones_own_is_trained_deployed_and_asked_as_its_page_says(
    client: httpx.Client,
) -> None:
    create, deploy, predict = (
        (command[3].removeprefix("http://127.0.0.1:8000"), command[-1])
        for command in commands_of(OWN)
        if command[0] == "curl"
    )
    listed = client.get("/api/v1/algorithms").json()["items"]
    assert "reinforce" in [item["model_type"] for item in listed]
    created = client.post(create[0], json=json.loads(create[1]))
    assert created.status_code == 201, created.text
    progress = follow(client, created.headers["location"])
    assert (progress["state"], progress["episode"]) == ("completed", 20), progress["error"]
    assert client.post(deploy[0]).json()["version"] == 1
    decision = client.post(predict[0], json=json.loads(predict[1])).json()
    assert decision["kind"] in ("nothing", "place", "move")


def test_an_error_of_the_policy_server_arrives_as_it_was_raised(client: httpx.Client) -> None:
    refusal = client.post(f"{MODEL}/predict", json={"observation": [0.0]})
    assert refusal.status_code == 422
    assert refusal.headers["content-type"] == "application/problem+json"
    assert refusal.json()["detail"].startswith("observation: ")


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_of_10_mb_is_refused_and_leaves_no_training(
    client: httpx.Client, chunked: bool
) -> None:
    before = client.get("/api/v1/metrics").json()["trainings"]
    body = json.dumps({"name": "x" * 10_000_000, "model_type": "ppo", "total_episodes": 1}).encode()
    pieces = (body[at : at + 65_536] for at in range(0, len(body), 65_536))
    refusal = client.post(
        "/api/v1/training",
        content=pieces if chunked else body,
        headers={"Content-Type": "application/json"},
    )
    assert refusal.status_code == 413
    assert refusal.headers["content-type"] == "application/problem+json"
    assert client.get("/api/v1/metrics").json()["trainings"] == before


def test_the_platform_is_ready_and_documents_itself(client: httpx.Client) -> None:
    parts = {"store": "ok", "policy_server": "ok", "ray": "ok"}
    assert client.get("/readyz").json() == {"status": "ok", "parts": parts}
    assert client.get("/docs").status_code == 200
    assert "/api/v1/training" in client.get("/openapi.json").json()["paths"]


def test_an_unknown_route_is_a_problem_too(client: httpx.Client) -> None:
    refusal = client.get("/nowhere")
    assert refusal.status_code == 404
    assert refusal.headers["content-type"] == "application/problem+json"
