"""What all heuristics have, and the one that knows nothing."""

from abc import ABC, abstractmethod

import numpy as np

from lwmecps_gym.envs.actions import ActionTable
from lwmecps_gym.envs.cluster import ClusterParams, ClusterState, Ints
from lwmecps_gym.envs.scenario import Scenario


class Heuristic(ABC):
    """A policy that follows a rule; see `policy.Policy`."""

    name: str

    def __init__(self, scenario: Scenario, seed: int = 0) -> None:
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
