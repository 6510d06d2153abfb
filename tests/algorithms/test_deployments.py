"""Deployments keep their pods, as ReplicaSets do, and never move one."""

from typing import Any

import numpy as np
import pytest

from lwmecps_gym.algorithms.heuristics import BinPack, KubeDefault
from lwmecps_gym.algorithms.heuristics.deployments import Deployments
from lwmecps_gym.envs.actions import Kind
from lwmecps_gym.envs.scenario import load_scenario
from lwmecps_gym.envs.simulator import ClusterModel

from .clusters import changed, cluster, failing

SERVICE = {
    "name": "video", "cpu": 0.1, "rate_rps": 60, "slo_ms": 60, "min_replicas": 1,
    "max_replicas": 10,
}  # fmt: skip
TRACE = {"interval_s": 60, "requests_rps": {"bs_1": [90], "bs_2": [90]},
         "share": {"video": {"mean": 1}}}  # fmt: skip
SCENARIO = changed(
    "tiny", control_interval_s=60, services=[SERVICE], workload={"trace": TRACE}
)  # 180 requests/s: four replicas at 75 %


def kind(policy: Deployments, ready: list[int], **others: Any) -> Kind:
    return Kind(int(policy.actions.kind[policy.act(cluster(SCENARIO, [ready], **others))[0]]))


@pytest.fixture
def policy() -> KubeDefault:
    return KubeDefault(SCENARIO, utilisation=0.75, eviction_s=300)


def test_missing_pods_are_created_and_surplus_ones_deleted(policy: KubeDefault) -> None:
    assert kind(policy, [1, 0]) == Kind.PLACE
    assert kind(policy, [2, 2]) == Kind.NOTHING
    assert kind(policy, [4, 0]) == Kind.NOTHING  # wherever they are
    assert kind(policy, [3, 2]) == Kind.REMOVE


def test_pods_of_a_node_that_fails_are_replaced_after_their_eviction(policy: KubeDefault) -> None:
    assert kind(policy, [2, 2], time_s=0) == Kind.NOTHING
    down = {"node_up": [True, False]}
    waited = [kind(policy, [2, 0], time_s=60 * minute, **down) for minute in range(1, 6)]
    assert waited == [Kind.NOTHING] * 5
    assert kind(policy, [2, 0], time_s=360, **down) == Kind.PLACE
    assert kind(policy, [3, 0], time_s=420, **down) == Kind.PLACE
    assert kind(policy, [4, 0], time_s=480, **down) == Kind.NOTHING
    assert kind(policy, [4, 0], time_s=540) == Kind.NOTHING  # back, and nothing moves there


def test_pods_of_a_node_that_is_back_soon_are_replaced_at_once(policy: KubeDefault) -> None:
    kind(policy, [2, 2], time_s=0)
    assert kind(policy, [2, 0], time_s=60, node_up=[True, False]) == Kind.NOTHING
    assert kind(policy, [2, 0], time_s=120) == Kind.PLACE


def test_a_pod_that_was_just_placed_on_a_node_that_fails_counts_as_lost_with_it() -> None:
    policy = KubeDefault(SCENARIO, utilisation=0.75)
    first = int(policy.act(cluster(SCENARIO, [[2, 1]]))[0])
    assert first == policy.actions.place(0, 1)
    down = cluster(SCENARIO, [[2, 0]], node_up=[True, False], time_s=60)
    assert policy.act(down).tolist() == [0]


def test_what_failed_is_forgotten_with_a_new_episode(policy: KubeDefault) -> None:
    kind(policy, [2, 2], time_s=0)
    policy.reset(1)
    assert kind(policy, [2, 0], time_s=60, node_up=[True, False]) == Kind.PLACE


def test_with_room_elsewhere_all_pods_are_back_soon_after_a_failure() -> None:
    document = failing("four-stations").document()
    for node in document["nodes"]:
        node["cpu"] = 8.0
    scenario = load_scenario(document)
    policy = KubeDefault(scenario, eviction_s=120, utilisation=0.7)
    model = ClusterModel(scenario)
    model.reset({0: np.random.default_rng(1)})
    failures, quiet = 0, 0
    for _ in range(300):
        action, up = policy.act(model.state()), model.node_up[0].copy()
        assert policy.actions.kind[action[0]] != Kind.MOVE
        model.step(action)
        failed = bool((up & ~model.node_up[0]).any())
        failures, quiet = failures + failed, 0 if failed else quiet + 1
        if quiet > 2 + policy.target.sum():
            assert (model.replicas[0].sum(-1) == policy.target.sum(-1)).all()
    assert failures > 3


def test_in_an_empty_cluster_the_pods_go_to_the_target_one_by_one() -> None:
    scenario = changed("four-stations", services=[
        service.model_dump() | {"min_replicas": 0}
        for service in load_scenario("four-stations").services[:1]
    ], workload={"poisson": {"mean_users": {f"bs_{n}": 9 for n in (1, 2, 3, 4)},
                             "share": {"ar": {"mean": 1}}}})  # fmt: skip
    for policy in (KubeDefault(scenario), BinPack(scenario, spread_weight=0)):
        model = ClusterModel(scenario)
        model.reset({0: np.random.default_rng(0)}, placement=np.zeros((1, 4), dtype=np.int64))
        for _ in range(10):
            model.step(policy.act(model.state()))
        assert (model.replicas[0] == policy.target).all()
        assert policy.target.sum() > 0


def test_bin_packing_fills_a_node_before_it_takes_the_next() -> None:
    scenario = load_scenario("four-stations")
    spread = KubeDefault(scenario, utilisation=0.7).target
    packed = BinPack(scenario, utilisation=0.7, spread_weight=0).target
    assert (packed.sum(1) == spread.sum(1)).all()
    assert (packed > 0).sum() < (spread > 0).sum()
