"""What the API shows of the platform's records: everything a caller can use, nothing internal."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from lwmecps_gym.platform.models import MetricRecord, TaskState, TrainingTask


class View(BaseModel):
    """What a record's view takes from it: its own fields alone."""

    model_config = ConfigDict(protected_namespaces=(), extra="ignore")


class TrainingSummary(View):
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
    attempt: int = Field(description="How often it was launched.")
    resumed: int = Field(description="How often it went on from a checkpoint.")
    retries: int = Field(description="How often it was taken up again after its end.")
    wandb_run_id: str | None


class TrainingPage(BaseModel):
    """One page of trainings."""

    items: list[TrainingSummary]
    next_cursor: str | None = Field(description="Send it as `cursor` for the next page; null: end.")


class MetricLine(View):
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


class EpisodeLine(View):
    """An episode of a training, or the mean of several."""

    iteration: int = Field(description="In which it ended.")
    time: datetime
    episodes: int = Field(description="How many this is the mean of.")
    values: dict[str, float] = Field(
        description="`return`, `steps`, and means over its steps: `latency_ms`, `violated`, "
        "`migrations`, `used_cpu` (the share of the cluster's CPU that services hold)."
    )


class EpisodeLines(BaseModel):
    """A training's episodes, those that ended first before others."""

    items: list[EpisodeLine]
    next_since: int = Field(description="Send it as `since` for what comes after these.")


class Overview(BaseModel):
    """The whole platform in numbers."""

    trainings: dict[TaskState, int]
    env_steps: int = Field(description="Environment steps of all trainings.")
    models: int
    model_versions: int
    deployments: int
    predictions: int = Field(description="Decisions asked for since the policy server started.")
