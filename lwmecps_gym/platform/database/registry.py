"""Deleting models and versions, which nothing may refer to; see `aliases` on how that is sure."""

from lwmecps_gym.platform.database.deployments import Deployments
from lwmecps_gym.platform.database.records import Check, anything, document_of
from lwmecps_gym.platform.database.versions import VersionName
from lwmecps_gym.platform.errors import ConflictError
from lwmecps_gym.platform.models import Alias, Deployment, ModelRecord, ModelVersion, now


class ModelRegistry(Deployments):
    """The part of the store that knows models, versions, aliases and deployments."""

    def delete_version(
        self, model_id: str, version: VersionName, check: Check = anything
    ) -> ModelVersion:
        """Delete a version, whose number is never given again; its artifact stays.

        `check` is called with the version.

        Returns:
            The version as it was.

        Raises:
            NotFoundError: there is no such version.
            ConflictError: it is deployed, has an alias, or is the model's only version.
        """
        known = self.get_version(model_id, version)
        if [other.version for other in self.list_versions(model_id)] == [known.version]:
            raise ConflictError(
                f"version {known.version} is the only one of model {model_id!r}: delete the model"
            )
        self._check_unused(model_id, known.version)
        self._mark(known, deleted=True, check=check)
        try:
            self._check_unused(model_id, known.version)
        except ConflictError:
            self._mark(known, deleted=False)
            raise
        return known

    def delete_model(self, model_id: str, check: Check = anything) -> None:
        """Delete a model with all its versions; their artifacts stay.

        `check` is called with the model.

        Raises:
            NotFoundError: there is no such model.
            ConflictError: a version is deployed or has an alias, or one was added meanwhile.
        """
        model = self.get_model(model_id)
        check(model)
        self._check_unused(model_id, None)
        deleted = model.model_copy(
            update={"deleted_through": model.latest_version, "revision": model.revision + 1}
        )
        if not self._documents.replace("models", document_of(deleted), model.revision):
            raise ConflictError(f"model {model_id!r} was changed meanwhile; see, and try again")
        try:
            self._check_unused(model_id, None)
        except ConflictError:
            again = {"deleted_through": model.deleted_through}
            self._put(
                "models",
                model_id,
                ModelRecord,
                lambda current: current and current.model_copy(update=again),
            )
            raise
        for version in self._read_all("versions", {"model_id": model_id}, ModelVersion):
            if version.version <= model.latest_version:
                self._documents.delete("versions", version.id)
        for alias in self._read_all("aliases", {"model_id": model_id}, Alias):
            self._documents.delete("aliases", alias.id)
        self._documents.delete("deployments", model_id)

    def _mark(self, version: ModelVersion, deleted: bool, check: Check = anything) -> None:
        time = now() if deleted else None

        def marked(current: ModelVersion | None) -> ModelVersion | None:
            check(current)
            return current and current.model_copy(update={"deleted_at": time})

        self._put("versions", version.id, ModelVersion, marked)

    def _check_unused(self, model_id: str, version: int | None) -> None:
        """Raise ConflictError if a version, or any where it is None, is deployed or aliased."""

        def named(number: int | None) -> bool:
            return number is not None and version in (None, number)

        deployment = self._find("deployments", model_id, Deployment)
        if deployment is not None and named(deployment.version):
            raise ConflictError(
                f"version {deployment.version} of model {model_id!r} is deployed; undeploy it, or "
                "deploy another, before it is deleted"
            )
        for alias in self._read_all("aliases", {"model_id": model_id}, Alias):
            if named(alias.version):
                raise ConflictError(
                    f"version {alias.version} of model {model_id!r} has the alias {alias.name!r}; "
                    "move or remove that before it is deleted"
                )
