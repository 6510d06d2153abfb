"""Speed of the environments: steps per second, and the ratio to gymnasium's SyncVectorEnv."""

import platform
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import gymnasium as gym
import numpy as np

from lwmecps_gym.envs.environments import LWMECPSEnv3, make_vector_env
from lwmecps_gym.envs.generate import random_scenario
from lwmecps_gym.envs.scenario import Scenario

MEASURED_S = 0.5
SIZES = ((4, 3, 256), (16, 4, 256), (100, 20, 8))
"""Nodes, services, environments side by side."""


def bench_environments(runs: int) -> dict[str, Any]:
    """Measure `lwmecps-v3` with random legal actions, observations and masks included.

    Args:
        runs: how many runs of each; the median counts.
    """
    rows = []
    for nodes, services, num_envs in SIZES:
        scenario = random_scenario(nodes, services)
        native = make_vector_env("lwmecps-v3", num_envs, scenario=scenario)
        few = min(num_envs, 8)  # its speed per step does not depend on their number
        sync = gym.vector.SyncVectorEnv([lambda s=scenario: _single(s)] * few)  # type: ignore[misc]
        ours, theirs = [], []
        for _ in range(runs):  # in turns, so that both meet the same noise
            ours.append(_steps_per_s(native, num_envs))
            theirs.append(_steps_per_s(sync, few))
        rows.append(
            {
                "env": "lwmecps-v3",
                "nodes": nodes,
                "services": services,
                "num_envs": num_envs,
                "steps_per_s": median(ours),
                "ratio_to_sync": median(ours) / median(theirs),
            }
        )
    return {"machine": f"{platform.machine()}, Python {platform.python_version()}", "rows": rows}


def _single(scenario: Scenario) -> gym.Env[Any, Any]:
    return LWMECPSEnv3(scenario)


def _steps_per_s(env: Any, num_envs: int) -> float:
    rng = np.random.default_rng(0)
    observation, _ = env.reset(seed=0)
    choose: Callable[[Any], Any] = lambda mask: np.argmax(rng.random(mask.shape) * mask, axis=1)  # noqa: E731
    steps, begin = 0, time.perf_counter()
    while (spent := time.perf_counter() - begin) < MEASURED_S:
        observation, *_ = env.step(choose(observation["action_mask"]))
        steps += num_envs
    return steps / spent
