"""A model that someone hands in: checked, tried, and only then kept."""

from collections.abc import Mapping
from pathlib import Path
from typing import IO, Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lwmecps_gym.algorithms.decision_request import DecisionRequest, PlainState
from lwmecps_gym.envs.workload_config import describe_errors
from lwmecps_gym.platform.artifacts import MANIFEST, ArtifactStore
from lwmecps_gym.platform.database import Store
from lwmecps_gym.platform.errors import InvalidInputError
from lwmecps_gym.platform.model_archive import unpack
from lwmecps_gym.platform.models import Lineage, ModelVersion, Tags

Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Env(BaseModel):
    model_config = ConfigDict(extra="allow")

    id: str


class _Manifest(BaseModel):
    """What a version's record takes from a manifest; the policy takes more."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())

    name: Annotated[str, Field(min_length=1, max_length=200)]
    model_type: Annotated[str, Field(min_length=1, max_length=100)] = "unknown"
    env: _Env
    scenario: dict[str, Any]
    parameters: dict[str, Any] = Field(default_factory=dict)
    metrics: Annotated[dict[str, Finite], Field(max_length=100)] = Field(default_factory=dict)
    total_episodes: int | None = None
    seed: int | None = None


def add_upload(
    store: Store,
    artifacts: ArtifactStore,
    model_id: str,
    archive: IO[bytes],
    *,
    tags: Tags | None = None,
    parent: str | None = None,
    upload_id: str | None = None,
) -> ModelVersion:
    """Register an archive as the next version of a model, if it is whole and decides.

    Args:
        store: Where the version is registered.
        artifacts: Where its files go.
        model_id: The model, made if there is none.
        archive: As `model_archive.pack` makes it.
        tags: Notes on the version.
        parent: `MODEL:VERSION` that its training began with.
        upload_id: An upload of the same id makes no second version.

    Raises:
        InvalidInputError: the archive, the manifest or a tensor is wrong; nothing is kept.
        NotFoundError: there is no such parent.
        StoreUnavailableError: it cannot be written.
    """
    files, document = unpack(archive)
    try:
        manifest = _Manifest.model_validate(document)
    except ValidationError as error:
        raise InvalidInputError(f"{MANIFEST}: {describe_errors(error)}") from error
    if parent is not None:
        first, _, version = parent.partition(":")
        parent = f"{first}:{store.get_version(first, version or None).version}"
    with artifacts.workspace() as folder:
        trial = ArtifactStore(folder)
        digest = trial.put_files(files, document)
        _check_finite(trial.load(digest)[0])
        _try(trial.path(digest))
    return store.add_version(
        model_id,
        model_type=manifest.model_type,
        task_id=None,
        digest=artifacts.put_files(files, document),
        metrics=manifest.metrics,
        lineage=Lineage.of(
            manifest.scenario,
            manifest.env.id,
            parameters=manifest.parameters,
            total_episodes=manifest.total_episodes,
            seed=manifest.seed,
            parent=parent,
        ),
        tags=tags,
        upload_id=upload_id,
    )


def _check_finite(tensors: Mapping[str, NDArray[Any]]) -> None:
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise InvalidInputError(f"tensor {name} holds values that are not finite")


def _try(folder: Path) -> None:
    """Load a model and let it decide on an empty cluster."""
    from lwmecps_gym.algorithms.decision import decide
    from lwmecps_gym.algorithms.policy import load_policy

    policy = load_policy(folder)
    try:
        decide(policy, DecisionRequest(state=PlainState()))
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise InvalidInputError(
            f"the model was read, but cannot decide: {type(error).__name__}: {error}"
        ) from error
