"""Turns a sweep into trials by Ray Tune, and names the best of them.

A trial of an algorithm that learns trains as a task does, by the same configuration, and keeps no
model: train with the best parameters to have one. A trial of a heuristic plays whole days.
"""

import logging
import os
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler, TrialScheduler
from ray.tune.search.basic_variant import BasicVariantGenerator
from ray.tune.search.sample import Domain as TuneDomain

from lwmecps_gym.algorithms.ray_session import ray_running
from lwmecps_gym.envs.scenario import load_scenario
from lwmecps_gym.platform.config import Settings
from lwmecps_gym.platform.errors import LwmecpsError
from lwmecps_gym.platform.models import slug
from lwmecps_gym.platform.offline_runs import sync_command
from lwmecps_gym.platform.task_queue import error_text
from lwmecps_gym.tune_configs.sweep_config import Domain, SweepConfig, load_sweep
from lwmecps_gym.tune_configs.sweep_result import SweepProgress, SweepResult, SweepTrial, best_of
from lwmecps_gym.tune_configs.tracked_trials import TrackedTrials
from lwmecps_gym.tune_configs.trials import check_trial, run_trial

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
    check_trial(lowest, config)
    folder = settings.data_dir.resolve() / "sweeps" / f"{slug(config.name)}-{_timestamp()}"
    record = _Record(config, config.total_episodes * played.episode_steps, on_progress)
    tracked = TrackedTrials(config, played.name, settings, folder.name)
    with tracked, ray_running():
        results = tune.Tuner(
            tune.with_resources(
                partial(run_trial, config=config, modules=settings.algorithms), {"cpu": 1}
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
                name=folder.name,
                storage_path=str(folder.parent),
                verbose=0,
                callbacks=[record, tracked],
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
            f"sweep {config.name}: none of its {config.num_trials} trials finished: {reasons}; "
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
        policy=config.policy(best.parameters),
        folder=folder,
        wandb_sync=sync_command(settings.data_dir, f"{folder.name}-*"),
    )
    (folder / "sweep.json").write_text(result.model_dump_json(indent=2), encoding="utf-8")
    return result


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
                    num_trials=self._config.num_trials,
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


def _tune_domain(domain: Domain) -> TuneDomain | dict[str, list[Any]]:
    low, high = domain.values[0], domain.values[-1]
    match domain.kind:
        case "uniform":
            return tune.uniform(low, high)
        case "loguniform":
            return tune.loguniform(low, high)
        case "randint":
            return tune.randint(low, high + 1)
        case "grid":
            return tune.grid_search(list(domain.values))
    return tune.choice(list(domain.values))


def _reason(error: Exception) -> str:
    """The error that ended a trial, taken out of what Ray wraps around it."""
    return error_text(getattr(error, "cause", None) or error)


def _timestamp() -> str:
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S-%f}"
