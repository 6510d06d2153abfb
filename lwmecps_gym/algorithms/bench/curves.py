"""Whether PPO learns with our runner what it learns with RLlib's: curves over seeds."""

from collections.abc import Callable
from typing import Any

import numpy as np
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from rich.table import Table
from scipy.stats import t as student

from lwmecps_gym.algorithms.bench.contenders import (
    build,
    ppo_task,
    rllib_array,
    rllib_native,
    torch_threads,
)
from lwmecps_gym.algorithms.ray_session import ray_running
from lwmecps_gym.algorithms.training import configure
from lwmecps_gym.envs.scenario import load_scenario

STOCK = "rllib-native"
KINDS = {STOCK: rllib_native, "rllib-array": rllib_array, "ours": configure}
"""RLlib's PPO with its own runner, the same with ours, and with our learner too."""
EPISODE_STEPS = 30
NUM_ENVS = 16
PARAMETERS = {"num_envs": NUM_ENVS, "rollout_steps": EPISODE_STEPS, "minibatch_size": 96}
LEVEL = 0.95


def compare_runners(
    seeds: int, iterations: int, scenario: str, say: Callable[[str], None]
) -> dict[str, Any]:
    """Train PPO on `lwmecps-v2` with RLlib's runner and with ours.

    In each iteration each environment plays one whole, short episode. A curve is the mean over
    seeds of the mean return of these episodes, with its interval by Student's t distribution.

    Args:
        seeds: trainings of each kind, 2 at least.
        iterations: of each training.
        scenario: whose cluster and demand are played.
        say: is told what is being done.
    """
    short = load_scenario(load_scenario(scenario).document() | {"episode_steps": EPISODE_STEPS})
    returns: dict[str, list[list[float]]] = {name: [] for name in KINDS}
    with ray_running(), torch_threads(1):
        for seed in range(seeds):
            for name, make in KINDS.items():
                say(f"seed {seed + 1} of {seeds}: {name} ...")
                task = ppo_task(short.document(), seed, **PARAMETERS)
                returns[name].append(_returns(make(task), iterations))
    curves = {name: _curve(found) for name, found in returns.items()}
    stock = curves[STOCK]
    for name, curve in curves.items():
        if name != STOCK:
            above = np.array(curve["low"]) > stock["high"]
            below = np.array(curve["high"]) < stock["low"]
            curve["overlaps"] = (~(above | below)).tolist()
    return {
        "env": task.env,
        "scenario": short.name,
        "parameters": task.parameters,
        "seeds": seeds,
        "level": LEVEL,
        "steps": [NUM_ENVS * EPISODE_STEPS * (1 + i) for i in range(iterations)],
        "curves": curves,
    }


def _returns(config: AlgorithmConfig, iterations: int) -> list[float]:
    algorithm = build(config.reporting(metrics_num_episodes_for_smoothing=NUM_ENVS))
    try:
        results = [algorithm.train() for _ in range(iterations)]
    finally:
        algorithm.stop()
    return [float(result["env_runners"]["episode_return_mean"]) for result in results]


def _curve(returns: list[list[float]]) -> dict[str, list[float] | list[bool]]:
    """Mean and interval of returns [seeds, iterations]."""
    found = np.array(returns)
    mean, count = found.mean(0), len(found)
    spread = found.std(0, ddof=1) / count**0.5 * student.ppf((1 + LEVEL) / 2, count - 1)
    return {
        "mean": mean.tolist(),
        "low": (mean - spread).tolist(),
        "high": (mean + spread).tolist(),
    }


def curves_table(result: dict[str, Any]) -> Table:
    """A table of what `compare_runners` found."""
    curves = result["curves"]
    table = Table("steps", *curves, "overlap", caption=_in_words(result))
    for i, steps in enumerate(result["steps"]):
        cells = [
            f"{curve['mean'][i]:.2f} ({curve['low'][i]:.2f} .. {curve['high'][i]:.2f})"
            for curve in curves.values()
        ]
        overlap = all(curve["overlaps"][i] for name, curve in curves.items() if name != STOCK)
        table.add_row(f"{steps:,}", *cells, "yes" if overlap else "no")
    return table


def _in_words(result: dict[str, Any]) -> str:
    return (
        f"{result['env']} on {result['scenario']}: mean return of episodes of {EPISODE_STEPS} "
        f"steps over {result['seeds']} seeds, with {LEVEL:.0%} intervals"
    )
