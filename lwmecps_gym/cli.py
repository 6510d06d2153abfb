"""The `lwmecps` command.

With `--json` a command prints one JSON document on stdout and nothing else; progress, errors and
what Ray has to say go to stderr. Wrong input ends with one line and exit code 2.
"""

import json
import os
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from lwmecps_gym.key_commands import keys_app
from lwmecps_gym.openapi_command import openapi
from lwmecps_gym.platform.config import Settings, read_settings
from lwmecps_gym.platform.errors import InvalidInputError, LwmecpsError
from lwmecps_gym.platform.models import TrainingTask
from lwmecps_gym.watch import watch

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
)
models_app = typer.Typer(help="Trained models and their versions.", no_args_is_help=True)
scenarios_app = typer.Typer(help="Scenarios: list, show, validate.", no_args_is_help=True)
bench_app = typer.Typer(help="Measure speed, and what it must not cost.", no_args_is_help=True)
app.add_typer(models_app, name="models")
app.add_typer(scenarios_app, name="scenarios")
app.add_typer(bench_app, name="bench")
app.add_typer(keys_app, name="keys")
app.command()(watch)
app.command()(openapi)

# Files and pipes have no width; tables shall not be cut there.
out = Console(width=None if sys.stdout.isatty() else 110)
err = Console(stderr=True)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
ScenarioOption = Annotated[
    str, typer.Option(help="Name of a packaged scenario, or path of a YAML or JSON file.")
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of everything random.")]


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

    Takes about three minutes on two cores, all of it on this machine.
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
    parameter: Annotated[
        list[str] | None,
        typer.Option("--parameter", "-p", help="NAME=VALUE, e.g. learning_rate=0.001; repeatable."),
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="TASK_ID",
            help="Go on with a training that was interrupted, as it was created; "
            "other options do not count.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Train a model and register it as a new version.

    The scenario's name and the parameters are those of the REST API; `lwmecps models list` shows
    the result, `lwmecps evaluate --policy MODEL_ID` compares it.
    """
    from lwmecps_gym.algorithms.runner import resume_here, train_here
    from lwmecps_gym.envs.scenario import load_scenario
    from lwmecps_gym.progress import follow

    def begun(task: TrainingTask) -> None:
        line = f"training {task.id}; if interrupted: lwmecps train --resume {task.id}"
        err.print(line, highlight=False, soft_wrap=True)

    with follow(err) as show, redirect_stdout(sys.stderr):
        if resume is not None:
            task = resume_here(resume, read_settings(), show, begun)
        else:
            loaded = load_scenario(scenario)
            request = {
                "name": name or f"{algorithm}-{loaded.name}",
                "model_type": algorithm,
                "parameters": dict(_name_value(item) for item in parameter or []),
                "total_episodes": total_episodes,
                "scenario": loaded.document(),
                "env": env,
                "seed": seed,
            }
            task = train_here(request, read_settings(), show, begun)
    result = {
        "task_id": task.id,
        "model_id": task.model_id,
        "version": task.version,
        "episodes": task.episode,
        "env_steps": task.env_steps,
        "env_steps_per_s": task.env_steps_per_s,
        "return": {"first": task.first_return, "last": task.episode_return},
    }
    if as_json:
        _print_json(result)
        return
    out.print(
        f"model [bold]{task.model_id}[/] version {task.version}: {task.episode} episodes, "
        f"{task.env_steps:,} steps at {task.env_steps_per_s:,.0f}/s; "
        f"return {_number(task.first_return)} -> {_number(task.episode_return)}"
    )


@app.command()
def evaluate(
    scenario: ScenarioOption = "four-stations",
    policy: Annotated[
        list[str] | None,
        typer.Option(
            help="A heuristic, as NAME or NAME:KNOB=VALUE,..., MODEL_ID[:VERSION], or "
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
    from lwmecps_gym.algorithms.evaluation import evaluate_policies, evaluation_table
    from lwmecps_gym.algorithms.optimum.floor import affordable, measure_floor
    from lwmecps_gym.algorithms.roster import default_policies, find_policies
    from lwmecps_gym.envs.scenario import load_scenario

    loaded = load_scenario(scenario)
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
        _print_json(result.model_dump())
    else:
        out.print(evaluation_table(result))


@app.command()
def benchmark(
    full: Annotated[
        bool, typer.Option("--full/--quick", help="Ten seeds and whole trainings: hours.")
    ] = False,
    case: Annotated[
        list[str] | None, typer.Option(help="Case to play, repeatable; default: all.")
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option(help="Write the tables into a Markdown file, too.")
    ] = None,
    fresh: Annotated[
        bool, typer.Option(help="Measure anew what an earlier call has measured.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Compare all algorithms and heuristics over seeds: one command, all tables.

    Results and models are kept in the data folder: a second call takes them from there, and one
    that was interrupted goes on.
    """
    from lwmecps_gym.algorithms.benchmark import report
    from lwmecps_gym.algorithms.benchmark.cases import choose, full_cases, quick_cases
    from lwmecps_gym.algorithms.benchmark.runs import run_benchmark

    cases = choose(full_cases() if full else quick_cases(), case or [])
    with err.status("starting ...") as status, redirect_stdout(sys.stderr):
        found = run_benchmark(cases, read_settings(), status.update, fresh=fresh)
    if markdown is not None:
        markdown.write_text(report.markdown(found), encoding="utf-8")
    if as_json:
        _print_json(found.model_dump())
        return
    for table in report.tables(found):
        out.print(table)


@app.command()
def pretrain(
    name: Annotated[str, typer.Argument(help="A model of the package, or a recipe's YAML file.")],
    output: Annotated[
        Path | None, typer.Option(help="Folder of the result; default: pretrained/NAME.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a model that comes with the package anew: train, test, and write its two files."""
    from lwmecps_gym.algorithms.pretrained import load_recipe
    from lwmecps_gym.algorithms.pretrained.promotion import pretrain as make
    from lwmecps_gym.progress import follow

    recipe = load_recipe(name)
    label = Path(name).stem
    folder = output or Path("pretrained") / label
    with follow(err) as show, redirect_stdout(sys.stderr):
        metrics = make(label, recipe, folder, read_settings(), show)
    if as_json:
        _print_json({"folder": str(folder), "metrics": metrics})
        return
    for test, cost in metrics.items():
        out.print(f"{test}: {cost:.3f}", highlight=False)
    out.print(f"written to {folder}", soft_wrap=True)


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
        _print_json(result.model_dump(mode="json"))
        return
    table = Table(title=f"{result.name}: {result.mode} {result.metric}", title_justify="left")
    for column in ("trial", "score", "steps", "parameters", "note"):
        table.add_column(column)
    for trial in result.trials:
        note = trial.error or ("stopped early" if trial.stopped_early else "")
        best = trial.trial_id == result.best.trial_id
        table.add_row(
            f"{trial.trial_id}{' *' if best else ''}",
            _number(trial.score),
            f"{trial.env_steps:,}",
            json.dumps(trial.parameters),
            note,
        )
    out.print(table)
    found = f"--policy {result.policy}" if result.policy else json.dumps(result.best.parameters)
    out.print(f"best: {result.best.trial_id} {found}", soft_wrap=True)


@models_app.command("list")
def list_models(as_json: Json = False) -> None:
    """List models and their latest versions."""
    from lwmecps_gym.platform.database import open_store

    store = open_store(read_settings())
    models = store.list_models()
    if as_json:
        _print_json([model.model_dump(mode="json") for model in models])
        return
    table = Table("model", "latest version", "type", "created")
    for model in models:
        version = store.get_version(model.id)
        table.add_row(
            model.id, str(version.version), version.model_type, f"{version.created_at:%F %R} UTC"
        )
    out.print(table if models else "no models yet; `lwmecps train` makes one")


@models_app.command("show")
def show_model(model_id: str, as_json: Json = False) -> None:
    """Show the versions of a model."""
    from lwmecps_gym.platform.database import open_store

    versions = open_store(read_settings()).list_versions(model_id)
    if as_json:
        _print_json([version.model_dump(mode="json") for version in versions])
        return
    table = Table("version", "type", "task", "artifact", "metrics", title=model_id)
    for version in versions:
        metrics = ", ".join(f"{name} {value:.4g}" for name, value in version.metrics.items())
        table.add_row(
            str(version.version), version.model_type, version.task_id, version.digest[:12], metrics
        )
    out.print(table)


@scenarios_app.command("list")
def list_scenarios(as_json: Json = False) -> None:
    """List the scenarios that come with the package."""
    from lwmecps_gym.envs.scenario import load_scenario, packaged_scenarios

    found = [load_scenario(name) for name in packaged_scenarios()]
    if as_json:
        _print_json([{"name": item.name, "description": item.description} for item in found])
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

    _print_json(load_scenario(scenario).document())


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
        _print_json({"name": loaded.name, "valid": True, **sizes})
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
        _print_json(result)
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
    as_json: Json = False,
) -> None:
    """Measure PPO from end to end against RLlib's and Stable-Baselines3's, on the CPU.

    All train the same network with the same parameters on lwmecps-v2 and four-stations.
    """
    from lwmecps_gym.algorithms.bench.speed import bench_training, speed_table

    with err.status("starting ...") as status, redirect_stdout(sys.stderr):
        result = bench_training(runs, steps, threads, status.update)
    _print_json(result) if as_json else out.print(speed_table(result))


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
    _print_json(result) if as_json else out.print(curves_table(result))


@bench_app.command("faults")
def bench_faults(
    rounds: Annotated[int, typer.Option(min=1, help="How often something is killed.")] = 30,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Kill parts of a platform at random moments, and count what is lost, done twice or half done.

    Starts `lwmecps serve` in processes and a folder of its own, gives it a small training in each
    round, and kills -9 a training, a replica, Serve's controller, or everything. Exits with 1 if
    anything was lost.
    """
    from lwmecps_gym.serve_app.faults.bench import bench_faults

    verdict = bench_faults(rounds, seed, lambda text: err.print(text, highlight=False))
    if as_json:
        _print_json(verdict.model_dump())
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


def _name_value(item: str) -> tuple[str, Any]:
    name, separator, value = item.partition("=")
    if not separator or not name:
        raise InvalidInputError(f"--parameter {item!r}: want NAME=VALUE")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"


def _print_json(document: Any) -> None:
    sys.stdout.write(json.dumps(document, indent=2, allow_nan=False) + "\n")


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
