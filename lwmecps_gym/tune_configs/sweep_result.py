"""What is known of a sweep and its trials, while it runs and at its end."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, computed_field


class SweepTrial(BaseModel):
    """One trial of a sweep, as far as it came."""

    trial_id: str
    parameters: dict[str, Any] = Field(description="What was drawn from the search space.")
    state: Literal["running", "finished", "stopped", "failed"] = "running"
    score: float | None = Field(default=None, description="The metric over its latest episodes.")
    env_steps: int = 0
    iterations: int = 0
    error: str | None = Field(default=None, description="Why it failed.")

    @computed_field  # type: ignore[prop-decorator]
    @property
    def stopped_early(self) -> bool:
        """Whether the scheduler ended it before its last episode."""
        return self.state == "stopped"


class BestTrial(BaseModel):
    """The trial with the best score."""

    trial_id: str
    parameters: dict[str, Any]
    score: float


class SweepProgress(BaseModel):
    """How far a sweep is; `str` makes one line of it."""

    num_trials: int
    trials: list[SweepTrial] = Field(description="Those that have begun.")
    best: BestTrial | None

    def __str__(self) -> str:
        """One line: how many trials are done and running, and the best score so far."""
        running = sum(trial.state == "running" for trial in self.trials)
        done = f"{len(self.trials) - running} of {self.num_trials} trials done, {running} running"
        return f"{done}, best score {self.best.score:.4g}" if self.best else done


class SweepResult(BaseModel):
    """What a sweep found."""

    model_config = ConfigDict(protected_namespaces=())

    name: str
    model_type: str
    scenario: str
    metric: str
    mode: str
    trials: list[SweepTrial]
    best: BestTrial
    policy: str | None = Field(
        default=None, description="The best heuristic, as `lwmecps evaluate --policy` takes it."
    )
    folder: Path = Field(description="Holds this result and the history of each trial.")
    wandb_sync: str | None = Field(
        default=None, description="Sends its runs to W&B, where they were kept offline."
    )


def best_of(trials: Iterable[SweepTrial], mode: str) -> BestTrial | None:
    """The best trial of those that did not fail; None without any.

    One that the scheduler stopped counts only where none finished: its score is of earlier episodes
    and other hours of the day, and it lost when both were compared at the same step.
    """
    scored = [
        (
            trial.state == "finished",
            BestTrial(trial_id=trial.trial_id, parameters=trial.parameters, score=trial.score),
        )
        for trial in trials
        if trial.score is not None and trial.state != "failed"
    ]
    candidates = [best for finished, best in scored if finished] or [best for _, best in scored]
    choose = max if mode == "max" else min
    return choose(candidates, key=lambda trial: trial.score) if candidates else None
