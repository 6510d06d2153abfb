"""What all parts of the store do with records on their way to and from documents."""

from lwmecps_gym.platform.database.documents import Document, storable
from lwmecps_gym.platform.errors import InvalidInputError
from lwmecps_gym.platform.models import Record


def document_of(record: Record) -> Document:
    """Return a record as the back ends keep it; InvalidInputError for what they cannot."""
    document: Document = storable(record.model_dump(mode="json"), type(record).__name__)
    return document


def check_limit(limit: int) -> None:
    """Raise InvalidInputError unless a page of `limit` records can be asked for."""
    if limit < 1:
        raise InvalidInputError(f"limit is {limit}; it must be at least 1")
