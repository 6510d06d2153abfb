"""Who trains in the measurements: the same PPO by our parts and by RLlib's."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.ppo import PPO
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.tune import register_env

from lwmecps_gym.algorithms.agents import ENVS
from lwmecps_gym.algorithms.array_env_runner import ArrayEnvRunner
from lwmecps_gym.algorithms.catalog import prepare, validate_parameters
from lwmecps_gym.algorithms.training import ROUNDS, configure, played_scenario
from lwmecps_gym.platform.models import TrainingRequest, TrainingTask

ENV = "lwmecps-v2"
COMMON = {
    "num_envs": 256,
    "rollout_steps": 32,
    "hidden": [64, 64],
    "learning_rate_end": 1.0,
    "entropy_coeff_end": 1.0,
    "scatter_steps": 0,
}
"""Not all contenders have schedules or scatter pods, and none shall depend on how long it runs."""


class Contender(Protocol):
    """A training that can go on."""

    def learn(self, steps: int) -> int:
        """Train whole iterations until `steps` environment steps are played; returns the steps."""
        ...

    def stop(self) -> None:
        """Give back what the training holds."""
        ...


def ppo_task(scenario: str | dict[str, Any], seed: int, **parameters: Any) -> TrainingTask:
    """A training by PPO on all its environments at once.

    Args:
        scenario: what is played.
        seed: of everything random.
        parameters: those of `PPOParameters` that shall not be as in `COMMON`, or the defaults.
    """
    wanted = COMMON | parameters
    known: Any = validate_parameters("ppo", wanted)
    request = TrainingRequest(
        name="bench", model_type="ppo", env=ENV, scenario=scenario, seed=seed,
        total_episodes=ROUNDS * known.num_envs, parameters=wanted,
    )  # fmt: skip
    return prepare(request)


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Have so many threads of torch while the block runs."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def with_rllibs(config: AlgorithmConfig, runner: type[EnvRunner]) -> AlgorithmConfig:
    """The same configuration with RLlib's own PPO and learner, and a runner."""
    config.algo_class = PPO
    return config.learners(learner_class=PPOTorchLearner).env_runners(env_runner_cls=runner)


def with_single_environments(config: AlgorithmConfig, task: TrainingTask) -> AlgorithmConfig:
    """The same configuration on gymnasium's SyncVectorEnv over our single environment."""
    name, scenario = f"{task.env}-single-{task.id}", played_scenario(task)

    def make(_context: Mapping[str, Any]) -> Any:
        return ENVS[task.env](scenario, random_start=True)

    register_env(name, make)
    return config.environment(name).env_runners(gym_env_vectorize_mode="sync")


def rllib_array(task: TrainingTask) -> AlgorithmConfig:
    """RLlib's PPO with our runner."""
    return with_rllibs(configure(task), ArrayEnvRunner)


def rllib_native(task: TrainingTask) -> AlgorithmConfig:
    """RLlib's PPO and runner on our native vector environment."""
    return with_rllibs(configure(task), SingleAgentEnvRunner)


def rllib_sync(task: TrainingTask) -> AlgorithmConfig:
    """RLlib's PPO and runner on single environments."""
    return with_single_environments(rllib_native(task), task)


def build(config: AlgorithmConfig) -> Algorithm:
    """Build an algorithm beside others; RLlib registers the environments of all by one name."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*Overriding environment rllib-single-agent-env-v0")
        return config.build_algo()


class RLlibContender:
    """A training by RLlib in this process."""

    def __init__(self, config: AlgorithmConfig) -> None:
        self._algorithm = build(config)
        self._steps = 0

    def learn(self, steps: int) -> int:
        """See `Contender.learn`."""
        begin = self._steps
        while self._steps < begin + steps:
            sampled = self._algorithm.train()["env_runners"]
            self._steps = int(sampled["num_env_steps_sampled_lifetime"])
        return self._steps - begin

    def stop(self) -> None:
        """See `Contender.stop`."""
        self._algorithm.stop()
