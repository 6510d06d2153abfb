"""What all heuristics have, and the one that knows nothing."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from lwmecps_gym.envs.actions import ActionTable
from lwmecps_gym.envs.cluster import ClusterParams, ClusterState, Ints
from lwmecps_gym.envs.scenario import Scenario
from lwmecps_gym.envs.workload_config import describe_errors
from lwmecps_gym.platform.errors import InvalidInputError


class Knobs(BaseModel):
    """Constants of a rule, which `lwmecps sweep` tunes; a rule without any has these."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Heuristic(ABC):
    """A policy that follows a rule; see `policy.Policy`.

    Args:
        scenario: what it plays.
        seed: of what it draws at random.
        **knobs: fields of `knobs_type`; those that are not given are as the scenario has tuned
            them (`Scenario.heuristics`), else their defaults.

    Raises:
        InvalidInputError: a knob is unknown or out of bounds; the message names it.
    """

    name: str
    knobs_type: ClassVar[type[Knobs]] = Knobs
    knobs: Knobs

    def __init__(self, scenario: Scenario, seed: int = 0, **knobs: Any) -> None:
        self.knobs = check_knobs(type(self), {**scenario.heuristics.get(self.name, {}), **knobs})
        self.scenario = scenario
        self.params = ClusterParams.of(scenario)
        self.actions = ActionTable.of(len(scenario.services), len(scenario.nodes))
        self.seed = seed
        self.reset(1)

    def reset(self, batch: int) -> None:
        """Forget: B new episodes begin."""
        return None

    @abstractmethod
    def act(self, state: ClusterState) -> Ints:
        """Choose a legal action for each cluster, [B]."""


def check_knobs(heuristic: type[Heuristic], knobs: dict[str, Any]) -> Knobs:
    """Complete and check the knobs of a heuristic.

    Raises:
        InvalidInputError: one is unknown or out of bounds; the message names it.
    """
    try:
        return heuristic.knobs_type.model_validate(knobs)
    except ValidationError as error:
        known = ", ".join(heuristic.knobs_type.model_fields) or "none"
        raise InvalidInputError(
            f"{heuristic.name}: {describe_errors(error)}; its parameters: {known}"
        ) from error


class Random(Heuristic):
    """A legal action, uniformly at random."""

    name = "random"

    def reset(self, batch: int) -> None:
        """Begin the same random sequence again."""
        self._rng = np.random.default_rng(self.seed)

    def act(self, state: ClusterState) -> Ints:
        """See `Heuristic.act`."""
        legal = self.actions.legal_in(state)
        return np.argmax(np.where(legal, self._rng.random(legal.shape), -1.0), axis=1)
