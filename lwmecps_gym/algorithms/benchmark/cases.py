"""What is compared with what, on which days."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from lwmecps_gym.algorithms.heuristics import HEURISTICS
from lwmecps_gym.envs.scenario import Scenario, load_scenario
from lwmecps_gym.platform.errors import NotFoundError

TEST_SEED = 10_000
"""Test days of seed s are drawn from `TEST_SEED + s`; trainings draw theirs from smaller seeds."""
RULES = tuple(name for name in HEURISTICS if name != "optimum")
LARGE_RULES = tuple(name for name in RULES if name not in ("greedy_cost", "greedy_latency"))
"""Those that do not try every action: trying them takes seconds on the largest clusters."""


@dataclass(frozen=True)
class Trained:
    """A training that is part of the comparison, anew for each seed.

    Attributes:
        algorithm: its name.
        episodes: how many it plays.
        seeds: on how many seeds; later ones are left out.
        parameters: that do not have their defaults.
        env: environment; None: the algorithm's own.
    """

    algorithm: str
    episodes: int
    seeds: int
    parameters: tuple[tuple[str, Any], ...] = ()
    env: str | None = None


@dataclass(frozen=True)
class Case:
    """Policies on one scenario, or on one of a family for each seed.

    Attributes:
        name: of the case.
        draw: the scenario of a seed.
        seeds: how many.
        days: test days of each seed.
        policies: names as `lwmecps evaluate` takes them.
        trained: what is trained for it.
        clairvoyant: whether the plan of who knows the demand is found, which needs placements that
            can be enumerated.
        bound_every: the bound is found for every so many steps, and is 1 for all of them; where
            placements cannot be enumerated a step takes seconds. None: it is not found.
    """

    name: str
    draw: Callable[[int], Scenario]
    seeds: int
    days: int
    policies: tuple[str, ...]
    trained: tuple[Trained, ...] = ()
    clairvoyant: bool = False
    bound_every: int | None = None


def quick_cases() -> list[Case]:
    """Minutes: few seeds, short trainings, part of a day of the large clusters."""
    return _cases(
        seeds=3, trained_seeds=1, episodes={"ppo": 700, "dqn": 250, "q_learning": 800},
        steps_16=360, steps_large=180, limit_s=0.1, parameters={},
    )  # fmt: skip


def full_cases() -> list[Case]:
    """Hours: ten seeds, trainings of minutes each, whole days."""
    return _cases(
        seeds=10, trained_seeds=10, episodes={"ppo": 7400, "dqn": 3000, "q_learning": 2080},
        steps_16=1440, steps_large=1440, limit_s=5,
        parameters={"ppo": (("beginnings", 7), ("beginning_share", 0.094))},
    )  # fmt: skip


def choose(cases: list[Case], names: list[str], seeds: int | None = None) -> list[Case]:
    """The cases of these names, all of them for none, with so many seeds where it is given.

    Raises:
        NotFoundError: there is no such case.
    """
    known = {case.name: case for case in cases}
    for name in names:
        if name not in known:
            raise NotFoundError(f"no case {name!r}; there are {list(known)}")
    chosen = [known[name] for name in names] or cases
    return chosen if seeds is None else [replace(case, seeds=seeds) for case in chosen]


def _cases(
    *,
    seeds: int,
    trained_seeds: int,
    episodes: dict[str, int],
    steps_16: int,
    steps_large: int,
    limit_s: float,
    parameters: dict[str, tuple[tuple[str, Any], ...]],
) -> list[Case]:
    def trained(*algorithms: str) -> tuple[Trained, ...]:
        return tuple(
            Trained(name, episodes[name], trained_seeds, parameters.get(name, ()))
            for name in algorithms
        )

    optimum = f"optimum:time_limit_s={limit_s:g}"
    any_size = "pretrained:ppo-any-size"
    return [
        Case(
            "tiny", _packaged("tiny"), seeds, 1, (*RULES, "optimum"), trained("ppo", "q_learning"),
            clairvoyant=True, bound_every=1,
        ),
        Case(
            "four-stations", _packaged("four-stations"), seeds, 1,
            (*RULES, "optimum", "pretrained:ppo-four-stations", any_size), trained("ppo", "dqn"),
            clairvoyant=True, bound_every=1,
        ),
        Case(
            "testapp-day", _packaged("testapp-day"), seeds, 1, (*RULES, "optimum", any_size),
            trained("ppo", "dqn"), clairvoyant=True, bound_every=1,
        ),
        Case(
            "edge-16", _edge(16, steps_16), seeds, 1, (*RULES, optimum, any_size),
            bound_every=60,
        ),
        Case("edge-100", _edge(100, steps_large), seeds, 1, (*LARGE_RULES, any_size)),
        Case("edge-64", _edge(64, steps_large), seeds, 1, (*LARGE_RULES, "greedy_cost", any_size)),
        Case("edge-256", _edge(256, steps_large), seeds, 1, (*LARGE_RULES, any_size)),
    ]  # fmt: skip


def _packaged(name: str) -> Callable[[int], Scenario]:
    return lambda seed: load_scenario(name)


def _edge(nodes: int, steps: int) -> Callable[[int], Scenario]:
    """Clusters that no training has seen, each seed its own."""

    def draw(seed: int) -> Scenario:
        family = {"nodes": nodes, "services": 3, "count": 1, "seed": 900 + seed}
        return load_scenario({"family": family | {"episode_steps": steps}})

    return draw
