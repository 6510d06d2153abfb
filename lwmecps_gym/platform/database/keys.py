"""The keys of the API in the store. One is never deleted, so that its name in the audit stays."""

from datetime import datetime

from lwmecps_gym.platform.access import ApiKey
from lwmecps_gym.platform.database.documents import Documents
from lwmecps_gym.platform.database.records import document_of
from lwmecps_gym.platform.errors import NotFoundError

_PAGE = 1000


class ApiKeys:
    """All keys that were ever made.

    Args:
        documents: The back end.
    """

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    def add(self, key: ApiKey) -> None:
        """Add a key; ConflictError when its id is taken."""
        self._documents.insert("api_keys", document_of(key))

    def exist(self) -> bool:
        """Whether a key was ever made; those that are revoked count."""
        return bool(self._documents.find("api_keys", {}, limit=1))

    def find(self, key_id: str) -> ApiKey | None:
        """Return a key by its id, or None."""
        document = self._documents.get("api_keys", key_id)
        return None if document is None else ApiKey.model_validate(document)

    def list(self) -> list[ApiKey]:
        """Return all keys, oldest first."""
        keys: list[ApiKey] = []
        while True:
            after = keys[-1].id if keys else None
            found = self._documents.find("api_keys", {}, after, _PAGE)
            keys += [ApiKey.model_validate(document) for document in found]
            if len(found) < _PAGE:
                return keys

    def revoke(self, key_id: str, time: datetime) -> ApiKey:
        """Let a key open nothing any more; one that is revoked already stays as it is.

        Raises:
            NotFoundError: There is no such key.
        """
        while True:
            key = self.find(key_id)
            if key is None:
                raise NotFoundError(f"there is no key {key_id!r}; `lwmecps keys list` shows all")
            if key.revoked_at is not None:
                return key
            revoked = key.model_copy(update={"revoked_at": time, "revision": key.revision + 1})
            if self._documents.replace("api_keys", document_of(revoked), key.revision):
                return revoked
