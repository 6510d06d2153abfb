"""The store: every record of the platform, typed, over any back end.

No method holds a lock or a transaction over more than one document. Two writers meet in a
compare-and-set on the record's revision: the first wins, the second gets ConflictError and may read
again. A process that dies between two writes leaves no half-written thing to be seen.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from lwmecps_gym.platform.database.audit import AuditLog
from lwmecps_gym.platform.database.documents import Documents, Scalar
from lwmecps_gym.platform.database.keys import ApiKeys
from lwmecps_gym.platform.database.records import check_limit, document_of
from lwmecps_gym.platform.errors import ConflictError, InvalidInputError, NotFoundError
from lwmecps_gym.platform.models import (
    Deployment,
    MetricRecord,
    ModelRecord,
    ModelVersion,
    Record,
    TaskState,
    TrainingTask,
    slug,
)

R = TypeVar("R", bound=Record)

_PAGE = 1000


class Store:
    """Tasks, metrics, models, versions and deployments.

    Every method raises StoreUnavailableError when the database does not answer. Safe to share
    between threads; each process opens its own.

    Args:
        documents: The back end.

    Attributes:
        keys: The keys of the API.
        audit: Who changed what.
    """

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self.keys = ApiKeys(documents)
        self.audit = AuditLog(documents)

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

    def list_tasks(
        self,
        state: TaskState | None = None,
        model_type: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> tuple[list[TrainingTask], str | None]:
        """Return a page of tasks, newest first.

        Args:
            state: Only tasks in this state.
            model_type: Only tasks of this algorithm.
            limit: At most so many, at least 1.
            cursor: What the page before gave; None for the first.

        Returns:
            The tasks, and the cursor of the next page or None on the last.
        """
        check_limit(limit)
        where: dict[str, Scalar] = {}
        if state is not None:
            where["state"] = state.value
        if model_type is not None:
            where["model_type"] = model_type
        found = self._documents.find("tasks", where, cursor, limit + 1, descending=True)
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

    def append_metrics(self, metrics: Sequence[MetricRecord]) -> None:
        """Add lines to the history of tasks, in order; a line that is there already stays.

        Raises:
            InvalidInputError: an id is not that of its task and iteration.
        """
        for metric in metrics:
            expected = _metric_id(metric.task_id, metric.iteration)
            if metric.id != expected:
                raise InvalidInputError(f"metric id {metric.id!r} must be {expected!r}")
        self._documents.insert_many_once("metrics", [document_of(metric) for metric in metrics])

    def list_metrics(self, task_id: str, since: int = -1, limit: int = _PAGE) -> list[MetricRecord]:
        """Return the history of a task after iteration `since`, oldest first, at most `limit`."""
        check_limit(limit)
        after = _metric_id(task_id, since) if since >= 0 else None
        found = self._documents.find("metrics", {"task_id": task_id}, after, limit)
        return [MetricRecord.model_validate(document) for document in found]

    def add_version(
        self,
        name: str,
        *,
        model_type: str,
        task_id: str | None,
        digest: str,
        metrics: Mapping[str, float],
    ) -> ModelVersion:
        """Add the next version of a model, and the model with its first version.

        The version is written whole before the model points at it, and until then nobody sees it.
        Whoever finds a version whose writer died in between publishes it and takes the next number,
        so numbers are consecutive. A repeated call with the same task and digest gives the same
        version, so that a caller who got an error may call again.

        Args:
            name: The model's name; its slug is the model's id.
            model_type: The algorithm that trained it.
            task_id: The task that trained it, if one did.
            digest: The address of its artifact, which must be in its place already.
            metrics: What it reached.
        """
        model_id = slug(name)
        while True:
            version = self._version_of_task(model_id, task_id, digest)
            if version is None:
                number = self._latest(model_id) + 1
                version = ModelVersion(
                    id=_version_id(model_id, number),
                    model_id=model_id,
                    version=number,
                    model_type=model_type,
                    task_id=task_id,
                    digest=digest,
                    metrics=dict(metrics),
                )
                try:
                    self._documents.insert("versions", document_of(version))
                except ConflictError:
                    self._publish(name, model_id, number)
                    continue
            self._publish(name, model_id, version.version)
            return version

    def get_model(self, model_id: str) -> ModelRecord:
        """Return a model; NotFoundError if there is none."""
        return self._read("models", model_id, ModelRecord, "model")

    def list_models(self) -> list[ModelRecord]:
        """Return all models, ordered by id."""
        return self._read_all("models", {}, ModelRecord)

    def get_version(self, model_id: str, version: int | None = None) -> ModelVersion:
        """Return a version of a model, the latest if none is named; NotFoundError if none is."""
        latest = self.get_model(model_id).latest_version
        number = latest if version is None else version
        if not 1 <= number <= latest:
            raise NotFoundError(f"model {model_id!r} has no version {number}; it has 1 to {latest}")
        return self._read("versions", _version_id(model_id, number), ModelVersion, "version")

    def list_versions(self, model_id: str) -> list[ModelVersion]:
        """Return all versions of a model, oldest first; NotFoundError if there is no model."""
        latest = self.get_model(model_id).latest_version
        versions = self._read_all("versions", {"model_id": model_id}, ModelVersion)
        return [version for version in versions if version.version <= latest]

    def put_deployment(self, deployment: Deployment) -> Deployment:
        """Set the deployment of a model; of two writers the last one stays.

        Returns:
            The deployment as it is now, with its revision.
        """
        while True:
            current = self._documents.get("deployments", deployment.id)
            if current is None:
                first = deployment.model_copy(update={"revision": 0})
                try:
                    self._documents.insert("deployments", document_of(first))
                except ConflictError:
                    continue
                return first
            seen = current["revision"]
            changed = deployment.model_copy(update={"revision": seen + 1})
            if self._documents.replace("deployments", document_of(changed), seen):
                return changed

    def get_deployment(self, model_id: str) -> Deployment:
        """Return the deployment of a model; NotFoundError if it has none."""
        return self._read("deployments", model_id, Deployment, "deployment of a model")

    def list_deployments(self) -> list[Deployment]:
        """Return all deployments, ordered by the models' ids."""
        return self._read_all("deployments", {}, Deployment)

    def delete_deployment(self, model_id: str) -> None:
        """Remove the deployment of a model; NotFoundError if it has none."""
        if not self._documents.delete("deployments", model_id):
            raise NotFoundError(f"model {model_id!r} has no deployment to remove")

    def _latest(self, model_id: str) -> int:
        model = self._documents.get("models", model_id)
        return 0 if model is None else int(model["latest_version"])

    def _version_of_task(
        self, model_id: str, task_id: str | None, digest: str
    ) -> ModelVersion | None:
        if task_id is None:
            return None
        wanted: dict[str, Scalar] = {"model_id": model_id, "task_id": task_id, "digest": digest}
        found = self._documents.find("versions", wanted, limit=1)
        return ModelVersion.model_validate(found[0]) if found else None

    def _publish(self, name: str, model_id: str, number: int) -> None:
        """Move the model's pointer on to a version that is written; never back."""
        while True:
            document = self._documents.get("models", model_id)
            if document is None:
                model = ModelRecord(id=model_id, name=name, latest_version=number)
                try:
                    self._documents.insert("models", document_of(model))
                except ConflictError:
                    continue
                return
            model = ModelRecord.model_validate(document)
            if model.latest_version >= number:
                return
            changed = model.model_copy(
                update={"latest_version": number, "revision": model.revision + 1}
            )
            if self._documents.replace("models", document_of(changed), model.revision):
                return

    def _read(self, collection: str, record_id: str, kind: type[R], noun: str) -> R:
        document = self._documents.get(collection, record_id)
        if document is None:
            raise NotFoundError(f"there is no {noun} {record_id!r}; list them to see which exist")
        return kind.model_validate(document)

    def _read_all(self, collection: str, where: Mapping[str, Scalar], kind: type[R]) -> list[R]:
        records: list[R] = []
        while True:
            after = records[-1].id if records else None
            found = self._documents.find(collection, where, after, _PAGE)
            records += [kind.model_validate(document) for document in found]
            if len(found) < _PAGE:
                return records


def _metric_id(task_id: str, iteration: int) -> str:
    return f"{task_id}/{iteration:010d}"


def _version_id(model_id: str, version: int) -> str:
    return f"{model_id}/{version:06d}"
