"""What happens to trainings, for all who watch: each is looked at once, however many look on."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool

from lwmecps_gym.platform.errors import StoreUnavailableError
from lwmecps_gym.platform.models import MetricRecord, TaskState
from lwmecps_gym.platform.task_progress import Progress
from lwmecps_gym.platform.training import TrainingService

POLL_S = 0.5
"""Time between two looks at a training that is watched, in seconds."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Look:
    """A training as it was seen at one moment."""

    revision: int
    state: TaskState
    progress: Progress


class Watch:
    """One training that is watched: the latest look, and its metrics, read once for all.

    A training stores its change before the metrics that go with it, so watchers are woken at the
    look after a change, too.
    """

    def __init__(self, training: TrainingService, task_id: str, look: Look) -> None:
        self._training = training
        self._task_id = task_id
        self._changed = asyncio.Event()
        self._metrics: dict[int, asyncio.Task[Sequence[MetricRecord]]] = {}
        self.look = look
        self.watchers = 0
        self._following = asyncio.create_task(self._follow())

    def stop(self) -> None:
        """Look no more."""
        self._following.cancel()

    async def _follow(self) -> None:
        """Look at the training again and again until it has ended."""
        fresh = False
        while not self.look.state.ended:
            await asyncio.sleep(POLL_S)
            try:
                look = await run_in_threadpool(look_at, self._training, self._task_id)
            except StoreUnavailableError as outage:
                logger.warning("training %s is not watched: %s", self._task_id, outage)
                continue
            was_fresh, fresh = fresh, look.revision != self.look.revision
            if fresh or was_fresh:
                self.look = look
                self._metrics.clear()
                self._changed.set()
                self._changed = asyncio.Event()

    async def wait(self) -> None:
        """Return when there may be something new."""
        await self._changed.wait()

    async def metrics(self, since: int) -> Sequence[MetricRecord]:
        """Return the next metrics after an iteration, oldest first."""
        reading = self._metrics.get(since)
        if reading is None:
            reading = asyncio.create_task(
                run_in_threadpool(self._training.metrics, self._task_id, since, 500)
            )
            self._metrics[since] = reading
        return await asyncio.shield(reading)


class Feed:
    """All trainings that are watched."""

    def __init__(self, training: TrainingService) -> None:
        self._training = training
        self._watches: dict[str, Watch] = {}

    @property
    def watchers(self) -> int:
        """How many look on, over all trainings."""
        return sum(watch.watchers for watch in self._watches.values())

    @asynccontextmanager
    async def watch(self, task_id: str) -> AsyncIterator[Watch]:
        """Watch a training while the block runs.

        Raises:
            NotFoundError: There is no such training.
            StoreUnavailableError: The store does not answer.
        """
        look = await run_in_threadpool(look_at, self._training, task_id)
        watch = self._watches.get(task_id)
        if watch is None or watch.look.state.ended:  # it may have been taken up again
            watch = self._watches[task_id] = Watch(self._training, task_id, look)
        watch.watchers += 1
        try:
            yield watch
        finally:
            watch.watchers -= 1
            if watch.watchers == 0:
                watch.stop()
                if self._watches.get(task_id) is watch:
                    del self._watches[task_id]


def look_at(training: TrainingService, task_id: str) -> Look:
    """Look at a training; raises NotFoundError and StoreUnavailableError."""
    task = training.get(task_id)
    return Look(task.revision, task.state, training.progress(task_id))
