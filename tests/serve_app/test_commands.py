"""Commands say the same of a platform elsewhere as of this machine's own."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from lwmecps_gym import Client, cli
from lwmecps_gym.platform.database import Store
from lwmecps_gym.platform.models import MetricRecord, ModelVersion

Run = Callable[..., Any]
MakeApp = Callable[..., FastAPI]


@pytest.fixture(params=["this machine", "elsewhere"])
def run(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Run]:  # fmt: skip
    """Run a command against the store of the test, by itself or through a server."""
    for name in ("MONGODB_URL", "WANDB_API_KEY", "LWMECPS_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LWMECPS_DATA_DIR", str(tmp_path))
    if request.param == "elsewhere":
        monkeypatch.setenv("LWMECPS_URL", request.getfixturevalue("url"))

    def call(*arguments: str, wrong: bool = False) -> Any:
        monkeypatch.setattr(sys, "argv", ["lwmecps", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        printed = capsys.readouterr()
        assert bool(end.value.code) is wrong, printed
        if wrong:
            assert (printed.out, printed.err.count("\n")) == ("", 1)
            return printed.err
        return json.loads(printed.out) if "--json" in arguments else printed.out

    yield call


@pytest.fixture
def task_id(app: FastAPI) -> str:
    from lwmecps_gym.client.in_process import InProcess

    with Client("http://testserver", transport=InProcess(app)) as platform:
        return platform.training.create("mine", "ppo", 3, scenario="tiny").id


def test_trainings_are_listed_shown_and_steered(run: Run, task_id: str) -> None:
    assert [task["id"] for task in run("tasks", "list", "--json")] == [task_id]
    assert "mine" in run("tasks", "list", "--state", "pending")
    assert run("tasks", "list", "--state", "failed", "--json") == []
    shown = run("tasks", "show", task_id, "--json")
    assert (shown["state"], shown["progress"]["total_episodes"]) == ("pending", 3)
    for verb, state in (
        ("pause", "paused"), ("resume", "pending"), ("cancel", "cancelled"), ("retry", "pending"),
        ("cancel", "cancelled"),
    ):  # fmt: skip
        assert run("tasks", verb, task_id, "--json")["state"] == state
    assert "cancelled" in run("tasks", "pause", task_id, wrong=True)
    assert run("tasks", "watch", task_id, "--json")["state"] == "cancelled"
    assert run("tasks", "logs", task_id) == ""


def test_learning_curves_are_drawn_of_what_a_training_has_measured(
    run: Run, task_id: str, store: Store, tmp_path: Path
) -> None:
    file = tmp_path / "curves.png"
    assert "there are []" in run("tasks", "curves", task_id, "--output", str(file), wrong=True)
    values = [-2.0, -1.5, -1.0]
    store.append_metrics(
        [
            MetricRecord(
                id=f"{task_id}/{i:010d}", task_id=task_id, iteration=i, episode=i,
                env_steps=100 * i, values={"step_reward": values[i - 1]},
            )
            for i in (1, 2, 3)
        ]
    )  # fmt: skip
    drawn = run("tasks", "curves", task_id, task_id, "--output", str(file), "--json")
    (first, second) = drawn["curves"]
    assert first == second
    assert (first["env_steps"], first["values"]) == ([100, 200, 300], values)
    assert file.read_bytes().startswith(b"\x89PNG")
    lost = str(tmp_path / "no" / "curves.png")
    assert "cannot be written" in run("tasks", "curves", task_id, "--output", lost, wrong=True)
    wrong = run("tasks", "curves", task_id, "--output", lost, "--metric", "mood", wrong=True)
    assert "--metric mood" in wrong and "step_reward" in wrong


def test_a_model_is_named_copied_deployed_asked_and_deleted(
    run: Run, add_version: Callable[[], ModelVersion], tmp_path: Path
) -> None:
    add_version(), add_version()
    run("models", "alias", "untrained", "champion", "--version", "1")
    (model,) = run("models", "list", "--json")
    assert (model["latest_version"], model["aliases"]) == (2, {"champion": 1})
    assert "champion" in run("models", "show", "untrained")
    file = tmp_path / "version.tar"
    run("models", "download", "untrained", "--version", "champion", "-o", str(file))
    copied = run("models", "upload", "copied", str(file), "--json")
    first, _ = run("models", "show", "untrained", "--json")
    assert (copied["version"], copied["digest"]) == (1, first["digest"])
    run("models", "deploy", "copied")
    state = tmp_path / "state.json"
    state.write_text('{"placement": {"video": {"bs_1": 1}}}')
    assert run("models", "predict", "copied", str(state), "--json")["effect"]["cost_before"] > 0
    assert "deployed" in run("models", "delete", "copied", wrong=True)
    run("models", "undeploy", "copied")
    run("models", "delete", "copied")
    assert "'copied'" in run("models", "show", "copied", wrong=True)
    state.write_text("nothing")
    assert "not JSON" in run("models", "predict", "untrained", str(state), wrong=True)


@pytest.mark.parametrize("run", ["elsewhere"], indirect=True)
def test_a_training_is_created_elsewhere(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    made = run("train", "--scenario", "tiny", "--name", "far", "--no-watch", "--json")
    assert (made["state"], made["model_id"]) == ("pending", None)
    assert [task["name"] for task in run("tasks", "list", "--json")] == ["far"]
    assert "total_episodes" in run("train", "--total-episodes", "-1", wrong=True)
    assert "tasks retry" in run("train", "--resume", made["task_id"], wrong=True)
    monkeypatch.setenv("LWMECPS_URL", "http://127.0.0.1:9")
    assert "127.0.0.1:9 does not answer" in run("tasks", "list", wrong=True)
