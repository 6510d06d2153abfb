"""What a trial of a sweep does: it trains, or plays a heuristic on days to train on."""

from collections import deque
from collections.abc import Sequence
from typing import Any

from ray import tune

from lwmecps_gym.algorithms.catalog import prepare
from lwmecps_gym.algorithms.heuristics import HEURISTICS, check_knobs, make_heuristic
from lwmecps_gym.algorithms.registry import entry_of, import_algorithms
from lwmecps_gym.algorithms.training_days import play_training_days
from lwmecps_gym.envs.scenario import load_scenario
from lwmecps_gym.platform.errors import LwmecpsError
from lwmecps_gym.platform.models import TrainingRequest, TrainingTask
from lwmecps_gym.tune_configs.sweep_config import SweepConfig


def check_trial(drawn: dict[str, Any], config: SweepConfig) -> None:
    """Refuse a trial that cannot begin, before Ray is started for it.

    Args:
        drawn: parameters from the search space.
        config: the sweep; its scenario is an object.

    Raises:
        InvalidInputError: a parameter is wrong, or the algorithm cannot learn on the scenario.
    """
    if config.heuristic:
        check_knobs(HEURISTICS[config.model_type], {**config.parameters, **drawn})
    else:
        _task(drawn, config)


def run_trial(drawn: dict[str, Any], *, config: SweepConfig, modules: Sequence[str]) -> None:
    """Run a trial, and report to Tune; which may end a training at any report.

    Args:
        drawn: parameters from the search space.
        config: the sweep; its scenario is an object.
        modules: modules and files that register algorithms.
    """
    if config.heuristic:
        _play(drawn, config)
    else:
        import_algorithms(modules)
        _train(drawn, config)


def _play(drawn: dict[str, Any], config: SweepConfig) -> None:
    scenario, days = load_scenario(config.scenario), config.total_episodes
    knobs = {**config.parameters, **drawn}
    policy = make_heuristic(config.model_type, scenario, config.seed, **knobs)
    values = play_training_days(scenario, policy, days, config.seed)
    progress = {"env_steps": days * scenario.episode_steps, "episodes": days}
    tune.report({**values, **progress, "score": values[config.metric]})


def _task(drawn: dict[str, Any], config: SweepConfig) -> TrainingTask:
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


def _train(drawn: dict[str, Any], config: SweepConfig) -> None:
    task = _task(drawn, config)
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
