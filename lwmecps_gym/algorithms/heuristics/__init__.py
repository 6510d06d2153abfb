"""What people do today, as policies: fixed plans, Kubernetes' own rules, greedy choices, optima.

Every policy acts under the same rule, one action per control interval; those that want a whole
placement go there step by step. Their constants are knobs, which `lwmecps sweep NAME` tunes.
"""

from typing import Any

from lwmecps_gym.algorithms.heuristics.autoscaler import HorizontalPodAutoscaler
from lwmecps_gym.algorithms.heuristics.base import Heuristic, Knobs, Random, check_knobs
from lwmecps_gym.algorithms.heuristics.demand import mean_demand, mean_demand_at
from lwmecps_gym.algorithms.heuristics.deployments import BinPack, KubeDefault
from lwmecps_gym.algorithms.heuristics.greedy import GreedyCost, GreedyLatency, GreedyLoad
from lwmecps_gym.algorithms.heuristics.optimal import Optimum, StaticBest
from lwmecps_gym.algorithms.heuristics.plans import Static, Uniform, toward
from lwmecps_gym.envs.scenario import Scenario
from lwmecps_gym.platform.errors import InvalidInputError, NotFoundError

__all__ = [
    "HEURISTICS",
    "BinPack",
    "GreedyCost",
    "GreedyLatency",
    "GreedyLoad",
    "Heuristic",
    "HorizontalPodAutoscaler",
    "Knobs",
    "KubeDefault",
    "Optimum",
    "Random",
    "Static",
    "StaticBest",
    "Uniform",
    "check_knobs",
    "check_tuning",
    "make_heuristic",
    "mean_demand",
    "mean_demand_at",
    "toward",
]

HEURISTICS: dict[str, type[Heuristic]] = {
    policy.name: policy
    for policy in (
        Random, Static, Uniform, GreedyLatency, GreedyLoad, GreedyCost, KubeDefault, BinPack,
        HorizontalPodAutoscaler, StaticBest, Optimum,
    )
}  # fmt: skip


def make_heuristic(name: str, scenario: Scenario, seed: int = 0, **knobs: Any) -> Heuristic:
    """Build a heuristic by name.

    Args:
        name: one of `HEURISTICS`.
        scenario: what it plays.
        seed: of what it draws at random.
        **knobs: its constants, see its `knobs_type`.

    Raises:
        NotFoundError: there is none of that name.
        InvalidInputError: a knob is unknown or out of bounds; the message names it.
    """
    if name not in HEURISTICS:
        raise NotFoundError(f"no heuristic {name!r}; there are {sorted(HEURISTICS)}")
    return HEURISTICS[name](scenario, seed, **knobs)


def check_tuning(scenario: Scenario) -> None:
    """Check the knobs of heuristics that a scenario brings along.

    Raises:
        InvalidInputError: there is no such heuristic, or a knob is unknown or out of bounds.
    """
    for name, knobs in scenario.heuristics.items():
        where = f"scenario {scenario.name}: heuristics"
        if name not in HEURISTICS:
            raise InvalidInputError(f"{where}: {name!r} is none of {sorted(HEURISTICS)}")
        try:
            check_knobs(HEURISTICS[name], knobs)
        except InvalidInputError as error:
            raise InvalidInputError(f"{where}: {error}") from error
