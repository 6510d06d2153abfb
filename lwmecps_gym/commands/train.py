"""`lwmecps train`: on this machine, or on the platform at `LWMECPS_URL`."""

import os
import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lwmecps_gym.commands.connect import connect
from lwmecps_gym.commands.progress import follow
from lwmecps_gym.commands.tasks import wait_for
from lwmecps_gym.commands.terminal import (
    Json,
    ParameterOption,
    ScenarioOption,
    Seed,
    err,
    named_values,
    number,
    out,
    print_json,
    tell_of_sync,
)
from lwmecps_gym.platform.config import read_settings
from lwmecps_gym.platform.errors import InvalidInputError
from lwmecps_gym.platform.models import TrainingTask
from lwmecps_gym.platform.offline_runs import sync_command

if TYPE_CHECKING:
    from lwmecps_gym.serve_app.views import TrainingDetail


def train(
    algorithm: Annotated[str, typer.Option(help="ppo, dqn, q_learning, or your own.")] = "ppo",
    scenario: ScenarioOption = "four-stations",
    total_episodes: Annotated[int, typer.Option(help="Episodes to train.")] = 600,
    seed: Seed = 0,
    env: Annotated[
        str | None, typer.Option(help="lwmecps-v1, -v2 or -v3; default: the algorithm's own.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the model; default: algorithm and scenario.")
    ] = None,
    parameter: ParameterOption = None,
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="TASK_ID",
            help="Go on with a training that was interrupted, as it was created; "
            "other options do not count.",
        ),
    ] = None,
    watch: Annotated[
        bool, typer.Option(help="Wait for the end; else a platform trains on by itself.")
    ] = True,
    as_json: Json = False,
) -> None:
    """Train a model and register it as a new version, here or on the platform at LWMECPS_URL.

    The scenario's name and the parameters are those of the REST API; `lwmecps models list` shows
    the result, `lwmecps evaluate --policy MODEL_ID` compares it.
    """
    remote = bool(os.environ.get("LWMECPS_URL"))
    if remote and resume is not None:
        raise InvalidInputError(
            f"--resume is for trainings of this machine, and LWMECPS_URL is set; there it is "
            f"`lwmecps tasks retry {resume}`"
        )
    if not remote and not watch:
        raise InvalidInputError(
            "--no-watch: without a platform (LWMECPS_URL) the training ends with this command"
        )
    if resume is not None:
        _print(_train_here(resume), as_json)
        return
    from lwmecps_gym.envs.scenario import load_scenario

    loaded = load_scenario(scenario)
    request = {
        "name": name or f"{algorithm}-{loaded.name}",
        "model_type": algorithm,
        "parameters": named_values(parameter),
        "total_episodes": total_episodes,
        "scenario": loaded.document(),
        "env": env,
        "seed": seed,
    }
    task = _train_there(request, watch) if remote else _train_here(request)
    _print(task, as_json)


def _train_there(request: dict[str, Any], watch: bool) -> "TrainingDetail":
    with connect() as platform:
        task = platform.training.create(**request)
        err.print(f"training {task.id}; lwmecps tasks watch {task.id}", highlight=False)
        return wait_for(platform, task.id) if watch else task


def _train_here(wanted: dict[str, Any] | str) -> TrainingTask:
    """Train what is asked for, or go on with the task of an id."""
    from lwmecps_gym.algorithms.runner import resume_here, train_here

    settings = read_settings()
    ids: list[str] = []

    def begun(task: TrainingTask) -> None:
        ids.append(task.id)
        line = f"training {task.id}; if interrupted: lwmecps train --resume {task.id}"
        err.print(line, highlight=False, soft_wrap=True)

    try:
        with follow(err) as show, redirect_stdout(sys.stderr):
            if isinstance(wanted, str):
                return resume_here(wanted, settings, show, begun)
            return train_here(wanted, settings, show, begun)
    finally:
        for task_id in ids:
            tell_of_sync(sync_command(settings.data_dir, task_id))


def _print(task: "TrainingTask | TrainingDetail", as_json: bool) -> None:
    result = {
        "task_id": task.id,
        "state": task.state,
        "model_id": task.model_id,
        "version": task.version,
        "episodes": task.episode,
        "env_steps": task.env_steps,
        "env_steps_per_s": task.env_steps_per_s,
        "return": {"first": task.first_return, "last": task.episode_return},
    }
    if as_json:
        print_json(result)
    elif task.model_id is None:
        out.print(f"training {task.id}: {task.state}", highlight=False)
    else:
        out.print(
            f"model [bold]{task.model_id}[/] version {task.version}: {task.episode} episodes, "
            f"{task.env_steps:,} steps at {task.env_steps_per_s:,.0f}/s; "
            f"return {number(task.first_return)} -> {number(task.episode_return)}"
        )
