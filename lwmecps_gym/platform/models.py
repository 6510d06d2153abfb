"""The records that the platform keeps: tasks, metrics, models, versions, aliases, deployments."""

import hashlib
import json
import re
import secrets
import time
from collections import Counter
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field


def now() -> datetime:
    """Current time, UTC."""
    return datetime.now(UTC)


def new_id() -> str:
    """Return a new id of 20 hex digits that sorts by the time of its making."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(4)}"


def slug(name: str) -> str:
    """Turn a name into an id for URLs and files: lower case letters, digits, dots and dashes."""
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.")[:80] or "model"


class TaskState(StrEnum):
    """Where a training task stands."""

    PENDING = "pending"
    RUNNING = "running"
    PAUSING = "pausing"
    PAUSED = "paused"
    STOPPING = "stopping"
    COMPLETED = "completed"
    STOPPED = "stopped"
    CANCELLED = "cancelled"
    FAILED = "failed"

    @property
    def active(self) -> bool:
        """True while a process trains, or one that was lost has to be replaced."""
        return self in (TaskState.RUNNING, TaskState.PAUSING, TaskState.STOPPING)

    @property
    def ended(self) -> bool:
        """True once nothing more will happen by itself."""
        return self in (
            TaskState.COMPLETED,
            TaskState.STOPPED,
            TaskState.CANCELLED,
            TaskState.FAILED,
        )


class Record(BaseModel):
    """A stored document. `revision` counts its changes; every change names the one it saw."""

    model_config = ConfigDict(extra="forbid")

    id: str
    revision: int = 0


class TrainingRequest(BaseModel):
    """What a user sends to create a training."""

    model_config = ConfigDict(
        extra="forbid",
        protected_namespaces=(),
        json_schema_extra={
            "examples": [
                {
                    "name": "edge placement",
                    "model_type": "ppo",
                    "parameters": {"learning_rate": 0.002, "discount_factor": 0.99},
                    "total_episodes": 100,
                    "scenario": "four-stations",
                }
            ]
        },
    )

    name: Annotated[str, Field(min_length=1, max_length=200)]
    model_type: Annotated[str, Field(min_length=1, max_length=100)]
    parameters: dict[str, Any] = Field(default_factory=dict)
    total_episodes: Annotated[int, Field(ge=1, le=10_000_000, strict=True)]
    scenario: str | dict[str, Any] = Field(
        default="four-stations",
        description="The name of a packaged scenario, or a whole scenario as an object.",
    )
    env: str | None = Field(
        default=None, description="lwmecps-v1, -v2 or -v3; unset: what the algorithm prefers."
    )
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0


class TrainingTask(Record):
    """A training, from the moment it was accepted."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    name: str
    model_type: str
    parameters: dict[str, Any]
    total_episodes: int
    scenario: dict[str, Any]
    env: str
    seed: int
    state: TaskState = TaskState.PENDING
    created_at: datetime = Field(default_factory=now)
    started_at: datetime | None = None
    finished_at: datetime | None = None
    lease_until: datetime | None = Field(
        default=None, description="Whoever runs the task promises to speak again before this time."
    )
    attempt: int = Field(
        default=0,
        description="How often the task was launched; what writes for it must know this number.",
    )
    begun: bool = Field(default=False, description="The process of this attempt has begun.")
    suspected: bool = Field(
        default=False, description="The lease ran out, and the process has a last time to speak."
    )
    losses: int = Field(
        default=0, description="Attempts lost in a row, without a new checkpoint in between."
    )
    resumed: int = Field(default=0, description="How often it went on from a checkpoint.")
    retries: int = Field(default=0, description="How often it was taken up again after its end.")
    saving: bool = Field(default=False, description="Its model is being stored right now.")
    deleting: bool = Field(default=False, description="Parts of it may be gone already.")
    iteration: int = 0
    checkpoint_iteration: int | None = None
    spent_s: float = Field(default=0.0, description="Time spent training, s; without pauses.")
    episode: int = 0
    env_steps: int = 0
    episode_return: float | None = None
    first_return: float | None = None
    env_steps_per_s: float | None = None
    error: str | None = None
    model_id: str | None = None
    version: int | None = None
    wandb_run_id: str | None = None
    request_id: str | None = Field(default=None, description="Id of the request that created it.")


class MetricRecord(Record):
    """One line of a task's history: written once, by training iteration.

    `id` is `{task_id}/{iteration:010d}`, so that a repeated write is the same write. `revision` is
    the attempt of the task that wrote it: a later one replaces what an earlier one wrote.
    """

    task_id: str
    iteration: int
    episode: int
    env_steps: int
    time: datetime = Field(default_factory=now)
    values: dict[str, float]
    episodes: dict[str, list[float]] = Field(
        default_factory=dict,
        description="Columns of the episodes that ended in it; see `ended_episodes.columns_of`.",
    )


Tags = dict[
    Annotated[str, Field(min_length=1, max_length=63)], Annotated[str, Field(max_length=250)]
]
"""A user's own notes, by name."""


class Lineage(BaseModel):
    """What a model version comes from; with the code, enough to train it again."""

    model_config = ConfigDict(extra="forbid")

    scenario: str = Field(description="Name of the scenario.")
    scenario_sha256: str = Field(description="SHA-256 of the whole scenario as sorted JSON.")
    env: str
    parameters: dict[str, Any]
    total_episodes: int | None = None
    seed: int | None = None
    parent: str | None = Field(
        default=None, description="MODEL:VERSION that its training began with; null: with nothing."
    )

    @classmethod
    def of(cls, scenario: dict[str, Any], env: str, **rest: Any) -> Self:
        """Describe a training on a scenario, given in full."""
        text = json.dumps(scenario, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        digest = hashlib.sha256(text.encode()).hexdigest()
        name = str(scenario.get("name", ""))
        return cls(scenario=name, scenario_sha256=digest, env=env, **rest)


class ModelRecord(Record):
    """A named model: what its versions have in common. `id` is the slug of the name.

    Numbers are never given twice: a model that was deleted and made again goes on counting.
    """

    name: str
    latest_version: int = 0
    deleted_through: int = Field(
        default=0, description="Versions up to this one went when the model was deleted."
    )
    tags: Tags = Field(default_factory=dict)
    created_at: datetime = Field(default_factory=now)


class ModelVersion(Record):
    """One version of a model. `id` is `{model_id}/{version:06d}`."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    model_id: str
    version: int
    model_type: str
    task_id: str | None
    retry: int = Field(default=0, description="Which retry of the task made it; 0: its first run.")
    upload_id: str | None = Field(default=None, description="Which upload made it, if one did.")
    digest: str = Field(description="SHA-256 that addresses the artifact (weights and manifest).")
    metrics: dict[str, float] = Field(default_factory=dict)
    lineage: Lineage | None = None
    tags: Tags = Field(default_factory=dict)
    created_at: datetime = Field(default_factory=now)
    deleted_at: datetime | None = None


class AliasChange(BaseModel):
    """One move of an alias; None where it named nothing."""

    time: datetime = Field(default_factory=now)
    by: str
    from_version: int | None
    to_version: int | None


class Alias(Record):
    """A name for a version of a model, and where it pointed before.

    `id` is `{model_id}/{name}`. A removed alias names no version and keeps its history.
    """

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    model_id: str
    name: str
    version: int | None
    history: list[AliasChange] = Field(default_factory=list)


class DeploymentChange(BaseModel):
    """One change of what answers for a model; version None: nothing does."""

    time: datetime = Field(default_factory=now)
    by: str
    action: Literal["deploy", "undeploy", "rollback"]
    version: int | None


class Deployment(Record):
    """The wish that a model version answers requests, and the wishes before. `id` is the model's.

    Version None: the model is not deployed any more.
    """

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    model_id: str
    version: int | None
    mode: str = "serve"
    deployed_at: datetime = Field(default_factory=now)
    history: list[DeploymentChange] = Field(default_factory=list)


class ServingCounts(Record):
    """What was counted of a model version while it answered; see `serve_app.statistics`."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    model_id: str
    version: int
    requests: int = 0
    decisions: int = 0
    errors: int = 0
    actions: list[tuple[str, int]] = Field(default_factory=list)
    seen: dict[str, list[int]] = Field(
        default_factory=dict, description="Values of each kind of features by bin."
    )

    @staticmethod
    def id_of(model_id: str, version: int) -> str:
        """Return the id of a version's counts."""
        return f"{model_id}/{version:06d}"

    def plus(self, more: Self) -> Self:
        """Return both together, with this one's revision."""
        seen = dict(self.seen)
        for name, counts in more.seen.items():
            here = seen.get(name, [0] * len(counts))
            seen[name] = [a + b for a, b in zip(here, counts, strict=True)]
        actions = Counter(dict(self.actions)) + Counter(dict(more.actions))
        return self.model_copy(
            update={
                "requests": self.requests + more.requests,
                "decisions": self.decisions + more.decisions,
                "errors": self.errors + more.errors,
                "actions": list(actions.items()),
                "seen": seen,
            }
        )
