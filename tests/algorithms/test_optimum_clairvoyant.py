"""Who knows the trace does better than all who do not, and never better than the bound."""

from itertools import product

import numpy as np
import pytest

from lwmecps_gym.algorithms.heuristics import HEURISTICS, make_heuristic
from lwmecps_gym.algorithms.optimum.bound import bound
from lwmecps_gym.algorithms.optimum.clairvoyant import Course, clairvoyant
from lwmecps_gym.algorithms.optimum.solver import Solver
from lwmecps_gym.algorithms.optimum.trace import Trace, record
from lwmecps_gym.envs.cluster import Floats
from lwmecps_gym.envs.scenario import Scenario, load_scenario
from lwmecps_gym.envs.simulator import ClusterModel

from .clusters import changed, failing
from .instances import random_scenario

SHORT = changed("four-stations", episode_steps=72, control_interval_s=1200)


def begin(scenario: Scenario, seed: int) -> ClusterModel:
    model = ClusterModel(scenario)
    model.reset({0: np.random.default_rng(seed)})
    return model


def trace_of(scenario: Scenario, seed: int) -> Trace:
    return record(begin(scenario, seed))[0]


def played(scenario: Scenario, course: Course, seed: int) -> Floats:
    """Cost of each step when the model plays a course."""
    model = begin(scenario, seed)
    return np.array([model.step(np.array([action])).cost[0] for action in course.actions])


def heuristic_cost(scenario: Scenario, name: str, seed: int) -> float:
    model, policy = begin(scenario, seed), make_heuristic(name, scenario)
    policy.reset(1)
    steps = range(scenario.episode_steps)
    return float(np.mean([model.step(policy.act(model.state())).cost[0] for _ in steps]))


def check(scenario: Scenario, seed: int, width: int) -> float:
    """Plan, play what was planned, and return its cost."""
    trace, solver = trace_of(scenario, seed), Solver(scenario)
    course = clairvoyant(solver, trace, width=width)
    costs = played(scenario, course, seed)
    assert costs.mean() == pytest.approx(course.cost, rel=1e-9)
    assert (costs >= bound(solver, trace).cost - 1e-9).all()
    return course.cost


@pytest.mark.parametrize("startup_s", [0, 300, 900, 1500])
@pytest.mark.parametrize("seed", range(4))
def test_the_model_plays_a_course_at_the_cost_that_was_planned(seed: int, startup_s: float) -> None:
    document = random_scenario(seed, 1 + seed % 3, 2).document()
    for s, service in enumerate(document["services"]):
        service["startup_s"] = startup_s * (s + 1)
    check(load_scenario(document), seed, width=30)


@pytest.mark.parametrize("base", ["tiny", "four-stations"])
def test_a_course_minds_the_nodes_that_fail(base: str) -> None:
    scenario = load_scenario(failing(base).document() | {"episode_steps": 150})
    assert not trace_of(scenario, 0).node_up.all()
    check(scenario, 0, width=30)


@pytest.mark.parametrize("seed", range(3))
def test_a_wide_beam_finds_the_best_of_all_courses(seed: int) -> None:
    scenario = random_scenario(seed, 1, 2, episode_steps=4)
    best = np.inf
    legal = begin(scenario, seed).legal().shape[1]
    for actions in product(range(legal), repeat=4):
        model, total = begin(scenario, seed), 0.0
        for action in actions:
            if not model.legal()[0, action] or total >= best:
                break
            total += float(model.step(np.array([action])).cost[0])
        else:
            best = min(best, total)
    assert 4 * check(scenario, seed, width=2000) == pytest.approx(best)


@pytest.mark.parametrize("scenario", [SHORT, load_scenario("tiny")], ids=["short", "tiny"])
def test_no_heuristic_does_better_than_one_who_knows_the_trace(scenario: Scenario) -> None:
    least = check(scenario, 1, width=200)
    assert least <= min(heuristic_cost(scenario, name, 1) for name in HEURISTICS)


def test_a_course_repeats_itself() -> None:
    trace, solver = trace_of(SHORT, 2), Solver(SHORT)
    first, second = (clairvoyant(solver, trace, width=20) for _ in range(2))
    assert (first.actions == second.actions).all()
    assert first.cost == second.cost
