"""Heuristics act within the rules, repeatably, and go where they said they would."""

from typing import Any

import numpy as np
import pytest

from lwmecps_gym.algorithms.heuristics import (
    HEURISTICS,
    BinPack,
    KubeDefault,
    Static,
    StaticBest,
    Uniform,
    check_tuning,
    make_heuristic,
    plans,
    toward,
)
from lwmecps_gym.envs.actions import ActionTable, Kind, apply_to
from lwmecps_gym.envs.cluster import ClusterParams, ClusterState, Ints
from lwmecps_gym.envs.performance import cost_terms, evaluate
from lwmecps_gym.envs.scenario import Scenario, load_scenario, packaged_scenarios
from lwmecps_gym.envs.simulator import ClusterModel
from lwmecps_gym.platform.errors import InvalidInputError, NotFoundError

from .clusters import changed, cluster, failing, random_placement

SCENARIOS = {
    "tiny": load_scenario("tiny"),
    "four-stations": load_scenario("four-stations"),
    "tiny that fails": failing("tiny"),
    "four-stations that fails": failing("four-stations"),
}
PLANS = (Static, StaticBest, Uniform)


def play(scenario: Scenario, name: str, batch: int, steps: int, seed: int = 3) -> Ints:
    """Actions [T, B] of a heuristic; the model refuses illegal ones.

    Each cluster begins at a random placement, at an hour of its own, and every third of them is
    pushed off its way at every eighth step by a random legal action.
    """
    policy = make_heuristic(name, scenario, seed=seed)
    model = ClusterModel(scenario, batch, moves=policy.actions.moves)
    rng = np.random.default_rng(seed)
    for b in range(batch):
        start_s = b * 86_400 / batch // scenario.control_interval_s * scenario.control_interval_s
        model.reset({b: np.random.default_rng([seed, b])}, start_s, random_placement(scenario, rng))
    policy.reset(batch)
    actions = []
    for t in range(steps):
        chosen = policy.act(model.state())
        if t % 8 == 7:
            legal = model.legal()
            pushed = np.argmax(np.where(legal, rng.random(legal.shape), -1), axis=1)
            chosen = np.where(np.arange(batch) % 3 == 0, pushed, chosen)
        model.step(chosen)
        actions.append(chosen)
    return np.array(actions)


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
@pytest.mark.parametrize("name", HEURISTICS)
def test_every_heuristic_keeps_to_legal_actions_and_repeats_itself(
    name: str, scenario: Scenario
) -> None:
    batch = 3 if name == "optimum" else 12  # its search takes milliseconds
    first = play(scenario, name, batch, steps=64)
    assert (first == play(scenario, name, batch, steps=64)).all()


@pytest.mark.parametrize("name", HEURISTICS)
def test_every_heuristic_plays_a_whole_day_of_failures(name: str) -> None:
    scenario = failing("tiny")
    actions = play(scenario, name, batch=2, steps=scenario.episode_steps)
    assert actions.shape == (288, 2)


def test_another_seed_makes_another_random_policy() -> None:
    tiny = SCENARIOS["tiny"]
    assert (play(tiny, "random", 4, 20, seed=1) != play(tiny, "random", 4, 20, seed=2)).any()


def test_random_takes_every_legal_action_equally_often() -> None:
    tiny = SCENARIOS["tiny"]
    policy = make_heuristic("random", tiny, seed=0)
    state = cluster(tiny, [[1, 1]])
    legal = np.flatnonzero(policy.actions.legal_in(state)[0])
    drawn = np.bincount([policy.act(state)[0] for _ in range(3000)], minlength=len(policy.actions))
    assert np.flatnonzero(drawn).tolist() == legal.tolist()
    assert drawn[legal] == pytest.approx(3000 / len(legal), rel=0.15)


def test_an_unknown_heuristic_is_refused_by_name() -> None:
    with pytest.raises(NotFoundError, match="'best'.*greedy_cost"):
        make_heuristic("best", SCENARIOS["tiny"])


WRONG_KNOBS = {
    "unknown": ("greedy_cost", {"speed": 1}, "speed: Extra inputs.*horizon_steps"),
    "none to set": ("uniform", {"speed": 1}, "its parameters: none"),
    "too small": ("greedy_cost", {"horizon_steps": 0}, r"horizon_steps: .*value 0"),
    "too large": ("static", {"utilisation": 1.1}, r"utilisation: .*value 1.1"),
    "no number": ("greedy_load", {"high": "warm"}, r"high: .*'warm'"),
    "not finite": ("optimum", {"time_limit_s": float("nan")}, "time_limit_s: "),
    "no whole number": ("hpa", {"target_percent": 60.5}, "target_percent: "),
}


@pytest.mark.parametrize(("name", "knobs", "message"), WRONG_KNOBS.values(), ids=WRONG_KNOBS)
def test_a_wrong_knob_is_refused_by_name(name: str, knobs: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=f"{name}: .*{message}"):
        make_heuristic(name, SCENARIOS["tiny"], **knobs)


@pytest.mark.parametrize("name", HEURISTICS)
def test_every_knob_says_what_it_is_and_has_bounds(name: str) -> None:
    for field in HEURISTICS[name].knobs_type.model_json_schema()["properties"].values():
        assert field["description"]
        assert {"minimum", "exclusiveMinimum"} & field.keys()


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("base", ["tiny", "four-stations"])
def test_a_plan_is_reached_and_then_left_alone(
    plan: type[Static | StaticBest | Uniform], base: str
) -> None:
    scenario = SCENARIOS[base]
    policy = plan(scenario)
    model = ClusterModel(scenario, 1)
    model.reset({0: np.random.default_rng(0)})
    for _ in range(int(np.abs(policy.target - model.replicas[0]).sum())):
        model.step(policy.act(model.state()))
    assert (model.replicas[0] == policy.target).all()
    for _ in range(5):
        action = policy.act(model.state())
        assert action.tolist() == [0]
        model.step(action)


def test_the_plans_fit_the_nodes_and_every_services_limits() -> None:
    scenario = SCENARIOS["four-stations"]
    for plan in (*PLANS, KubeDefault, BinPack):
        target = plan(scenario).target
        used = target.T @ np.array([service.cpu for service in scenario.services])
        assert (used <= [node.cpu + 1e-9 for node in scenario.nodes]).all()
        for service, count in zip(scenario.services, target.sum(1), strict=True):
            assert service.min_replicas <= count <= service.max_replicas


def test_uniform_wants_one_replica_of_each_service_on_each_node_that_has_room() -> None:
    target = Uniform(SCENARIOS["four-stations"]).target
    assert (target <= 1).all()
    # 0.5 + 0.25 + 0.1 cores fit everywhere but on bs_4, with 0.75 cores.
    assert target.tolist() == [[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 0]]


def test_static_puts_replicas_where_the_unserved_users_are() -> None:
    # bs_1 has 50 and bs_2 10 requests/s of 60 per replica: at 70 % two replicas, the second one
    # for the 8 requests/s that the first leaves at bs_1 or the 10 at bs_2.
    workload = {
        "trace": {
            "interval_s": 300,
            "requests_rps": {"bs_1": [50], "bs_2": [10]},
            "share": {"video": {"mean": 1}},
        }
    }
    near = Static(changed("tiny", workload=workload), utilisation=0.7)
    assert near.target.tolist() == [[1, 1]]
    workload["trace"]["requests_rps"] = {"bs_1": [60], "bs_2": [10]}
    near = Static(changed("tiny", workload=workload), utilisation=0.7)
    assert near.target.tolist() == [[2, 0]]


def step_cost(scenario: Scenario, state: ClusterState, table: ActionTable, action: int) -> float:
    """What the model says of a step after an action, all replicas ready."""
    after = apply_to(state.replicas, table, np.array([action]))
    performance = evaluate(scenario, state.params, after, state.demand)
    started = np.array([table.kind[action] in (Kind.PLACE, Kind.MOVE)], dtype=float)
    terms = cost_terms(scenario, state.params, after, performance, started)
    return sum(float(term[0]) for term in terms.values())


def way(scenario: Scenario, seed: int) -> list[Kind]:
    """What `toward` does from one random placement to another, which it must reach."""
    rng = np.random.default_rng(seed)
    table = ActionTable.of(len(scenario.services), len(scenario.nodes))
    placement, target = random_placement(scenario, rng), random_placement(scenario, rng)
    distance = int(np.abs(placement - target).sum())
    kinds: list[Kind] = []
    while (placement != target).any():
        assert len(kinds) < 2 * distance, "it makes no progress"
        action = toward(scenario, table, cluster(scenario, placement), target[None])
        kinds.append(Kind(int(table.kind[action[0]])))
        placement = apply_to(placement[None], table, action)[0]
    assert toward(scenario, table, cluster(scenario, placement), target[None]).tolist() == [0]
    return kinds


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("base", ["tiny", "four-stations"])
def test_toward_reaches_any_placement_from_any_other(base: str, seed: int) -> None:
    assert Kind.NOTHING not in way(SCENARIOS[base], seed)


@pytest.mark.parametrize("seed", range(12))
def test_toward_takes_the_cheapest_action_that_leads_nearer(seed: int) -> None:
    scenario, rng = SCENARIOS["four-stations"], np.random.default_rng(seed)
    table = ActionTable.of(3, 4)
    target = random_placement(scenario, rng)
    state = cluster(scenario, random_placement(scenario, rng), demand=rng.uniform(0, 60, (3, 4)))
    distance = np.abs(state.replicas[0] - target).sum()
    costs = {
        action: step_cost(scenario, state, table, action)
        for action in np.flatnonzero(table.legal_in(state)[0]).tolist()
        if np.abs(apply_to(state.replicas, table, np.array([action]))[0] - target).sum() < distance
    }
    chosen = int(toward(scenario, table, state, target[None])[0])
    assert costs[chosen] == pytest.approx(min(costs.values()), abs=1e-12)


def test_toward_moves_what_stands_in_the_way_where_two_replicas_change_places() -> None:
    services = [
        {"name": name, "cpu": 1.0, "rate_rps": 60, "slo_ms": 60, "max_replicas": 1}
        for name in ("video", "ar")
    ]
    nodes = [{"name": f"bs_{n}", "cpu": 1.0, "memory_mib": 1024} for n in (1, 2, 3)]
    sites = [{"name": "bs_1", "rtt_ms": {"bs_1": 2, "bs_2": 9, "bs_3": 9}}]
    share = {"video": {"mean": 1}, "ar": {"mean": 1}}
    workload = {"poisson": {"mean_users": {"bs_1": 1}, "share": share}}
    scenario = changed("tiny", services=services, nodes=nodes, sites=sites, workload=workload)
    table, placement = ActionTable.of(2, 3), np.array([[1, 0, 0], [0, 1, 0]])
    target = np.array([[0, 1, 0], [1, 0, 0]])
    for _ in range(3):
        action = toward(scenario, table, cluster(scenario, placement), target[None])
        placement = apply_to(placement[None], table, action)[0]
    assert (placement == target).all()


def test_toward_leaves_a_node_alone_that_is_down() -> None:
    tiny = SCENARIOS["tiny"]
    state = cluster(tiny, [[1, 0]], node_up=[True, False])
    assert toward(tiny, ActionTable.of(1, 2), state, np.array([[[1, 1]]])).tolist() == [0]


def test_replicas_are_planned_for_the_mean_demand_of_the_day() -> None:
    scenario = SCENARIOS["four-stations"]
    params = ClusterParams.of(scenario)
    model = ClusterModel(scenario, 1)
    model.reset({0: np.random.default_rng(0)})
    demand = np.zeros(3)
    for _ in range(scenario.episode_steps):
        demand += model.demand_at(0)[0].sum(1) / scenario.episode_steps
        model.step(np.array([0]))
    wanted = np.ceil(demand / params.rate[0] / 0.8)
    assert KubeDefault(scenario, utilisation=0.8).target.sum(1).tolist() == wanted.tolist()


def test_a_scenario_brings_the_knobs_of_its_heuristics_along() -> None:
    tuned = changed("tiny", heuristics={"hpa": {"target_percent": 40}})
    assert make_heuristic("hpa", tuned).knobs.model_dump()["target_percent"] == 40
    named = make_heuristic("hpa", tuned, target_percent=50)
    assert named.knobs.model_dump()["target_percent"] == 50
    assert load_scenario(tuned.document()) == tuned


WRONG_TUNING = {
    "no heuristic": ({"hpaa": {}}, "scenario tiny: heuristics: 'hpaa' is none of .*hpa"),
    "no knob": ({"hpa": {"target": 1}}, "scenario tiny: heuristics: hpa: target: .*target_percent"),
}


@pytest.mark.parametrize(("heuristics", "message"), WRONG_TUNING.values(), ids=WRONG_TUNING)
def test_wrong_knobs_of_a_scenario_are_refused(
    heuristics: dict[str, dict[str, float]], message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        check_tuning(changed("tiny", heuristics=heuristics))


@pytest.mark.parametrize("name", packaged_scenarios())
def test_packaged_scenarios_have_right_knobs(name: str) -> None:
    check_tuning(load_scenario(name))


def test_a_plan_is_reached_where_few_of_the_actions_are_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(plans, "MOST_QUEUES", 1)  # as if the cluster were so large
    scenario = load_scenario("four-stations")
    policy = Static(scenario)
    model = ClusterModel(scenario, 2)
    model.reset({i: np.random.default_rng(i) for i in range(2)})
    for _ in range(40):
        model.step(policy.act(model.state()))
    assert (model.replicas == policy.target).all()
