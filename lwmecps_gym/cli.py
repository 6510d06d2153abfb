"""The `lwmecps` command.

With `--json` a command prints one JSON document on stdout and nothing else; progress, errors and
what Ray has to say go to stderr. Wrong input ends with one line and exit code 2.
"""

import json
import os
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from lwmecps_gym.commands.comparison import benchmark
from lwmecps_gym.commands.keys import keys_app
from lwmecps_gym.commands.models import models_app
from lwmecps_gym.commands.openapi import openapi
from lwmecps_gym.commands.pretrain import pretrain
from lwmecps_gym.commands.store import store_app
from lwmecps_gym.commands.tasks import tasks_app
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
from lwmecps_gym.commands.train import train
from lwmecps_gym.commands.watch import watch
from lwmecps_gym.platform.config import Settings, read_settings
from lwmecps_gym.platform.errors import LwmecpsError

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
)
scenarios_app = typer.Typer(help="Scenarios: list, show, validate.", no_args_is_help=True)
bench_app = typer.Typer(help="Measure speed, and what it must not cost.", no_args_is_help=True)
app.add_typer(tasks_app, name="tasks")
app.add_typer(models_app, name="models")
app.add_typer(scenarios_app, name="scenarios")
app.add_typer(bench_app, name="bench")
app.add_typer(store_app, name="store")
app.add_typer(keys_app, name="keys")
app.command()(train)
app.command()(watch)
app.command()(openapi)
app.command()(benchmark)
app.command()(pretrain)


@app.callback()
def prepare(
    modules: Annotated[
        list[str] | None,
        typer.Option(
            "--import",
            help="Module or .py file that registers algorithms, as LWMECPS_ALGORITHMS; repeatable.",
        ),
    ] = None,
) -> None:
    """Learn where to place services on an edge Kubernetes cluster, compare, and put to work."""
    if modules:
        named = os.environ.get("LWMECPS_ALGORITHMS")
        os.environ["LWMECPS_ALGORITHMS"] = ",".join([named, *modules] if named else modules)


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="Folder for the picture and the data.")] = Path(
        "demo-output"
    ),
    episodes: Annotated[int, typer.Option(min=1, help="Episodes (days) to train.")] = 1664,
) -> None:
    """Train a policy, compare it with what people run today, deploy it, and ask it.

    Takes about two minutes on two idle cores, all of it on this machine.
    """
    from lwmecps_gym.demo import run_demo

    run_demo(output, episodes, out)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes any free.")] = 8000,
    no_auth: Annotated[
        bool,
        typer.Option(
            "--insecure-no-auth",
            help="Ask nobody for a key: for behind a proxy that authenticates, and nowhere else.",
        ),
    ] = False,
) -> None:
    """Run the platform: Ray, trainings, models and the REST API, until Ctrl-C or SIGTERM.

    An address that others can reach needs keys: `lwmecps keys create` makes one.
    """
    from lwmecps_gym.serve_app.server import serve_forever

    settings = _settings()
    if no_auth:
        settings = settings.model_copy(update={"auth": "off"})
    err.print("starting Ray and the API ...")
    serve_forever(
        settings, host, port, ready=lambda url: err.print(f"ready: {url}  (docs: {url}/docs)")
    )


@app.command()
def evaluate(
    scenario: ScenarioOption = "four-stations",
    policy: Annotated[
        list[str] | None,
        typer.Option(
            help="A heuristic, as NAME or NAME:KNOB=VALUE,..., MODEL_ID[:VERSION or ALIAS], or "
            "pretrained:NAME; repeatable. Default: heuristics."
        ),
    ] = None,
    episodes: Annotated[int, typer.Option(min=1, help="Whole episodes per policy.")] = 5,
    seed: Seed = 1,
    plot: Annotated[Path | None, typer.Option(help="Write a picture (PNG) of the day.")] = None,
    bound: Annotated[
        bool | None,
        typer.Option(help="How far above the bound each policy is; default: where that is quick."),
    ] = None,
    clairvoyant: Annotated[
        bool | None,
        typer.Option(help="The same for one who knows the demand; default: as --bound."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare policies over whole days of the same demand."""
    from lwmecps_gym.envs.scenario import load_scenario

    loaded = load_scenario(scenario)
    # These take seconds.
    from lwmecps_gym.algorithms.evaluation import evaluate_policies, evaluation_table
    from lwmecps_gym.algorithms.optimum.floor import affordable, measure_floor
    from lwmecps_gym.algorithms.roster import default_policies, find_policies

    policies = find_policies(policy or default_policies(loaded), loaded, read_settings(), seed)
    wanted = bool(bound or clairvoyant)
    if bound is None and clairvoyant is None:
        wanted = affordable(loaded, episodes)
        if not wanted:
            err.print("the bound takes more than a minute here: left out; --bound finds it")
    floor = None
    if wanted:
        with err.status("looking for the floor ..."):
            floor = measure_floor(loaded, episodes, seed, plan=clairvoyant is not False)
    with err.status("playing ..."):
        result, days = evaluate_policies(loaded, policies, episodes, seed, floor)
    if plot is not None:
        from lwmecps_gym.algorithms.plots import plot_days

        least = None if floor is None else floor.bound.mean(1)
        plot_days(days, plot, f"{loaded.name}, mean of {episodes} episodes", least)
        err.print(f"picture: {plot}")
    if as_json:
        print_json(result.model_dump())
    else:
        out.print(evaluation_table(result))


@app.command()
def sweep(
    config: Annotated[str, typer.Argument(help="Packaged sweep (ppo, hpa, ...) or a YAML file.")],
    scenario: Annotated[str | None, typer.Option(help="Another scenario than the file's.")] = None,
    as_json: Json = False,
) -> None:
    """Search parameters with Ray Tune and name the best trial."""
    from lwmecps_gym.tune_configs.sweep import load_sweep, run_sweep

    settings = _settings()
    loaded = load_sweep(config)
    starting = err.status(f"sweep {loaded.name}: starting ...")
    with starting as status, redirect_stdout(sys.stderr):
        result = run_sweep(
            loaded,
            settings,
            scenario=scenario,
            on_progress=lambda text: status.update(f"sweep {loaded.name}: {text}"),
        )
    if as_json:
        print_json(result.model_dump(mode="json"))
        return
    table = Table(title=f"{result.name}: {result.mode} {result.metric}", title_justify="left")
    for column in ("trial", "score", "steps", "parameters", "note"):
        table.add_column(column)
    for trial in result.trials:
        note = trial.error or ("stopped early" if trial.stopped_early else "")
        best = trial.trial_id == result.best.trial_id
        table.add_row(
            f"{trial.trial_id}{' *' if best else ''}",
            number(trial.score),
            f"{trial.env_steps:,}",
            json.dumps(trial.parameters),
            note,
        )
    out.print(table)
    found = f"--policy {result.policy}" if result.policy else json.dumps(result.best.parameters)
    out.print(f"best: {result.best.trial_id} {found}", soft_wrap=True)
    tell_of_sync(result.wandb_sync)


@scenarios_app.command("list")
def list_scenarios(as_json: Json = False) -> None:
    """List the scenarios that come with the package."""
    from lwmecps_gym.envs.scenario import load_scenario, packaged_scenarios

    found = [load_scenario(name) for name in packaged_scenarios()]
    if as_json:
        print_json([{"name": item.name, "description": item.description} for item in found])
        return
    table = Table("scenario", "nodes", "services", "sites", "description")
    for item in found:
        sizes = [str(len(part)) for part in (item.nodes, item.services, item.sites)]
        table.add_row(item.name, *sizes, item.description)
    out.print(table)


@scenarios_app.command("show")
def show_scenario(scenario: str) -> None:
    """Print a scenario in full as JSON, its files read into it."""
    from lwmecps_gym.envs.scenario import load_scenario

    print_json(load_scenario(scenario).document())


@scenarios_app.command("validate")
def validate_scenario(file: str, as_json: Json = False) -> None:
    """Check a scenario file; what is wrong is named by file, field and value."""
    from lwmecps_gym.algorithms.heuristics import check_tuning
    from lwmecps_gym.envs.scenario import load_scenario

    loaded = load_scenario(file)
    check_tuning(loaded)
    sizes = {
        part: len(getattr(loaded, part)) for part in ("nodes", "services", "sites")
    }  # fmt: skip
    if as_json:
        print_json({"name": loaded.name, "valid": True, **sizes})
    else:
        out.print(f"{file}: valid; " + ", ".join(f"{n} {part}" for part, n in sizes.items()))


@bench_app.command("env")
def bench_env(
    runs: Annotated[int, typer.Option(min=1, help="Runs of which the median is taken.")] = 5,
    as_json: Json = False,
) -> None:
    """Measure environment steps/s against gymnasium's SyncVectorEnv over our own single env."""
    from lwmecps_gym.envs.bench import bench_environments

    with err.status("measuring ..."):
        result = bench_environments(runs)
    if as_json:
        print_json(result)
        return
    table = Table(
        "env", "nodes", "services", "envs", "steps/s", "times SyncVectorEnv",
        "us per step", "ns per step, node and service",
        caption=result["machine"],
    )  # fmt: skip
    for row in result["rows"]:
        table.add_row(
            row["env"],
            *(str(row[name]) for name in ("nodes", "services", "num_envs")),
            f"{row['steps_per_s']:,.0f}",
            f"{row['ratio_to_sync']:.1f}",
            f"{1e6 / row['steps_per_s']:,.2f}",
            f"{1e9 / row['steps_per_s'] / row['nodes'] / row['services']:.1f}",
        )
    out.print(table)


@bench_app.command("train")
def bench_train(
    runs: Annotated[int, typer.Option(min=1, help="Runs of which the median is taken.")] = 3,
    steps: Annotated[int, typer.Option(min=1, help="Environment steps of a run.")] = 65_536,
    threads: Annotated[int, typer.Option(min=1, help="Threads of torch.")] = 1,
    parameter: ParameterOption = None,
    as_json: Json = False,
) -> None:
    """Measure PPO from end to end against RLlib's and Stable-Baselines3's, on the CPU.

    All train the same network with the same parameters on lwmecps-v2 and four-stations: 256
    clusters side by side, 32 steps between updates, 64 x 64, unless -p says otherwise.
    """
    from lwmecps_gym.algorithms.bench.speed import bench_training, speed_table

    with err.status("starting ...") as status, redirect_stdout(sys.stderr):
        values = named_values(parameter)
        result = bench_training(runs, steps, threads, status.update, **values)
    print_json(result) if as_json else out.print(speed_table(result))


@bench_app.command("serve")
def bench_serve(
    runs: Annotated[int, typer.Option(min=1, help="Runs of which the median is taken.")] = 5,
    seconds: Annotated[float, typer.Option(min=0.2, help="Length of a run.")] = 2.0,
    plain_states: Annotated[
        bool, typer.Option("--plain-states", help="Send states in plain terms, not observations.")
    ] = False,
    scenario: ScenarioOption = "four-stations",
    as_json: Json = False,
) -> None:
    """Measure predict through Ray Serve, beside the same API and model under plain uvicorn."""
    from lwmecps_gym.serve_app.bench.serving import bench_serving, serving_table

    with err.status("starting ...") as status, redirect_stdout(sys.stderr):
        result = bench_serving(runs, seconds, status.update, scenario, plain_states)
    print_json(result) if as_json else out.print(serving_table(result))


@bench_app.command("runner")
def bench_runner(
    seeds: Annotated[int, typer.Option(min=2, help="Trainings of each kind.")] = 10,
    iterations: Annotated[int, typer.Option(min=1, help="Iterations of each training.")] = 20,
    scenario: ScenarioOption = "tiny",
    as_json: Json = False,
) -> None:
    """Compare what PPO learns with our environment runner and with RLlib's, as curves."""
    from lwmecps_gym.algorithms.bench.curves import compare_runners, curves_table

    with err.status("starting ...") as status, redirect_stdout(sys.stderr):
        result = compare_runners(seeds, iterations, scenario, status.update)
    print_json(result) if as_json else out.print(curves_table(result))


@bench_app.command("faults")
def bench_faults(
    rounds: Annotated[int, typer.Option(min=1, help="How often something is killed.")] = 30,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Kill parts of a platform at random moments, and count what is lost, done twice or half done.

    Starts `lwmecps serve` in processes and a folder of its own, gives it a small training in each
    round, and kills -9 a training, a replica, Serve's controller, the command itself, or all of it.
    Exits with 1 if anything was lost.
    """
    from lwmecps_gym.serve_app.faults.bench import bench_faults

    verdict = bench_faults(rounds, seed, lambda text: err.print(text, highlight=False))
    if as_json:
        print_json(verdict.model_dump())
    else:
        out.print(", ".join(f"{name} {count}" for name, count in verdict.model_dump().items()))
    if not verdict.good:
        raise typer.Exit(1)


def _settings() -> Settings:
    """Settings from the environment, once the algorithms that they name are registered."""
    from lwmecps_gym.algorithms.registry import import_algorithms

    settings = read_settings()
    import_algorithms(settings.algorithms)
    return settings


def main() -> None:
    """Run the command; turn wrong usage and the platform's errors into one line and exit code 2."""
    try:
        sys.exit(app(prog_name="lwmecps", standalone_mode=False))
    except LwmecpsError as error:
        message = str(error)
    except typer.TyperException as error:
        message = error.format_message()
    if message:  # there is none where a group without a command has shown its help
        line = f"error: {' '.join(message.split())}"
        err.print(line, markup=False, highlight=False, soft_wrap=True)
    sys.exit(2)


if __name__ == "__main__":
    main()
