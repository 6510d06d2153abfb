"""Who changed what, in the store. There is no way to change or remove an entry."""

from lwmecps_gym.platform.access import AuditEntry
from lwmecps_gym.platform.database.documents import Documents, Scalar
from lwmecps_gym.platform.database.records import check_limit, document_of


class AuditLog:
    """The entries, which can be added and read.

    Args:
        documents: The back end.
    """

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    def append(self, entry: AuditEntry) -> None:
        """Add an entry; ConflictError when its id is taken."""
        self._documents.insert("audit", document_of(entry))

    def list(
        self,
        who: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
        oldest_first: bool = False,
    ) -> tuple[list[AuditEntry], str | None]:
        """Return a page of entries, newest first unless asked otherwise.

        Args:
            who: Only what was done under this name.
            limit: At most so many, at least 1.
            cursor: What the page before gave; None for the first.
            oldest_first: The other direction.

        Returns:
            The entries, and the cursor of the next page or None on the last.
        """
        check_limit(limit)
        where: dict[str, Scalar] = {} if who is None else {"who": who}
        found = self._documents.find("audit", where, cursor, limit + 1, descending=not oldest_first)
        entries = [AuditEntry.model_validate(document) for document in found[:limit]]
        return entries, entries[-1].id if len(found) > limit else None
