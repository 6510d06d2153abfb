"""Stores whose back end can be made to fail: by another program's lock, or a server that leaves."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from lwmecps_gym.platform.database import MongoDocuments, SqliteDocuments, Store

from .mongodb_server import MongoServer

Outage = Callable[[], AbstractContextManager[None]]
BACK_ENDS = ["sqlite", "mongodb"]


@contextmanager
def store_with_outage(back_end: str, tmp_path: Path) -> Iterator[tuple[Store, Outage]]:
    """A store on one of `BACK_ENDS`, and what makes it fail for as long as the block runs."""
    if back_end == "mongodb":
        with MongoServer() as server:
            connected = MongoDocuments.connect(server.url, "lwmecps-test", answer_within_s=1)
            yield Store(connected), server.away
            connected.close()
        return
    path = tmp_path / "lwmecps.sqlite3"
    documents = SqliteDocuments(path, busy_timeout_s=0.05)

    @contextmanager
    def locked() -> Iterator[None]:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")
        other.close()

    yield Store(documents), locked
    documents.close()
