"""What the API shows of the platform's records: everything a caller can use, nothing internal."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from lwmecps_gym.platform.models import (
    Deployment,
    MetricRecord,
    ModelRecord,
    ModelVersion,
    TaskState,
    TrainingTask,
)
from lwmecps_gym.serve_app.statistics import ServingStatistics


class _View(BaseModel):
    model_config = ConfigDict(protected_namespaces=(), extra="ignore")


class TrainingSummary(_View):
    """A training as a list shows it."""

    id: str
    name: str
    model_type: str
    scenario_name: str
    env: str
    seed: int
    state: TaskState
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    episode: int
    total_episodes: int
    env_steps: int
    episode_return: float | None
    error: str | None
    model_id: str | None
    version: int | None

    @classmethod
    def of(cls, task: TrainingTask) -> Self:
        """Show a task."""
        return cls.model_validate(
            {**task.model_dump(), "scenario_name": task.scenario.get("name", "")}
        )


class TrainingDetail(TrainingSummary):
    """A training in full: with its parameters and its whole scenario."""

    parameters: dict[str, Any]
    scenario: dict[str, Any]
    first_return: float | None
    env_steps_per_s: float | None
    wandb_run_id: str | None


class TrainingPage(BaseModel):
    """One page of trainings."""

    items: list[TrainingSummary]
    next_cursor: str | None = Field(description="Send it as `cursor` for the next page; null: end.")


class MetricLine(_View):
    """What one iteration of a training brought."""

    iteration: int
    episode: int
    env_steps: int
    time: datetime
    values: dict[str, float]


class MetricLines(BaseModel):
    """A training's history, oldest iteration first."""

    items: list[MetricLine]
    next_since: int = Field(description="Send it as `since` for what comes after these.")

    @classmethod
    def of(cls, records: Sequence[MetricRecord], since: int) -> Self:
        """Show records that were asked for from `since` on."""
        items = [MetricLine.model_validate(record.model_dump()) for record in records]
        return cls(items=items, next_since=items[-1].iteration if items else since)


class ModelView(_View):
    """A model, and which of its versions answers requests."""

    id: str
    name: str
    latest_version: int
    created_at: datetime
    deployed_version: int | None

    @classmethod
    def of(cls, model: ModelRecord, deployed_version: int | None) -> Self:
        """Show a model."""
        return cls.model_validate({**model.model_dump(), "deployed_version": deployed_version})


class ModelList(BaseModel):
    """All models."""

    items: list[ModelView]


class VersionView(_View):
    """One version of a model."""

    model_id: str
    version: int
    model_type: str
    task_id: str | None
    digest: str = Field(description="SHA-256 of the artifact.")
    metrics: dict[str, float]
    created_at: datetime

    @classmethod
    def of(cls, version: ModelVersion) -> Self:
        """Show a version."""
        return cls.model_validate(version.model_dump())


class VersionList(BaseModel):
    """All versions of a model, oldest first."""

    items: list[VersionView]


class DeployRequest(BaseModel):
    """Which version shall answer, and how."""

    model_config = ConfigDict(extra="forbid")

    version: int | None = Field(default=None, ge=1, description="Unset: the latest.")
    mode: Literal["serve"] = Field(default="serve", description="serve: answer predict calls.")


class DeploymentView(_View):
    """A deployed model version."""

    model_id: str
    version: int
    mode: str
    deployed_at: datetime

    @classmethod
    def of(cls, deployment: Deployment) -> Self:
        """Show a deployment."""
        return cls.model_validate(deployment.model_dump())


class ModelMetrics(_View):
    """What is known of a model: from its training, and from answering requests."""

    model_id: str
    deployed_version: int | None
    training: dict[str, float] = Field(
        description="Metrics of the deployed version, or of the latest one if none is deployed."
    )
    serving: ServingStatistics


class Overview(BaseModel):
    """The whole platform in numbers."""

    trainings: dict[TaskState, int]
    env_steps: int = Field(description="Environment steps of all trainings.")
    models: int
    model_versions: int
    deployments: int
    predictions: int = Field(description="Decisions asked for since the policy server started.")
