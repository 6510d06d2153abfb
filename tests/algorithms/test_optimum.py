"""The optimum is what trying every placement finds, and the bound is below whatever happens."""

from typing import Any

import numpy as np
import pytest

from lwmecps_gym.algorithms.heuristics import HEURISTICS, make_heuristic
from lwmecps_gym.algorithms.optimum import columns
from lwmecps_gym.algorithms.optimum.bound import bound
from lwmecps_gym.algorithms.optimum.solver import Solver
from lwmecps_gym.algorithms.optimum.static_best import static_best
from lwmecps_gym.algorithms.optimum.trace import Trace, record
from lwmecps_gym.envs.cluster import ClusterParams, Floats
from lwmecps_gym.envs.scenario import Scenario, load_scenario
from lwmecps_gym.envs.simulator import ClusterModel

from .clusters import changed, failing, random_placement
from .instances import costs_of, every_placement, random_demand, random_scenario

ROUNDING = 1e-9
SIZES = [(1, 2), (2, 2), (3, 2), (1, 3), (2, 3)]


def some(seed: int, **fields: object) -> Scenario:
    services, nodes = SIZES[seed % len(SIZES)]
    return random_scenario(seed, services, nodes, **fields)


def traces(scenario: Scenario, episodes: int = 1, seed: int = 3) -> list[Trace]:
    model = ClusterModel(scenario, episodes)
    model.reset({i: np.random.default_rng([seed, i]) for i in range(episodes)})
    return record(model)


def played(scenario: Scenario, name: str, seed: int = 3) -> Floats:
    """Cost of each step of an episode that a heuristic plays, [T]."""
    model, policy = ClusterModel(scenario), make_heuristic(name, scenario)
    model.reset({0: np.random.default_rng([seed, 0])})
    policy.reset(1)
    steps = [model.step(policy.act(model.state())).cost[0] for _ in range(scenario.episode_steps)]
    return np.array(steps)


@pytest.mark.parametrize("seed", range(20))
def test_the_best_placement_is_what_trying_all_of_them_finds(seed: int) -> None:
    scenario = some(seed)
    solver, rng = Solver(scenario), np.random.default_rng(seed)
    placements = every_placement(scenario)
    for _ in range(4):
        demand = random_demand(scenario, rng)
        costs = costs_of(scenario, placements, placements, demand)
        found = solver.best(demand)
        assert found.exact
        assert found.cost == found.lower_bound == pytest.approx(costs.min(), rel=1e-9)
        assert solver.cost(found.placement, demand) == pytest.approx(found.cost, rel=1e-9)


@pytest.mark.parametrize("seed", range(20))
def test_pods_that_have_to_be_started_count_where_it_is_said_what_stands(seed: int) -> None:
    scenario = some(seed)
    rng = np.random.default_rng(seed)
    demand, standing = random_demand(scenario, rng), random_placement(scenario, rng)
    placements = every_placement(scenario)
    started = np.maximum(placements - standing, 0).sum((1, 2))
    costs = costs_of(scenario, placements, placements, demand)
    costs += scenario.weights.migration * started
    found = Solver(scenario).best(demand, standing=standing)
    assert found.exact
    assert found.cost == pytest.approx(costs.min(), rel=1e-9)


@pytest.mark.parametrize("seed", range(20))
def test_a_search_cut_short_gives_a_bound_below_the_best_and_a_placement_above(seed: int) -> None:
    scenario = some(seed)
    demand = random_demand(scenario, np.random.default_rng(seed))
    best = Solver(scenario).best(demand)
    limits: list[dict[str, Any]] = [{"effort": effort} for effort in (0, 1, 10, 100)]
    for limit in [*limits, {"time_limit_s": 0.0}]:
        found = Solver(scenario, **limit).best(demand)
        assert found.lower_bound <= best.cost + ROUNDING
        assert found.cost >= best.cost - ROUNDING
        assert found.exact == (found.lower_bound == found.cost)
        assert solver_cost(scenario, found.placement, demand) == pytest.approx(found.cost)


def solver_cost(scenario: Scenario, placement: np.ndarray, demand: Floats) -> float:
    return float(costs_of(scenario, placement[None], placement[None], demand)[0])


@pytest.mark.parametrize("seed", range(12))
def test_what_cannot_be_enumerated_gets_a_bound_and_a_placement(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = some(seed)
    best = Solver(scenario)
    monkeypatch.setattr(columns, "GRID_LIMIT", 1)
    relaxed, rng = Solver(scenario), np.random.default_rng(seed)
    trace = traces(scenario)[0]
    demand = random_demand(scenario, rng)
    found = relaxed.best(demand)
    assert not found.exact
    assert 0 < found.lower_bound <= best.best(demand).cost + ROUNDING
    assert found.cost == pytest.approx(solver_cost(scenario, found.placement, demand))
    below, least = bound(relaxed, trace), bound(best, trace)
    assert not below.exact
    assert (below.cost <= least.cost + ROUNDING).all()
    hindsight = static_best(relaxed, trace.demand)
    assert (
        hindsight.lower_bound
        <= static_best(best, trace.demand).cost + ROUNDING
        <= (hindsight.cost + 2 * ROUNDING)
    )


@pytest.mark.parametrize("seed", range(20))
def test_the_bound_is_the_least_over_all_states_with_pods_ready_or_starting(seed: int) -> None:
    scenario = some(seed, episode_steps=2)
    trace = traces(scenario)[0]
    held = every_placement(scenario)
    ready = every_placement(scenario, least=np.zeros(len(scenario.services), dtype=np.int64))
    for step, least in enumerate(bound(Solver(scenario), trace).cost):
        demand, lowest = trace.demand[step], np.inf
        for y in held:
            below = ready[(ready <= y).all((1, 2))]
            costs = costs_of(scenario, below, np.broadcast_to(y, below.shape), demand)
            lowest = min(lowest, float(costs.min()))
        assert least == pytest.approx(lowest, rel=1e-9)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("name", HEURISTICS)
def test_no_policy_is_below_the_bound_in_any_step(name: str, seed: int) -> None:
    scenario = some(seed, episode_steps=144)
    least = bound(Solver(scenario), traces(scenario)[0])
    assert least.exact
    assert (played(scenario, name) >= least.cost - ROUNDING).all()


@pytest.mark.parametrize("base", ["tiny", "four-stations"])
@pytest.mark.parametrize("name", ["random", "greedy_cost", "hpa"])
def test_no_policy_is_below_the_bound_while_nodes_fail(name: str, base: str) -> None:
    scenario = load_scenario(failing(base).document() | {"episode_steps": 200})
    trace = traces(scenario)[0]
    assert not trace.node_up.all()
    least = bound(Solver(scenario), trace)
    assert (played(scenario, name) >= least.cost - ROUNDING).all()


@pytest.mark.parametrize("seed", range(10))
def test_no_random_state_is_below_the_bound(seed: int) -> None:
    scenario = load_scenario("four-stations")
    rng = np.random.default_rng(seed)
    demand = rng.uniform(0, 120, size=(3, 4))
    trace = Trace(demand[None], np.ones((1, 4), dtype=bool), random_placement(scenario, rng))
    least = bound(Solver(scenario), trace).cost[0]
    held = np.stack([random_placement(scenario, rng) for _ in range(300)])
    ready = rng.integers(0, held + 1)
    assert (costs_of(scenario, held, held, demand) >= least - ROUNDING).all()
    assert (costs_of(scenario, ready, held, demand) >= least - ROUNDING).all()


@pytest.mark.parametrize("seed", range(12))
def test_the_best_static_placement_is_what_trying_all_of_them_finds(seed: int) -> None:
    scenario = some(seed)
    demand = traces(scenario)[0].demand
    placements = every_placement(scenario)
    costs = np.mean([costs_of(scenario, placements, placements, step) for step in demand], axis=0)
    found = static_best(Solver(scenario), demand)
    assert found.exact
    assert found.cost == pytest.approx(costs.min(), rel=1e-9)


def test_a_day_of_the_best_static_placement_costs_in_the_model_what_it_says() -> None:
    scenario = changed("four-stations", episode_steps=144, control_interval_s=600)
    trace = traces(scenario)[0]
    found = static_best(Solver(scenario), trace.demand)
    model = ClusterModel(scenario)
    model.reset({0: np.random.default_rng([3, 0])}, placement=found.placement)
    costs = [model.step(np.zeros(1, dtype=np.int64)).cost[0] for _ in range(len(trace))]
    assert np.mean(costs) == pytest.approx(found.cost, rel=1e-9)


def test_four_stations_punishes_standing_still() -> None:
    scenario = changed("four-stations", episode_steps=144, control_interval_s=600)
    trace, solver = traces(scenario)[0], Solver(scenario)
    least, still = bound(solver, trace), static_best(solver, trace.demand)
    assert least.exact
    assert still.cost > 1.3 * least.mean


def test_a_trace_is_the_demand_and_the_failures_that_a_policy_meets() -> None:
    scenario = load_scenario(failing("tiny").document() | {"episode_steps": 100})
    recorded = traces(scenario, episodes=2)
    model = ClusterModel(scenario, 2)
    model.reset({i: np.random.default_rng([3, i]) for i in range(2)})
    for t in range(100):
        for i, trace in enumerate(recorded):
            assert (trace.demand[t] == model.demand_at(0)[i]).all()
            assert (trace.node_up[t] == model.node_up[i]).all()
        model.step(np.zeros(2, dtype=np.int64))


def test_columns_are_the_placements_that_fit_without_the_other_services() -> None:
    scenario = load_scenario("four-stations")
    params = ClusterParams.of(scenario)
    found = columns.Columns.of(params, 0)
    assert found.most.tolist() == [2, 2, 2, 1]
    assert len(found) == 3 * 3 * 3 * 2
    assert (found.index(found.replicas) == np.arange(len(found))).all()
