"""A training ends as a model version that was learned, or as failed with the reason."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lwmecps_gym.algorithms.attempt import checkpoints_of, run_task
from lwmecps_gym.algorithms.catalog import prepare
from lwmecps_gym.algorithms.evaluation import evaluate_policies
from lwmecps_gym.algorithms.heuristics import make_heuristic
from lwmecps_gym.algorithms.policy import load_policy, policy_from
from lwmecps_gym.algorithms.training import configure, export
from lwmecps_gym.envs.generate import edge_scenario
from lwmecps_gym.envs.scenario import load_scenario
from lwmecps_gym.platform.artifacts import ArtifactStore
from lwmecps_gym.platform.config import Settings
from lwmecps_gym.platform.database import Store, open_store
from lwmecps_gym.platform.errors import ConflictError, ScenarioError, StoreUnavailableError
from lwmecps_gym.platform.models import ModelVersion, TaskState, TrainingRequest, TrainingTask

from ..platform.test_wandb_config import history_of, read_records

pytestmark = [
    pytest.mark.ray,
    pytest.mark.usefixtures("ray_session"),
    # RLlib registers each runner's environment under one name.
    pytest.mark.filterwarnings("ignore:.*Overriding environment rllib-single-agent-env-v0"),
]

TINY = load_scenario("tiny")
SMALL_PPO = {"num_envs": 2, "rollout_steps": 96, "minibatch_size": 96, "epochs": 2, "hidden": [16]}
SMALL_DQN = {
    "num_envs": 2, "batch_size": 32, "learning_starts": 200, "training_intensity": 2,
    "hidden": [16],
}  # fmt: skip
PARAMETERS: dict[str, dict[str, Any]] = {
    "ppo": SMALL_PPO, "dqn": SMALL_DQN, "q_learning": {"num_envs": 2},
}  # fmt: skip


def task_for(model_type: str, episodes: int = 3, **fields: Any) -> TrainingTask:
    given = {
        "name": "A model", "model_type": model_type, "total_episodes": episodes,
        "scenario": "tiny", "parameters": PARAMETERS[model_type],
    }  # fmt: skip
    return prepare(TrainingRequest.model_validate(given | fields))


@dataclass
class Trained:
    """A training that ended well, and where its results are."""

    settings: Settings
    store: Store
    task: TrainingTask
    version: ModelVersion

    @property
    def artifact(self) -> Path:
        return ArtifactStore(self.settings.data_dir / "artifacts").path(self.version.digest)


def train(task: TrainingTask, folder: Path, wandb_mode: str = "disabled") -> Trained:
    settings = Settings(data_dir=folder, wandb_mode=wandb_mode)
    store = open_store(settings)
    store.create_task(task)
    version = run_task(settings, task.id)
    assert version is not None
    return Trained(settings, store, store.get_task(task.id), version)


def cost_of(policy: Any, episodes: int = 3) -> float:
    result, _ = evaluate_policies(TINY, [policy], episodes, seed=1)
    return result.rows[0].cost


@pytest.fixture(scope="module")
def learned(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Q-learning on `tiny`, long enough to be good, tracked by W&B."""
    task = task_for("q_learning", 350, parameters={"num_envs": 16})
    with pytest.MonkeyPatch.context() as patch:
        for name in ("WANDB_API_KEY", "WANDB_PROJECT", "WANDB_MODE"):
            patch.delenv(name, raising=False)
        return train(task, tmp_path_factory.mktemp("learned"), wandb_mode="offline")


@pytest.mark.slow
def test_q_learning_learns_to_be_nearly_as_good_as_greedy_on_the_tiny_scenario(
    learned: Trained,
) -> None:
    cost = cost_of(load_policy(learned.artifact))
    best = cost_of(make_heuristic("greedy_cost", TINY))
    assert cost < cost_of(make_heuristic("static", TINY))
    assert cost < cost_of(make_heuristic("random", TINY))
    assert cost < 1.1 * best


def test_a_finished_task_says_what_came_out(learned: Trained) -> None:
    task, version = learned.task, learned.version
    assert (task.state, task.error, task.lease_until) == (TaskState.COMPLETED, None, None)
    assert (task.model_id, task.version) == (version.model_id, version.version) == ("a-model", 1)
    assert task.episode == task.total_episodes == 350
    assert task.env_steps >= 350 * TINY.episode_steps
    assert task.env_steps_per_s is not None and task.env_steps_per_s > 0
    assert task.first_return is not None and task.episode_return is not None
    assert task.first_return < task.episode_return
    assert version.metrics["env_steps"] == task.env_steps
    assert version.metrics["last_return"] == pytest.approx(task.episode_return)


def test_every_iteration_is_a_line_of_the_history_and_progress_only_grows(learned: Trained) -> None:
    lines = learned.store.list_metrics(learned.task.id, since=-1, limit=10_000)
    assert [line.iteration for line in lines] == list(range(1, len(lines) + 1))
    steps = [line.env_steps for line in lines]
    assert steps == sorted(set(steps)) and steps[-1] == learned.task.env_steps
    episodes = [line.episode for line in lines]
    assert episodes == sorted(episodes) and episodes[-1] == 350
    assert all(
        {"step_reward", "latency_ms", "td_error_mean"} <= line.values.keys() for line in lines
    )
    assert lines[-1].values["step_reward"] > lines[0].values["step_reward"]
    assert lines[-1].values["td_error_mean"] < lines[0].values["td_error_mean"]


def test_the_run_is_tracked_offline_under_the_tasks_id(learned: Trained) -> None:
    (run,) = (learned.settings.data_dir / "wandb").glob("offline-run-*")
    assert run.name.endswith(learned.task.id)
    assert learned.task.wandb_run_id == learned.task.id


def test_every_episode_that_ended_is_in_the_history_and_in_wandb(learned: Trained) -> None:
    lines = learned.store.list_metrics(learned.task.id, since=-1, limit=10_000)
    ended = [line for line in lines if line.episodes]
    steps = {value for line in ended for value in line.episodes["steps"]}
    assert steps == {TINY.episode_steps}
    # The last round need not be played to its end.
    assert 350 / 2 < sum(sum(line.episodes["episodes"]) for line in ended) <= 2 * 350
    (file,) = (learned.settings.data_dir / "wandb").glob("offline-run-*/*.wandb")
    tracked = history_of(list(read_records(file)))
    wanted = [value for line in ended for value in line.episodes["return"]]
    assert [each["episode/return"] for each in tracked if "episode/return" in each] == wanted
    assert [each["iteration"] for each in tracked if "step_reward" in each] == [
        line.iteration for line in lines
    ]


def test_the_last_checkpoint_holds_the_model_and_training_goes_on_from_it(learned: Trained) -> None:
    checkpoint = checkpoints_of(learned.settings, learned.task).latest()
    assert checkpoint is not None and checkpoint.reached.episode == 350
    algorithm = configure(learned.task).build_algo()
    try:
        algorithm.restore_from_path(str(checkpoint.learner))
        tensors, _ = export(algorithm, learned.task)
        _, manifest = ArtifactStore(learned.settings.data_dir / "artifacts").load(
            learned.version.digest
        )
        assert_same(tensors, weights_of(learned))
        assert manifest["table"]["replica_levels"] == 3
        result = algorithm.train()
        steps = result["env_runners"]["num_env_steps_sampled_lifetime"]
        assert learned.task.env_steps < steps < learned.task.env_steps + 2000
    finally:
        algorithm.stop()


def weights_of(trained: Trained) -> dict[str, NDArray[Any]]:
    store = ArtifactStore(trained.settings.data_dir / "artifacts")
    return store.load(trained.version.digest)[0]


def assert_same(found: Mapping[str, NDArray[Any]], wanted: Mapping[str, NDArray[Any]]) -> None:
    assert found.keys() == wanted.keys()
    for name, values in wanted.items():
        np.testing.assert_array_equal(found[name], values)


def test_a_task_that_is_over_is_not_run_again(learned: Trained) -> None:
    with pytest.raises(ConflictError, match="is completed; begin is for"):
        run_task(learned.settings, learned.task.id)
    assert learned.store.get_task(learned.task.id) == learned.task


@pytest.mark.parametrize(
    ("model_type", "env"),
    [("ppo", "lwmecps-v2"), ("ppo", "lwmecps-v3"), ("dqn", "lwmecps-v2"), ("dqn", "lwmecps-v3")],
)
def test_a_short_training_ends_as_a_model_that_plays(
    model_type: str, env: str, tmp_path: Path
) -> None:
    trained = train(task_for(model_type, env=env), tmp_path)
    assert trained.task.state is TaskState.COMPLETED
    _, manifest = ArtifactStore(tmp_path / "artifacts").load(trained.version.digest)
    assert manifest["format"] == 1
    assert manifest["model_type"] == model_type
    assert manifest["env"] == {"id": env, "options": {}}
    assert manifest["scenario"] == TINY.document()
    assert manifest["parameters"] == trained.task.parameters
    assert manifest["task_id"] == trained.task.id
    assert (manifest["seed"], manifest["total_episodes"]) == (0, 3)
    assert manifest["metrics"]["env_steps"] == trained.task.env_steps
    assert {"lwmecps-gym", "ray", "torch", "numpy", "gymnasium"} <= manifest["versions"].keys()
    policy = load_policy(trained.artifact)
    assert policy.name == "A model"
    assert 0 < cost_of(policy, episodes=1) < 4
    names = set().union(
        *(line.values for line in trained.store.list_metrics(trained.task.id, since=-1, limit=99))
    )
    assert {"episode_return", "step_reward"} <= names
    assert names & {"entropy", "qf_loss"}


@pytest.mark.parametrize("model_type", ["ppo", "dqn", "q_learning"])
def test_the_same_seed_learns_the_same_weights_and_another_one_others(model_type: str) -> None:
    def learn(seed: int) -> dict[str, NDArray[Any]]:
        task = task_for(model_type, seed=seed)
        algorithm = configure(task).build_algo()
        try:
            for _ in range(2):
                algorithm.train()
            return export(algorithm, task)[0]
        finally:
            algorithm.stop()

    first = learn(5)
    assert_same(learn(5), first)
    other = learn(6)
    assert any((other[name] != values).any() for name, values in first.items())


def test_dqn_serves_its_target_network_the_average_of_its_weights() -> None:
    task = task_for("dqn", 100)
    algorithm = configure(task).build_algo()
    try:
        algorithm.train()
        tensors, _ = export(algorithm, task)
        target = algorithm.target_network().state_dict()
        assert_same(tensors, {name: value.numpy() for name, value in target.items()})
        latest = algorithm.get_module().network.state_dict()
        assert all((tensors[name] != value.numpy()).any() for name, value in latest.items())
    finally:
        algorithm.stop()


def unwritable(folder: Path, task: TrainingTask) -> TrainingTask:
    (folder / "artifacts").write_text("in the way")
    return task


def broken(folder: Path, task: TrainingTask) -> TrainingTask:
    return task.model_copy(update={"scenario": {"name": "tiny"}})


@pytest.mark.parametrize(
    ("spoil", "error", "reason"),
    [
        (unwritable, StoreUnavailableError, "StoreUnavailableError: the artifact .* cannot be"),
        (broken, ScenarioError, "ScenarioError: scenario: nodes: "),
    ],
)
def test_a_training_that_breaks_ends_as_failed_with_the_reason(
    spoil: Callable[[Path, TrainingTask], TrainingTask],
    error: type[Exception],
    reason: str,
    tmp_path: Path,
) -> None:
    task = spoil(tmp_path, task_for("q_learning"))
    settings = Settings(data_dir=tmp_path, wandb_mode="disabled")
    store = open_store(settings)
    store.create_task(task)
    with pytest.raises(error):
        run_task(settings, task.id)
    ended = store.get_task(task.id)
    assert ended.state is TaskState.FAILED and ended.finished_at is not None
    assert ended.error is not None and re.match(reason, ended.error)
    assert store.list_models() == []


@pytest.mark.parametrize("model_type", ["ppo", "dqn"])
def test_a_network_for_any_size_learns_on_a_family_and_plays_a_larger_cluster(
    model_type: str, tmp_path: Path
) -> None:
    small = {name: value for name, value in PARAMETERS[model_type].items() if name != "hidden"}
    task = task_for(
        model_type,
        20,
        env="lwmecps-v3",
        scenario={"family": {"nodes": [2, 4], "services": 2, "count": 3, "episode_steps": 20}},
        parameters=small | {"network": "any-size", "width": 8, "rounds": 1, "num_envs": 4},
    )
    trained = train(task, tmp_path)
    assert trained.task.env_steps >= 400
    tensors, manifest = ArtifactStore(tmp_path / "artifacts").load(trained.version.digest)
    larger = edge_scenario(9, 3, episode_steps=30)
    policy = policy_from(manifest, tensors, larger)
    result, _ = evaluate_policies(larger, [policy], episodes=2, seed=0)
    assert 0 < result.rows[0].cost < np.inf
    assert load_policy(trained.artifact).scenario.family is not None
