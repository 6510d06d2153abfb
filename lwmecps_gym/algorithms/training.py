"""A training at work: RLlib learns, the store hears of it, and a model version comes out."""

import math
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core.rl_module.apis import ValueFunctionAPI
from ray.tune import register_env

from lwmecps_gym import __version__
from lwmecps_gym.algorithms.array_env_runner import ArrayEnvRunner
from lwmecps_gym.algorithms.catalog import validate_parameters
from lwmecps_gym.algorithms.entries import LOGGED_INFO, Plan, RLlibEntry
from lwmecps_gym.algorithms.own_modules import export_module
from lwmecps_gym.algorithms.parameters import env_options
from lwmecps_gym.algorithms.registry import entry_of, import_algorithms
from lwmecps_gym.envs import make_vector_env
from lwmecps_gym.envs.scenario import Scenario, load_scenario
from lwmecps_gym.platform.artifacts import ArtifactStore
from lwmecps_gym.platform.config import Settings
from lwmecps_gym.platform.database import open_store
from lwmecps_gym.platform.models import Lineage, ModelVersion, TrainingTask
from lwmecps_gym.platform.task_run import TaskRun
from lwmecps_gym.platform.wandb_config import Tracker

PPO_TEMPERATURE = 0.5
"""Temperature at which a policy trained by PPO chooses when it is served."""
ROUNDS = 5
"""Rounds of episodes that a training has at least."""
CHECKPOINT_S = 60.0
"""Time between checkpoints of a running training, s."""


def configure(task: TrainingTask) -> AlgorithmConfig:
    """RLlib configuration of a task."""
    entry = entry_of(task.model_type)
    assert isinstance(entry, RLlibEntry)
    parameters: Any = validate_parameters(task.model_type, task.parameters)
    scenario = played_scenario(task)
    num_envs = side_by_side(parameters.num_envs, task.total_episodes)
    steps = task.total_episodes * scenario.episode_steps
    config = entry.config(Plan(parameters, num_envs, steps, scenario))
    name = f"{task.env}-{task.id}"

    options = env_options(task.env, scenario, parameters)

    def make(context: Mapping[str, Any]) -> Any:
        return make_vector_env(
            task.env, context.get("num_envs", 1), scenario=scenario, random_start=True, **options
        )

    register_env(name, make)
    return (
        config.environment(name)
        .env_runners(
            num_env_runners=0,
            num_envs_per_env_runner=num_envs,
            rollout_fragment_length=getattr(
                parameters, "rollout_steps", config.rollout_fragment_length
            ),
            gym_env_vectorize_mode="vector_entry_point",
            env_runner_cls=ArrayEnvRunner,
        )
        .debugging(seed=task.seed, log_level="ERROR")
    )


def played_scenario(task: TrainingTask) -> Scenario:
    """The scenario as the task's environment plays it; v1 takes the first service alone."""
    scenario = load_scenario(task.scenario)
    return scenario.only(scenario.services[0].name) if task.env == "lwmecps-v1" else scenario


def side_by_side(most: int, episodes: int) -> int:
    """Number of clusters that play `episodes` episodes in whole rounds with the least excess.

    There are `ROUNDS` rounds at least, as far as the episodes go: clusters that begin together end
    together, and only a later round shows what was learned in an earlier one.
    """
    rounds = max(math.ceil(episodes / most), min(ROUNDS, episodes))
    return math.ceil(episodes / rounds)


def export(
    algorithm: Algorithm, task: TrainingTask
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Weights, and the manifest entry of what they are."""
    module = algorithm.get_module()
    # A policy with a critic was trained to choose at random by its scores.
    temperature = PPO_TEMPERATURE if isinstance(module, ValueFunctionAPI) else 0.0
    if not type(module).__module__.startswith("lwmecps_gym."):
        tensors, architecture = export_module(module, entry_of(task.model_type).made_by)
        return tensors, {**architecture, "temperature": temperature}
    if task.model_type == "q_learning":
        table = module.q.numpy().copy()
        return {"q": table}, {"table": module.discretiser.model_dump(mode="json")}
    state = module.network.state_dict()
    tensors = {name: value.detach().numpy().copy() for name, value in state.items()}
    return tensors, {
        "network": module.network.config.model_dump(mode="json"),
        "temperature": temperature,
    }


def make_manifest(
    task: TrainingTask, architecture: Mapping[str, Any], metrics: dict[str, float]
) -> dict[str, Any]:
    """What a model version says of itself: enough to serve it and to train it again."""
    parameters = validate_parameters(task.model_type, task.parameters)
    options = env_options(task.env, load_scenario(task.scenario), parameters)
    env: dict[str, Any] = {"id": task.env, "options": options}
    if task.env == "lwmecps-v1":
        env["service"] = played_scenario(task).services[0].name
    return {
        "format": 1,
        "name": task.name,
        "model_type": task.model_type,
        **architecture,
        "env": env,
        "scenario": task.scenario,
        "parameters": task.parameters,
        "total_episodes": task.total_episodes,
        "seed": task.seed,
        "task_id": task.id,
        "metrics": metrics,
        "versions": {
            "lwmecps-gym": __version__,
            **{name: version(name) for name in ("ray", "torch", "numpy", "gymnasium")},
        },
        "created_at": datetime.now(UTC).isoformat(),
    }


def run_task(settings: Settings, task_id: str) -> ModelVersion:
    """Run a pending task to its end; progress, metrics and the model version go to the store.

    Raises:
        ConflictError: the task is not pending.
        Exception: whatever ended the training; the task is then `failed` and holds the reason.
    """
    store = open_store(settings)
    with TaskRun.begin(store, task_id) as run:
        import_algorithms(settings.algorithms)
        tracker = Tracker.start(settings, run.task)
        exit_code = 1
        try:
            if tracker.run_id is not None:
                run.tracked_by(tracker.run_id)
            artifact, metrics = _train(settings, run, tracker)
            model = store.add_version(
                run.task.name,
                model_type=run.task.model_type,
                task_id=task_id,
                digest=artifact,
                metrics=metrics,
                lineage=Lineage.of(
                    run.task.scenario,
                    run.task.env,
                    parameters=run.task.parameters,
                    total_episodes=run.task.total_episodes,
                    seed=run.task.seed,
                ),
            )
            directory = ArtifactStore(settings.data_dir / "artifacts").path(artifact)
            tracker.log_model(
                model.model_id, directory, {"version": model.version, **metrics}, ["latest"]
            )
            run.complete(model)
            exit_code = 0
        finally:
            tracker.finish(exit_code)
    return model


def _train(settings: Settings, run: TaskRun, tracker: Tracker) -> tuple[str, dict[str, float]]:
    task = run.task
    learner = entry_of(task.model_type).begin(task)
    checkpoints = settings.data_dir / "checkpoints" / task.id
    begun, saved = time.monotonic(), time.monotonic()
    first: float | None = None
    last: float | None = None
    iteration, episodes, steps, spent = 0, 0, 0, 0.0
    try:
        while episodes < task.total_episodes:
            begin = time.monotonic()
            done = learner.train()
            spent += time.monotonic() - begin
            iteration += 1
            episodes, steps = min(task.total_episodes, done.episodes), done.env_steps
            if done.episode_return is not None and math.isfinite(done.episode_return):
                last = done.episode_return
                first = last if first is None else first
            run.report(
                iteration=iteration,
                episode=episodes,
                env_steps=steps,
                episode_return=done.episode_return,
                env_steps_per_s=steps / spent,
                values=done.values,
            )
            tracker.log({**done.values, "env_steps": steps}, step=iteration)
            if time.monotonic() - saved > CHECKPOINT_S:
                learner.save(checkpoints)
                saved = time.monotonic()
        learner.save(checkpoints)
        metrics = {
            "env_steps": float(steps),
            "training_s": time.monotonic() - begun,
            **({"first_return": first} if first is not None else {}),
            **({"last_return": last} if last is not None else {}),
        }
        model = learner.export()
        manifest = make_manifest(task, model.architecture, metrics)
        artifacts = ArtifactStore(settings.data_dir / "artifacts")
        return artifacts.put_files(model.files, manifest), metrics
    finally:
        learner.stop()


def iteration_values(result: Mapping[str, Any]) -> dict[str, float]:
    """Numbers of one RLlib iteration that are worth keeping, all finite."""
    sampled = result["env_runners"]
    names = {"episode_return_mean": "episode_return", "step_reward": "step_reward"}
    names |= {name: name for name in LOGGED_INFO}
    values = {kept: sampled.get(name) for name, kept in names.items()}
    learned = result.get("learners", {}).get("default_policy", {})
    for name in (
        "entropy", "vf_explained_var", "policy_loss", "vf_loss", "qf_mean", "qf_loss",
        "td_error_mean", "visited_share",
    ):  # fmt: skip
        values[name] = learned.get(name)
    return {
        name: float(value)
        for name, value in values.items()
        if value is not None and np.isfinite(float(value))
    }
