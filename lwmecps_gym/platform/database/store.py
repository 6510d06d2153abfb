"""The store: every record of the platform, typed, over any back end.

No method holds a lock or a transaction over more than one document. Two writers meet in a
compare-and-set on the record's revision: the first wins, the second gets ConflictError and may read
again. A process that dies between two writes leaves no half-written thing to be seen.
"""

from collections.abc import Sequence
from typing import Any

from lwmecps_gym.platform.database.answers import Answers
from lwmecps_gym.platform.database.audit import AuditLog
from lwmecps_gym.platform.database.documents import Documents, Scalar
from lwmecps_gym.platform.database.keys import ApiKeys
from lwmecps_gym.platform.database.records import PAGE, check_limit, document_of
from lwmecps_gym.platform.database.registry import ModelRegistry
from lwmecps_gym.platform.database.serving import ServingLog
from lwmecps_gym.platform.errors import ConflictError, InvalidInputError
from lwmecps_gym.platform.models import MetricRecord, TaskState, TrainingTask


class Store(ModelRegistry):
    """Tasks and metrics; and models, versions, aliases and deployments: see `ModelRegistry`.

    Every method raises StoreUnavailableError when the database does not answer. Safe to share
    between threads; each process opens its own.

    Args:
        documents: The back end.

    Attributes:
        keys: The keys of the API.
        audit: Who changed what.
        serving: What was counted while models answered.
        answers: What was answered to creates that may be sent again.
    """

    def __init__(self, documents: Documents) -> None:
        super().__init__(documents)
        self.keys = ApiKeys(documents)
        self.audit = AuditLog(documents)
        self.serving = ServingLog(documents)
        self.answers = Answers(documents)

    def ping(self) -> None:
        """Return if the database answers."""
        self._documents.ping()

    def close(self) -> None:
        """Let go of the database."""
        self._documents.close()

    def create_task(self, task: TrainingTask) -> TrainingTask:
        """Add a task and return it.

        Raises:
            ConflictError: the id is taken.
            InvalidInputError: a value cannot be stored.
        """
        self._documents.insert("tasks", document_of(task))
        return task

    def get_task(self, task_id: str) -> TrainingTask:
        """Return a task; NotFoundError if there is none."""
        return self._read("tasks", task_id, TrainingTask, "training task")

    def count_tasks(self, state: TaskState) -> int:
        """Return how many tasks are in a state."""
        return self._documents.count("tasks", {"state": state.value})

    def list_tasks(
        self,
        state: TaskState | None = None,
        model_type: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
        oldest_first: bool = False,
    ) -> tuple[list[TrainingTask], str | None]:
        """Return a page of tasks, newest first unless asked otherwise.

        Args:
            state: Only tasks in this state.
            model_type: Only tasks of this algorithm.
            limit: At most so many, at least 1.
            cursor: What the page before gave; None for the first.
            oldest_first: The other direction.

        Returns:
            The tasks, and the cursor of the next page or None on the last.
        """
        check_limit(limit)
        where: dict[str, Scalar] = {}
        if state is not None:
            where["state"] = state.value
        if model_type is not None:
            where["model_type"] = model_type
        found = self._documents.find("tasks", where, cursor, limit + 1, not oldest_first)
        tasks = [TrainingTask.model_validate(document) for document in found[:limit]]
        return tasks, tasks[-1].id if len(found) > limit else None

    def update_task(self, task: TrainingTask, **changes: Any) -> TrainingTask:
        """Change fields of a task, if it is still as the caller knows it.

        Args:
            task: The task as last read.
            **changes: New values by field.

        Returns:
            The task as it is now, with the next revision.

        Raises:
            ConflictError: someone changed it first; read it again.
            NotFoundError: it is gone.
        """
        changed = TrainingTask.model_validate(
            {**task.model_dump(), **changes, "id": task.id, "revision": task.revision + 1}
        )
        if not self._documents.replace("tasks", document_of(changed), task.revision):
            current = self.get_task(task.id)
            raise ConflictError(
                f"training task {task.id} is at revision {current.revision} by now, not"
                f" {task.revision}: someone changed it first; read it again"
            )
        return changed

    def delete_task(self, task_id: str) -> None:
        """Remove a task, without its history; nothing if it is gone already."""
        self._documents.delete("tasks", task_id)

    def append_metrics(self, metrics: Sequence[MetricRecord]) -> None:
        """Add lines to the history of tasks, in order; of two the later attempt's stays.

        Raises:
            InvalidInputError: an id is not that of its task and iteration.
        """
        for metric in metrics:
            expected = _metric_id(metric.task_id, metric.iteration)
            if metric.id != expected:
                raise InvalidInputError(f"metric id {metric.id!r} must be {expected!r}")
        self._documents.put_many("metrics", [document_of(metric) for metric in metrics])

    def list_metrics(self, task_id: str, since: int = -1, limit: int = PAGE) -> list[MetricRecord]:
        """Return the history of a task after iteration `since`, oldest first, at most `limit`."""
        check_limit(limit)
        after = _metric_id(task_id, since) if since >= 0 else None
        found = self._documents.find("metrics", {"task_id": task_id}, after, limit)
        return [MetricRecord.model_validate(document) for document in found]

    def drop_metrics(self, task_id: str, after: int) -> None:
        """Remove what a task's history has after an iteration."""
        while found := self.list_metrics(task_id, since=after):
            for metric in found:
                self._documents.delete("metrics", metric.id)


def _metric_id(task_id: str, iteration: int) -> str:
    return f"{task_id}/{iteration:010d}"
