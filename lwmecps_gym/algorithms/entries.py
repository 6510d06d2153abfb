"""What a learning algorithm is to the platform, whoever wrote it; no Ray needed."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from numpy.typing import NDArray
from pydantic import BaseModel

from lwmecps_gym.envs.encoding import Encoding
from lwmecps_gym.envs.scenario import Scenario
from lwmecps_gym.platform.checkpoints import Reached
from lwmecps_gym.platform.models import TrainingTask

if TYPE_CHECKING:
    from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

    from lwmecps_gym.algorithms.policy import Scorer

P = TypeVar("P", bound=BaseModel)

LOGGED_INFO = ("latency_ms", "violated", "migrations")
"""What is averaged over the steps of each piece of a training, as named in `info`.

`step_reward`, the mean reward of a step, is logged beside them: unlike the return of an episode it
is there from the first piece on.
"""

RESOURCES = "cost_resources"
"""The term of a step's cost for the CPU in use, as named in `info`."""
USED_CPU = "used_cpu"
"""The same without its weight: the share of the cluster's CPU that services hold."""


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
        ended: the episodes that ended in it, as `ended_episodes.columns_of` makes them.
    """

    episodes: int
    env_steps: int
    episode_return: float | None
    values: dict[str, float]
    ended: dict[str, list[float]] = field(default_factory=dict)


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
        """Write a checkpoint into an empty folder."""
        ...

    def restore(self, folder: Path, reached: Reached) -> None:
        """Go on from a checkpoint that `save` wrote; before the first `train`."""
        ...

    def export(self) -> Export:
        """The model as it is now."""
        ...

    def stop(self) -> None:
        """Give back what the training holds."""
        ...


@dataclass(frozen=True)
class StoredModel:
    """A model version that a user's algorithm made, and what it shall play.

    Attributes:
        manifest: as `training.make_manifest` writes it.
        tensors: the weights, of an artifact that has them.
        folder: where its files lie.
        scenario: what it plays; v1 has one service.
        encoding: what it sees.
        seed: of what it draws at random.
    """

    manifest: Mapping[str, Any]
    tensors: Mapping[str, NDArray[Any]]
    folder: Path | None
    scenario: Scenario
    encoding: Encoding
    seed: int


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
    made_by: str = "lwmecps_gym"
    """Module and class, for those of users."""
    fits: Callable[[Scenario, Any], object] = _fits
    """Refuses, by `InvalidInputError`, a scenario and parameters that cannot be learned with."""

    @abstractmethod
    def begin(self, task: TrainingTask) -> Learner:
        """Set a training up."""

    @abstractmethod
    def scorer(self, stored: StoredModel) -> "Scorer":
        """What decides for a model whose manifest names the algorithm's class.

        Raises:
            InvalidInputError: the class does not take the model.
        """


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
        from lwmecps_gym.algorithms.beginnings import Beginnings
        from lwmecps_gym.algorithms.rehearsal import mean_reward
        from lwmecps_gym.algorithms.rllib_learner import RLlibLearner
        from lwmecps_gym.algorithms.training import make_manifest

        parameters: Any = self.parameters.model_validate(task.parameters)
        count = getattr(parameters, "beginnings", 1)
        if count == 1:
            return RLlibLearner(task)

        def judge(model: Export) -> float:
            return mean_reward(make_manifest(task, model.architecture, {}), model.files)

        return Beginnings(task, RLlibLearner, judge, count, parameters.beginning_share)

    def scorer(self, stored: StoredModel) -> "Scorer":
        """See `AlgorithmEntry.scorer`; its RLModule, made again without a Ray cluster."""
        from lwmecps_gym.algorithms.own_modules import ModuleScorer

        return ModuleScorer.of(self, stored)
