"""Heuristics act within the rules, repeatably, and go where they said they would."""

import numpy as np
import pytest

from lwmecps_gym.algorithms.heuristics import (
    HEURISTICS,
    KubeDefault,
    Static,
    StaticBest,
    Uniform,
    make_heuristic,
    toward,
)
from lwmecps_gym.envs.actions import ActionTable, Kind, apply_to
from lwmecps_gym.envs.cluster import ClusterParams, Ints
from lwmecps_gym.envs.scenario import Scenario, load_scenario
from lwmecps_gym.envs.simulator import ClusterModel
from lwmecps_gym.platform.errors import NotFoundError

from .clusters import changed, cluster, failing, random_placement

SCENARIOS = {
    "tiny": load_scenario("tiny"),
    "four-stations": load_scenario("four-stations"),
    "tiny that fails": failing("tiny"),
    "four-stations that fails": failing("four-stations"),
}
PLANS = (Static, StaticBest, Uniform, KubeDefault)


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


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("base", ["tiny", "four-stations"])
def test_a_plan_is_reached_and_then_left_alone(
    plan: type[Static | StaticBest | Uniform | KubeDefault], base: str
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
    for plan in PLANS:
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
    assert Static(changed("tiny", workload=workload)).target.tolist() == [[1, 1]]
    workload["trace"]["requests_rps"] = {"bs_1": [60], "bs_2": [10]}
    assert Static(changed("tiny", workload=workload)).target.tolist() == [[2, 0]]


def way(scenario: Scenario, seed: int) -> list[Kind]:
    """What `toward` does from one random placement to another, which it must reach."""
    rng = np.random.default_rng(seed)
    table = ActionTable.of(len(scenario.services), len(scenario.nodes))
    placement, target = random_placement(scenario, rng), random_placement(scenario, rng)
    distance = int(np.abs(placement - target).sum())
    kinds: list[Kind] = []
    while (placement != target).any():
        assert len(kinds) < distance, "it makes no progress"
        action = toward(table, cluster(scenario, placement), target[None])
        kinds.append(Kind(int(table.kind[action[0]])))
        placement = apply_to(placement[None], table, action)[0]
    assert toward(table, cluster(scenario, placement), target[None]).tolist() == [0]
    return kinds


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("base", ["tiny", "four-stations"])
def test_toward_reaches_any_placement_from_any_other(base: str, seed: int) -> None:
    assert Kind.NOTHING not in way(SCENARIOS[base], seed)


@pytest.mark.parametrize("seed", range(10))
def test_toward_adds_then_moves_then_removes_where_there_is_room(seed: int) -> None:
    nodes = [node.model_dump() | {"cpu": 8.0} for node in SCENARIOS["four-stations"].nodes]
    kinds = way(changed("four-stations", nodes=nodes), seed)
    assert kinds == sorted(
        kinds, key=lambda kind: {Kind.PLACE: 0, Kind.MOVE: 1, Kind.REMOVE: 2}[kind]
    )


def test_toward_moves_where_adding_is_not_allowed_and_removes_where_there_is_no_room() -> None:
    tiny = SCENARIOS["tiny"]  # two replicas fill a node; at most three in all
    table = ActionTable.of(1, 2)

    def next_kind(ready: list[list[int]], target: list[list[int]]) -> Kind:
        action = toward(table, cluster(tiny, ready), np.array([target]))
        return Kind(int(table.kind[action[0]]))

    assert next_kind([[1, 1]], [[1, 2]]) == Kind.PLACE
    assert next_kind([[2, 1]], [[1, 2]]) == Kind.MOVE
    assert next_kind([[2, 1]], [[2, 0]]) == Kind.REMOVE


def test_toward_leaves_a_node_alone_that_is_down() -> None:
    tiny = SCENARIOS["tiny"]
    state = cluster(tiny, [[1, 0]], node_up=[True, False])
    assert toward(ActionTable.of(1, 2), state, np.array([[[1, 1]]])).tolist() == [0]


def test_static_plans_for_the_mean_demand_of_the_day() -> None:
    scenario = SCENARIOS["four-stations"]
    params = ClusterParams.of(scenario)
    model = ClusterModel(scenario, 1)
    model.reset({0: np.random.default_rng(0)})
    demand = np.zeros(3)
    for _ in range(scenario.episode_steps):
        demand += model.demand_at(0)[0].sum(1) / scenario.episode_steps
        model.step(np.array([0]))
    wanted = np.ceil(demand / params.rate[0] / 0.7)
    assert KubeDefault(scenario).target.sum(1).tolist() == wanted.tolist()
