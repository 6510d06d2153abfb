"""A training goes on from its last checkpoint, whatever ended the attempt before."""

import json
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from lwmecps_gym import register_algorithm
from lwmecps_gym.algorithms.array_dqn import TRANSITIONS
from lwmecps_gym.algorithms.attempt import checkpoints_of, run_task
from lwmecps_gym.algorithms.catalog import prepare
from lwmecps_gym.algorithms.registry import ALGORITHMS, entry_of
from lwmecps_gym.envs.scenario import load_scenario
from lwmecps_gym.platform.artifacts import WEIGHTS, ArtifactStore
from lwmecps_gym.platform.checkpoints import Reached
from lwmecps_gym.platform.config import Settings
from lwmecps_gym.platform.database import Store, open_store
from lwmecps_gym.platform.models import TaskState, TrainingRequest, TrainingTask
from lwmecps_gym.platform.training import TrainingService

STEPS = 12
SHORT = load_scenario("tiny").document() | {"name": "short", "episode_steps": STEPS}
PARAMETERS: dict[str, dict[str, Any]] = {
    "ppo": {"num_envs": 2, "rollout_steps": 24, "minibatch_size": 32, "epochs": 1, "hidden": [8]},
    "dqn": {
        "num_envs": 2,
        "batch_size": 8,
        "learning_starts": 8,
        "training_intensity": 1,
        "hidden": [8],
    },
    "q_learning": {"num_envs": 2},
}
needs_ray = pytest.mark.usefixtures("ray_session")
# RLlib registers each runner's environment under one name.
overriding = pytest.mark.filterwarnings("ignore:.*Overriding environment rllib-single-agent-env-v0")


class Here:
    """Launches nothing; the test runs the attempts."""

    def launch(self, task: TrainingTask) -> None:
        pass

    def capacity(self) -> int:
        return 1


def task_for(model_type: str, episodes: int) -> TrainingTask:
    given = {
        "name": "A model", "model_type": model_type, "total_episodes": episodes,
        "scenario": SHORT, "parameters": PARAMETERS.get(model_type, {}),
    }  # fmt: skip
    return prepare(TrainingRequest.model_validate(given))


@pytest.mark.ray
@needs_ray
@overriding
@pytest.mark.parametrize("model_type", ["ppo", "dqn", "q_learning"])
def test_a_restored_learner_is_the_one_that_was_saved_and_counts_on(
    model_type: str, tmp_path: Path
) -> None:
    task = task_for(model_type, 1000)
    learners = [entry_of(model_type).begin(task) for _ in range(2)]
    saved, restored = learners
    try:
        for _ in range(3):
            before = saved.train()
        saved.save(tmp_path)
        reached = Reached(iteration=3, episode=before.episodes, env_steps=before.env_steps)
        restored.restore(tmp_path, reached)
        assert restored.export().files == saved.export().files
        after = restored.train()
        step = before.env_steps // 3
        assert before.env_steps < after.env_steps <= before.env_steps + 2 * step
        assert after.episodes == after.env_steps // STEPS
        assert restored.export().files[WEIGHTS] != saved.export().files[WEIGHTS]
        if model_type == "dqn":
            with np.load(tmp_path / TRANSITIONS) as replay:
                assert len(replay["priorities"]) == before.env_steps
    finally:
        for learner in learners:
            learner.stop()


class Counting:
    """Plays, and counts the episodes that it has learned from; dies at one of them."""

    dies_at: int | None = None

    def __init__(self, env: Any, learning_rate: float = 0.1) -> None:
        self.env, self.known = env, np.zeros(1)

    def train(self, episodes: int) -> dict[str, float]:
        for _ in range(episodes):
            self.env.reset()
            over = False
            while not over:
                *_, over, _ = self.env.step(0)
            self.known += 1
            if self.known == type(self).dies_at:
                raise SystemExit(1)
        return {"known": float(self.known[0])}

    def choose_action(self, observation: Any) -> int:
        return 0

    def save_model(self, path: Path) -> None:
        save_file({"known": self.known}, path / "known.safetensors")

    def load_model(self, path: Path) -> None:
        self.known = load_file(path / "known.safetensors")["known"]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, wandb_mode="disabled", checkpoint_interval_s=0)


@pytest.fixture
def store(settings: Settings) -> Store:
    return open_store(settings)


@pytest.fixture
def service(settings: Settings, store: Store) -> TrainingService:
    return TrainingService.of(settings, store, prepare, Here())


@pytest.fixture
def counting(own_algorithms: None) -> type[Counting]:
    ALGORITHMS.pop("counting", None)
    register_algorithm("counting", chunk=1)(Counting)
    Counting.dies_at = None
    return Counting


def test_what_was_done_before_the_last_checkpoint_is_not_done_again(
    counting: type[Counting], settings: Settings, store: Store, service: TrainingService
) -> None:
    task = service.run_now(
        TrainingRequest(name="A", model_type="counting", total_episodes=6, scenario=SHORT)
    )
    counting.dies_at = 4
    with pytest.raises(SystemExit):
        run_task(settings, task.id, attempt=1)
    waiting = store.get_task(task.id)
    assert (waiting.state, waiting.episode, waiting.checkpoint_iteration) == ("pending", 3, 2)
    counting.dies_at = None
    service.reconcile()
    version = run_task(settings, task.id, attempt=2)
    assert version is not None and version.version == 1
    ended = store.get_task(task.id)
    assert (ended.state, ended.episode, ended.env_steps) == ("completed", 6, 6 * STEPS)
    assert (ended.attempt, ended.resumed, ended.losses) == (2, 1, 0)
    lines = store.list_metrics(task.id)
    assert [line.episode for line in lines] == [1, 2, 3, 4, 5, 6]
    assert [line.values["known"] for line in lines] == [1, 2, 3, 4, 5, 6]


def test_a_checkpoint_that_was_not_finished_is_not_used_and_goes(
    counting: type[Counting], settings: Settings, store: Store, service: TrainingService
) -> None:
    task = service.run_now(
        TrainingRequest(name="A", model_type="counting", total_episodes=3, scenario=SHORT)
    )
    half = settings.data_dir / "checkpoints" / task.id / ".new-000000-0000000002"
    (half / "learner").mkdir(parents=True)
    (half / "reached.json").write_text(json.dumps({"iteration": 2, "episode": 2}))
    run_task(settings, task.id, attempt=1)
    assert store.get_task(task.id).resumed == 0
    assert [line.episode for line in store.list_metrics(task.id)] == [1, 2, 3]
    kept = sorted(folder.name for folder in half.parent.iterdir())
    assert kept == ["000001-0000000002", "000001-0000000003"]


def test_a_model_that_was_stored_before_the_process_died_is_not_stored_again(
    counting: type[Counting], settings: Settings, store: Store, service: TrainingService
) -> None:
    task = service.run_now(
        TrainingRequest(name="A", model_type="counting", total_episodes=2, scenario=SHORT)
    )
    artifacts = ArtifactStore(settings.data_dir / "artifacts")
    digest = artifacts.put({"known": np.ones(1)}, {"name": "A"})
    made = store.add_version("A", model_type="counting", task_id=task.id, digest=digest, metrics={})
    assert run_task(settings, task.id, attempt=1) == made
    assert store.get_task(task.id).version == 1
    assert [version.digest for version in store.list_versions("a")] == [digest]


def test_a_disk_that_refuses_the_checkpoint_fails_the_training_with_the_reason(
    counting: type[Counting], settings: Settings, store: Store, service: TrainingService
) -> None:
    task = service.run_now(
        TrainingRequest(name="A", model_type="counting", total_episodes=2, scenario=SHORT)
    )
    (settings.data_dir / "checkpoints").write_text("in the way")
    with pytest.raises(Exception, match="cannot be written"):
        run_task(settings, task.id, attempt=1)
    ended = store.get_task(task.id)
    assert ended.state is TaskState.FAILED
    assert ended.error is not None and "see that the folder is writable" in ended.error


@pytest.mark.ray
@needs_ray
@overriding
def test_a_training_is_paused_resumed_and_stopped_while_it_runs(
    settings: Settings, store: Store, service: TrainingService
) -> None:
    given = task_for("q_learning", 100_000).model_dump(
        include={"name", "model_type", "total_episodes", "scenario", "parameters"}
    )
    task = service.run_now(TrainingRequest.model_validate(given))

    def run_until(attempt: int, iterations: int, verb: str) -> TrainingTask:
        thread = threading.Thread(target=run_task, args=(settings, task.id, attempt))
        thread.start()
        while store.get_task(task.id).iteration < iterations and thread.is_alive():
            time.sleep(0.02)
        getattr(service, verb)(task.id)
        thread.join()
        return store.get_task(task.id)

    paused = run_until(1, 2, "pause")
    assert (paused.state, paused.checkpoint_iteration) == (TaskState.PAUSED, paused.iteration)
    checkpoint = checkpoints_of(settings, paused).latest()
    assert checkpoint is not None and checkpoint.reached.env_steps == paused.env_steps
    service.resume(task.id)
    service.reconcile()
    stopped = run_until(2, paused.iteration + 2, "stop")
    assert (stopped.state, stopped.version, stopped.resumed) == (TaskState.STOPPED, 1, 1)
    lines = store.list_metrics(task.id)
    assert [line.iteration for line in lines] == list(range(1, stopped.iteration + 1))
    steps = [line.env_steps for line in lines]
    assert steps == sorted(set(steps)) and steps[-1] == stopped.env_steps
    assert stopped.env_steps < 2 * steps[0] * len(lines)
