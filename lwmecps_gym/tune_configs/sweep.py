"""Turns a sweep into trials by Ray Tune, and names the best of them.

A trial trains as a task does, by the same configuration, and keeps no model: train with the best
parameters to have one.
"""

import logging
import os
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler, TrialScheduler
from ray.tune.search.basic_variant import BasicVariantGenerator
from ray.tune.search.sample import Domain as TuneDomain

from lwmecps_gym.algorithms.catalog import prepare
from lwmecps_gym.algorithms.ray_session import ray_running
from lwmecps_gym.algorithms.registry import entry_of, import_algorithms
from lwmecps_gym.envs.scenario import load_scenario
from lwmecps_gym.platform.config import Settings
from lwmecps_gym.platform.errors import LwmecpsError
from lwmecps_gym.platform.models import TrainingRequest, TrainingTask, slug
from lwmecps_gym.platform.training import error_text
from lwmecps_gym.tune_configs.sweep_config import Domain, SweepConfig, load_sweep
from lwmecps_gym.tune_configs.sweep_result import SweepProgress, SweepResult, SweepTrial, best_of

__all__ = ["OnProgress", "load_sweep", "run_sweep"]

OnProgress = Callable[[SweepProgress], None]

# Tune reads these when a sweep starts. Its newer output prints tables even when told to be silent,
# and its own handling of Ctrl-C makes half a sweep look like a whole one.
os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
# Why a trial failed is in the result, and its traceback in the trial's folder.
for _name in ("ray.tune.execution.tune_controller", "ray.tune.tune"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)


def run_sweep(
    config: SweepConfig,
    settings: Settings,
    *,
    scenario: str | Path | dict[str, Any] | None = None,
    on_progress: OnProgress | None = None,
) -> SweepResult:
    """Run every trial and wait; Ray is started for it unless this process has it.

    The result is also written to `sweep.json` in the sweep's folder under `data_dir/sweeps`.

    Args:
        config: What to search.
        settings: Where results go.
        scenario: Played in place of the one in `config`.
        on_progress: Called whenever a trial starts, reports or ends.

    Raises:
        NotFoundError: There is no such scenario.
        InvalidInputError: The scenario is wrong, or the algorithm cannot learn on it.
        LwmecpsError: No trial finished; the message holds the reasons.
    """
    played = load_scenario(config.scenario if scenario is None else scenario)
    config = config.model_copy(update={"scenario": played.document()})
    lowest = {name: domain.values[0] for name, domain in config.search_space.items()}
    _task(config, lowest)  # refuse before Ray starts
    folder = settings.data_dir.resolve() / "sweeps" / f"{slug(config.name)}-{_timestamp()}"
    record = _Record(config, config.total_episodes * played.episode_steps, on_progress)
    with ray_running():
        results = tune.Tuner(
            tune.with_resources(
                partial(_train, config=config, modules=settings.algorithms), {"cpu": 1}
            ),
            param_space={name: _tune_domain(d) for name, d in config.search_space.items()},
            tune_config=tune.TuneConfig(
                metric="score",
                mode=config.mode,
                num_samples=config.num_samples,
                search_alg=BasicVariantGenerator(
                    max_concurrent=config.max_concurrent, random_state=config.seed
                ),
                scheduler=_scheduler(config),
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=tune.RunConfig(
                name=folder.name, storage_path=str(folder.parent), verbose=0, callbacks=[record]
            ),
        ).fit()
    errors = {Path(each.path).name: each.error for each in results if each.error}
    trials = [
        trial.model_copy(update={"error": _reason(errors[trial.trial_id])})
        if trial.trial_id in errors
        else trial
        for trial in record.trials
    ]
    best = best_of(trials, config.mode)
    if best is None:
        reasons = "; ".join(sorted({trial.error or "no score" for trial in trials}))
        raise LwmecpsError(
            f"sweep {config.name}: none of its {config.num_samples} trials finished: {reasons}; "
            f"their logs are in {folder}"
        )
    result = SweepResult(
        name=config.name,
        model_type=config.model_type,
        scenario=played.name,
        metric=config.metric,
        mode=config.mode,
        trials=trials,
        best=best,
        folder=folder,
    )
    (folder / "sweep.json").write_text(result.model_dump_json(indent=2), encoding="utf-8")
    return result


def _task(config: SweepConfig, drawn: dict[str, Any]) -> TrainingTask:
    return prepare(
        TrainingRequest(
            name=config.name,
            model_type=config.model_type,
            parameters={**config.parameters, **drawn},
            total_episodes=config.total_episodes,
            scenario=config.scenario,
            env=config.env,
            seed=config.seed,
        )
    )


def _train(drawn: dict[str, Any], *, config: SweepConfig, modules: Sequence[str]) -> None:
    """Train a trial to its last episode; Tune may end it at any report."""
    import_algorithms(modules)
    task = _task(config, drawn)
    episode_steps = task.scenario["episode_steps"]
    score = _Score(config.metric, config.score_episodes * episode_steps)
    learner = entry_of(task.model_type).begin(task)
    episodes, steps = 0, 0
    try:
        while episodes < config.total_episodes:
            done = learner.train()
            score.add(done.values, done.env_steps - steps)
            episodes, steps = done.episodes, done.env_steps
            progress = {"env_steps": steps, "episodes": steps / episode_steps}
            tune.report({**done.values, **progress, "score": score.mean})
    finally:
        learner.stop()


class _Score:
    """Mean of a metric over the latest iterations that hold `window` environment steps."""

    def __init__(self, metric: str, window: float) -> None:
        self._metric = metric
        self._window = window
        self._latest: deque[tuple[float, int]] = deque()

    def add(self, values: dict[str, float], steps: int) -> None:
        if self._metric not in values:
            raise LwmecpsError(f"{self._metric} is no finite number: the training diverged")
        self._latest.append((values[self._metric], steps))
        while self._steps - self._latest[0][1] >= self._window:
            self._latest.popleft()

    @property
    def _steps(self) -> int:
        return sum(steps for _, steps in self._latest)

    @property
    def mean(self) -> float:
        return sum(value * steps for value, steps in self._latest) / self._steps


class _Record(tune.Callback):  # type: ignore[misc]
    """Hears of every trial from Tune, and passes it on."""

    def __init__(self, config: SweepConfig, all_steps: int, on_progress: OnProgress | None) -> None:
        self._config = config
        self._all_steps = all_steps
        self._on_progress = on_progress
        self._trials: dict[str, SweepTrial] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Without the listener: Tune keeps a pickle of its callbacks, and a terminal has none."""
        return {**self.__dict__, "_on_progress": None}

    @property
    def trials(self) -> list[SweepTrial]:
        """Those that have begun, in the order in which they were drawn."""
        return [self._trials[trial_id] for trial_id in sorted(self._trials)]

    def on_trial_start(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        self._update(trial)

    def on_trial_result(
        self,
        iteration: int,
        trials: list[Trial],
        trial: Trial,
        result: dict[str, Any],
        **info: Any,
    ) -> None:
        self._update(
            trial,
            score=result["score"],
            env_steps=result["env_steps"],
            iterations=result["training_iteration"],
        )

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        whole = self._trials[trial.trial_id].env_steps >= self._all_steps
        self._update(trial, state="finished" if whole else "stopped")

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        self._update(trial, state="failed")

    def _update(self, trial: Trial, **changes: Any) -> None:
        known = self._trials.get(trial.trial_id) or SweepTrial(
            trial_id=trial.trial_id, parameters=trial.config
        )
        self._trials[trial.trial_id] = known.model_copy(update=changes)
        if self._on_progress is not None:
            trials_now = self.trials
            self._on_progress(
                SweepProgress(
                    num_samples=self._config.num_samples,
                    trials=trials_now,
                    best=best_of(trials_now, self._config.mode),
                )
            )


def _scheduler(config: SweepConfig) -> TrialScheduler | None:
    if config.scheduler is None:
        return None
    asha = config.scheduler.asha
    return ASHAScheduler(
        time_attr="episodes",
        max_t=config.total_episodes,
        grace_period=asha.grace_period,
        reduction_factor=asha.reduction_factor,
    )


def _tune_domain(domain: Domain) -> TuneDomain:
    low, high = domain.values[0], domain.values[-1]
    match domain.kind:
        case "uniform":
            return tune.uniform(low, high)
        case "loguniform":
            return tune.loguniform(low, high)
        case "randint":
            return tune.randint(low, high + 1)
    return tune.choice(list(domain.values))


def _reason(error: Exception) -> str:
    """The error that ended a trial, taken out of what Ray wraps around it."""
    return error_text(getattr(error, "cause", None) or error)


def _timestamp() -> str:
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S-%f}"
