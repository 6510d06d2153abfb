"""Speed of the environments: steps per second, and the ratio to gymnasium's SyncVectorEnv."""

import os
import platform
import time
from functools import partial
from statistics import median
from typing import Any

import gymnasium as gym
import numpy as np

from lwmecps_gym.envs.compiled.sample import draw_legal
from lwmecps_gym.envs.environments import LWMECPSEnv3, make_vector_env
from lwmecps_gym.envs.generate import random_scenario

SIZES = ((4, 3, 512), (16, 4, 256), (100, 20, 16), (1000, 20, 2))
"""Nodes, services, environments side by side."""
FEW = 8
"""Environments in SyncVectorEnv at most: its speed per step does not depend on their number."""


def bench_environments(runs: int) -> dict[str, Any]:
    """Measure `lwmecps-v3` on one core, with random legal actions.

    A run is an episode: a reset, and steps with observations and masks. Actions are drawn by
    compiled code, for both sides, within the time that is measured.

    Args:
        runs: how many runs of each; the median counts.
    """
    rows = []
    for nodes, services, num_envs in SIZES:
        scenario = random_scenario(nodes, services)
        few = min(num_envs, FEW)
        native = make_vector_env("lwmecps-v3", num_envs, scenario=scenario)
        sync = gym.vector.SyncVectorEnv([partial(LWMECPSEnv3, scenario)] * few)
        ours, theirs = [], []
        for seed in range(-1, runs):  # in turns, so that both meet the same noise
            speeds = [_steps_per_s(env, scenario.episode_steps, seed) for env in (native, sync)]
            if seed >= 0:  # the run before may have to compile
                ours.append(speeds[0])
                theirs.append(speeds[1])
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
    return {"machine": _machine(), "rows": rows}


def _steps_per_s(env: Any, steps: int, seed: int) -> float:
    state = np.array([seed + 2], dtype=np.uint64)
    actions = np.zeros(env.num_envs, dtype=np.int64)
    begin = time.perf_counter()
    observation, _ = env.reset(seed=seed + 1)
    for _ in range(steps if seed >= 0 else 1):
        draw_legal(observation["action_mask"], state, actions)
        observation, *_ = env.step(actions)
    return steps * int(env.num_envs) / (time.perf_counter() - begin)


def _machine() -> str:
    load = os.getloadavg()[0]
    return (
        f"{platform.machine()}, {os.cpu_count()} cores (one used, load {load:.1f}), "
        f"Python {platform.python_version()}, NumPy {np.__version__}"
    )
