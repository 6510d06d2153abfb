"""The autoscaler follows the formula of the HorizontalPodAutoscaler."""

from typing import Any

import pytest

from lwmecps_gym.algorithms.heuristics import HorizontalPodAutoscaler
from lwmecps_gym.envs.actions import Kind

from .clusters import changed, cluster

SERVICE = {
    "name": "video", "cpu": 0.1, "rate_rps": 60, "slo_ms": 60, "min_replicas": 1,
    "max_replicas": 10,
}  # fmt: skip
SCENARIO = changed("tiny", control_interval_s=60, services=[SERVICE])


def change(hpa: HorizontalPodAutoscaler, ready: list[int], use: float, **others: Any) -> int:
    """Pods that it adds or removes, when every ready pod is used to this share."""
    state = cluster(SCENARIO, [ready], utilisation=[[use if count else 0 for count in ready]],
                    **others)  # fmt: skip
    kind = hpa.actions.kind[hpa.act(state)[0]]
    return {Kind.NOTHING: 0, Kind.PLACE: 1, Kind.REMOVE: -1}[kind]


@pytest.fixture
def hpa() -> HorizontalPodAutoscaler:
    return HorizontalPodAutoscaler(SCENARIO, target_percent=60)


def test_it_scales_up_at_once_above_the_target_of_60_percent(hpa: HorizontalPodAutoscaler) -> None:
    assert change(hpa, [1, 1], 0.9) == 1  # ceil(2 * 0.9 / 0.6) = 3


@pytest.mark.parametrize(("use", "pods"), [(0.54, 0), (0.6, 0), (0.66, 0), (0.67, 1)])
def test_within_a_tenth_of_the_target_it_does_nothing(
    hpa: HorizontalPodAutoscaler, use: float, pods: int
) -> None:
    assert change(hpa, [2, 2], use) == pods


def test_below_the_tolerance_it_scales_down_when_nothing_higher_was_wanted_for_5_minutes(
    hpa: HorizontalPodAutoscaler,
) -> None:
    assert change(hpa, [2, 2], 0.6) == 0  # it wants 4 at minute 0
    changes = [change(hpa, [2, 2], 0.2) for _ in range(5)]  # ceil(4 / 3) = 2 from minute 1 on
    assert changes == [0, 0, 0, 0, -1]


def test_it_scales_down_to_the_highest_wish_of_the_window(hpa: HorizontalPodAutoscaler) -> None:
    assert change(hpa, [2, 2], 0.6) == 0
    assert change(hpa, [2, 2], 0.4) == 0  # ceil(4 * 2 / 3) = 3, at minute 1
    for _ in range(3):
        assert change(hpa, [2, 2], 0.2) == 0
    assert change(hpa, [2, 2], 0.2) == -1  # the 3 of minute 1 is the highest now
    assert change(hpa, [2, 1], 0.2) == -1  # ... and has gone; ceil(3 / 3) = 1


def test_a_window_shorter_than_a_step_holds_nothing_back() -> None:
    slow = HorizontalPodAutoscaler(
        changed("tiny", control_interval_s=300, services=[SERVICE]), target_percent=60
    )
    assert change(slow, [2, 2], 0.6) == 0
    assert change(slow, [2, 2], 0.2) == -1


def test_it_forgets_the_window_with_a_new_episode(hpa: HorizontalPodAutoscaler) -> None:
    change(hpa, [2, 2], 0.6)
    hpa.reset(1)
    assert change(hpa, [2, 2], 0.2) == -1


def test_pods_that_start_count_as_idle_when_it_scales_up(hpa: HorizontalPodAutoscaler) -> None:
    # 2 * 0.9 / 0.6 = 3 pods suffice: with one starting there are 3, with none one is added.
    assert change(hpa, [1, 1], 0.9) == 1
    assert change(hpa, [1, 1], 0.9, starting=[[1, 0]]) == 0
    hpa.reset(1)
    assert change(hpa, [3, 3], 0.9, starting=[[1, 0]]) == 1  # 9 pods of 7


def test_pods_that_start_are_kept_when_counting_them_as_idle_turns_the_ratio_round(
    hpa: HorizontalPodAutoscaler,
) -> None:
    for _ in range(7):
        assert change(hpa, [1, 1], 0.9, starting=[[1, 1]]) == 0  # 1.5, but 0.75 with the idle


def test_pods_that_start_are_left_out_when_it_scales_down(hpa: HorizontalPodAutoscaler) -> None:
    # ceil(2 * 0.2 / 0.6) = 1 of 3; the one that is not ready goes first.
    state = cluster(SCENARIO, [[2, 0]], starting=[[0, 1]], utilisation=[[0.2, 0]])
    assert hpa.act(state).tolist() == [int(hpa.actions.remove(0, 1))]


def test_without_a_ready_pod_there_is_no_metric_and_no_change(hpa: HorizontalPodAutoscaler) -> None:
    for _ in range(7):
        assert change(hpa, [0, 0], 0.0, starting=[[1, 1]]) == 0


def test_pods_that_are_lost_with_a_node_are_replaced_though_the_metrics_ask_for_none() -> None:
    hpa = HorizontalPodAutoscaler(SCENARIO, target_percent=60, eviction_s=120)
    assert change(hpa, [2, 2], 0.6) == 0
    changes = [
        change(hpa, [2, 0], 0.6, node_up=[True, False], time_s=60.0 * minute)
        for minute in (1, 2, 3)
    ]
    assert changes == [0, 0, 1]


def test_it_keeps_to_the_least_and_most_replicas(hpa: HorizontalPodAutoscaler) -> None:
    assert change(hpa, [5, 5], 0.9) == 0
    hpa.reset(1)
    assert change(hpa, [1, 0], 0.0) == 0
    assert change(hpa, [0, 0], 0.0) == 1  # lost with its node


def test_the_pods_come_and_go_where_kubernetes_would_choose(hpa: HorizontalPodAutoscaler) -> None:
    up = hpa.act(cluster(SCENARIO, [[2, 1]], utilisation=[[0.9, 0.9]]))
    assert up.tolist() == [int(hpa.actions.place(0, 1))]
    hpa.reset(1)
    down = hpa.act(cluster(SCENARIO, [[1, 3]], utilisation=[[0.2, 0.2]]))
    assert down.tolist() == [int(hpa.actions.remove(0, 1))]


def test_a_service_without_room_does_not_hold_up_one_that_fits() -> None:
    large = SERVICE | {"name": "ar", "cpu": 0.9}
    workload = {
        "poisson": {
            "mean_users": {"bs_1": 1, "bs_2": 1},
            "share": {"video": {"mean": 1}, "ar": {"mean": 1}},
        }
    }
    scenario = changed("tiny", services=[large, SERVICE], workload=workload)
    hpa = HorizontalPodAutoscaler(scenario, target_percent=60)
    crowded = cluster(scenario, [[1, 1], [1, 0]], utilisation=[[0.9, 0.9], [0.9, 0]])
    assert hpa.act(crowded).tolist() == [int(hpa.actions.place(1, 1))]
