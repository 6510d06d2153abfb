"""`lwmecps pretrain`: make the models of the package anew."""

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from lwmecps_gym.commands.terminal import Json, err, out, print_json
from lwmecps_gym.platform.config import read_settings


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
    from lwmecps_gym.commands.progress import follow

    recipe = load_recipe(name)
    label = Path(name).stem
    folder = output or Path("pretrained") / label
    with follow(err) as show, redirect_stdout(sys.stderr):
        metrics = make(label, recipe, folder, read_settings(), show)
    if as_json:
        print_json({"folder": str(folder), "metrics": metrics})
        return
    for test, cost in metrics.items():
        out.print(f"{test}: {cost:.3f}", highlight=False)
    out.print(f"written to {folder}", soft_wrap=True)
