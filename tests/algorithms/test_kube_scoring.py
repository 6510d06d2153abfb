"""Pods go where kube-scheduler would put them, and come from where a ReplicaSet would take them."""

import math
from typing import Any

import numpy as np
import pytest

from lwmecps_gym.algorithms.kube_scoring import place_by_score, replicas_to_drop, spread_score
from lwmecps_gym.envs.cluster import ClusterParams
from lwmecps_gym.envs.scenario import Scenario

from .clusters import changed


def two_nodes(*nodes: tuple[float, float], pod: tuple[float, float]) -> Scenario:
    """Nodes and one service by (cores, MiB)."""
    named = [
        {"name": f"bs_{n + 1}", "cpu": cpu, "memory_mib": memory}
        for n, (cpu, memory) in enumerate(nodes)
    ]
    service = {
        "name": "video", "cpu": pod[0], "memory_mib": pod[1], "rate_rps": 60, "slo_ms": 60,
        "max_replicas": 9,
    }  # fmt: skip
    return changed("tiny", nodes=named, services=[service])


def place(
    scenario: Scenario,
    ready: list[list[int]],
    node_up: tuple[bool, ...] = (True, True),
    **how: Any,
) -> int:
    chosen = place_by_score(
        ClusterParams.of(scenario), np.array([ready]), np.array([node_up]), np.array([0]), **how
    )
    return int(chosen[0])


def test_the_node_with_more_free_resources_after_placement_wins() -> None:
    # LeastAllocated: (75 + 75) / 2 = 75 against (87 + 87) / 2 = 87 in whole numbers; both are
    # balanced (100) and equally spread (100).
    scenario = two_nodes((4, 4096), (8, 8192), pod=(1, 1024))
    assert place(scenario, [[0, 0]]) == 1


def test_a_pod_prefers_the_node_whose_cpu_and_memory_it_uses_evenly() -> None:
    # With one pod: bs_1 uses 1/4 and 1/4, bs_2 1/2 and 1/8 of CPU and memory.
    # LeastAllocated 75 against (50 + 87) / 2 = 68; balanced 100 against 100 (1 - 3/16) = 81.
    scenario = two_nodes((4, 4096), (2, 8192), pod=(1, 1024))
    assert place(scenario, [[0, 0]]) == 0
    # bs_1 1/4 and 1/4 again, bs_2 1/4 and 1/64: (75 + 98) / 2 = 86 beats 75 by 11, but balance
    # is 100 against 100 (1 - 15/128) = 88: 175 against 174.
    assert place(two_nodes((4, 4096), (4, 65536), pod=(1, 1024)), [[0, 0]]) == 0


def test_whole_scores_make_nodes_equal_that_are_almost_so_and_the_first_wins() -> None:
    # 100 * 995 / 1000 = 99.5 and 100 * 992 / 1000 = 99.2 both count as 99.
    scenario = two_nodes((100, 1000), (100.01, 1600), pod=(0.1, 8))
    least = [math.floor(100 * (1 - 0.1 / cpu)) for cpu in (100, 100.01)]
    assert least == [99, 99]
    assert place(scenario, [[0, 0]]) == 0


def test_pods_spread_before_they_fill_the_larger_node() -> None:
    scenario = two_nodes((4, 4096), (8, 8192), pod=(1, 1024))
    assert place(scenario, [[0, 1]]) == 0  # 75 + 100 + 2 * 100 against 75 + 100 + 2 * 66


def test_the_spread_score_is_that_of_podtopologyspread_with_the_built_in_constraint() -> None:
    # ln(4 + 2) = 1.79: counts 2, round(3.79) = 4, round(5.58) = 6, round(7.38) = 7 with
    # maxSkew - 1 = 2; scores 100 (7 + 2 - count) / 7.
    score = spread_score(np.array([[0, 1, 2, 3]]), np.ones((1, 4), bool))
    assert score.tolist() == [[100, 71, 42, 28]]
    # bs_4 has no room: F is 3, ln 5 = 1.61, counts 2, 4, 5.
    score = spread_score(np.array([[0, 1, 2, 3]]), np.array([[True, True, True, False]]))
    assert score.tolist() == [[100, 60, 40, 0]]


@pytest.mark.parametrize("pods", [0, 1, 5])
def test_evenly_spread_pods_score_100_everywhere(pods: int) -> None:
    score = spread_score(np.full((2, 3), pods), np.ones((2, 3), bool))
    assert score.tolist() == [[100] * 3] * 2


def test_most_allocated_prefers_the_node_with_less_free_after_placement() -> None:
    # MostAllocated: (25 + 25) / 2 = 25 against (12 + 12) / 2 = 12 in whole numbers.
    scenario = two_nodes((4, 4096), (8, 8192), pod=(1, 1024))
    assert place(scenario, [[0, 0]], strategy="MostAllocated") == 0
    assert place(scenario, [[0, 0]], strategy="LeastAllocated") == 1


def test_most_allocated_packs_only_as_far_as_the_weight_of_the_spread_lets_it() -> None:
    # A second pod: bs_1 50 + 100 + 2 * 50, bs_2 25 + 100 + 2 * 100.
    scenario = two_nodes((4, 4096), (4, 4096), pod=(1, 1024))
    assert place(scenario, [[1, 0]], strategy="MostAllocated") == 1
    assert place(scenario, [[1, 0]], strategy="MostAllocated", spread_weight=0) == 0
    assert place(scenario, [[4, 0]], strategy="MostAllocated", spread_weight=0) == 1  # it is full


def test_nodes_without_room_and_nodes_that_are_down_are_left_out() -> None:
    scenario = two_nodes((4, 4096), (8, 8192), pod=(1, 1024))
    assert place(scenario, [[0, 8]]) == 0
    assert place(scenario, [[0, 0]], node_up=(True, False)) == 0
    assert place(scenario, [[4, 0]], node_up=(True, False)) == -1


def test_each_cluster_of_a_batch_is_scored_by_itself() -> None:
    scenario = two_nodes((4, 4096), (8, 8192), pod=(1, 1024))
    chosen = place_by_score(
        ClusterParams.of(scenario, 3),
        np.array([[[0, 0]], [[0, 1]], [[4, 8]]]),
        np.ones((3, 2), bool),
        np.zeros(3, dtype=np.int64),
    )
    assert chosen.tolist() == [1, 0, -1]


def test_a_replica_set_drops_pods_that_are_not_ready_then_those_on_fuller_nodes() -> None:
    def drop(ready: list[int], starting: list[int]) -> int:
        replicas = np.array([[ready]]) + np.array([[starting]])
        return int(replicas_to_drop(np.array([[starting]]), replicas, np.array([0]))[0])

    assert drop([3, 1, 0], [0, 1, 0]) == 1
    assert drop([1, 3, 2], [0, 0, 0]) == 1
    assert drop([3, 0, 2], [0, 1, 1]) == 2  # both have one that starts; bs_3 has more pods
    assert drop([0, 0, 1], [0, 0, 0]) == 2
