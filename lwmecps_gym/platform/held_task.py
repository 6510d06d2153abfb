"""A task in the hands of a process: its lease, and what the process has to say of it."""

import logging
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

from lwmecps_gym.platform.database import Store
from lwmecps_gym.platform.errors import ConflictError, NotFoundError, StoreUnavailableError
from lwmecps_gym.platform.models import MetricRecord, TrainingTask
from lwmecps_gym.platform.task_queue import Clock
from lwmecps_gym.platform.task_states import change

LEASE_S = 30.0
"""How long a running training may be silent before it is suspected to be dead, s."""
AGAIN_S = 1.0
"""Time between tries while the store is away, s."""
PATIENCE_S = 3600.0
"""How long an attempt that cannot go on without the store waits for it, s."""
MOST_KEPT = 10_000
"""Lines of the history that an attempt holds while the store is away; then it waits."""

T = TypeVar("T")

logger = logging.getLogger(__name__)


class HeldTask:
    """Changes a task as long as the attempt that holds it is the latest, and the task is active.

    A thread of its own renews the lease every third of it, and writes what was kept while the store
    was away. Everything raises `ConflictError` once the attempt is over.
    """

    def __init__(self, store: Store, task: TrainingTask, clock: Clock, lease_s: float) -> None:
        self._store = store
        self._task = task
        self._clock = clock
        self._lease = timedelta(seconds=lease_s)
        self._writing = threading.RLock()
        self._lock = threading.Lock()
        self._progress: dict[str, Any] = {}
        self._kept: list[MetricRecord] = []
        self._away = False
        self._refusal: ConflictError | None = None
        self._over = threading.Event()
        self._heartbeat = threading.Thread(
            target=self._beat, name=f"lease-{task.id}", args=(lease_s / 3,), daemon=True
        )

    @property
    def task(self) -> TrainingTask:
        """The task as this run last saw it; its state tells what users want."""
        return self._task

    @property
    def alive(self) -> bool:
        """False once the task was ended, or this attempt is known to be over."""
        return not self._over.is_set() and self._refusal is None

    def _keep(self, record: MetricRecord, progress: dict[str, Any]) -> None:
        """Write a line of the history and the progress, now or when the store is back.

        Raises:
            ConflictError: This attempt is over.
            StoreUnavailableError: The store was away for longer than lines could be kept.
        """
        with self._lock:
            self._kept.append(record)
            full = len(self._kept) >= MOST_KEPT
            self._progress |= progress
        if full:
            self._patiently(self._write)
        elif not self._away:
            self._try_to_write()
        if self._refusal is not None:
            raise self._refusal

    def _beat(self, interval_s: float) -> None:
        written = time.monotonic()
        while not self._over.wait(min(interval_s, AGAIN_S)):
            if self._away or time.monotonic() - written >= interval_s:
                self._try_to_write()
                written = time.monotonic()
            if self._refusal is not None:
                return

    def _try_to_write(self) -> None:
        """Write what is kept; if the store is away, or wants nothing more, remember that."""
        try:
            self._write()
        except StoreUnavailableError as outage:
            if not self._away:
                logger.warning("training %s goes on without the store: %s", self._task.id, outage)
            self._away = True
        except ConflictError as refusal:
            logger.warning("training %s: attempt is over: %s", self._task.id, refusal)
            self._refusal = refusal

    def _write(self) -> None:
        """Renew the lease and write what is kept, in its order."""
        with self._writing:
            if self._over.is_set():
                return  # the heartbeat, which waited for the end to be written
            with self._lock:
                progress, records = dict(self._progress), list(self._kept)

            def renewed(task: TrainingTask) -> dict[str, Any]:
                lease = {"lease_until": self._clock() + self._lease, "suspected": False}
                return {**progress, **lease}

            self._change(renewed)
            self._store.append_metrics(records)
            with self._lock:
                del self._kept[: len(records)]
            self._away = False

    def _change(self, changes: Callable[[TrainingTask], dict[str, Any]]) -> None:
        """Change the task if this attempt is still the one that may.

        Raises:
            ConflictError: It is not, or `changes` raised it.
        """

        def mine(task: TrainingTask) -> dict[str, Any]:
            if task.attempt != self._task.attempt or not task.state.active:
                raise ConflictError(
                    f"training {task.id} is {task.state} at attempt {task.attempt}: it was ended "
                    f"or taken from attempt {self._task.attempt} by someone else"
                )
            return changes(task)

        with self._writing:
            try:
                self._task = change(self._store, self._task.id, mine)
            except NotFoundError as gone:
                raise ConflictError(f"{gone}; it was ended and deleted meanwhile") from gone
            if not self._task.state.active:
                self._over.set()

    def _patiently(self, action: Callable[[], T]) -> T:
        """Do what cannot be put off, again and again while the store is away."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            if self._refusal is not None:
                raise self._refusal
            try:
                return action()
            except StoreUnavailableError as outage:
                if time.monotonic() > deadline:
                    raise
                logger.warning("training %s waits for the store: %s", self._task.id, outage)
                time.sleep(AGAIN_S)
