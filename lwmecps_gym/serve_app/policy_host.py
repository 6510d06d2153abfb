"""Answers for models: loads a version when it is first asked for and keeps the latest few."""

import asyncio
import logging
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from lwmecps_gym.algorithms.decision_request import Decision, DecisionBatch, DecisionRequest
from lwmecps_gym.algorithms.feature_profile import FeatureProfile
from lwmecps_gym.platform.artifacts import ArtifactStore
from lwmecps_gym.platform.database import Store
from lwmecps_gym.platform.errors import StoreUnavailableError
from lwmecps_gym.serve_app.statistics import ServingCounters, ServingStatistics

if TYPE_CHECKING:
    from lwmecps_gym.algorithms.decision import Decider, Outcome

MAX_LOADED = 16
"""How many model versions are held in memory; the one not asked for longest goes first."""
QUICK_MS = 5.0
"""What is expected to take longer is decided in a thread, so that others do not wait for it."""
_TRIES = 3
SAVE_INTERVAL_S = 5.0
"""How often counts are taken to the store: so many seconds of them a killed process loses."""

logger = logging.getLogger(__name__)
Key = tuple[str, int]


@dataclass
class _Loaded:
    """A version in memory."""

    decider: "Decider"
    profile: FeatureProfile | None
    own_code: bool
    lock: threading.Lock = field(default_factory=threading.Lock)
    seen: dict[int, tuple[int, float]] = field(default_factory=dict)
    """Requests, and the least time of the processor for one [ms], by the bits of their size."""

    def decide(self, request: DecisionRequest) -> "Outcome":
        """Decide, one request at a time where the code is a user's."""
        begin = time.thread_time()
        if self.own_code:
            with self.lock:
                return self.decider.decide(request)
        outcome = self.decider.decide(request)
        spent_ms = 1000 * (time.thread_time() - begin)
        bits = request.size.bit_length()
        count, least = self.seen.get(bits, (0, spent_ms))
        self.seen[bits] = count + 1, min(least, spent_ms)
        return outcome

    def is_quick(self, request: DecisionRequest) -> bool:
        """Whether requests of this size are so little work that a thread would cost more."""
        _, least = self.seen.get(request.size.bit_length(), (0, QUICK_MS))
        return not self.own_code and least < QUICK_MS

    def is_slow(self, request: DecisionRequest) -> bool:
        """Whether requests of this size took long each time; the first ones may by chance."""
        count, least = self.seen.get(request.size.bit_length(), (0, 0.0))
        return count >= _TRIES and least >= QUICK_MS


class PolicyHost:
    """Policies in memory, and what was counted for each version.

    Which version answers for a model is for the caller to say: the wish lives in the store, so a
    host that starts anew serves what was deployed before.
    """

    def __init__(self, store: Store, artifacts: ArtifactStore) -> None:
        self._store = store
        self._artifacts = artifacts
        self._loaded: OrderedDict[Key, _Loaded] = OrderedDict()
        self._loading: dict[Key, asyncio.Task[_Loaded]] = {}
        self._counters: dict[Key, ServingCounters] = {}

    async def load(self, model_id: str, version: int) -> None:
        """Make a version ready to answer.

        Raises:
            NotFoundError: There is no such version, or its artifact is gone.
            InvalidInputError: The artifact is damaged or not of a policy.
        """
        await self._policy((model_id, version))

    def is_own_code(self, model_id: str, version: int) -> bool:
        """Return whether a user's class decides for a version; reads files.

        Raises:
            NotFoundError: There is no such version, or its artifact is gone.
            InvalidInputError: The artifact is damaged.
        """
        digest = self._store.get_version(model_id, version).digest
        return "class" in self._artifacts.load(digest)[1]

    async def is_slow(self, model_id: str, version: int, request: DecisionRequest) -> bool:
        """Return whether a request is expected to take long; raises as `load`."""
        return (await self._policy((model_id, version))).is_slow(request)

    async def predict(
        self, model_id: str, version: int, request: DecisionRequest
    ) -> Decision | DecisionBatch:
        """Decide by a version.

        Raises:
            NotFoundError: There is no such version, or its artifact is gone.
            InvalidInputError: The request does not fit what the policy was trained on.
        """
        counters = self._counters_of((model_id, version))
        begin = time.perf_counter()
        try:
            loaded = await self._policy((model_id, version))
            if loaded.is_quick(request):
                outcome = loaded.decide(request)
            else:
                outcome = await run_in_threadpool(loaded.decide, request)
        except Exception:
            counters.count_error()
            raise
        counters.count_answer(outcome, (time.perf_counter() - begin) * 1000)
        return outcome.answer

    async def statistics(self, model_id: str, version: int) -> ServingStatistics:
        """Return what was counted for a version; zeros for one never asked."""
        key = (model_id, version)
        counters = self._counters_of(key)
        stored = await run_in_threadpool(self._store.serving.read, model_id, version)
        if stored is not None and key not in self._loaded:
            await self._policy(key)  # it knows what the training saw
        return counters.read(stored)

    async def ping(self) -> None:
        """Return; there is nothing to wait for here."""

    async def total_requests(self) -> int:
        """Return the number of requests for decisions, over all models."""
        stored = await run_in_threadpool(self._store.serving.requests)
        return stored + sum(counters.peek().requests for counters in self._counters.values())

    async def save_counts(self) -> None:
        """Take what was counted to the store; what it does not take is kept for the next time."""
        for counters in list(self._counters.values()):
            taken = counters.take()
            if taken is None:
                continue
            try:
                await run_in_threadpool(self._store.serving.add, taken)
            except StoreUnavailableError as outage:
                counters.give_back(taken)
                logger.warning("counts of %s wait for the store: %s", taken.id, outage)
                return

    async def keep_counts(self) -> None:
        """Take the counts to the store again and again, and once more at the end."""
        try:
            while True:
                await asyncio.sleep(SAVE_INTERVAL_S)
                await self.save_counts()
        finally:
            await self.save_counts()

    def _counters_of(self, key: Key) -> ServingCounters:
        if key not in self._counters:
            self._counters[key] = ServingCounters(*key)
        return self._counters[key]

    async def _policy(self, key: Key) -> _Loaded:
        """Return a version in memory; whoever needs one that is being loaded waits for that."""
        if key not in self._loaded:
            task = self._loading.get(key)
            if task is None:
                task = self._loading[key] = asyncio.create_task(self._load(key))
            # A client that leaves must not end the load that others wait for.
            return await asyncio.shield(task)
        self._loaded.move_to_end(key)
        return self._loaded[key]

    async def _load(self, key: Key) -> _Loaded:
        try:
            loaded = await run_in_threadpool(self._read, *key)
        finally:
            del self._loading[key]
        self._loaded[key] = loaded
        self._counters_of(key).know(loaded.profile, loaded.decider.policy.encoding)
        while len(self._loaded) > MAX_LOADED:
            self._loaded.popitem(last=False)
        return loaded

    def _read(self, model_id: str, version: int) -> _Loaded:
        digest = self._store.get_version(model_id, version).digest
        _, manifest = self._artifacts.load(digest)  # checks every byte, which load_policy does not
        # With torch, which takes seconds and which not every process with a host needs.
        from lwmecps_gym.algorithms.decision import Decider
        from lwmecps_gym.algorithms.policy import load_policy

        decider = Decider(load_policy(self._artifacts.path(digest)))
        return _Loaded(decider, _profile_of(manifest.get("seen")), "class" in manifest)


def _profile_of(seen: object) -> FeatureProfile | None:
    try:
        return FeatureProfile.model_validate(seen)
    except ValidationError:
        return None  # made before profiles were, or by someone else: no drift is told
