"""Several beginnings of one training, of which the best goes on.

Trainings that differ in their seed alone can end in different habits, and which of them a policy
takes up shows early. So a training may begin several times, and what is left of its episodes goes
to the beginning whose policy earns most on days that are the same for all: successive halving with
one rung (Jamieson and Talwalkar, Non-stochastic best arm identification and hyperparameter
optimization, 2016).
"""

import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from pydantic import BaseModel, ConfigDict

from lwmecps_gym.algorithms.entries import Export, Iteration, Learner
from lwmecps_gym.platform.checkpoints import Reached
from lwmecps_gym.platform.models import TrainingTask

logger = logging.getLogger(__name__)

STATE = "beginnings.json"
NOW = "now"
BEST = "best"


class _State(BaseModel):
    """How far the choice is.

    Attributes:
        index: of the beginning at work; the number of beginnings once the best goes on.
        scores: mean rewards of a step of those before.
        steps: that those before have played.
    """

    model_config = ConfigDict(extra="forbid")

    index: int = 0
    scores: list[float] = []
    steps: list[int] = []

    @property
    def best(self) -> int:
        """The best beginning of those before."""
        return int(np.argmax(self.scores))


class Beginnings:
    """A `Learner` that begins `count` times and goes on with the best.

    All steps count as those of the training.

    Args:
        task: the training.
        begin: sets one beginning up.
        judge: the mean reward of a step that a model earns.
        count: how many there are.
        share: of the episodes, for each of them.
    """

    def __init__(
        self,
        task: TrainingTask,
        begin: Callable[[TrainingTask], Learner],
        judge: Callable[[Export], float],
        count: int,
        share: float,
    ) -> None:
        episodes = max(1, round(share * task.total_episodes))
        longest = max(1, task.total_episodes - (count - 1) * episodes)
        self._task = task.model_copy(update={"total_episodes": longest})
        self._begin_with, self._judge_by, self._count = begin, judge, count
        self._episode_steps = int(task.scenario["episode_steps"])
        self._steps = episodes * self._episode_steps
        self._state = _State()
        self._kept = TemporaryDirectory(prefix="lwmecps-beginnings-")
        self._best = Path(self._kept.name) / BEST
        self._learner = self._begin(0)

    def train(self) -> Iteration:
        """See `Learner.train`; steps and episodes are those of all beginnings."""
        done, state = self._learner.train(), self._state
        steps = sum(state.steps) + done.env_steps
        if state.index == self._count:
            steps -= state.steps[state.best]  # which are its own
        elif done.env_steps >= self._steps:
            self._judge(done.env_steps)
        return replace(done, env_steps=steps, episodes=steps // self._episode_steps)

    def _judge(self, steps: int) -> None:
        """End a beginning; go on with the next one, or with the best."""
        state = self._state
        score = self._judge_by(self._learner.export())
        logger.info("beginning %d of %d: reward %.4f", state.index + 1, self._count, score)
        if score > max(state.scores, default=-np.inf):
            shutil.rmtree(self._best, ignore_errors=True)
            self._best.mkdir()
            self._learner.save(self._best)
        state.scores.append(score)
        state.steps.append(steps)
        state.index += 1
        self._learner.stop()
        self._learner = self._begin(state.index)
        if state.index == self._count:
            self._learner.restore(self._best, Reached())
            logger.info("beginning %d goes on", state.best + 1)

    def _begin(self, index: int) -> Learner:
        seed = np.random.SeedSequence([self._task.seed, index]).generate_state(1)[0] % 2**31
        own = self._task.model_copy(update={"seed": int(seed)}) if index else self._task
        return self._begin_with(own)

    def save(self, folder: Path) -> None:
        """See `Learner.save`: the one at work, and the best before it."""
        (folder / NOW).mkdir()
        self._learner.save(folder / NOW)
        if self._state.index < self._count and self._best.exists():
            shutil.copytree(self._best, folder / BEST)
        (folder / STATE).write_text(self._state.model_dump_json(), encoding="utf-8")

    def restore(self, folder: Path, reached: Reached) -> None:
        """See `Learner.restore`."""
        state = _State.model_validate_json((folder / STATE).read_text(encoding="utf-8"))
        if state.index != self._state.index:
            self._learner.stop()
            self._learner = self._begin(state.index)
        self._state = state
        if (folder / BEST).exists():
            shutil.copytree(folder / BEST, self._best, dirs_exist_ok=True)
        self._learner.restore(folder / NOW, reached)

    def export(self) -> Export:
        """See `Learner.export`."""
        return self._learner.export()

    def stop(self) -> None:
        """See `Learner.stop`."""
        self._learner.stop()
        self._kept.cleanup()
