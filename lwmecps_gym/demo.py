"""The whole platform once: train by the API, compare, deploy, ask."""

import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from lwmecps_gym.algorithms.evaluation import Evaluation, evaluate_policies, evaluation_table
from lwmecps_gym.algorithms.heuristics import HEURISTICS, KubeDefault, mean_demand_at
from lwmecps_gym.algorithms.plots import plot_days
from lwmecps_gym.algorithms.roster import find_policies
from lwmecps_gym.client import Client
from lwmecps_gym.commands.tasks import wait_for
from lwmecps_gym.envs.scenario import Scenario, load_scenario
from lwmecps_gym.platform.config import Settings, read_settings
from lwmecps_gym.platform.errors import LwmecpsError

SCENARIO = "four-stations"
EVALUATED_DAYS = 3
ASKED_AT_H = 20
DECISIONS = 12


def run_demo(output: Path, episodes: int, console: Console) -> None:
    """Run the demo.

    Args:
        output: folder for the picture, the table as JSON, and the platform's data.
        episodes: days to train.
        console: where to write.

    Raises:
        LwmecpsError: a step failed; everything started was stopped.
    """
    from lwmecps_gym.serve_app.server import running

    settings = read_settings(data_dir=output.resolve() / "data")
    scenario = load_scenario(SCENARIO)
    step = _Steps(console)
    step("start the platform: Ray, the API, an embedded store")
    with running(settings) as url, Client(url) as platform:
        console.print(f"  {url}/docs")
        step(f"train PPO on {SCENARIO}: POST /api/v1/training")
        model_id = _train(platform, episodes, console)
        step(f"compare it over {EVALUATED_DAYS} unseen days with what people run today")
        evaluation = _compare(settings, scenario, model_id, output, console)
        step("deploy it and ask it: POST /api/v1/models/.../deploy, .../predict")
        _ask(platform, scenario, model_id, console)
    step("done; everything that was started has stopped")
    (output / "evaluation.json").write_text(evaluation.model_dump_json(indent=2))
    data = f"LWMECPS_DATA_DIR={settings.data_dir}"
    console.print(
        f"  Serve it:   {data} .venv/bin/lwmecps serve\n"
        f"  Compare it: {data} .venv/bin/lwmecps evaluate --policy {model_id} --policy hpa\n"
        "  Your own cluster: docs/scenarios.md, and .venv/bin/lwmecps scenarios show four-stations",
        highlight=False,
        soft_wrap=True,
    )


class _Steps:
    """Numbers what is printed."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._number = 0
        self._begin = time.monotonic()

    def __call__(self, text: str) -> None:
        self._number += 1
        spent = time.monotonic() - self._begin
        self._console.print(f"\n[bold]{self._number}. {text}[/]  [dim]({spent:.0f} s)[/]")


def _train(platform: Client, episodes: int, console: Console) -> str:
    parameters = {"learning_rate": 0.002, "discount_factor": 0.99}
    console.print(f"  demo: {episodes} episodes, {parameters}", soft_wrap=True)
    task = platform.training.create("demo", "ppo", episodes, parameters=parameters)
    task = wait_for(platform, task.id)
    if task.model_id is None:
        raise LwmecpsError(f"training {task.id} is {task.state}; {task.error or 'no model'}")
    progress = platform.training.progress(task.id)
    console.print(
        f"  model {task.model_id} version {task.version}: {task.env_steps:,} steps in "
        f"{progress.elapsed_s:.0f} s"
    )
    return task.model_id


def _compare(
    settings: Settings, scenario: Scenario, model_id: str, output: Path, console: Console
) -> Evaluation:
    policies = find_policies([model_id, *HEURISTICS], scenario, settings)
    with console.status("playing ..."):
        evaluation, days = evaluate_policies(scenario, policies, EVALUATED_DAYS, seed=1)
    console.print(evaluation_table(evaluation))
    shown = {policies[0].name, "kube_default", "hpa", "static", "greedy_cost"}
    picture = output / "day.png"
    plot_days(
        [day for day in days if day.policy in shown],
        picture,
        f"{scenario.name}: mean of {EVALUATED_DAYS} days",
    )
    console.print(f"  picture: {picture}")
    return evaluation


def _ask(platform: Client, scenario: Scenario, model_id: str, console: Console) -> None:
    """Start from kube-scheduler's placement in the evening, and follow the model's advice."""
    platform.models.deploy(model_id)
    services = [service.name for service in scenario.services]
    nodes = [node.name for node in scenario.nodes]
    sites = [site.name for site in scenario.sites]
    demand = mean_demand_at(scenario, ASKED_AT_H * 3600.0)
    state: dict[str, Any] = {
        "time_s": ASKED_AT_H * 3600,
        "placement": _named(KubeDefault(scenario).target, services, nodes),
        "demand_rps": _named(demand, services, sites),
    }
    console.print(f"  {ASKED_AT_H}:00, pods where kube-scheduler put them: {_say(state)}")
    effects = []
    for _ in range(DECISIONS):
        answer = platform.models.predict(model_id, state)
        assert answer.effect is not None, "a plain state has one"
        effects.append(answer.effect)
        if answer.kind != "nothing":
            console.print(
                f"  [cyan]{answer.description}[/]: {answer.effect.latency_ms_before:.1f} "
                f"-> {answer.effect.latency_ms_after:.1f} ms"
            )
        state["placement"] = answer.placement
        state["time_s"] += scenario.control_interval_s
    console.print(
        f"  recommended: {_say(state)}\n"
        f"  mean latency {effects[0].latency_ms_before:.1f} -> "
        f"{effects[-1].latency_ms_after:.1f} ms, a decision takes {answer.decision_ms:.2f} ms"
    )


def _named(table: Any, rows: list[str], columns: list[str]) -> dict[str, dict[str, Any]]:
    return {
        row: {column: np.asarray(table)[r, c].item() for c, column in enumerate(columns)}
        for r, row in enumerate(rows)
    }


def _say(state: dict[str, Any]) -> str:
    return "; ".join(
        f"{service} " + ", ".join(f"{node} x{count}" for node, count in row.items() if count)
        for service, row in state["placement"].items()
    )
