"""Models and their versions in the store."""

from collections.abc import Mapping

from lwmecps_gym.platform.database.documents import Scalar
from lwmecps_gym.platform.database.records import Check, Records, anything, document_of
from lwmecps_gym.platform.errors import ConflictError, NotFoundError
from lwmecps_gym.platform.models import Alias, Lineage, ModelRecord, ModelVersion, slug

VersionName = int | str | None
"""A version's number, as such or in digits; an alias; `latest`, which None is too."""

LATEST = "latest"


class Versions(Records):
    """The part of the store that knows models and their versions."""

    def add_version(
        self,
        name: str,
        *,
        model_type: str,
        task_id: str | None,
        digest: str,
        metrics: Mapping[str, float],
        lineage: Lineage | None = None,
        tags: Mapping[str, str] | None = None,
        retry: int = 0,
        upload_id: str | None = None,
    ) -> ModelVersion:
        """Add the next version of a model, and the model with its first version.

        The version is written whole before the model points at it, and until then nobody sees it.
        Whoever finds a version whose writer died in between publishes it and takes the next number,
        so numbers are consecutive. A task makes one version, and one more with each retry; an
        upload makes one: whoever calls again, or at the same time, gets what is there.

        Args:
            name: The model's name; its slug is the model's id.
            model_type: The algorithm that trained it.
            task_id: The task that trained it, if one did.
            digest: The address of its artifact, which must be in its place already.
            metrics: What it reached.
            lineage: What it comes from.
            tags: Notes on it.
            retry: Which retry of the task made it.
            upload_id: The upload that brought it, if one did.
        """
        model_id = slug(name)
        while True:
            model = self._find("models", model_id, ModelRecord)
            # Read before: a version of the same maker that appears after the look for it then
            # takes the number, so that two callers cannot both add one.
            number = (model.latest_version if model else 0) + 1
            if task_id is not None:
                version = self.version_of_task(name, task_id, retry)
            elif upload_id is not None:
                version = self._made_by(model_id, {"upload_id": upload_id})
            else:
                version = None
            if version is None:
                version = ModelVersion(
                    id=version_id(model_id, number),
                    model_id=model_id,
                    version=number,
                    model_type=model_type,
                    task_id=task_id,
                    retry=retry,
                    upload_id=upload_id,
                    digest=digest,
                    metrics=dict(metrics),
                    lineage=lineage,
                    tags=dict(tags or {}),
                )
                try:
                    self._documents.insert("versions", document_of(version))
                except ConflictError:
                    self._publish(name, model_id, number)
                    continue
            self._publish(name, model_id, version.version)
            return version

    def version_of_task(self, name: str, task_id: str, retry: int = 0) -> ModelVersion | None:
        """Return the version of a model that a task, or a retry of it, has made; None if none."""
        return self._made_by(slug(name), {"task_id": task_id, "retry": retry})

    def _made_by(self, model_id: str, maker: Mapping[str, Scalar]) -> ModelVersion | None:
        model = self._find("models", model_id, ModelRecord)
        deleted_through = model.deleted_through if model else 0
        for version in self._read_all("versions", {"model_id": model_id, **maker}, ModelVersion):
            if version.version > deleted_through and version.deleted_at is None:
                return version
        return None

    def get_model(self, model_id: str) -> ModelRecord:
        """Return a model; NotFoundError if there is none."""
        model = self._find("models", model_id, ModelRecord)
        if model is None or not _there(model):
            raise NotFoundError(f"there is no model {model_id!r}; list them to see which exist")
        return model

    def list_models(self) -> list[ModelRecord]:
        """Return all models, ordered by id."""
        return [model for model in self._read_all("models", {}, ModelRecord) if _there(model)]

    def get_version(self, model_id: str, version: VersionName = None) -> ModelVersion:
        """Return a version of a model.

        Args:
            model_id: The model.
            version: Its number, an alias, `latest`; None is the latest too.

        Raises:
            NotFoundError: there is no such model, version or alias.
        """
        model = self.get_model(model_id)
        if version is None or version == LATEST:
            return self._latest(model)
        if isinstance(version, str) and not version.isdecimal():
            number = self.get_alias(model_id, version).version
            assert number is not None
        else:
            number = int(version)
        if not model.deleted_through < number <= model.latest_version:
            numbers = f"{model.deleted_through + 1} to {model.latest_version}"
            raise NotFoundError(f"model {model_id!r} has no version {number}; it has {numbers}")
        found = self._read("versions", version_id(model_id, number), ModelVersion, "version")
        if found.deleted_at is not None:
            raise NotFoundError(
                f"version {number} of model {model_id!r} was deleted at {found.deleted_at:%F %R}"
            )
        return found

    def list_versions(self, model_id: str) -> list[ModelVersion]:
        """Return all versions of a model, oldest first; NotFoundError if there is no model."""
        model = self.get_model(model_id)
        return [
            version
            for version in self._read_all("versions", {"model_id": model_id}, ModelVersion)
            if model.deleted_through < version.version <= model.latest_version
            and version.deleted_at is None
        ]

    def tag_model(
        self, model_id: str, tags: Mapping[str, str | None], check: Check = anything
    ) -> ModelRecord:
        """Set tags of a model and remove those that are None; NotFoundError without model.

        `check` is called with the model.
        """

        def change(model: ModelRecord | None) -> ModelRecord:
            current = model or self.get_model(model_id)
            check(current)
            return current.model_copy(update={"tags": _tagged(current.tags, tags)})

        self.get_model(model_id)
        changed = self._put("models", model_id, ModelRecord, change)
        assert changed is not None
        return changed

    def tag_version(
        self,
        model_id: str,
        version: VersionName,
        tags: Mapping[str, str | None],
        check: Check = anything,
    ) -> ModelVersion:
        """Set tags of a version and remove those that are None; NotFoundError without it.

        `check` is called with the version.
        """
        known = self.get_version(model_id, version)

        def change(current: ModelVersion | None) -> ModelVersion:
            current = current or known
            check(current)
            return current.model_copy(update={"tags": _tagged(current.tags, tags)})

        changed = self._put("versions", known.id, ModelVersion, change)
        assert changed is not None
        return changed

    def get_alias(self, model_id: str, name: str) -> Alias:
        """Return an alias of a model; NotFoundError if it names no version."""
        self.get_model(model_id)
        alias = self._find("aliases", f"{model_id}/{name}", Alias)
        if alias is None or alias.version is None:
            known = ", ".join(alias.name for alias in self.list_aliases(model_id)) or "none"
            raise NotFoundError(
                f"model {model_id!r} has no alias {name!r}; it has: {known}; a version is named by "
                f"its number, an alias or {LATEST!r}"
            )
        return alias

    def list_aliases(self, model_id: str) -> list[Alias]:
        """Return the aliases of a model that name a version, ordered by name."""
        self.get_model(model_id)
        found = self._read_all("aliases", {"model_id": model_id}, Alias)
        return [alias for alias in found if alias.version is not None]

    def alias_versions(self, model_id: str) -> dict[str, int]:
        """Return the versions of a model by alias; NotFoundError if there is no model."""
        found = self.list_aliases(model_id)
        return {alias.name: alias.version for alias in found if alias.version is not None}

    def aliases_by_model(self) -> dict[str, dict[str, int]]:
        """Return the versions of all models that have aliases, by model and alias."""
        found: dict[str, dict[str, int]] = {}
        for alias in self._read_all("aliases", {}, Alias):
            if alias.version is not None:
                found.setdefault(alias.model_id, {})[alias.name] = alias.version
        return found

    def used_digests(self) -> set[str]:
        """Return the addresses of all artifacts that a version is made of."""
        versions = self._read_all("versions", {}, ModelVersion)
        return {version.digest for version in versions if version.deleted_at is None}

    def _latest(self, model: ModelRecord) -> ModelVersion:
        versions = self.list_versions(model.id)
        if not versions:
            raise NotFoundError(f"model {model.id!r} has no version any more")
        return versions[-1]

    def _publish(self, name: str, model_id: str, number: int) -> None:
        """Move the model's pointer on to a version that is written; never back."""

        def change(model: ModelRecord | None) -> ModelRecord | None:
            if model is None:
                return ModelRecord(id=model_id, name=name, latest_version=number)
            if model.latest_version >= number:
                return None
            return model.model_copy(update={"latest_version": number})

        self._put("models", model_id, ModelRecord, change)


def version_id(model_id: str, version: int) -> str:
    """Return the id of a version's record."""
    return f"{model_id}/{version:06d}"


def _there(model: ModelRecord) -> bool:
    return model.latest_version > model.deleted_through


def _tagged(tags: Mapping[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in {**tags, **changes}.items() if value is not None}
