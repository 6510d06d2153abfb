"""The contract that every back end of the store keeps.

A back end knows documents, never records: what a task or a version is, and how one changes, is
written once, in `store`. Of the back end it asks three things, each atomic on one document: insert
unless the id is taken, replace if nobody was first, and read in the order of the ids.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from lwmecps_gym.platform.errors import InvalidInputError

Document = dict[str, Any]
Scalar = str | int


class Documents(Protocol):
    """A set of collections of JSON documents, each with an `id` and a `revision`.

    What a write has returned from survives a crash of the process. Every method raises
    StoreUnavailableError when the database does not answer.
    """

    def insert(self, collection: str, document: Document) -> None:
        """Add a document; ConflictError when its id is taken."""

    def put_many(self, collection: str, documents: Sequence[Document]) -> None:
        """Put documents in their order, leaving out those that are there in no lesser revision."""

    def get(self, collection: str, document_id: str) -> Document | None:
        """Return the document of that id, or None."""

    def replace(self, collection: str, document: Document, expected_revision: int) -> bool:
        """Replace the document of that id if it still has the expected revision.

        Returns:
            False, with nothing changed, when it has another revision or does not exist.
        """

    def delete(self, collection: str, document_id: str) -> bool:
        """Remove a document; False when there was none."""

    def find(
        self,
        collection: str,
        where: Mapping[str, Scalar],
        after: str | None = None,
        limit: int = 1000,
        descending: bool = False,
    ) -> list[Document]:
        """Return the documents whose top-level fields equal `where`, ordered by id.

        Args:
            collection: One of `migrations.COLLECTIONS`.
            where: Field and value; all must be equal.
            after: Only ids beyond this one, in the direction of reading.
            limit: At most so many, at least 1.
            descending: Read from the greatest id to the least.
        """

    def load(self, documents: Iterable[tuple[str, Document]]) -> None:
        """Fill an empty store with documents, each with its collection: all of them or none.

        Raises:
            ConflictError: the store is not empty, or an id is there twice.
        """

    def count(self, collection: str, where: Mapping[str, Scalar]) -> int:
        """Return how many documents have top-level fields that equal `where`."""

    def ping(self) -> None:
        """Return if the database answers."""

    def close(self) -> None:
        """Let go of the connections."""


def storable(value: Any, where: str) -> Any:
    """Return a JSON-like value in the form that all back ends keep alike.

    JSON has no NaN and no infinity; they become the strings `nan`, `inf` and `-inf`, which pydantic
    reads back into a float field.

    Args:
        value: What `model_dump(mode="json")` gives.
        where: The path of the value, for the message.

    Raises:
        InvalidInputError: an integer beyond 64 bit, a text that is not valid Unicode, or a key with
            a NUL character.
    """
    if isinstance(value, dict):
        if any("\0" in key for key in value):
            raise InvalidInputError(f"{where}: a key holds a NUL character; remove it")
        return {storable(k, where): storable(v, f"{where}.{k}") for k, v in value.items()}
    if isinstance(value, list):
        return [storable(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise InvalidInputError(f"{where}: the integer needs more than 64 bit; send a smaller one")
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise InvalidInputError(f"{where}: {value!a} is not valid Unicode: {error}") from error
    return value
