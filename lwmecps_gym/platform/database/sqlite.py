"""Documents in one SQLite file, for one machine.

Any number of processes may use the file at once: the write-ahead log lets readers and one writer
work side by side, and a writer waits for its turn. Within a process one connection serves all
threads, one call at a time. The file must be on a local disk; a network file system has no locks
that SQLite can trust.
"""

import json
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from lwmecps_gym.platform.database.documents import Document, Scalar
from lwmecps_gym.platform.database.migrations import COLLECTIONS, MIGRATIONS, missing_steps
from lwmecps_gym.platform.errors import ConflictError, StoreUnavailableError


class SqliteDocuments:
    """The Documents contract over a SQLite file, which is made if there is none.

    Args:
        path: The file; its folder must exist.
        busy_timeout_s: How long a call waits for another process's write, in seconds.

    Raises:
        StoreUnavailableError: the file cannot be opened, or is not a SQLite database.
        InvalidInputError: a newer version of the platform made it.
    """

    def __init__(self, path: Path, busy_timeout_s: float = 5.0) -> None:
        self._path = path
        self._lock = threading.Lock()
        with self._errors():
            self._connection = sqlite3.connect(
                path, timeout=busy_timeout_s, isolation_level=None, check_same_thread=False
            )
            self._switch_to_wal(deadline=time.monotonic() + busy_timeout_s)
            self._migrate()

    def insert(self, collection: str, document: Document) -> None:
        """Add a document; ConflictError when its id is taken."""
        try:
            with self._errors(), self._lock:
                self._connection.execute(
                    f"INSERT INTO {collection} VALUES (?, ?, ?)", _row(document)
                )
        except sqlite3.IntegrityError as error:
            raise ConflictError(f"{collection}: the id {document['id']!r} is taken") from error

    def put_many(self, collection: str, documents: Sequence[Document]) -> None:
        """Put documents in one transaction, but for those that are there in no lesser revision."""
        with self._errors(), self._lock, self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(
                f"INSERT INTO {collection} VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE"
                " SET revision = excluded.revision, body = excluded.body"
                " WHERE excluded.revision > revision",
                [_row(document) for document in documents],
            )

    def get(self, collection: str, document_id: str) -> Document | None:
        """Return the document of that id, or None."""
        rows = self._select(f"SELECT body FROM {collection} WHERE id = ?", [document_id])
        return rows[0] if rows else None

    def replace(self, collection: str, document: Document, expected_revision: int) -> bool:
        """Replace the document of that id if it still has the expected revision."""
        document_id, revision, body = _row(document)
        with self._errors(), self._lock:
            changed = self._connection.execute(
                f"UPDATE {collection} SET revision = ?, body = ? WHERE id = ? AND revision = ?",
                [revision, body, document_id, expected_revision],
            )
            return changed.rowcount == 1

    def delete(self, collection: str, document_id: str) -> bool:
        """Remove a document; False when there was none."""
        with self._errors(), self._lock:
            removed = self._connection.execute(
                f"DELETE FROM {collection} WHERE id = ?", [document_id]
            )
            return removed.rowcount == 1

    def find(
        self,
        collection: str,
        where: Mapping[str, Scalar],
        after: str | None = None,
        limit: int = 1000,
        descending: bool = False,
    ) -> list[Document]:
        """Return the documents whose top-level fields equal `where`, ordered by id."""
        conditions = [f"{_extract(field)} = ?" for field in where]
        values: list[Scalar] = list(where.values())
        if after is not None:
            conditions.append("id < ?" if descending else "id > ?")
            values.append(after)
        return self._select(
            f"SELECT body FROM {collection} WHERE {' AND '.join(conditions) or 'TRUE'}"
            f" ORDER BY id {'DESC' if descending else 'ASC'} LIMIT ?",
            [*values, limit],
        )

    def load(self, documents: Iterable[tuple[str, Document]]) -> None:
        """Fill an empty store in one transaction."""
        try:
            with self._errors(), self._lock, self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
                for collection in COLLECTIONS:
                    if self._connection.execute(f"SELECT 1 FROM {collection} LIMIT 1").fetchone():
                        raise ConflictError(
                            f"the store {self._path} is not empty: it has {collection}"
                        )
                for collection, document in documents:
                    self._connection.execute(
                        f"INSERT INTO {collection} VALUES (?, ?, ?)", _row(document)
                    )
        except sqlite3.IntegrityError as error:
            raise ConflictError(f"an id is there twice: {error}") from error

    def count(self, collection: str, where: Mapping[str, Scalar]) -> int:
        """Return how many documents have top-level fields that equal `where`."""
        conditions = [f"{_extract(field)} = ?" for field in where]
        statement = f"SELECT count(*) FROM {collection} WHERE {' AND '.join(conditions) or 'TRUE'}"
        with self._errors(), self._lock:
            [found] = self._connection.execute(statement, list(where.values())).fetchone()
        return int(found)

    def ping(self) -> None:
        """Return if the file can be read."""
        with self._errors(), self._lock:
            self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()

    def close(self) -> None:
        """Close the connection; the object is of no use afterwards."""
        with self._lock:
            self._connection.close()

    def _select(self, statement: str, values: Sequence[Scalar]) -> list[Document]:
        with self._errors(), self._lock:
            rows = self._connection.execute(statement, values).fetchall()
        return [json.loads(body) for (body,) in rows]

    def _migrate(self) -> None:
        """Take the steps that the file has not taken; nothing is written where there are none."""
        execute = self._connection.execute
        if not missing_steps(execute("PRAGMA user_version").fetchone()[0], f"store {self._path}"):
            return
        with self._connection:
            execute("BEGIN IMMEDIATE")
            taken = execute("PRAGMA user_version").fetchone()[0]
            for step in missing_steps(taken, f"store {self._path}"):
                for collection, fields in step.items():
                    execute(
                        f"CREATE TABLE IF NOT EXISTS {collection}"
                        " (id TEXT PRIMARY KEY, revision INTEGER NOT NULL, body TEXT NOT NULL)"
                    )
                    for field in fields:
                        execute(
                            f"CREATE INDEX IF NOT EXISTS {collection}_{field}"
                            f" ON {collection} ({_extract(field)}, id)"
                        )
            execute(f"PRAGMA user_version = {len(MIGRATIONS)}")

    def _switch_to_wal(self, deadline: float) -> None:
        """Turn the write-ahead log on.

        SQLite does not wait its busy timeout when two connections switch a new file at the same
        moment: it fails the second at once.
        """
        while True:
            try:
                (mode,) = self._connection.execute("PRAGMA journal_mode").fetchone()
                if mode != "wal":
                    self._connection.execute("PRAGMA journal_mode = WAL").fetchone()
                return
            except sqlite3.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn what SQLite raises for reasons outside this program into the platform's error."""
        try:
            yield
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
            raise
        except sqlite3.DatabaseError as error:
            raise StoreUnavailableError(
                f"the store {self._path} cannot be used: {error}; see that the disk has room, that"
                " the file is a writable SQLite database, and that no other program holds it"
            ) from error


def _extract(field: str) -> str:
    """SQL of a top-level field; the same text in index and query, or the index goes unused."""
    return f"json_extract(body, '$.{field}')"


def _row(document: Document) -> tuple[str, int, str]:
    body = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return document["id"], document["revision"], body
