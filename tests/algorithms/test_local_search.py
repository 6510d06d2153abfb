"""Where placements are too many to enumerate, a local search finds nearly the best."""

import numpy as np
import pytest

from lwmecps_gym.algorithms.heuristics import Optimum, mean_demand_at
from lwmecps_gym.algorithms.heuristics.local_search import LocalSearch, Problem
from lwmecps_gym.algorithms.optimum.columns import enumerable
from lwmecps_gym.algorithms.optimum.solver import Solver
from lwmecps_gym.envs.cluster import Bools, ClusterParams, Ints
from lwmecps_gym.envs.generate import random_scenario
from lwmecps_gym.envs.placement import check_placement, spread_minimum
from lwmecps_gym.envs.scenario import load_scenario
from lwmecps_gym.envs.simulator import ClusterModel

FOUR = load_scenario("four-stations")
LARGE = random_scenario(10, 3)
PLENTY_S = 60.0
ALL_UP = np.ones(4, dtype=bool)


def problem(hour: int, node_up: Bools = ALL_UP, start_cost: float = 0.0) -> Problem:
    demand = mean_demand_at(FOUR, 3600.0 * hour)[None]
    return Problem(demand, node_up, spread_minimum(FOUR), start_cost)


@pytest.mark.parametrize("hour", range(0, 24, 4))
def test_it_comes_close_to_what_is_proved_to_be_the_best(hour: int) -> None:
    start_cost = 0.005
    given, solver = problem(hour, start_cost=start_cost), Solver(FOUR)
    search, found = LocalSearch(FOUR), given.held
    for _ in range(8):
        found = search.best(given, [found], PLENTY_S)
    check_placement(found, ClusterParams.of(FOUR))
    horizon = FOUR.weights.migration / start_cost
    best = solver.best(given.demand[0], ALL_UP, given.held, horizon).placement

    def cost(placement: Ints) -> float:
        started = np.maximum(placement - given.held, 0).sum()
        return solver.cost(placement, given.demand[0]) + start_cost * float(started)

    assert cost(best) - 1e-9 <= cost(found) <= 1.05 * cost(best)


def test_it_uses_no_node_that_is_down_and_keeps_the_minimum_of_every_service() -> None:
    given = problem(3, node_up=np.array([True, True, False, True]))
    start = given.held * given.node_up
    found = LocalSearch(FOUR).best(given, [start], PLENTY_S)
    assert not found[:, 2].any()
    assert (found.sum(1) >= 1).all()
    check_placement(found, ClusterParams.of(FOUR))


def test_a_search_repeats_itself_and_without_time_stays_where_it_starts() -> None:
    given = problem(1)
    first, again = (LocalSearch(FOUR, 5).best(given, [given.held], PLENTY_S) for _ in range(2))
    assert (first == again).all()
    none = LocalSearch(FOUR, 5).best(given, [given.held], 0.0)
    assert (none == given.held).all()


def test_optimum_on_a_large_cluster_is_better_than_standing_still() -> None:
    scenario = load_scenario(LARGE.document() | {"episode_steps": 40})
    assert not enumerable(ClusterParams.of(scenario))
    policy = Optimum(scenario, time_limit_s=0.05, horizon_steps=30)
    costs = []
    for moves in (True, False):
        model = ClusterModel(scenario, moves=policy.actions.moves)
        model.reset({0: np.random.default_rng(2)})
        policy.reset(1)
        steps = [
            model.step(policy.act(model.state()) if moves else np.zeros(1, dtype=np.int64)).cost[0]
            for _ in range(40)
        ]
        costs.append(np.mean(steps[20:]))
    assert costs[0] < 0.9 * costs[1]
