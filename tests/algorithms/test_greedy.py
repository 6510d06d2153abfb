"""Greedy policies find what trying everything by hand finds."""

import numpy as np
import pytest

from lwmecps_gym.algorithms.heuristics import GreedyCost, GreedyLatency, GreedyLoad
from lwmecps_gym.envs.actions import Kind, apply_to
from lwmecps_gym.envs.cluster import ClusterState
from lwmecps_gym.envs.performance import cost_terms, evaluate
from lwmecps_gym.envs.scenario import load_scenario

from .clusters import changed, cluster, random_placement

FOUR = load_scenario("four-stations")
TINY = load_scenario("tiny")


def some_cluster(seed: int) -> ClusterState:
    rng = np.random.default_rng(seed)
    demand = rng.uniform(0, 60, size=(3, 4))
    return cluster(FOUR, random_placement(FOUR, rng), demand=demand)


def outcomes(policy: GreedyCost | GreedyLatency, state: ClusterState) -> dict[int, list[float]]:
    """Latency and cost after each legal action, one by one; a migration counts a thirtieth."""
    found = {}
    for action in np.flatnonzero(policy.actions.legal_in(state)[0]).tolist():
        after = apply_to(state.replicas, policy.actions, np.array([action]))
        performance = evaluate(FOUR, state.params, after, state.demand)
        moved = policy.actions.kind[action] in (Kind.PLACE, Kind.MOVE)
        terms = cost_terms(FOUR, state.params, after, performance, np.array([moved / 30]))
        found[action] = [
            float(performance.latency_ms[0]),
            sum(float(term[0]) for term in terms.values()),
        ]
    return found


@pytest.mark.parametrize("seed", range(8))
def test_greedy_cost_takes_the_cheapest_of_all_legal_actions(seed: int) -> None:
    state, policy = some_cluster(seed), GreedyCost(FOUR, horizon_steps=30)
    costs = {action: cost for action, (_, cost) in outcomes(policy, state).items()}
    assert costs[int(policy.act(state)[0])] == pytest.approx(min(costs.values()), abs=1e-12)


@pytest.mark.parametrize("seed", range(8))
def test_greedy_latency_takes_the_fastest_unless_that_wins_less_than_half_a_ms(seed: int) -> None:
    state, policy = some_cluster(seed), GreedyLatency(FOUR, gain=0.5)
    latency = {action: ms for action, (ms, _) in outcomes(policy, state).items()}
    chosen = int(policy.act(state)[0])
    if min(latency.values()) < latency[0] - 0.5:
        assert latency[chosen] == pytest.approx(min(latency.values()), abs=1e-12)
    else:
        assert chosen == 0


def test_greedy_choices_do_not_depend_on_the_rest_of_the_batch() -> None:
    policy = GreedyCost(FOUR, horizon_steps=30)
    states = [some_cluster(seed) for seed in range(4)]
    together = ClusterState(
        params=states[0].params.take(np.zeros(4, dtype=np.int64)),
        **{
            name: np.concatenate([getattr(state, name) for state in states])
            for name in ClusterState.__dataclass_fields__
            if name != "params"
        },
    )
    assert policy.act(together).tolist() == [int(policy.act(state)[0]) for state in states]


def test_greedy_load_adds_a_replica_near_the_users_of_a_hot_service() -> None:
    policy = GreedyLoad(TINY, high=0.7, low=0.5)
    hot = cluster(TINY, [[1, 0]], demand=[[10, 40]])  # 50 of 60 requests/s: 83 %
    assert policy.act(hot).tolist() == [int(policy.actions.place(0, 1))]
    warm = cluster(TINY, [[1, 0]], demand=[[10, 30]])  # 67 %
    assert policy.act(warm).tolist() == [0]


def test_greedy_load_goes_to_the_next_node_where_the_nearest_is_full() -> None:
    policy = GreedyLoad(TINY, high=0.7, low=0.5)  # two replicas fill a node
    hot = cluster(TINY, [[0, 2]], demand=[[0, 100]])
    assert policy.act(hot).tolist() == [int(policy.actions.place(0, 0))]


def test_greedy_load_removes_the_idlest_replica_of_a_cold_service() -> None:
    policy = GreedyLoad(TINY, high=0.7, low=0.5)
    cold = cluster(TINY, [[1, 1]], demand=[[20, 5]])  # 25 of 60 requests/s: one would be at 42 %
    assert policy.act(cold).tolist() == [int(policy.actions.remove(0, 1))]
    needed = cluster(TINY, [[1, 1]], demand=[[20, 15]])  # one would be at 58 %
    assert policy.act(needed).tolist() == [0]


def test_greedy_load_never_removes_the_last_replica() -> None:
    policy = GreedyLoad(TINY, high=0.7, low=0.5)
    assert policy.act(cluster(TINY, [[1, 0]], demand=[[0, 0]])).tolist() == [0]


def test_greedy_load_waits_for_a_replica_that_starts() -> None:
    policy = GreedyLoad(TINY, high=0.7, low=0.5)
    hot = cluster(TINY, [[1, 0]], starting=[[0, 1]], demand=[[10, 40]])
    assert policy.act(hot).tolist() == [0]


def test_greedy_load_replaces_a_service_that_lost_its_last_replica() -> None:
    scenario = changed("tiny", failures={"node_mtbf_s": 3600, "node_mttr_s": 600})
    policy = GreedyLoad(scenario, high=0.7, low=0.5)
    lost = cluster(TINY, [[0, 0]], demand=[[5, 1]], node_up=[False, True])
    assert policy.act(lost).tolist() == [int(policy.actions.place(0, 1))]
