"""What RLlib needs to know of a training, and what is kept of its model and its iterations."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core.rl_module.apis import ValueFunctionAPI
from ray.tune import register_env

from lwmecps_gym.algorithms.array_dqn import ArrayDQN
from lwmecps_gym.algorithms.array_env_runner import ArrayEnvRunner
from lwmecps_gym.algorithms.catalog import validate_parameters
from lwmecps_gym.algorithms.entries import LOGGED_INFO, RESOURCES, USED_CPU, Plan, RLlibEntry
from lwmecps_gym.algorithms.own_modules import export_module
from lwmecps_gym.algorithms.parameters import env_options
from lwmecps_gym.algorithms.registry import entry_of
from lwmecps_gym.envs import make_vector_env
from lwmecps_gym.envs.scenario import Scenario, load_scenario
from lwmecps_gym.platform.models import TrainingTask

PPO_TEMPERATURE = 0.5
"""Temperature at which a policy trained by PPO chooses when it is served."""
ROUNDS = 5
"""Rounds of episodes that a training has at least."""


def configure(task: TrainingTask) -> AlgorithmConfig:
    """RLlib configuration of a task."""
    # RLlib makes torch deterministic, which then also writes over all memory before it is used.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
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
        config.environment(
            name, env_config={"scatter_steps": getattr(parameters, "scatter_steps", 0)}
        )
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
    # The last weights of Q-learning waver, and its choices with them: their average is served.
    network: Any = algorithm.target_network() if isinstance(algorithm, ArrayDQN) else module.network
    state = network.state_dict()
    tensors = {name: value.detach().numpy().copy() for name, value in state.items()}
    return tensors, {
        "network": network.config.model_dump(mode="json"),
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
            name: version(name) for name in ("lwmecps-gym", "ray", "torch", "numpy", "gymnasium")
        },
        "created_at": datetime.now(UTC).isoformat(),
    }


def iteration_values(result: Mapping[str, Any], resources_weight: float) -> dict[str, float]:
    """Numbers of one RLlib iteration that are worth keeping, all finite.

    Args:
        result: of RLlib.
        resources_weight: weight of the CPU in use in the cost; with 0 it is left out.
    """
    sampled = result["env_runners"]
    names = {"episode_return_mean": "episode_return", "step_reward": "step_reward"}
    names |= {name: name for name in LOGGED_INFO}
    values = {kept: sampled.get(name) for name, kept in names.items()}
    if RESOURCES in sampled and resources_weight > 0:
        values[USED_CPU] = sampled[RESOURCES] / resources_weight
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
