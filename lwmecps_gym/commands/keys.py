"""`lwmecps keys`: make, list and revoke the keys of the API, in the store itself."""

import getpass
import os
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from lwmecps_gym.commands.terminal import Json, err, out, print_json
from lwmecps_gym.platform.access import ApiKey, AuditEntry, Scope, issue_key, parse_lifetime
from lwmecps_gym.platform.config import read_settings
from lwmecps_gym.platform.models import new_id, now

if TYPE_CHECKING:
    from lwmecps_gym.platform.database import Store

keys_app = typer.Typer(help="Keys of the API: create, list, revoke.", no_args_is_help=True)


@keys_app.command("create")
def create_key(
    scope: Annotated[Scope, typer.Option(help="What it may do; each includes those before it.")],
    name: Annotated[str, typer.Option(help="What or whom it is for; the audit shows it.")],
    expires: Annotated[
        str | None, typer.Option(help="When it ends: 90m, 12h, 30d, 4w; default: never.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a key and show it, this once.

    From the first key on the API asks everyone for one.
    """
    key, text = issue_key(name, scope, None if expires is None else parse_lifetime(expires))
    store = _store()
    store.keys.add(key)
    _record(store, "create", key)
    if as_json:
        print_json({**_shown(key), "key": text})
        return
    sys.stdout.write(f"{text}\n")
    err.print(
        f"key {key.id} ({key.name}, {key.scope}); it is not shown again. "
        "Send it as the header  Authorization: Bearer KEY",
        highlight=False,
    )


@keys_app.command("list")
def list_keys(as_json: Json = False) -> None:
    """List all keys, those that are revoked too; never the keys themselves."""
    keys = _store().keys.list()
    if as_json:
        print_json([_shown(key) for key in keys])
        return
    table = Table("id", "name", "scope", "created", "expires", "state")
    for key in keys:
        state = "revoked" if key.revoked_at else "usable" if key.usable(now()) else "expired"
        table.add_row(
            key.id, key.name, key.scope, _day(key.created_at), _day(key.expires_at), state
        )
    out.print(table if keys else "no keys yet; `lwmecps keys create` makes one")


@keys_app.command("revoke")
def revoke_key(
    key_id: Annotated[str, typer.Argument(help="The id, as `lwmecps keys list` shows it.")],
    as_json: Json = False,
) -> None:
    """Let a key open nothing any more; it takes effect within two seconds."""
    store = _store()
    key = store.keys.revoke(key_id, now())
    _record(store, "revoke", key)
    if as_json:
        print_json(_shown(key))
    else:
        out.print(f"revoked: {key.id} ({key.name})", highlight=False)


def _store() -> "Store":
    """Open the store, whose drivers every other command would wait for at its start."""
    from lwmecps_gym.platform.database import open_store

    return open_store(read_settings())


def _record(store: "Store", verb: str, key: ApiKey) -> None:
    store.audit.append(
        AuditEntry(
            id=new_id(),
            who=f"cli:{_user()}",
            key_id=None,
            verb=verb,
            route="lwmecps keys",
            object_id=key.id,
            status=None,
            request_id=None,
        )
    )


def _user() -> str:
    """Name of who runs the command; the number where it has none, as in many containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _shown(key: ApiKey) -> dict[str, object]:
    return key.model_dump(mode="json", exclude={"digest", "revision"})


def _day(time: datetime | None) -> str:
    return "never" if time is None else f"{time:%F %R} UTC"
