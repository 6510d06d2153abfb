"""`lwmecps tasks`: trainings on a platform, this machine's or the one at `LWMECPS_URL`."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from lwmecps_gym.commands.connect import connect
from lwmecps_gym.commands.curves import Curve, plot_curves
from lwmecps_gym.commands.progress import describe, follow
from lwmecps_gym.commands.terminal import Json, err, out, print_json
from lwmecps_gym.platform.errors import InvalidInputError, LwmecpsError
from lwmecps_gym.platform.models import TaskState

if TYPE_CHECKING:
    from lwmecps_gym.client import Client
    from lwmecps_gym.serve_app.views import TrainingDetail

tasks_app = typer.Typer(
    help="Trainings of a platform: this machine's, or the one at LWMECPS_URL.",
    no_args_is_help=True,
)
POLL_S = 1.0
POINTS = 200
"""Of a learning curve."""

TaskId = Annotated[str, typer.Argument(help="As `lwmecps tasks list` shows it.")]


@tasks_app.command("list")
def list_tasks(
    state: Annotated[TaskState | None, typer.Option(help="Only those in this state.")] = None,
    model_type: Annotated[str | None, typer.Option(help="Only those of this algorithm.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="At most so many.")] = 50,
    as_json: Json = False,
) -> None:
    """List trainings."""
    with connect() as platform:
        page = platform.training.list(state=state, model_type=model_type, limit=limit)
    if as_json:
        print_json([task.model_dump(mode="json") for task in page.items])
        return
    table = Table("task", "name", "type", "state", "episodes", "return", "model", "created")
    for task in page.items:
        table.add_row(
            task.id,
            task.name,
            task.model_type,
            task.state,
            f"{task.episode}/{task.total_episodes}",
            "" if task.episode_return is None else f"{task.episode_return:.4g}",
            "" if task.model_id is None else f"{task.model_id}:{task.version}",
            f"{task.created_at:%F %R} UTC",
        )
    out.print(table if page.items else "no trainings; `lwmecps train` makes one")
    if page.next_cursor is not None:
        err.print(f"there are more; --limit shows up to 500 of them, now {limit}")


@tasks_app.command("show")
def show_task(task_id: TaskId, as_json: Json = False) -> None:
    """Show a training in full, and how far it is."""
    with connect() as platform:
        task = platform.training.get(task_id)
        progress = platform.training.progress(task_id)
    if as_json:
        print_json({**task.model_dump(mode="json"), "progress": progress.model_dump(mode="json")})
        return
    out.print(f"{task.id} {task.name}: {task.state}, {describe(progress)}", highlight=False)
    out.print(
        f"  {task.model_type} on {task.scenario_name} ({task.env}), seed {task.seed}, "
        f"parameters {task.parameters}",
        highlight=False,
        soft_wrap=True,
    )
    if task.error:
        out.print(f"  {task.error}", highlight=False, soft_wrap=True)
    if task.model_id:
        out.print(f"  model {task.model_id} version {task.version}", highlight=False)


@tasks_app.command("logs")
def show_logs(
    task_id: TaskId,
    tail: Annotated[int | None, typer.Option(min=1, max=10_000, help="The last lines.")] = None,
    as_json: Json = False,
) -> None:
    """Print the log of a training."""
    since, more = 0, True
    with connect() as platform:
        while more:
            part = platform.training.logs(task_id, since=None if tail else since, tail=tail)
            more = tail is None and part.next_since > since
            since = part.next_since
            for line in part.items:
                if as_json:
                    typer.echo(line.model_dump_json(exclude_none=True))
                else:
                    typer.echo(f"{line.time:%F %T} {line.level:7} {line.message}")
                    if line.error:
                        typer.echo(line.error)


@tasks_app.command("watch")
def watch_task(task_id: TaskId, as_json: Json = False) -> None:
    """Follow a training until it has ended; Ctrl-C leaves it alone."""
    with connect() as platform:
        _print_task(wait_for(platform, task_id), as_json)


@tasks_app.command("curves")
def draw_curves(
    task_ids: Annotated[list[str], typer.Argument(help="As `lwmecps tasks list` shows them.")],
    output: Annotated[Path, typer.Option(help="Picture to write (PNG).")],
    metric: Annotated[
        str, typer.Option(help="What is drawn, as the history of a training names it.")
    ] = "step_reward",
    as_json: Json = False,
) -> None:
    """Draw the learning curves of trainings: a metric by environment steps."""
    curves = []
    with connect() as platform:
        for task_id in task_ids:
            task = platform.training.get(task_id)
            lines = platform.training.metrics(task_id, points=POINTS).items
            known = [line for line in lines if metric in line.values]
            if not known:
                there = sorted({name for line in lines for name in line.values})
                raise InvalidInputError(
                    f"--metric {metric}: training {task_id} has no such metric; there are {there}"
                )
            steps, values = zip(*((x.env_steps, x.values[metric]) for x in known), strict=True)
            curves.append(Curve(f"{task.name} (seed {task.seed})", steps, values))
    plot_curves(curves, output, metric)
    if as_json:
        print_json({"output": str(output), "curves": [asdict(curve) for curve in curves]})
    else:
        out.print(f"{output}: {metric} of {len(curves)} trainings", highlight=False)


@tasks_app.command("pause")
def pause_task(task_id: TaskId, as_json: Json = False) -> None:
    """Let a training write a checkpoint and wait."""
    with connect() as platform:
        _print_task(platform.training.pause(task_id), as_json)


@tasks_app.command("resume")
def resume_task(task_id: TaskId, as_json: Json = False) -> None:
    """Queue a paused training again."""
    with connect() as platform:
        _print_task(platform.training.resume(task_id), as_json)


@tasks_app.command("stop")
def stop_task(task_id: TaskId, as_json: Json = False) -> None:
    """End a training after its iteration, and keep its model."""
    with connect() as platform:
        _print_task(platform.training.stop(task_id), as_json)


@tasks_app.command("cancel")
def cancel_task(task_id: TaskId, as_json: Json = False) -> None:
    """End a training without a model."""
    with connect() as platform:
        _print_task(platform.training.cancel(task_id), as_json)


@tasks_app.command("retry")
def retry_task(task_id: TaskId, as_json: Json = False) -> None:
    """Queue a training again that failed, was cancelled or stopped."""
    with connect() as platform:
        _print_task(platform.training.retry(task_id), as_json)


@tasks_app.command("delete")
def delete_task(task_id: TaskId, as_json: Json = False) -> None:
    """Delete a training that has ended: record, history, log, checkpoints; its models stay."""
    with connect() as platform:
        platform.training.delete(task_id)
    if as_json:
        print_json({"id": task_id})
    else:
        out.print(f"deleted: {task_id}", highlight=False)


def wait_for(platform: "Client", task_id: str) -> "TrainingDetail":
    """Show a training's progress until it has ended.

    Raises:
        LwmecpsError: it failed; the message holds the reason.
    """
    with follow(err) as show:
        while True:
            progress = platform.training.progress(task_id)
            show(progress)
            if progress.state.ended:
                break
            time.sleep(POLL_S)
    task = platform.training.get(task_id)
    if task.state is TaskState.FAILED:
        raise LwmecpsError(f"training {task.id} failed: {task.error}")
    return task


def _print_task(task: "TrainingDetail", as_json: bool) -> None:
    if as_json:
        print_json(task.model_dump(mode="json"))
    else:
        model = f", model {task.model_id} version {task.version}" if task.model_id else ""
        out.print(f"{task.id} {task.name}: {task.state}{model}", highlight=False)
