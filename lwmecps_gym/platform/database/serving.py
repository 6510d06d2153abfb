"""What was counted of model versions while they answered, added up over all who count."""

from lwmecps_gym.platform.database.records import Records
from lwmecps_gym.platform.models import ServingCounts


class ServingLog(Records):
    """The counts of every version that was ever asked."""

    def add(self, counts: ServingCounts) -> None:
        """Add counts to those of the version."""

        def change(stored: ServingCounts | None) -> ServingCounts:
            return counts if stored is None else stored.plus(counts)

        self._put("serving", counts.id, ServingCounts, change)

    def read(self, model_id: str, version: int) -> ServingCounts | None:
        """Return the counts of a version, None if it was never asked."""
        return self._find("serving", ServingCounts.id_of(model_id, version), ServingCounts)

    def requests(self) -> int:
        """Return the number of requests to all versions."""
        return sum(counts.requests for counts in self._read_all("serving", {}, ServingCounts))
