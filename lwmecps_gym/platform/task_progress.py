"""How far a training is, for people who wait for it."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from lwmecps_gym.platform.models import TaskState, TrainingTask


class Progress(BaseModel):
    """How far a training is."""

    model_config = ConfigDict(protected_namespaces=())

    state: TaskState
    ahead: int | None = Field(description="Trainings before it in the queue; null: not waiting.")
    attempt: int = Field(description="How often it was launched.")
    resumed: int = Field(description="How often it went on from a checkpoint.")
    iteration: int
    checkpoint_iteration: int | None = Field(description="The iteration it could go on from.")
    episode: int
    total_episodes: int
    share: float = Field(description="Part of the training that is done, 0 to 1.")
    episode_return: float | None = Field(description="Mean return of the latest episodes.")
    env_steps: int
    env_steps_per_s: float | None
    elapsed_s: float = Field(description="Seconds since the training began.")
    spent_s: float = Field(description="Seconds of training, without pauses and lost work.")
    time_left_s: float | None = Field(description="Seconds left at the pace so far.")
    error: str | None
    model_id: str | None
    version: int | None

    @classmethod
    def of(cls, task: TrainingTask, time: datetime, ahead: int | None) -> "Progress":
        """Tell how far a task is at a time, UTC, with so many before it in the queue."""
        elapsed_s = 0.0
        if task.started_at is not None:
            elapsed_s = max(0.0, ((task.finished_at or time) - task.started_at).total_seconds())
        time_left_s = None
        if task.state is TaskState.RUNNING and task.episode > 0:
            left = max(0, task.total_episodes - task.episode)
            time_left_s = task.spent_s / task.episode * left
        done = task.state is TaskState.COMPLETED
        return cls(
            ahead=ahead,
            elapsed_s=elapsed_s,
            time_left_s=time_left_s,
            share=1.0 if done else min(1.0, task.episode / task.total_episodes),
            **task.model_dump(
                include={
                    "state", "attempt", "resumed", "iteration", "checkpoint_iteration", "episode",
                    "total_episodes", "episode_return", "env_steps", "env_steps_per_s", "spent_s",
                    "error", "model_id", "version",
                }
            ),
        )  # fmt: skip
