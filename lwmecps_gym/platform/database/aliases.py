"""Names for versions of models in the store.

What refers to a version (an alias, a deployment) is written first and then checked against the
version; what deletes one marks it first and then looks for what refers to it. So of two that meet,
one at least sees the other, and takes its own step back.
"""

import re
from types import EllipsisType

from lwmecps_gym.platform.database.versions import LATEST, VersionName, Versions
from lwmecps_gym.platform.errors import ConflictError, InvalidInputError, NotFoundError
from lwmecps_gym.platform.models import Alias, AliasChange

ALIAS_PATTERN = r"[a-z][a-z0-9_.-]{0,62}"


class Aliases(Versions):
    """The part of the store that moves aliases, and keeps who moved them when."""

    def set_alias(
        self,
        model_id: str,
        name: str,
        version: VersionName,
        *,
        by: str,
        expected: int | EllipsisType | None = ...,
    ) -> Alias:
        """Let a name stand for a version of a model.

        Args:
            model_id: The model.
            name: The alias; lower case letters, digits, `.`, `_` and `-`, a letter first.
            version: What it shall name: as `get_version`.
            by: Who wants it.
            expected: The version that it must name now, None for none; unset: any.

        Raises:
            InvalidInputError: the name cannot be an alias.
            NotFoundError: there is no such model or version.
            ConflictError: it names another version than expected.
        """
        if not re.fullmatch(ALIAS_PATTERN, name) or name == LATEST:
            raise InvalidInputError(
                f"alias {name!r}: up to 63 of a-z, 0-9, '.', '_' and '-', beginning with a letter; "
                f"{LATEST!r} is the platform's own"
            )
        number = self.get_version(model_id, version).version
        alias, before = self._move_alias(model_id, name, number, by, expected)
        try:
            self.get_version(model_id, number)
        except NotFoundError:
            self._move_alias(model_id, name, before, by, number)
            raise
        return alias

    def remove_alias(self, model_id: str, name: str, *, by: str) -> None:
        """Let a name stand for nothing; NotFoundError if it does not stand for a version."""
        self.get_alias(model_id, name)
        self._move_alias(model_id, name, None, by, ...)

    def _move_alias(
        self,
        model_id: str,
        name: str,
        version: int | None,
        by: str,
        expected: int | EllipsisType | None,
    ) -> tuple[Alias, int | None]:
        """Return the alias as it is now, and the version that it named before."""
        before: int | None = None

        def change(current: Alias | None) -> Alias | None:
            nonlocal before
            alias_id = f"{model_id}/{name}"
            alias = current or Alias(id=alias_id, model_id=model_id, name=name, version=None)
            before = alias.version
            if expected is not ... and before != expected:
                raise ConflictError(
                    f"alias {name!r} of model {model_id!r} names version {before or 'none'}, not "
                    f"{expected or 'none'}: someone moved it first; read it again"
                )
            if before == version and current is not None:
                return None
            moved = AliasChange(by=by, from_version=before, to_version=version)
            return alias.model_copy(update={"version": version, "history": [*alias.history, moved]})

        alias = self._put("aliases", f"{model_id}/{name}", Alias, change)
        assert alias is not None
        return alias, before
