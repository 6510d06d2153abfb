"""What people do today, as policies: fixed plans, Kubernetes' own rules, greedy choices, optima.

Every policy acts under the same rule, one action per control interval; those that want a whole
placement go there step by step, adding before they remove.
"""

from lwmecps_gym.algorithms.heuristics.autoscaler import HorizontalPodAutoscaler
from lwmecps_gym.algorithms.heuristics.base import Heuristic, Random
from lwmecps_gym.algorithms.heuristics.greedy import GreedyCost, GreedyLatency, GreedyLoad
from lwmecps_gym.algorithms.heuristics.optimal import Optimum, StaticBest
from lwmecps_gym.algorithms.heuristics.plans import (
    KubeDefault,
    Static,
    Uniform,
    mean_demand,
    mean_demand_at,
    toward,
)
from lwmecps_gym.envs.scenario import Scenario
from lwmecps_gym.platform.errors import NotFoundError

__all__ = [
    "HEURISTICS",
    "GreedyCost",
    "GreedyLatency",
    "GreedyLoad",
    "Heuristic",
    "HorizontalPodAutoscaler",
    "KubeDefault",
    "Optimum",
    "Random",
    "Static",
    "StaticBest",
    "Uniform",
    "make_heuristic",
    "mean_demand",
    "mean_demand_at",
    "toward",
]

HEURISTICS: dict[str, type[Heuristic]] = {
    policy.name: policy
    for policy in (
        Random, Static, Uniform, GreedyLatency, GreedyLoad, GreedyCost, KubeDefault,
        HorizontalPodAutoscaler, StaticBest, Optimum,
    )
}  # fmt: skip


def make_heuristic(name: str, scenario: Scenario, seed: int = 0) -> Heuristic:
    """Build a heuristic by name.

    Raises:
        NotFoundError: there is none of that name.
    """
    if name not in HEURISTICS:
        raise NotFoundError(f"no heuristic {name!r}; there are {sorted(HEURISTICS)}")
    return HEURISTICS[name](scenario, seed=seed)
