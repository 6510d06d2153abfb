"""Answers for models: loads a version when it is first asked for and keeps the latest few."""

import asyncio
import time
from collections import OrderedDict, defaultdict

from starlette.concurrency import run_in_threadpool

from lwmecps_gym.algorithms.decision import Decision, DecisionRequest, decide
from lwmecps_gym.algorithms.policy import LearnedPolicy, load_policy
from lwmecps_gym.platform.artifacts import ArtifactStore
from lwmecps_gym.platform.database import Store
from lwmecps_gym.serve_app.statistics import ServingCounters, ServingStatistics

MAX_LOADED = 16
"""How many model versions are held in memory; the one not asked for longest goes first."""


class PolicyHost:
    """Policies in memory, and what was counted for each model.

    Which version answers for a model is for the caller to say: the wish lives in the store, so a
    host that starts anew serves what was deployed before.
    """

    def __init__(self, store: Store, artifacts: ArtifactStore) -> None:
        self._store = store
        self._artifacts = artifacts
        self._loaded: OrderedDict[tuple[str, int], LearnedPolicy] = OrderedDict()
        self._loading = asyncio.Lock()
        self._counters: defaultdict[str, ServingCounters] = defaultdict(ServingCounters)

    async def load(self, model_id: str, version: int) -> None:
        """Make a version ready to answer.

        Raises:
            NotFoundError: There is no such version, or its artifact is gone.
            InvalidInputError: The artifact is damaged or not of a policy.
        """
        await self._policy(model_id, version)

    async def predict(self, model_id: str, version: int, request: DecisionRequest) -> Decision:
        """Decide by a version.

        Raises:
            NotFoundError: There is no such version, or its artifact is gone.
            InvalidInputError: The request does not fit what the policy was trained on.
        """
        counters = self._counters[model_id]
        try:
            policy = await self._policy(model_id, version)
            start = time.perf_counter()
            decision = decide(policy, request)
        except Exception:
            counters.count_error()
            raise
        counters.count_answer(decision.description, (time.perf_counter() - start) * 1000)
        return decision

    async def statistics(self, model_id: str) -> ServingStatistics:
        """Return what was counted for a model; zeros for one never asked."""
        return self._counters.get(model_id, ServingCounters()).read()

    async def total_requests(self) -> int:
        """Return the number of decisions asked for, over all models."""
        return sum(counters.requests for counters in self._counters.values())

    async def _policy(self, model_id: str, version: int) -> LearnedPolicy:
        key = (model_id, version)
        if key not in self._loaded:
            async with self._loading:
                if key not in self._loaded:
                    self._loaded[key] = await run_in_threadpool(self._read, model_id, version)
                    while len(self._loaded) > MAX_LOADED:
                        self._loaded.popitem(last=False)
        self._loaded.move_to_end(key)
        return self._loaded[key]

    def _read(self, model_id: str, version: int) -> LearnedPolicy:
        digest = self._store.get_version(model_id, version).digest
        self._artifacts.load(digest)  # checks every byte, which load_policy does not
        return load_policy(self._artifacts.path(digest))
