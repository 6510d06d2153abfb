"""Speed of PPO from end to end: sampling, learning, and what lies between."""

import os
import platform
import time
from collections.abc import Callable
from contextlib import ExitStack
from importlib.metadata import version
from importlib.util import find_spec
from statistics import median
from typing import Any

from rich.table import Table

from lwmecps_gym.algorithms.bench.contenders import (
    Contender,
    RLlibContender,
    ppo_task,
    rllib_native,
    rllib_sync,
    torch_threads,
)
from lwmecps_gym.algorithms.ray_session import ray_running
from lwmecps_gym.algorithms.training import configure
from lwmecps_gym.platform.models import TrainingTask

RLLIB = {"ours": configure, "rllib-sync": rllib_sync, "rllib-native": rllib_native}
STABLE_BASELINES = "stable-baselines3"
NOT_INSTALLED = "not installed; pip install 'lwmecps-gym[bench]'"


def bench_training(
    runs: int,
    steps: int,
    threads: int,
    say: Callable[[str], None],
    scenario: str | dict[str, Any] = "four-stations",
    **parameters: Any,
) -> dict[str, Any]:
    """Measure environment steps/s of PPO on `lwmecps-v2`, ours beside others, all on the CPU.

    All have the same network, the same parameters and the same number of torch threads. After an
    iteration that does not count they run in turns, so that all meet the same noise.

    Args:
        runs: how many runs of each; the median counts.
        steps: environment steps of a run at least; it is made of whole iterations.
        threads: of torch.
        say: is told what is being done.
        scenario: what is played.
        parameters: those of `PPOParameters` that shall not have their defaults.
    """
    task = ppo_task(scenario, 0, **parameters)
    speeds: dict[str, list[float]] = {}
    with ray_running(), torch_threads(threads), ExitStack() as stack:
        contenders = _contenders(task)
        for name, contender in contenders.items():
            say(f"warming up: {name} ...")
            stack.callback(contender.stop)
            contender.learn(1)
        for run in range(runs):
            for name, contender in contenders.items():
                say(f"run {run + 1} of {runs}: {name} ...")
                begin = time.perf_counter()
                played = contender.learn(steps)
                speeds.setdefault(name, []).append(played / (time.perf_counter() - begin))
        machine = _machine(threads)
    best = median(speeds["ours"])
    rows: list[dict[str, Any]] = [
        {
            "name": name,
            "env_steps_per_s": median(found),
            "runs": found,
            "ratio_to_ours": median(found) / best,
        }
        for name, found in speeds.items()
    ]
    if STABLE_BASELINES not in speeds:
        rows.append({"name": STABLE_BASELINES, "skipped": NOT_INSTALLED})
    return {
        "machine": machine,
        "env": task.env,
        "scenario": task.scenario["name"],
        "parameters": task.parameters,
        "steps": steps,
        "rows": rows,
    }


def _contenders(task: TrainingTask) -> dict[str, Contender]:
    found: dict[str, Contender] = {name: RLlibContender(make(task)) for name, make in RLLIB.items()}
    if find_spec("sb3_contrib") is not None:
        from lwmecps_gym.algorithms.bench.stable_baselines import StableBaselinesContender

        found[STABLE_BASELINES] = StableBaselinesContender(task)
    return found


def _machine(threads: int) -> str:
    packages = ["torch", "ray"] + [STABLE_BASELINES] * (find_spec("sb3_contrib") is not None)
    return (
        f"{platform.machine()}, {os.cpu_count()} cores (torch threads: {threads}, "
        f"load {os.getloadavg()[0]:.1f}), Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in packages)
    )


def speed_table(result: dict[str, Any]) -> Table:
    """A table of what `bench_training` found."""
    table = Table("PPO by", "env steps/s", "ours is faster by", caption=result["machine"])
    for row in result["rows"]:
        cells = (
            (row["skipped"], "")
            if "skipped" in row
            else (f"{row['env_steps_per_s']:,.0f}", f"{1 / row['ratio_to_ours']:.1f}")
        )
        table.add_row(row["name"], *cells)
    return table
