"""What answers for models: the wish, which survives every restart, and the wishes before."""

from lwmecps_gym.platform.database.aliases import Aliases
from lwmecps_gym.platform.database.records import Check, anything
from lwmecps_gym.platform.database.versions import VersionName
from lwmecps_gym.platform.errors import ConflictError, NotFoundError
from lwmecps_gym.platform.models import Deployment, DeploymentChange


class Deployments(Aliases):
    """The part of the store that knows which versions are deployed."""

    def deploy(
        self,
        model_id: str,
        version: VersionName = None,
        *,
        by: str,
        mode: str = "serve",
        check: Check = anything,
    ) -> Deployment:
        """Wish that a version answers for its model; of two wishes the last one stays.

        `check` is called with the deployment, here and below.

        Raises:
            NotFoundError: there is no such model, version or alias.
        """
        number = self.get_version(model_id, version).version
        change = DeploymentChange(by=by, action="deploy", version=number)
        return self._wish(model_id, change, mode, check)

    def undeploy(self, model_id: str, *, by: str, check: Check = anything) -> Deployment:
        """Wish that no version answers for a model; NotFoundError if none does."""
        self.get_deployment(model_id)
        change = DeploymentChange(by=by, action="undeploy", version=None)
        return self._wish(model_id, change, None, check)

    def rollback_version(self, model_id: str) -> int:
        """Return the version that `rollback` would deploy.

        Raises:
            NotFoundError: there is no such model.
            ConflictError: no version was deployed before.
        """
        self.get_model(model_id)
        deployment = self._find("deployments", model_id, Deployment)
        return _version_before(model_id, deployment)

    def rollback(self, model_id: str, *, by: str, check: Check = anything) -> Deployment:
        """Wish that the version that was deployed before answers again; a second one goes further.

        After `undeploy` it is the version that was undeployed.

        Raises:
            NotFoundError: there is no such model, or the version before was deleted.
            ConflictError: no version was deployed before.
        """
        number = self.get_version(model_id, self.rollback_version(model_id)).version
        change = DeploymentChange(by=by, action="rollback", version=number)
        return self._wish(model_id, change, None, check)

    def get_deployment(self, model_id: str) -> Deployment:
        """Return the deployment of a model; NotFoundError if no version of it is deployed."""
        deployment = self._find("deployments", model_id, Deployment)
        if deployment is None or deployment.version is None:
            raise NotFoundError(f"model {model_id!r} is not deployed")
        return deployment

    def deployed_version(self, model_id: str) -> int | None:
        """Return the version that answers for a model, None if none does."""
        deployment = self._find("deployments", model_id, Deployment)
        return None if deployment is None else deployment.version

    def list_deployments(self) -> list[Deployment]:
        """Return what is deployed, ordered by the models' ids."""
        found = self._read_all("deployments", {}, Deployment)
        return [deployment for deployment in found if deployment.version is not None]

    def list_deployment_changes(self, model_id: str) -> list[DeploymentChange]:
        """Return what was wished for a model, oldest first; NotFoundError without model."""
        self.get_model(model_id)
        deployment = self._find("deployments", model_id, Deployment)
        return [] if deployment is None else deployment.history

    def _wish(
        self, model_id: str, change: DeploymentChange, mode: str | None, check: Check
    ) -> Deployment:
        def follow(current: Deployment | None) -> Deployment:
            check(current)
            if change.action == "rollback" and _version_before(model_id, current) != change.version:
                raise ConflictError(
                    f"model {model_id!r} was deployed anew meanwhile; see, and retry"
                )
            before = current or Deployment(id=model_id, model_id=model_id, version=None)
            return before.model_copy(
                update={
                    "version": change.version,
                    "mode": mode or before.mode,
                    "deployed_at": change.time,
                    "history": [*before.history, change],
                }
            )

        deployment = self._put("deployments", model_id, Deployment, follow)
        assert deployment is not None
        if change.version is not None:
            self._take_back_if_deleted(model_id, change.version)
        return deployment

    def _take_back_if_deleted(self, model_id: str, version: int) -> None:
        """Undo a wish for a version that was deleted at the same moment."""
        try:
            self.get_version(model_id, version)
        except NotFoundError:
            gone = DeploymentChange(by="platform", action="undeploy", version=None)
            self._put(
                "deployments",
                model_id,
                Deployment,
                lambda current: (
                    current
                    and (
                        None
                        if current.version != version
                        else current.model_copy(
                            update={"version": None, "history": [*current.history, gone]}
                        )
                    )
                ),
            )
            raise


def _version_before(model_id: str, deployment: Deployment | None) -> int:
    """Find what a rollback leads to: each rollback takes one step back, also over undeployments."""
    past: list[int | None] = []
    for change in deployment.history if deployment else ():
        if change.action == "rollback":
            past.pop()
            continue
        if past and past[-1] is None:
            past.pop()
        if not past or past[-1] != change.version:
            past.append(change.version)
    if len(past) < 2 or past[-2] is None:
        raise ConflictError(f"model {model_id!r} had no other version deployed before; deploy one")
    return past[-2]
