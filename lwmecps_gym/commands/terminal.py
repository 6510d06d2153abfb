"""What all commands write with: results on stdout, everything else on stderr."""

import json
import sys
from typing import Annotated, Any

import typer
from rich.console import Console

from lwmecps_gym.platform.errors import InvalidInputError

# Files and pipes have no width; tables shall not be cut there.
out = Console(width=None if sys.stdout.isatty() else 110)
err = Console(stderr=True)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]

ScenarioOption = Annotated[
    str, typer.Option(help="Name of a packaged scenario, or path of a YAML or JSON file.")
]
ParameterOption = Annotated[
    list[str] | None,
    typer.Option("--parameter", "-p", help="NAME=VALUE, e.g. learning_rate=0.001; repeatable."),
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of everything random.")]


def named_values(items: list[str] | None) -> dict[str, Any]:
    """Values by name, of what `ParameterOption` takes; JSON, or else text.

    Raises:
        InvalidInputError: an item is not NAME=VALUE.
    """
    values: dict[str, Any] = {}
    for item in items or []:
        name, separator, value = item.partition("=")
        if not separator or not name:
            raise InvalidInputError(f"--parameter {item!r}: want NAME=VALUE")
        try:
            values[name] = json.loads(value)
        except json.JSONDecodeError:
            values[name] = value
    return values


def print_json(document: Any) -> None:
    """Print a document as the only thing on stdout."""
    sys.stdout.write(json.dumps(document, indent=2, allow_nan=False) + "\n")


def number(value: float | None) -> str:
    """A number as tables show it; - for none."""
    return "-" if value is None else f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"


def tell_of_sync(command: str | None) -> None:
    """Tell how W&B runs that are kept on this disk are sent; nothing where there are none."""
    if command is not None:
        line = f"W&B is told later, by: {command}"
        err.print(line, highlight=False, markup=False, soft_wrap=True)
