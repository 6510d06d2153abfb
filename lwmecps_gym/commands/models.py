"""`lwmecps models`: the registry of a platform, this machine's or the one at `LWMECPS_URL`."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeVar

import typer
from rich.table import Table

from lwmecps_gym.commands.connect import connect
from lwmecps_gym.commands.terminal import Json, out, print_json
from lwmecps_gym.platform.errors import InvalidInputError

models_app = typer.Typer(
    help="Models of a platform: this machine's, or the one at LWMECPS_URL.", no_args_is_help=True
)

ModelId = Annotated[str, typer.Argument(help="As `lwmecps models list` shows it.")]
Version = Annotated[str, typer.Option(help="A number, an alias, or `latest`.")]
T = TypeVar("T")


class _Page(Protocol[T]):
    @property
    def items(self) -> list[T]: ...

    @property
    def next_cursor(self) -> str | None: ...


@models_app.command("list")
def list_models(as_json: Json = False) -> None:
    """List models and their latest versions."""
    with connect() as platform:
        models = list(_all(lambda cursor: platform.models.list(limit=500, cursor=cursor)))
    if as_json:
        print_json([model.model_dump(mode="json") for model in models])
        return
    table = Table("model", "latest version", "deployed", "aliases", "created")
    for model in models:
        table.add_row(
            model.id,
            str(model.latest_version),
            str(model.deployed_version or ""),
            ", ".join(f"{name} {number}" for name, number in model.aliases.items()),
            f"{model.created_at:%F %R} UTC",
        )
    out.print(table if models else "no models yet; `lwmecps train` makes one")


@models_app.command("show")
def show_model(model_id: ModelId, as_json: Json = False) -> None:
    """Show the versions of a model."""
    with connect() as platform:
        versions = list(
            _all(lambda cursor: platform.models.versions(model_id, limit=500, cursor=cursor))
        )
    if as_json:
        print_json([version.model_dump(mode="json") for version in versions])
        return
    table = Table("version", "aliases", "type", "task", "artifact", "metrics", title=model_id)
    for version in versions:
        metrics = ", ".join(f"{name} {value:.4g}" for name, value in version.metrics.items())
        table.add_row(
            str(version.version),
            ", ".join(version.aliases),
            version.model_type,
            version.task_id or "uploaded",
            version.digest[:12],
            metrics,
        )
    out.print(table)


@models_app.command("deploy")
def deploy_model(model_id: ModelId, version: Version = "latest", as_json: Json = False) -> None:
    """Let a version answer requests."""
    with connect() as platform:
        deployed = platform.models.deploy(model_id, version)
    _print(deployed.model_dump(mode="json"), as_json, "version {version} answers for {model_id}")


@models_app.command("undeploy")
def undeploy_model(model_id: ModelId, as_json: Json = False) -> None:
    """Let a model answer no more."""
    with connect() as platform:
        model = platform.models.undeploy(model_id)
    _print(model.model_dump(mode="json"), as_json, "{id} answers no more")


@models_app.command("rollback")
def roll_back_model(model_id: ModelId, as_json: Json = False) -> None:
    """Deploy the version that was deployed before."""
    with connect() as platform:
        deployed = platform.models.roll_back(model_id)
    _print(deployed.model_dump(mode="json"), as_json, "version {version} answers for {model_id}")


@models_app.command("alias")
def set_alias(
    model_id: ModelId,
    alias: Annotated[str, typer.Argument(help="`champion`, or a name of your own.")],
    version: Version = "latest",
    remove: Annotated[bool, typer.Option("--remove", help="Let it name nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Let an alias name a version."""
    with connect() as platform:
        if remove:
            platform.models.remove_alias(model_id, alias)
            _print({"model_id": model_id, "name": alias}, as_json, "{name} names nothing")
            return
        named = platform.models.set_alias(model_id, alias, version)
    _print(named.model_dump(mode="json"), as_json, "{name} names version {version} of {model_id}")


@models_app.command("download")
def download_version(
    model_id: ModelId,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")],
    version: Version = "latest",
    as_json: Json = False,
) -> None:
    """Write a version into one file, which `upload` takes elsewhere."""
    with connect() as platform:
        content = platform.models.download(model_id, version)
    try:
        output.write_bytes(content)
    except OSError as error:
        raise InvalidInputError(f"--output {output}: cannot be written: {error}") from error
    document = {"file": str(output), "bytes": len(content)}
    _print(document, as_json, "{file}: {bytes} bytes")


@models_app.command("upload")
def upload_version(
    model_id: Annotated[str, typer.Argument(help="Of a model that is there, or a new one.")],
    file: Annotated[Path, typer.Argument(help="As `download` wrote it.")],
    parent: Annotated[
        str | None, typer.Option(help="MODEL:VERSION that its training began with.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Register a file as the next version of a model."""
    content = _read(file)
    with connect() as platform:
        version = platform.models.upload(model_id, content, parent=parent)
    _print(version.model_dump(mode="json"), as_json, "{model_id} version {version}")


@models_app.command("add")
def add_model(
    name: Annotated[str, typer.Argument(help="A model of the package, as pretrained:NAME has it.")],
    as_json: Json = False,
) -> None:
    """Register a model that comes with the package, to deploy it and ask it for decisions."""
    from lwmecps_gym.algorithms.pretrained import pack_pretrained

    content = pack_pretrained(name)
    with connect() as platform:
        version = platform.models.upload(name, content)
    _print(version.model_dump(mode="json"), as_json, "{model_id} version {version}")


@models_app.command("delete")
def delete_model(
    model_id: ModelId,
    version: Annotated[
        str | None, typer.Option(help="Only this version: a number or `latest`.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Delete a model, or one version; nothing that is deployed or has an alias."""
    with connect() as platform:
        if version is None:
            platform.models.delete(model_id)
        else:
            platform.models.delete_version(model_id, version)
    document = {"model_id": model_id, "version": version or "all versions"}
    _print(document, as_json, "deleted: {model_id}, {version}")


@models_app.command("predict")
def predict(
    model_id: ModelId,
    state: Annotated[
        Path, typer.Argument(help="JSON file of a state in plain terms; - reads stdin.")
    ],
    as_json: Json = False,
) -> None:
    """Ask a deployed model what it would do."""
    content = sys.stdin.buffer.read() if str(state) == "-" else _read(state)
    try:
        given = json.loads(content)
    except ValueError as error:
        raise InvalidInputError(f"{state}: not JSON: {error}") from error
    with connect() as platform:
        decision = platform.models.predict(model_id, given)
    _print(decision.model_dump(mode="json"), as_json, "{description}")


def _all(page: Callable[[str | None], _Page[T]]) -> Iterator[T]:
    """All items of a list that comes in pages."""
    cursor = None
    while True:
        found = page(cursor)
        yield from found.items
        if (cursor := found.next_cursor) is None:
            return


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InvalidInputError(f"{file}: cannot be read: {error}") from error


def _print(document: dict[str, Any], as_json: bool, words: str) -> None:
    if as_json:
        print_json(document)
    else:
        out.print(words.format_map(document), highlight=False, soft_wrap=True)
