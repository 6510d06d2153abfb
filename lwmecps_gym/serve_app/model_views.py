"""What the API shows of models, versions, aliases and deployments, and what it takes for them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from lwmecps_gym.platform.database import Store
from lwmecps_gym.platform.models import (
    AliasChange,
    Deployment,
    DeploymentChange,
    Lineage,
    ModelRecord,
    ModelVersion,
    Tags,
)
from lwmecps_gym.serve_app.paging import NextCursor
from lwmecps_gym.serve_app.statistics import ServingStatistics
from lwmecps_gym.serve_app.views import View

T = TypeVar("T")

Number = Annotated[int, Field(ge=1, lt=2**31, strict=True)]
VersionName = Annotated[
    Number | Annotated[str, Field(min_length=1, max_length=63)],
    Field(description="A version's number, an alias, or `latest`.", examples=[3, "champion"]),
]


class ModelView(View):
    """A model, and which of its versions answers requests."""

    id: str
    name: str
    latest_version: int = Field(description="The greatest number that was given.")
    created_at: datetime
    deployed_version: int | None
    aliases: dict[str, int] = Field(description="Versions by alias.")
    tags: Tags

    @classmethod
    def of(cls, model: ModelRecord, deployed: int | None, aliases: Mapping[str, int]) -> Self:
        """Show a model.

        Args:
            model: The model.
            deployed: The version of it that answers, None if none does.
            aliases: Versions of it by alias.
        """
        shown = {"deployed_version": deployed, "aliases": aliases}
        return cls.model_validate({**model.model_dump(), **shown})

    @classmethod
    def complete(cls, store: Store, model: ModelRecord) -> Self:
        """Show a model, with what the store says of it."""
        return cls.of(model, store.deployed_version(model.id), store.alias_versions(model.id))

    @classmethod
    def page(cls, store: Store, models: Sequence[ModelRecord]) -> list[Self]:
        """Show models, with what the store says of all of them by one reading each."""
        deployed = {each.model_id: each.version for each in store.list_deployments()}
        aliases = store.aliases_by_model()
        return [
            cls.of(model, deployed.get(model.id), aliases.get(model.id, {})) for model in models
        ]

    @classmethod
    def read(cls, store: Store, model_id: str) -> Self:
        """Show the model of an id; NotFoundError if there is none."""
        return cls.complete(store, store.get_model(model_id))


class ModelList(BaseModel):
    """One page of models, by id."""

    items: list[ModelView]
    next_cursor: NextCursor


class VersionView(View):
    """One version of a model."""

    model_id: str
    version: int
    model_type: str
    task_id: str | None = Field(description="The training that made it; null: it was uploaded.")
    digest: str = Field(description="SHA-256 of the artifact.")
    metrics: dict[str, float]
    lineage: Lineage | None = Field(description="Null for those made before it was kept.")
    tags: Tags
    aliases: list[str]
    created_at: datetime

    @classmethod
    def of(cls, version: ModelVersion, aliases: Mapping[str, int]) -> Self:
        """Show a version.

        Args:
            version: The version.
            aliases: Versions of its model by alias.
        """
        own = sorted(name for name, number in aliases.items() if number == version.version)
        return cls.model_validate({**version.model_dump(), "aliases": own})

    @classmethod
    def read(cls, store: Store, model_id: str, version: str) -> Self:
        """Show a version by its number, an alias or `latest`; NotFoundError if there is none."""
        found = store.get_version(model_id, version)
        return cls.of(found, store.alias_versions(model_id))


class VersionList(BaseModel):
    """One page of a model's versions, oldest first."""

    items: list[VersionView]
    next_cursor: NextCursor


class TagChanges(BaseModel):
    """Tags to set, and those to remove as null; others stay."""

    model_config = ConfigDict(extra="forbid")

    tags: Annotated[
        dict[
            Annotated[str, Field(min_length=1, max_length=63)],
            Annotated[str, Field(max_length=250)] | None,
        ],
        Field(max_length=50, examples=[{"stage": "lab", "old": None}]),
    ]


class AliasView(View):
    """A name for a version, and where it pointed before."""

    model_id: str
    name: str
    version: int
    history: list[AliasChange] = Field(description="Oldest first.")


class AliasList(BaseModel):
    """One page of a model's aliases, by name."""

    items: list[AliasView]
    next_cursor: NextCursor


class AliasRequest(BaseModel):
    """Which version an alias shall name."""

    model_config = ConfigDict(extra="forbid")

    version: VersionName
    expected_version: Number | None = Field(
        default=None,
        description="The version that it must name now, null for none, or the answer is 409; "
        "left out: any.",
    )


class DeployRequest(BaseModel):
    """Which version shall answer, and how."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"version": 1, "mode": "serve"}]}
    )

    version: VersionName | None = Field(default=None, description="Unset: the latest.")
    mode: Literal["serve", "shadow", "act"] = Field(
        default="serve",
        description="serve: answer predict calls. shadow (recommend on a live cluster) and act "
        "(control it) are not there yet: 422.",
    )


class DeploymentView(View):
    """A deployed model version."""

    model_id: str
    version: int
    mode: str
    deployed_at: datetime

    @classmethod
    def of(cls, deployment: Deployment) -> Self:
        """Show a deployment."""
        return cls.model_validate(deployment.model_dump())


class DeploymentHistory(BaseModel):
    """What was wished for a model; one page, oldest first."""

    items: list[DeploymentChange]
    next_cursor: NextCursor


class ModelMetrics(View):
    """What is known of a version: from its training, and from answering requests."""

    model_id: str
    version: int = Field(description="The version that this is told of.")
    deployed_version: int | None
    training: dict[str, float]
    serving: ServingStatistics
