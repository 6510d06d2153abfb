"""A user's class trains, is stored and plays as any algorithm, and its mistakes have a line."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from lwmecps_gym import register_algorithm
from lwmecps_gym.algorithms.attempt import run_task
from lwmecps_gym.algorithms.catalog import prepare
from lwmecps_gym.algorithms.policy import LearnedPolicy, load_policy
from lwmecps_gym.algorithms.registry import ALGORITHMS
from lwmecps_gym.envs.scenario import load_scenario
from lwmecps_gym.platform.artifacts import ArtifactStore
from lwmecps_gym.platform.config import Settings
from lwmecps_gym.platform.database import Store, open_store
from lwmecps_gym.platform.errors import IllegalActionError, InvalidInputError, LwmecpsError
from lwmecps_gym.platform.models import ModelVersion, TaskState, TrainingRequest, TrainingTask

from .clusters import cluster

pytestmark = pytest.mark.usefixtures("own_algorithms")

STEPS = 12
SCENARIO = load_scenario("tiny").document() | {"name": "short", "episode_steps": STEPS}


class Favourite:
    """Takes legal actions at random, and at last the one that it was rewarded best for."""

    made: ClassVar[list["Favourite"]] = []

    def __init__(
        self, env: Any, learning_rate: float = 0.1, patience: int = 1, seed: int = 0, **kwargs: Any
    ) -> None:
        self.env, self.patience, self.seed, self.handed = env, patience, seed, kwargs
        self.rewards = np.full(int(env.action_space.n), -100.0)
        self.asked: list[int] = []
        self.made.append(self)

    def train(self, episodes: int) -> dict[str, Any]:
        self.asked.append(episodes)
        for _ in range(episodes):
            observation, _ = self.env.reset()
            over = False
            while not over:
                legal = np.flatnonzero(observation["action_mask"])
                action = int(random.choice(legal)) if self.patience else 0
                observation, reward, _, over, _ = self.env.step(action)
                self.update_model(action, reward)
        return {"best": self.rewards.max(), "asked": self.asked, "losses": []}

    def update_model(self, action: int, reward: float) -> None:
        self.rewards[action] = max(self.rewards[action], reward)

    def choose_action(self, observation: Any) -> int:
        mask = observation["action_mask"] if isinstance(observation, dict) else 1
        return int(np.argmax(np.where(mask, self.rewards, -np.inf)))

    def save_model(self, path: Path) -> None:
        save_file({"rewards": self.rewards}, path / "rewards.safetensors")
        (path / "notes.json").write_text(json.dumps({"patience": self.patience}))

    def load_model(self, path: Path) -> None:
        assert json.loads((path / "notes.json").read_text()) == {"patience": self.patience}
        self.rewards = load_file(path / "rewards.safetensors")["rewards"]


def register(made: type = Favourite, **options: Any) -> None:
    """Register a class as `favourite`, in place of an earlier one."""
    ALGORITHMS.pop("favourite", None)
    register_algorithm("favourite", **options)(made)


def train(
    folder: Path, episodes: int = 3, wandb_mode: str = "disabled", **fields: Any
) -> tuple[Store, TrainingTask, ModelVersion]:
    settings = Settings(data_dir=folder, wandb_mode=wandb_mode)
    store = open_store(settings)
    given = {"name": "Mine", "model_type": "favourite", "total_episodes": episodes,
             "scenario": SCENARIO}  # fmt: skip
    task = store.create_task(prepare(TrainingRequest.model_validate(given | fields)))
    try:
        return store, task, run_task(settings, task.id)
    finally:
        assert store.get_task(task.id).state.ended


def failure(folder: Path, **fields: Any) -> str:
    """The reason of a training that fails."""
    with pytest.raises(LwmecpsError):
        train(folder, **fields)
    store = open_store(Settings(data_dir=folder))
    (task,), _ = store.list_tasks()
    assert task.state is TaskState.FAILED and task.error is not None
    assert store.list_models() == []
    return task.error


def artifact(folder: Path, version: ModelVersion) -> Path:
    return ArtifactStore(folder / "artifacts").path(version.digest)


def test_it_ends_as_a_version_of_its_files_with_a_history_by_chunks(tmp_path: Path) -> None:
    register(chunk=2)
    store, task, version = train(tmp_path, 5, parameters={"patience": 2})
    ended = store.get_task(task.id)
    assert (ended.state, ended.episode, ended.env_steps) == (TaskState.COMPLETED, 5, 5 * STEPS)
    assert ended.episode_return is not None and ended.episode_return < 0
    lines = store.list_metrics(task.id, since=-1, limit=10)
    assert [(line.episode, line.env_steps) for line in lines] == [(2, 24), (4, 48), (5, 60)]
    assert lines[2].values["asked"] == pytest.approx(5 / 3)  # the mean of 2, 2 and 1
    assert "losses" not in lines[0].values
    assert {"best", "episode_return", "step_reward", "latency_ms"} <= lines[0].values.keys()
    assert lines[0].values["step_reward"] == pytest.approx(
        lines[0].values["episode_return"] / STEPS
    )
    assert [line.episodes["steps"] for line in lines] == [[STEPS] * 2, [STEPS] * 2, [STEPS]]
    assert np.mean(lines[0].episodes["return"]) == pytest.approx(lines[0].values["episode_return"])
    assert np.mean(lines[0].episodes["used_cpu"]) == pytest.approx(lines[0].values["used_cpu"])
    assert 0 < lines[0].values["used_cpu"] <= 1
    folder = artifact(tmp_path, version)
    assert sorted(file.name for file in folder.iterdir()) == [
        "manifest.json", "notes.json", "rewards.safetensors",
    ]  # fmt: skip
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["class"] == f"{Favourite.__module__}:Favourite"
    assert manifest["parameters"] == {"learning_rate": 0.1, "patience": 2}
    checkpoint = tmp_path / "checkpoints" / task.id / "000000-0000000003" / "learner"
    assert sorted(file.name for file in checkpoint.iterdir()) == [
        "notes.json", "rewards.safetensors",
    ]  # fmt: skip


def test_the_same_seed_gives_the_same_model_and_another_one_another(tmp_path: Path) -> None:
    register()
    versions = [train(tmp_path / str(i), seed=seed)[2] for i, seed in enumerate((5, 5, 6))]
    first, same, other = (
        load_file(artifact(tmp_path / str(i), v) / "rewards.safetensors")["rewards"].tolist()
        for i, v in enumerate(versions)
    )
    assert first == same != other


def test_it_is_handed_the_seed_and_the_run_that_tracks_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    register()
    store, task, _ = train(tmp_path, 1, wandb_mode="offline", seed=7)
    agent = [each for each in Favourite.made if each.asked][-1]
    assert store.get_task(task.id).wandb_run_id == task.id
    assert (agent.seed, agent.handed) == (7, {"wandb_run_id": task.id})
    assert torch.initial_seed() == 7


@pytest.mark.parametrize("env", ["lwmecps-v2", "lwmecps-v3"])
def test_the_model_decides_as_the_class_that_was_trained(env: str, tmp_path: Path) -> None:
    register()
    *_, version = train(tmp_path, env=env)
    policy, agent = load_policy(artifact(tmp_path, version)), Favourite.made[-2]
    rng = np.random.default_rng(0)
    for _ in range(20):
        state = cluster(policy.scenario, [rng.integers(0, 2, 2) + [1, 0]])
        seen: Any = policy.encoding.encode(state, policy.actions.legal_in(state))
        chosen = agent.choose_action({name: values[0] for name, values in seen.items()})
        assert policy.act(state).tolist() == policy.act_on(seen).tolist() == [chosen]
    assert {name: values.shape for name, values in agent.env.reset()[0].items()} == {
        name: values.shape[1:] for name, values in seen.items()
    }


def policy_that_takes(action: Any, folder: Path, env: str) -> LearnedPolicy:
    class Stubborn(Favourite):
        def choose_action(self, observation: Any) -> Any:
            return action

    register(Stubborn)
    *_, version = train(folder, 1, env=env, parameters={"patience": 0})
    return load_policy(artifact(folder, version))


@pytest.mark.parametrize(
    ("action", "error", "reason"),
    [
        (4, IllegalActionError, "choose_action took action 4, which the mask forbids"),
        (7, IllegalActionError, "choose_action took action 7, which is none of 0 to 6"),
        (-1, IllegalActionError, "choose_action took action -1, which is none of 0 to 6"),
        (0.5, LwmecpsError, "choose_action raised TypeError: 'float' object"),
    ],
)
def test_a_choice_that_is_no_legal_action_is_refused(
    action: Any, error: type[Exception], reason: str, tmp_path: Path
) -> None:
    policy = policy_that_takes(action, tmp_path, "lwmecps-v2")
    state = cluster(policy.scenario, [[1, 0]])
    with pytest.raises(error, match=f"^algorithm 'favourite': {reason}"):
        policy.act(state)


def test_without_a_mask_a_choice_that_cannot_be_applied_counts_as_nothing(tmp_path: Path) -> None:
    class Unmasked(Favourite):
        def train(self, episodes: int) -> None:
            self.env.reset()
            self.env.step(0)

        def choose_action(self, observation: Any) -> int:
            return 4  # remove a replica from the second node

    register(Unmasked)
    *_, version = train(tmp_path, env="lwmecps-v1")
    policy = load_policy(artifact(tmp_path, version))
    assert policy.act(cluster(policy.scenario, [[1, 1]])).tolist() == [4]
    assert policy.act(cluster(policy.scenario, [[1, 0]])).tolist() == [0]


def writing(name: str, content: bytes) -> Callable[[Favourite, Path], None]:
    return lambda self, path: (path / name).write_bytes(content) and None


def writing_a_folder(self: Favourite, path: Path) -> None:
    (path / "deep").mkdir(exist_ok=True)


SAVES: dict[str, tuple[Callable[[Favourite, Path], None], str]] = {
    "a pickle": (writing("model.pkl", b"\x80\x04N."), "not of 'model.pkl'"),
    "a pickle by another name": (writing("model.json", b"\x80\x04N."), "model.json is not what"),
    "no tensors": (writing("model.safetensors", b"\x80\x04N."), "model.safetensors is not what"),
    "a manifest": (writing("manifest.json", b"{}"), "cannot be named 'manifest.json'"),
    "a folder": (writing_a_folder, "it wrote ['deep']"),
    "nothing": (lambda self, path: None, "it wrote nothing"),
}


@pytest.mark.parametrize(("save", "reason"), SAVES.values(), ids=SAVES)
def test_a_model_of_other_files_than_safetensors_and_json_is_refused(
    save: Callable[[Favourite, Path], None], reason: str, tmp_path: Path
) -> None:
    register(type("Saver", (Favourite,), {"save_model": save}))
    assert reason in failure(tmp_path)


def test_an_error_in_the_class_ends_the_training_with_its_line(tmp_path: Path) -> None:
    class Broken(Favourite):
        def train(self, episodes: int) -> None:
            return {}["loss"]

    register(Broken)
    line = next(
        number
        for number, text in enumerate(Path(__file__).read_text().splitlines(), 1)
        if text.strip() == 'return {}["loss"]'
    )
    assert failure(tmp_path) == (
        f"LwmecpsError: algorithm 'favourite': train raised KeyError: 'loss' "
        f"(test_agents.py, line {line})"
    )


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({"loss": "low"}, "train raised TypeError: metrics must be numbers or lists"),
        ([1, 2], "train raised TypeError: metrics must be numbers or lists"),
        (None, r"train\(3\) played no step of its env"),
    ],
)
def test_a_train_that_tells_no_numbers_or_plays_nothing_is_refused(
    told: Any, reason: str, tmp_path: Path
) -> None:
    register(type("Lazy", (Favourite,), {"train": lambda self, episodes: told}))
    with pytest.raises(LwmecpsError, match=reason):
        train(tmp_path)


def test_a_process_without_the_class_refuses_its_model_by_name(tmp_path: Path) -> None:
    register()
    *_, version = train(tmp_path, 1)
    del ALGORITHMS["favourite"]
    with pytest.raises(InvalidInputError, match="'favourite' of .*:Favourite.*install its package"):
        load_policy(artifact(tmp_path, version))
