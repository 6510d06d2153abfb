"""Documents in MongoDB, for any number of machines."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby, islice
from operator import itemgetter
from typing import Any
from urllib.parse import unquote

from pymongo import ASCENDING, DESCENDING, MongoClient
from pymongo.errors import BulkWriteError, ConfigurationError, DuplicateKeyError, PyMongoError

from lwmecps_gym.platform.database.documents import Document, Scalar
from lwmecps_gym.platform.database.migrations import COLLECTIONS, MIGRATIONS, missing_steps
from lwmecps_gym.platform.errors import (
    ConflictError,
    InvalidInputError,
    LwmecpsError,
    StoreUnavailableError,
)

_DUPLICATE_KEY = 11000
_SCHEMA = "schema"
"""Collection, and id of its one document, that knows which steps the database has taken."""
_MOST_CONNECTIONS = 20
"""Of one process."""
_LOADED_AT_ONCE = 500


class MongoDocuments:
    """The Documents contract over one MongoDB database.

    Args:
        client: A pymongo client, or what has its face.
        database: The name of the database.

    Raises:
        StoreUnavailableError: the server does not answer, or an import did not finish.
        InvalidInputError: a newer version of the platform made the database.
    """

    def __init__(
        self, client: MongoClient[Document], database: str, *, clear_unfinished: bool = False
    ) -> None:
        self._client = client
        self._database = client[database]
        self._where = f"MongoDB database {database}"
        with _errors():
            known = self._database[_SCHEMA].find_one({"_id": _SCHEMA}) or {}
            steps = missing_steps(known.get("version", 0), self._where)
            for step in steps:
                for collection, fields in step.items():
                    for field in fields:
                        self._database[collection].create_index([(field, ASCENDING), ("_id", 1)])
            if steps:
                self._set_schema({"$max": {"version": len(MIGRATIONS)}})
            if known.get("importing") and clear_unfinished:
                self._clear()
            elif known.get("importing"):
                raise StoreUnavailableError(
                    f"{self._where} holds an import that is going on or was cut short; wait for "
                    "it, or repeat it by `lwmecps store import --clear-unfinished FILE`"
                )

    @classmethod
    def connect(
        cls,
        url: str,
        database: str,
        answer_within_s: float = 5.0,
        *,
        clear_unfinished: bool = False,
    ) -> "MongoDocuments":
        """Open a database by its connection string.

        Args:
            url: `mongodb://...` or `mongodb+srv://...`.
            database: The name of the database.
            answer_within_s: How long to look for a server that takes writes, in seconds.
            clear_unfinished: Remove what an import left that was cut short.

        Raises:
            InvalidInputError: the connection string is wrong.
            StoreUnavailableError: the server does not answer.
        """
        milliseconds = int(answer_within_s * 1000)
        try:
            client: MongoClient[Document] = MongoClient(
                url,
                serverSelectionTimeoutMS=milliseconds,
                connectTimeoutMS=milliseconds,
                socketTimeoutMS=4 * milliseconds,
                waitQueueTimeoutMS=4 * milliseconds,
                maxPoolSize=_MOST_CONNECTIONS,
                retryWrites=True,
                retryReads=True,
                appname="lwmecps-gym",
            )
        except (ConfigurationError, OSError, ValueError) as error:
            # Not chained: pymongo may quote the string, and a traceback would show it.
            reason = _without_secrets(str(error), url)
            raise InvalidInputError(f"MONGODB_URL cannot be used: {reason}") from None
        try:
            return cls(client, database, clear_unfinished=clear_unfinished)
        except LwmecpsError:
            client.close()
            raise

    def insert(self, collection: str, document: Document) -> None:
        """Add a document; ConflictError when its id is taken."""
        try:
            with _errors():
                self._database[collection].insert_one(_to_mongo(document))
        except DuplicateKeyError as error:
            raise ConflictError(f"{collection}: the id {document['id']!r} is taken") from error

    def put_many(self, collection: str, documents: Sequence[Document]) -> None:
        """Put documents one after the other, but for those there in no lesser revision."""
        rest = [_to_mongo(document) for document in documents]
        with _errors():
            while rest:
                try:
                    self._database[collection].insert_many(rest, ordered=True)
                    return
                except BulkWriteError as error:
                    failure = error.details["writeErrors"][0]
                    if failure["code"] != _DUPLICATE_KEY:
                        raise
                    there = rest[failure["index"]]
                    older = {"_id": there["_id"], "revision": {"$lt": there["revision"]}}
                    self._database[collection].replace_one(older, there)
                    rest = rest[failure["index"] + 1 :]

    def get(self, collection: str, document_id: str) -> Document | None:
        """Return the document of that id, or None."""
        with _errors():
            found = self._database[collection].find_one({"_id": document_id})
        return None if found is None else _from_mongo(found)

    def replace(self, collection: str, document: Document, expected_revision: int) -> bool:
        """Replace the document of that id if it still has the expected revision."""
        seen = {"_id": document["id"], "revision": expected_revision}
        with _errors():
            result = self._database[collection].replace_one(seen, _to_mongo(document))
        return result.matched_count == 1

    def delete(self, collection: str, document_id: str) -> bool:
        """Remove a document; False when there was none."""
        with _errors():
            return self._database[collection].delete_one({"_id": document_id}).deleted_count == 1

    def find(
        self,
        collection: str,
        where: Mapping[str, Scalar],
        after: str | None = None,
        limit: int = 1000,
        descending: bool = False,
    ) -> list[Document]:
        """Return the documents whose top-level fields equal `where`, ordered by id."""
        query: dict[str, Any] = dict(where)
        if after is not None:
            query["_id"] = {"$lt" if descending else "$gt": after}
        order = DESCENDING if descending else ASCENDING
        with _errors():
            found = list(self._database[collection].find(query).sort("_id", order).limit(limit))
        return [_from_mongo(document) for document in found]

    def load(self, documents: Iterable[tuple[str, Document]]) -> None:
        """Fill an empty store; until it is full, others who open it are refused."""
        with _errors():
            for collection in COLLECTIONS:
                if self._database[collection].find_one({}) is not None:
                    raise ConflictError(f"{self._where} is not empty: it has {collection}")
            self._set_schema({"$set": {"importing": True}})
        try:
            rest = iter(documents)
            while batch := list(islice(rest, _LOADED_AT_ONCE)):
                for collection, group in groupby(batch, key=itemgetter(0)):
                    with _errors():
                        self._database[collection].insert_many([_to_mongo(d) for _, d in group])
        except BaseException as error:
            with _errors():
                self._clear()
            if isinstance(error, StoreUnavailableError) and isinstance(
                error.__cause__, BulkWriteError
            ):
                raise ConflictError(f"{self._where}: an id is there twice") from error
            raise
        with _errors():
            self._set_schema({"$unset": {"importing": True}})

    def count(self, collection: str, where: Mapping[str, Scalar]) -> int:
        """Return how many documents have top-level fields that equal `where`."""
        with _errors():
            return self._database[collection].count_documents(dict(where))

    def ping(self) -> None:
        """Return if the server answers."""
        with _errors():
            self._database.command("ping")

    def _clear(self) -> None:
        for collection in COLLECTIONS:
            self._database[collection].delete_many({})
        self._set_schema({"$unset": {"importing": True}})

    def _set_schema(self, change: Document) -> None:
        self._database[_SCHEMA].update_one({"_id": _SCHEMA}, change, upsert=True)

    def close(self) -> None:
        """Close the connections; the object is of no use afterwards."""
        self._client.close()


def _without_secrets(text: str, url: str) -> str:
    """Leave out of a text whatever in a connection string is not a host, as far as it is long."""
    rest = url.partition("://")[2]
    before, _, after = rest.rpartition("@")
    query = after.partition("?")[2]
    pieces = {url, rest, before, *re.split(r"[:@/]", before)}
    pieces |= {option.partition("=")[2] for option in query.split("&") if "=" in option}
    pieces |= {unquote(piece) for piece in pieces}
    for piece in sorted((piece for piece in pieces if len(piece) > 2), key=len, reverse=True):
        text = text.replace(piece, "***")
    return text


@contextmanager
def _errors() -> Iterator[None]:
    """Turn what the driver raises, a taken id apart, into the platform's error."""
    try:
        yield
    except DuplicateKeyError:
        raise
    except PyMongoError as error:
        reason = str(error).partition(", Topology Description")[0]
        raise StoreUnavailableError(
            f"MongoDB does not do what it was asked: {reason}; see that the server of MONGODB_URL"
            " is up and that its user may read and write the database"
        ) from error


def _to_mongo(document: Document) -> Document:
    return {"_id": document["id"], **{k: v for k, v in document.items() if k != "id"}}


def _from_mongo(document: Mapping[str, Any]) -> Document:
    return {"id": document["_id"], **{k: v for k, v in document.items() if k != "_id"}}
