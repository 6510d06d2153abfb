"""Users' own algorithms: a class that trains on an environment and then chooses actions.

    class YourAgent:
        def __init__(self, env, learning_rate=0.01, discount_factor=0.9, wandb_run_id=None,
                     **kwargs)
        def train(self, episodes: int) -> dict[str, float]      # goes on from where it was
        def choose_action(self, observation) -> int
        def save_model(self, path: Path) -> None                # .safetensors and .json files
        def load_model(self, path: Path) -> None

What else it has, such as `update_model`, is its own. `env` counts what is played, so that the class
need not report. No Ray needed.
"""

import inspect
import operator
import random
import tempfile
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray

from lwmecps_gym.algorithms.ended_episodes import SUMMED, EndedEpisode, columns_of
from lwmecps_gym.algorithms.entries import (
    RESOURCES,
    USED_CPU,
    AlgorithmEntry,
    Export,
    Iteration,
    StoredModel,
)
from lwmecps_gym.algorithms.networks import MASK, flat_size
from lwmecps_gym.envs import LWMECPSEnv, LWMECPSEnv2, LWMECPSEnv3
from lwmecps_gym.envs.base import PlacementEnv
from lwmecps_gym.envs.cluster import Ints
from lwmecps_gym.platform.checkpoints import Reached
from lwmecps_gym.platform.errors import IllegalActionError, InvalidInputError, LwmecpsError
from lwmecps_gym.platform.models import TrainingTask

METHODS = ("train", "choose_action", "save_model", "load_model")
"""What the platform calls."""

ENVS: dict[str, type[PlacementEnv]] = {
    env.env_id: env for env in (LWMECPSEnv, LWMECPSEnv2, LWMECPSEnv3)
}


@dataclass(frozen=True, kw_only=True)
class AgentEntry(AlgorithmEntry):
    """An algorithm that is a user's class."""

    agent: type
    chunk: int
    """Episodes that `train` is asked for at a time."""

    def begin(self, task: TrainingTask) -> "AgentLearner":
        """See `AlgorithmEntry.begin`."""
        return AgentLearner(self, task)

    def make(self, env: gym.Env[Any, Any], parameters: Mapping[str, Any], **handed: Any) -> Any:
        """Make an agent; what its `__init__` does not take of `handed` is left out."""
        known = self.parameters.model_validate(dict(parameters))
        arguments = inspect.signature(self.agent).parameters
        open_ended = any(each.kind is each.VAR_KEYWORD for each in arguments.values())
        given = {name: getattr(known, name) for name in type(known).model_fields}
        given |= {name: v for name, v in handed.items() if open_ended or name in arguments}
        with self.calling("__init__"):
            return self.agent(env=env, **given)

    @contextmanager
    def calling(self, method: str) -> Iterator[None]:
        """Say in which line of the user's class an error arose."""
        try:
            yield
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            source = inspect.getsourcefile(self.agent)
            frame = next((each for each in reversed(frames) if each.filename == source), frames[-1])
            raise LwmecpsError(
                f"algorithm {self.name!r}: {method} raised {type(error).__name__}: {error} "
                f"({Path(frame.filename).name}, line {frame.lineno})"
            ) from error

    def scorer(self, stored: StoredModel) -> "AgentScorer":
        """See `AlgorithmEntry.scorer`."""
        assert stored.folder is not None
        env = stored.manifest["env"]
        agent = self.make(
            ENVS[env["id"]](stored.scenario, **env["options"]),
            stored.manifest["parameters"],
            wandb_run_id=None,
            seed=stored.seed,
        )
        with self.calling("load_model"):
            agent.load_model(stored.folder)
        return AgentScorer(self, agent, *stored.manifest["sizes"])


class CountedEnv(gym.Wrapper[Any, Any, Any, Any]):
    """Counts what is played between two calls of `take`; seeds the first episode."""

    def __init__(self, env: PlacementEnv, seed: int) -> None:
        super().__init__(env)
        self._seed: int | None = seed
        self._resources_weight = env.core.scenario.weights.resources
        self._begin()
        self._clear()

    def _begin(self) -> None:
        self._length = 0
        self._totals = dict.fromkeys(("step_reward", *SUMMED), 0.0)

    def _clear(self) -> None:
        self._steps = 0
        self._ended: list[EndedEpisode] = []
        self._sums = dict.fromkeys((*SUMMED, "step_reward"), 0.0)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode; without a seed, the first one takes the training's."""
        seed, self._seed = (self._seed if seed is None else seed), None
        self._begin()
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Play a step and count it."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._steps += 1
        self._length += 1
        for name, value in {"step_reward": reward, **{n: info[n] for n in SUMMED}}.items():
            self._totals[name] += float(value)
            self._sums[name] += float(value)
        if terminated or truncated:
            total, *infos = self._totals.values()
            self._ended.append((total, self._length, *infos))
        return observation, reward, terminated, truncated, info

    def take(self) -> tuple[int, dict[str, list[float]], dict[str, float]]:
        """Steps, the episodes that ended as columns, and means per step; counts anew."""
        steps, ended = self._steps, columns_of(self._ended, self._resources_weight)
        means = {name: total / max(steps, 1) for name, total in self._sums.items()}
        spent = means.pop(RESOURCES)
        if self._resources_weight > 0:
            means[USED_CPU] = spent / self._resources_weight
        if self._ended:
            means["episode_return"] = float(np.mean([total for total, *_ in self._ended]))
        self._clear()
        return steps, ended, means


class AgentLearner:
    """Trains a user's class, some episodes at a time."""

    def __init__(self, entry: AgentEntry, task: TrainingTask) -> None:
        for seed in (random.seed, np.random.seed, torch.manual_seed):
            seed(task.seed)
        self._entry, self._task = entry, task
        env = ENVS[task.env](task.scenario, random_start=True)
        self._sizes = flat_size(env.observation_space), int(env.core.encoding.action_space.n)
        self._env = CountedEnv(env, task.seed)
        self._agent = entry.make(
            self._env, task.parameters, wandb_run_id=task.wandb_run_id, seed=task.seed
        )
        self._episodes = self._steps = 0

    def train(self) -> Iteration:
        """See `Learner.train`: one chunk of episodes."""
        wanted = min(self._entry.chunk, self._task.total_episodes - self._episodes)
        with self._entry.calling("train"):
            told = _numbers(self._agent.train(wanted))
        steps, ended, means = self._env.take()
        if steps == 0:
            raise InvalidInputError(
                f"algorithm {self._entry.name!r}: train({wanted}) played no step of its env"
            )
        self._episodes += wanted
        self._steps += steps
        mean = means.get("episode_return")
        return Iteration(self._episodes, self._steps, mean, told | means, ended)

    def save(self, folder: Path) -> None:
        """See `Learner.save`: what `save_model` writes."""
        self._write(folder)

    def restore(self, folder: Path, reached: Reached) -> None:
        """See `Learner.restore`: what `load_model` reads; the rest of the agent is new."""
        with self._entry.calling("load_model"):
            self._agent.load_model(folder)
        self._episodes, self._steps = reached.episode, reached.env_steps

    def export(self) -> Export:
        """See `Learner.export`: what `save_model` writes."""
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            self._write(folder)
            files = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}
            others = [each.name for each in folder.iterdir() if not each.is_file()]
        if others or not files:
            raise InvalidInputError(
                f"algorithm {self._entry.name!r}: save_model(path) must write files into the "
                f"folder path; it wrote {others or 'nothing'}"
            )
        return Export(files, {"class": self._entry.made_by, "sizes": self._sizes})

    def stop(self) -> None:
        """See `Learner.stop`."""
        self._env.close()  # type: ignore[no-untyped-call]

    def _write(self, folder: Path) -> None:
        with self._entry.calling("save_model"):
            self._agent.save_model(folder)


def _numbers(told: Any) -> dict[str, float]:
    """Metrics that `train` returned: numbers, and means of lists of numbers that hold any."""
    try:
        kept = {str(name): value for name, value in dict(told or {}).items() if np.size(value)}
        return {name: float(np.mean(value)) for name, value in kept.items()}
    except (TypeError, ValueError) as error:
        raise TypeError(f"metrics must be numbers or lists of them by name: {error}") from error


class AgentScorer:
    """A user's class as a `policy.Scorer`, which asks it for one cluster after the other."""

    def __init__(self, entry: AgentEntry, agent: Any, inputs: int, outputs: int) -> None:
        self.sizes = inputs, outputs
        self._entry, self._agent = entry, agent

    def scores(self, observations: Any) -> NDArray[np.float64]:
        """See `Scorer.scores`; raises as `scores_of`."""
        if isinstance(observations, dict):
            count = len(observations[MASK])
            rows = [{name: v[b] for name, v in observations.items()} for b in range(count)]
        else:
            rows = list(observations)
        with self._entry.calling("choose_action"):
            chosen = np.array([operator.index(self._agent.choose_action(row)) for row in rows])
        who = f"algorithm {self._entry.name!r}: choose_action"
        return scores_of(chosen, observations, self.sizes[1], who)


def scores_of(chosen: Ints, observations: Any, outputs: int, who: str) -> NDArray[np.float64]:
    """Scores [B, A] of who only names actions [B]: 0 for those, minus infinity for the rest.

    Raises:
        IllegalActionError: an action is none, or the mask forbids it. `lwmecps-v1` has no mask;
            there, as in the environment, an action that cannot be applied counts as nothing.
    """
    rows = np.arange(len(chosen))
    masked = isinstance(observations, dict)
    known = (chosen >= 0) & (chosen < outputs)
    legal = observations[MASK][rows, np.where(known, chosen, 0)] != 0 if masked else known
    if not (known & legal).all():
        wrong = chosen[~(known & legal)][0]
        reason = "the mask forbids" if 0 <= wrong < outputs else f"is none of 0 to {outputs - 1}"
        raise IllegalActionError(f"{who} took action {wrong}, which {reason}")
    scores = np.full((len(chosen), outputs), -np.inf)
    if not masked:
        scores[:, 0] = -1.0
    scores[rows, chosen] = 0.0
    return scores
