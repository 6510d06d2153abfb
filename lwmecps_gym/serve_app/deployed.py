"""Which version answers for a model: asked of the store for every request, remembered a moment."""

import time
from collections.abc import Callable

from starlette.concurrency import run_in_threadpool

from lwmecps_gym.platform.database import Store
from lwmecps_gym.platform.errors import ConflictError

REMEMBER_S = 1.0
"""How long an answer of the store holds, in seconds: so long may another replica answer by a
version that is deployed no more."""
_MAX_REMEMBERED = 10_000


class DeployedVersions:
    """Reads deployments.

    Args:
        store: Where they are.
        clock: Seconds, never going back.
    """

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._remembered: dict[str, tuple[float, int]] = {}

    async def answering(self, model_id: str) -> int:
        """Return the version that answers for a model.

        Raises:
            NotFoundError: There is no such model.
            ConflictError: No version of it is deployed.
        """
        known = self._remembered.get(model_id)
        if known is not None and self._clock() - known[0] < REMEMBER_S:
            return known[1]
        asked_at = self._clock()
        version = await run_in_threadpool(self._read, model_id)
        if len(self._remembered) >= _MAX_REMEMBERED:
            self._remembered.clear()
        self._remembered[model_id] = (asked_at, version)
        return version

    def forget(self, model_id: str) -> None:
        """Ask the store again at the next request: the deployment was changed here."""
        self._remembered.pop(model_id, None)

    def _read(self, model_id: str) -> int:
        version = self._store.deployed_version(model_id)
        if version is None:
            self._store.get_model(model_id)
            raise ConflictError(
                f"model {model_id!r} is not deployed; POST /api/v1/models/{model_id}/deploy first"
            )
        return version
