"""The trials of a sweep in W&B: a run each, in one group.

The sweep's own process writes them, from what Tune tells it. A trial's process cannot: Tune ends it
when the trial has ended, or was stopped, whatever it still had to write.
"""

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

import ray
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.result import AUTO_RESULT_KEYS, NODE_IP, PID, TRAINING_ITERATION

from lwmecps_gym.platform.config import Settings
from lwmecps_gym.platform.wandb_config import TrackedRun, Tracker, tracking_mode
from lwmecps_gym.tune_configs.sweep_config import SweepConfig

_logger = logging.getLogger(__name__)


class TrackedTrials(tune.Callback):  # type: ignore[misc]
    """Writes a run for each trial, in a thread of its own: a slow W&B holds no trial up.

    A run is opened by the trial's first report, or by its failure before. At the end of the block
    all of them are closed, and wholly written where they are offline.

    Args:
        config: The sweep.
        scenario: Name of what is played.
        settings: How runs are tracked, and where they lie.
        group: Name of the runs' group, and what their ids begin with.

    Raises:
        InvalidInputError: The mode in the settings is none.
    """

    def __init__(self, config: SweepConfig, scenario: str, settings: Settings, group: str) -> None:
        tracking_mode(settings)
        self._config = config
        self._scenario = scenario
        self._settings = settings
        self._group = group
        self._trackers: dict[str, Tracker] = {}
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="wandb")

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune keeps a pickle of its callbacks, and this one is of no use there."""
        return {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close what is open, which is a run that did not end unless Tune ended well."""
        self._later(self._finish_all)
        self._writer.shutdown()

    def on_trial_result(
        self,
        iteration: int,
        trials: list[Trial],
        trial: Trial,
        result: dict[str, Any],
        **info: Any,
    ) -> None:
        """Add a report to the trial's run."""
        values = {
            name: float(value)
            for name, value in result.items()
            if name not in AUTO_RESULT_KEYS and isinstance(value, int | float)
        }
        here = result[NODE_IP] == ray.util.get_node_ip_address()
        pid = result[PID] if here else None
        run = self._run_of(trial, pid)
        self._later(self._log, run, values, result[TRAINING_ITERATION])

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Close the run of a trial that is done, or was stopped for others that are better."""
        self._later(self._finish, self._run_of(trial), 0)

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Close the run of a trial that failed."""
        self._later(self._finish, self._run_of(trial), 1)

    def _run_of(self, trial: Trial, pid: int | None = None) -> TrackedRun:
        config = {
            "sweep": self._config.name,
            "model_type": self._config.model_type,
            "parameters": {**self._config.parameters, **trial.config},
            "total_episodes": self._config.total_episodes,
            "scenario": self._scenario,
            "env": self._config.env,
            "seed": self._config.seed,
        }
        run_id = f"{self._group}-{trial.trial_id}"
        return TrackedRun(run_id, f"{self._config.name} {trial.trial_id}", config, self._group, pid)

    def _later(self, do: Callable[..., None], *arguments: Any) -> None:
        self._writer.submit(do, *arguments).add_done_callback(_tell)

    # What follows runs in the writer's thread, in the order of Tune's calls.

    def _log(self, run: TrackedRun, values: dict[str, float], step: int) -> None:
        self._tracker(run).log(values, step)

    def _finish(self, run: TrackedRun, exit_code: int) -> None:
        self._tracker(run).finish(exit_code)
        del self._trackers[run.id]

    def _finish_all(self) -> None:
        for tracker in self._trackers.values():
            tracker.finish(exit_code=1)

    def _tracker(self, run: TrackedRun) -> Tracker:
        known = self._trackers.get(run.id)
        if known is not None:
            return known
        tracker = self._trackers[run.id] = Tracker.open(self._settings, run)
        if tracker.offline:  # W&B cannot be reached: no other trial waits to find that out again
            self._settings = self._settings.model_copy(update={"wandb_mode": "offline"})
        return tracker


def _tell(done: Future[None]) -> None:
    error = done.exception()
    if error is not None:
        _logger.error("the sweep goes on without W&B: %r", error, exc_info=error)
