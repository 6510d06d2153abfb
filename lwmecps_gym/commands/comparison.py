"""`lwmecps benchmark`: everything against everything."""

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from lwmecps_gym.commands.terminal import Json, err, out, print_json
from lwmecps_gym.platform.config import read_settings
from lwmecps_gym.platform.errors import InvalidInputError


def benchmark(
    full: Annotated[
        bool, typer.Option("--full/--quick", help="Ten seeds and whole trainings: hours.")
    ] = False,
    case: Annotated[
        list[str] | None, typer.Option(help="Case to play, repeatable; default: all.")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Seeds of each case; default: 3, with --full 10.")
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option(help="Write the tables into a Markdown file, too.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Write a picture (PNG), too.")] = None,
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

    cases = choose(full_cases() if full else quick_cases(), case or [], seeds)
    with err.status("starting ...") as status, redirect_stdout(sys.stderr):
        found = run_benchmark(cases, read_settings(), status.update, fresh=fresh)
    if markdown is not None:
        try:
            markdown.write_text(report.markdown(found), encoding="utf-8")
        except OSError as error:
            raise InvalidInputError(f"--markdown {markdown}: cannot be written: {error}") from error
    if plot is not None:
        from lwmecps_gym.algorithms.benchmark.figure import plot_report

        plot_report(found, plot)
    if as_json:
        print_json(found.model_dump())
        return
    for table in report.tables(found):
        out.print(table)
