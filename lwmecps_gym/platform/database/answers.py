"""Answers to creates in the store, by the keys under which they were sent."""

from datetime import datetime

from lwmecps_gym.platform.database.documents import Documents
from lwmecps_gym.platform.database.records import PAGE, document_of
from lwmecps_gym.platform.errors import ConflictError
from lwmecps_gym.platform.idempotency import KEPT, KeptAnswer


class Answers:
    """Reservations of ids, and the answers that were given.

    Args:
        documents: The back end.
    """

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    def reserve(self, wish: KeptAnswer) -> KeptAnswer:
        """Return what is kept under the id of `wish`: of another request, or `wish` itself now."""
        while True:
            document = self._documents.get("answers", wish.id)
            if document is not None:
                kept = KeptAnswer.model_validate(document)
                if wish.created_at - kept.created_at < KEPT:
                    return kept
                self._documents.delete("answers", kept.id)
            try:
                self._documents.insert("answers", document_of(wish))
            except ConflictError:
                continue
            return wish

    def keep(self, reserved: KeptAnswer, status: int, location: str, body: str) -> KeptAnswer:
        """Keep the answer to a reservation; gives the one that was kept first."""
        answered = reserved.model_copy(
            update={
                "status": status,
                "location": location,
                "body": body,
                "revision": reserved.revision + 1,
            }
        )
        if self._documents.replace("answers", document_of(answered), reserved.revision):
            return answered
        document = self._documents.get("answers", reserved.id)
        return answered if document is None else KeptAnswer.model_validate(document)

    def forget_old(self, time: datetime) -> int:
        """Remove what was kept long enough; gives how many."""
        removed, after = 0, None
        while True:
            found = self._documents.find("answers", {}, after, PAGE)
            for document in found:
                after = document["id"]
                if time - KeptAnswer.model_validate(document).created_at >= KEPT:
                    removed += self._documents.delete("answers", after)
            if len(found) < PAGE:
                return removed
