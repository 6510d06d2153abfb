"""Placing, scaling and moving replicas over HTTP, and the names that they get."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kubernetes import client

from lwmecps_gym.platform.errors import (
    IllegalActionError,
    InvalidInputError,
    NotFoundError,
)
from lwmecps_gym.platform.kubernetes_api import KubernetesApi, Placement, WorkloadSpec

from ..kubernetes_server import KubernetesServer, RealCluster

PAUSE = "registry.k8s.io/pause:3.10"
VIDEO = WorkloadSpec("video", cpu=0.1, memory_mib=16, image=PAUSE)
AR = WorkloadSpec("ar_headset", cpu=0.05, memory_mib=8, image=PAUSE)

Cluster = KubernetesServer | RealCluster


def placement(api: KubernetesApi, cluster: Cluster) -> Placement:
    return api.read_placement(["video", "ar_headset"], cluster.nodes[:2])


def deployments(cluster: Cluster) -> dict[str, Any]:
    found: Any = client.AppsV1Api(cluster.api_client())
    items = found.list_namespaced_deployment(cluster.namespace).items
    return {item.metadata.name: item for item in items}


def writes(cluster: Cluster) -> list[str]:
    return [request.method for request in cluster.requests if request.method != "GET"]


def test_a_placed_replica_runs_on_its_node_and_is_counted_there(
    api: KubernetesApi, cluster: Cluster, wait_s: float
) -> None:
    api.place(VIDEO, cluster.nodes[0])
    api.place(AR, cluster.nodes[1])
    api.wait_until_ready(wait_s)

    found = placement(api, cluster)
    assert found.services == ("video", "ar_headset")
    assert found.nodes == tuple(cluster.nodes[:2])
    np.testing.assert_array_equal(found.ready, [[1, 0], [0, 1]])
    np.testing.assert_array_equal(found.starting, np.zeros((2, 2)))

    pods = client.CoreV1Api(cluster.api_client()).list_namespaced_pod(cluster.namespace).items
    on = {p.metadata.labels["lwmecps.io/service"]: p.spec.node_name for p in pods}  # type: ignore[union-attr, index]
    assert on == {"video": cluster.nodes[0], "ar_headset": cluster.nodes[1]}


def test_replicas_that_are_not_ready_yet_are_starting(api: KubernetesApi, cluster: Cluster) -> None:
    cluster.set_delays(ready_s=math.inf)
    api.scale(VIDEO, cluster.nodes[0], 3)
    found = placement(api, cluster)
    assert (found.ready[0, 0], found.starting[0, 0]) == (0, 3)


def test_scaling_twice_to_the_same_number_writes_once(api: KubernetesApi, cluster: Cluster) -> None:
    api.scale(VIDEO, cluster.nodes[0], 2)
    api.scale(VIDEO, cluster.nodes[0], 2)
    assert writes(cluster) == ["POST"]


def test_scaling_up_and_down_is_followed_by_the_pods(
    api: KubernetesApi, cluster: Cluster, wait_s: float
) -> None:
    for replicas in (3, 1):
        api.scale(VIDEO, cluster.nodes[0], replicas)
        api.wait_until_ready(wait_s)
        found = placement(api, cluster)
        assert (found.ready[0, 0], found.starting[0, 0]) == (replicas, 0)


def test_scaling_to_zero_leaves_the_deployment_without_pods(
    api: KubernetesApi, cluster: Cluster, wait_s: float
) -> None:
    api.scale(VIDEO, cluster.nodes[0], 2)
    api.wait_until_ready(wait_s)
    api.scale(VIDEO, cluster.nodes[0], 0)
    api.wait_until_ready(wait_s)
    found = placement(api, cluster)
    assert found.ready.sum() == found.starting.sum() == 0
    assert [item.spec.replicas for item in deployments(cluster).values()] == [0]


def test_scaling_to_zero_what_was_never_placed_makes_nothing(
    api: KubernetesApi, cluster: Cluster
) -> None:
    api.scale(VIDEO, cluster.nodes[0], 0)
    assert deployments(cluster) == {}


def test_a_move_starts_at_the_target_and_stops_at_the_source(
    api: KubernetesApi, cluster: Cluster, wait_s: float
) -> None:
    api.scale(VIDEO, cluster.nodes[0], 2)
    api.move(VIDEO, cluster.nodes[0], cluster.nodes[1])
    api.wait_until_ready(wait_s)
    np.testing.assert_array_equal(placement(api, cluster).ready, [[1, 1], [0, 0]])


def test_a_replica_that_is_not_there_can_neither_be_removed_nor_moved(
    api: KubernetesApi, cluster: Cluster
) -> None:
    with pytest.raises(IllegalActionError, match="no replica of service 'video'"):
        api.remove(VIDEO, cluster.nodes[0])
    with pytest.raises(IllegalActionError, match=f"on node '{cluster.nodes[0]}'"):
        api.move(VIDEO, cluster.nodes[0], cluster.nodes[1])
    assert deployments(cluster) == {}


def test_a_negative_number_of_replicas_is_refused(api: KubernetesApi, cluster: Cluster) -> None:
    with pytest.raises(InvalidInputError, match="replicas is -1"):
        api.scale(VIDEO, cluster.nodes[0], -1)


def test_a_service_that_asks_for_nothing_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="service 'idle': cpu is 0"):
        WorkloadSpec("idle", cpu=0, memory_mib=16, image=PAUSE)


def test_a_changed_service_renews_its_pods(
    api: KubernetesApi, cluster: Cluster, wait_s: float
) -> None:
    api.scale(VIDEO, cluster.nodes[0], 1)
    larger = WorkloadSpec("video", cpu=0.2, memory_mib=32, image=PAUSE)
    api.scale(larger, cluster.nodes[0], 1)
    api.wait_until_ready(wait_s)
    pods = client.CoreV1Api(cluster.api_client()).list_namespaced_pod(cluster.namespace).items
    running: list[Any] = [p for p in pods if p.metadata and not p.metadata.deletion_timestamp]
    requests = [p.spec.containers[0].resources.requests for p in running]
    assert requests == [{"cpu": "200m", "memory": "32Mi"}]


def test_a_service_with_a_port_is_ready_once_the_port_answers(
    api: KubernetesApi, cluster: Cluster
) -> None:
    web = WorkloadSpec("web", cpu=0.1, memory_mib=16, image="nginx:1.29", port=80)
    api.scale(web, cluster.nodes[0], 1)
    (found,) = deployments(cluster).values()
    container: Any = found.spec.template.spec.containers
    assert container[0].ports[0].container_port == 80
    assert container[0].readiness_probe.tcp_socket.port == 80


def test_names_that_kubernetes_does_not_take_come_back_as_they_were(
    cluster: Cluster, api: KubernetesApi, wait_s: float
) -> None:
    cluster.add_node("bs-1", cpu=4, memory_mib=4096)
    cluster.add_node("ip-10-0-0-7.internal", 4, 4096, labels={"lwmecps.io/node": "bs_2"})
    services = ["AR video", "ar-video", "AR_video", "видео", "v" * 200]
    for service in services:
        for node in ("bs_1", "bs_2"):
            api.place(WorkloadSpec(service, cpu=0.1, memory_mib=16, image=PAUSE), node)
    api.wait_until_ready(wait_s)
    found = api.read_placement(services, ["bs_2", "bs_1"])
    np.testing.assert_array_equal(found.ready, np.ones((5, 2)))
    assert len(deployments(cluster)) == 10


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.text(max_size=80), min_size=2, max_size=4, unique=True))
def test_any_service_names_make_deployments_of_their_own(
    kubernetes_cluster: KubernetesServer, names: list[str]
) -> None:
    if not kubernetes_cluster.nodes:
        kubernetes_cluster.add_node("edge-1", cpu=100, memory_mib=100_000)
    api = KubernetesApi(kubernetes_cluster.api_client())
    for name in names:
        api.scale(WorkloadSpec(name, cpu=0.1, memory_mib=16, image=PAUSE), "edge-1", 1)
    found = api.read_placement(names, ["edge-1"])
    np.testing.assert_array_equal(found.ready + found.starting, np.ones((len(names), 1)))


def test_a_pair_of_plain_names_gives_a_name_that_one_expects(
    cluster: Cluster, api: KubernetesApi
) -> None:
    cluster.add_node("bs-1", cpu=4, memory_mib=4096)
    api.place(VIDEO, "bs-1")
    assert list(deployments(cluster)) == ["video-bs-1"]


def test_two_ways_to_split_a_name_are_two_deployments(cluster: Cluster, api: KubernetesApi) -> None:
    cluster.add_node("c", cpu=4, memory_mib=4096)
    cluster.add_node("b-c", cpu=4, memory_mib=4096)
    api.place(WorkloadSpec("a-b", cpu=0.1, memory_mib=16, image=PAUSE), "c")
    api.place(WorkloadSpec("a", cpu=0.1, memory_mib=16, image=PAUSE), "b-c")
    assert len(deployments(cluster)) == 2


def test_an_unknown_node_is_named_beside_those_that_there_are(
    api: KubernetesApi, cluster: Cluster
) -> None:
    with pytest.raises(NotFoundError, match=f"no node for 'bs_9'.*{cluster.nodes[0]}"):
        api.place(VIDEO, "bs_9")


def test_two_names_for_one_node_are_refused(cluster: Cluster, api: KubernetesApi) -> None:
    cluster.add_node("bs-1", cpu=4, memory_mib=4096)
    with pytest.raises(InvalidInputError, match="both mean the node bs-1"):
        api.list_nodes(["bs-1", "bs_1"])
