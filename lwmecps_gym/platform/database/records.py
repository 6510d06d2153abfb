"""Typed records over documents: what every part of the store shares."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from lwmecps_gym.platform.database.documents import Document, Documents, Scalar, storable
from lwmecps_gym.platform.errors import ConflictError, InvalidInputError, NotFoundError
from lwmecps_gym.platform.models import Record

R = TypeVar("R", bound=Record)

Check = Callable[[Record | None], None]
"""Called with a record as a change finds it (None: nothing), each time that the change is tried;
what it raises ends the change. So it holds at the moment of the write."""

PAGE = 1000
"""How many documents are read at once."""


def document_of(record: Record) -> Document:
    """Return a record as it is stored; raises `InvalidInputError` for what cannot be."""
    made: Document = storable(record.model_dump(mode="json"), type(record).__name__)
    return made


def anything(record: Record | None) -> None:
    """Let a change be made on whatever is there: the `Check` of most."""


def check_limit(limit: int) -> None:
    """Raise InvalidInputError unless a page of `limit` records can be asked for."""
    if limit < 1:
        raise InvalidInputError(f"limit is {limit}; it must be at least 1")


class Records:
    """Reads and changes of single records.

    Args:
        documents: The back end.
    """

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    def _find(self, collection: str, record_id: str, kind: type[R]) -> R | None:
        found = self._documents.get(collection, record_id)
        return None if found is None else kind.model_validate(found)

    def _read(self, collection: str, record_id: str, kind: type[R], noun: str) -> R:
        found = self._find(collection, record_id, kind)
        if found is None:
            raise NotFoundError(f"there is no {noun} {record_id!r}; list them to see which exist")
        return found

    def _read_all(self, collection: str, where: Mapping[str, Scalar], kind: type[R]) -> list[R]:
        records: list[R] = []
        while True:
            after = records[-1].id if records else None
            found = self._documents.find(collection, where, after, PAGE)
            records += [kind.model_validate(document) for document in found]
            if len(found) < PAGE:
                return records

    def _put(
        self,
        collection: str,
        record_id: str,
        kind: type[R],
        change: Callable[[R | None], R | None],
    ) -> R | None:
        """Make or change a record by compare-and-set, again until no one was first.

        Args:
            collection: Where it lies.
            record_id: Its id.
            kind: Its type.
            change: Gives the record that follows what is there (None: nothing), or None to leave
                it. What it raises ends the attempt.

        Returns:
            The record as it is now.
        """
        while True:
            current = self._find(collection, record_id, kind)
            changed = change(current)
            if changed is None:
                return current
            if current is None:
                try:
                    self._documents.insert(collection, document_of(changed))
                except ConflictError:
                    continue
                return changed
            following = _with(changed, revision=current.revision + 1)
            if self._documents.replace(collection, document_of(following), current.revision):
                return following


def _with(record: R, **changes: Any) -> R:
    return record.model_copy(update=changes)
