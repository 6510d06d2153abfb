"""The learning algorithms by name; no Ray needed to look one up."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from pydantic import BaseModel

from lwmecps_gym.algorithms.parameters import (
    DQNParameters,
    Parameters,
    PPOParameters,
    QLearningParameters,
)
from lwmecps_gym.algorithms.table import Discretiser
from lwmecps_gym.envs.scenario import Scenario
from lwmecps_gym.platform.errors import InvalidInputError
from lwmecps_gym.platform.models import TrainingTask

if TYPE_CHECKING:
    from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

P = TypeVar("P", bound=BaseModel)


@dataclass(frozen=True)
class Plan(Generic[P]):
    """What an RLlib configuration is made for.

    Attributes:
        parameters: of the algorithm.
        num_envs: clusters sampled side by side.
        total_steps: environment steps of the whole training.
        scenario: what is played; v1 has one service.
    """

    parameters: P
    num_envs: int
    total_steps: int
    scenario: Scenario


@dataclass(frozen=True)
class Iteration:
    """How far a training is after one more piece of it.

    Attributes:
        episodes: played so far.
        env_steps: played so far.
        episode_return: mean return of the latest episodes; None: none has ended yet.
        values: more numbers of this piece.
    """

    episodes: int
    env_steps: int
    episode_return: float | None
    values: dict[str, float]


@dataclass(frozen=True)
class Export:
    """A model as files, and the manifest entries that say what they are."""

    files: Mapping[str, bytes]
    architecture: Mapping[str, Any]


class Learner(Protocol):
    """A training at work, whatever trains."""

    def train(self) -> Iteration:
        """Train a piece, seconds rather than minutes."""
        ...

    def save(self, folder: Path) -> None:
        """Write a checkpoint into a folder, over an earlier one."""
        ...

    def export(self) -> Export:
        """The model as it is now."""
        ...

    def stop(self) -> None:
        """Give back what the training holds."""
        ...


def _fits(scenario: Scenario, parameters: Any) -> None:
    """Every scenario fits."""


@dataclass(frozen=True, kw_only=True)
class AlgorithmEntry(ABC):
    """A learning algorithm: its name in the API, its parameters, and where it can learn."""

    name: str
    parameters: type[BaseModel]
    envs: tuple[str, ...]
    """Environments that it takes; the first is the default."""
    description: str
    fits: Callable[[Scenario, Any], object] = _fits
    """Refuses, by `InvalidInputError`, a scenario and parameters that cannot be learned with."""

    @abstractmethod
    def begin(self, task: TrainingTask) -> Learner:
        """Set a training up."""


@dataclass(frozen=True, kw_only=True)
class RLlibEntry(AlgorithmEntry):
    """An algorithm that RLlib runs."""

    configure: "str | Callable[[Plan[Any]], AlgorithmConfig]"
    """Makes the configuration; by name, so that RLlib is imported only to train."""

    def config(self, plan: Plan[Any]) -> "AlgorithmConfig":
        """RLlib configuration; environment, sampling and seed come later."""
        configure = self.configure
        return (resolve_name(configure) if isinstance(configure, str) else configure)(plan)

    def begin(self, task: TrainingTask) -> Learner:
        """See `AlgorithmEntry.begin`."""
        from lwmecps_gym.algorithms.rllib_learner import RLlibLearner

        return RLlibLearner(task)


def _built_in(name: str, parameters: type[Parameters], *envs: str, **more: Any) -> RLlibEntry:
    return RLlibEntry(
        name=name,
        parameters=parameters,
        envs=envs,
        description=(parameters.__doc__ or "").splitlines()[0],
        configure=f"lwmecps_gym.algorithms.{name}:configure",
        **more,
    )


ALGORITHMS: dict[str, AlgorithmEntry] = {
    entry.name: entry
    for entry in (
        _built_in("ppo", PPOParameters, "lwmecps-v2", "lwmecps-v3"),
        _built_in("dqn", DQNParameters, "lwmecps-v2", "lwmecps-v3"),
        _built_in(
            "q_learning",
            QLearningParameters,
            "lwmecps-v1",
            fits=lambda scenario, parameters: Discretiser.of(scenario, parameters.demand_bins),
        ),
    )
}
"""Algorithms by their name in the API."""


def entry_of(model_type: str) -> AlgorithmEntry:
    """Look an algorithm up.

    Raises:
        InvalidInputError: there is none of that name.
    """
    if model_type not in ALGORITHMS:
        raise InvalidInputError(
            f"model_type: {model_type!r} is none of the learning algorithms {sorted(ALGORITHMS)}"
        )
    return ALGORITHMS[model_type]
