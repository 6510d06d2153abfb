"""What nodes have, and what is left of it beside the pods of others, over HTTP."""

from typing import Any

import numpy as np
import pytest
from kubernetes import client

from lwmecps_gym.platform.errors import (
    ConflictError,
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


def pod(name: str, node: str, cpu: str, **spec: Any) -> dict[str, Any]:
    container = {"name": "c", "image": PAUSE, "resources": {"requests": {"cpu": cpu}}}
    return {
        "metadata": {"name": name},
        "spec": {"nodeName": node, "containers": [container], **spec},
    }


def add_pod(cluster: Cluster, namespace: str, body: dict[str, Any]) -> None:
    core: Any = client.CoreV1Api(cluster.api_client())
    core.create_namespaced_pod(namespace, body)


def test_a_deployment_of_someone_else_is_left_alone(
    api: KubernetesApi, cluster: Cluster, wait_s: float
) -> None:
    api.place(VIDEO, cluster.nodes[0])
    (name,) = deployments(cluster)
    api.delete_owned(wait_s)
    labels = {"app": "video"}
    template = {"metadata": {"labels": labels}, "spec": pod("p", "", "10m")["spec"]}
    del template["spec"]["nodeName"]
    foreign = {
        "metadata": {"name": name},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template},
    }
    apps: Any = client.AppsV1Api(cluster.api_client())
    apps.create_namespaced_deployment(cluster.namespace, foreign)

    for act in (api.place, api.remove):
        with pytest.raises(ConflictError, match="is not the platform's own"):
            act(VIDEO, cluster.nodes[0])
    api.delete_owned(wait_s)
    assert [item.spec.replicas for item in deployments(cluster).values()] == [1]


def test_what_other_pods_request_is_taken_from_the_free_capacity(
    cluster: Cluster, api: KubernetesApi, wait_s: float
) -> None:
    cluster.add_node("edge-4", cpu=4, memory_mib=1000, pods=10)
    amounts = {"requests": {"cpu": "100m", "memory": "50Mi"}}
    sidecar = {"name": "mesh", "image": PAUSE, "restartPolicy": "Always", "resources": amounts}
    amounts = {"requests": {"cpu": "1", "memory": "10Mi"}}
    setup = {"name": "setup", "image": PAUSE, "resources": amounts}
    add_pod(cluster, "kube-system", pod("plain", "edge-4", "250m"))
    add_pod(cluster, "default", pod("meshed", "edge-4", "500m", initContainers=[sidecar, setup]))
    add_pod(cluster, "default", pod("vm", "edge-4", "1", overhead={"cpu": "150m"}))
    whole = {"requests": {"cpu": "2", "memory": "64Mi"}}
    add_pod(cluster, "default", pod("pooled", "edge-1", "100m", resources=whole))
    api.scale(VIDEO, "edge-4", 2)
    api.wait_until_ready(wait_s)

    found = api.read_placement(["video"], ["edge-4", "edge-1", "edge-2"])
    others = np.array([[0.25 + 1.1 + 1.15, 60], [2, 64], [0, 0]])
    np.testing.assert_allclose(found.resource_used_by_others, others)
    np.testing.assert_array_equal(found.pods_by_others, [3, 1, 0])

    node = {info.name: info for info in api.list_nodes()}["edge-4"]
    assert node.free_cpu == pytest.approx(4 - 2.5 - 2 * VIDEO.cpu)
    assert node.free_memory_mib == pytest.approx(1000 - 60 - 2 * VIDEO.memory_mib)
    assert node.free_pods == 10 - 3 - 2


def test_a_pod_that_terminates_still_takes_room_and_is_not_ready(
    api: KubernetesApi, cluster: Cluster, wait_s: float
) -> None:
    api.place(VIDEO, cluster.nodes[0])
    api.wait_until_ready(wait_s)
    cluster.set_delays(stop_s=0.5)
    before = placement(api, cluster)
    api.remove(VIDEO, cluster.nodes[0])
    api.wait_until_ready(wait_s)
    now = placement(api, cluster)
    assert now.ready.sum() == 0
    np.testing.assert_array_equal(now.pods_by_others - before.pods_by_others, [1, 0])
    assert now.resource_used_by_others[0, 0] == pytest.approx(VIDEO.cpu)


def test_nodes_say_what_they_have_and_whether_they_take_pods(
    cluster: Cluster, api: KubernetesApi
) -> None:
    cluster.cordon("edge-2")
    cluster.set_node_ready("edge-3", ready=False)
    nodes = api.list_nodes()
    assert [node.name for node in nodes] == ["edge-1", "edge-2", "edge-3"]
    assert [node.ready for node in nodes] == [True, True, False]
    assert [node.schedulable for node in nodes] == [True, False, True]
    assert {(node.cpu, node.memory_mib, node.max_pods) for node in nodes} == {(1.2, 2048.0, 110)}


def test_nodes_come_in_the_order_and_by_the_names_asked_for(
    cluster: Cluster, api: KubernetesApi
) -> None:
    cluster.add_node("bs-1", cpu=4, memory_mib=4096)
    nodes = api.list_nodes(["edge-2", "bs_1"])
    assert [(n.name, n.kubernetes_name) for n in nodes] == [("edge-2", "edge-2"), ("bs_1", "bs-1")]


def test_pods_of_a_failed_node_are_not_ready(
    cluster: Cluster, api: KubernetesApi, wait_s: float
) -> None:
    api.place(VIDEO, cluster.nodes[0])
    api.wait_until_ready(wait_s)
    cluster.set_node_ready(cluster.nodes[0], ready=False)
    found = placement(api, cluster)
    assert (found.ready[0, 0], found.starting[0, 0]) == (0, 1)
