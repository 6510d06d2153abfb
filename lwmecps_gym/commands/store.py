"""`lwmecps store`: move everything between SQLite and MongoDB."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from lwmecps_gym.commands.terminal import Json, out, print_json
from lwmecps_gym.platform.config import read_settings

store_app = typer.Typer(
    help="The store of this machine: MongoDB at MONGODB_URL, else SQLite in LWMECPS_DATA_DIR.",
    no_args_is_help=True,
)


@store_app.command("export")
def export(
    file: Annotated[Path, typer.Argument(help="A new file.")], as_json: Json = False
) -> None:
    """Write the whole store into one file; best while no platform runs on it.

    Artifacts and checkpoints stay in the data folder: copy `artifacts` and `checkpoints` from it.
    """
    from lwmecps_gym.platform.database import open_documents
    from lwmecps_gym.platform.database.transfer import export_store

    documents = open_documents(read_settings())
    try:
        _print(export_store(documents, file), as_json)
    finally:
        documents.close()


@store_app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="As `export` wrote it.")],
    clear_unfinished: Annotated[
        bool, typer.Option(help="Remove what an import left that was cut short (MongoDB).")
    ] = False,
    as_json: Json = False,
) -> None:
    """Fill an empty store from a file: with all of it, or nothing."""
    from lwmecps_gym.platform.database import open_documents
    from lwmecps_gym.platform.database.transfer import import_store

    documents = open_documents(read_settings(), clear_unfinished=clear_unfinished)
    try:
        _print(import_store(file, documents), as_json)
    finally:
        documents.close()


def _print(counts: dict[str, int], as_json: bool) -> None:
    if as_json:
        print_json({"documents": counts})
        return
    table = Table("collection", "documents")
    for collection, count in counts.items():
        table.add_row(collection, str(count))
    out.print(table)
