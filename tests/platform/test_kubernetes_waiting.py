"""Waiting for replicas to come and to go, over HTTP."""

import math
from typing import Any

import pytest
from kubernetes import client

from lwmecps_gym.platform.errors import (
    ClusterError,
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


def test_waiting_ends_with_the_schedulers_reason_when_a_pod_fits_nowhere(
    api: KubernetesApi, cluster: Cluster
) -> None:
    api.scale(WorkloadSpec("huge", cpu=4096, memory_mib=16, image=PAUSE), cluster.nodes[0], 1)
    api.place(VIDEO, cluster.nodes[0])
    reason = r"1 of 2 Deployments.*huge-.* has 0 of 1 replicas ready: 0/\d+ nodes are available: "
    with pytest.raises(ClusterError, match=reason + ".*Insufficient cpu"):
        api.wait_until_ready(timeout_s=2)


def test_waiting_ends_with_what_a_started_pod_lacks(cluster: Cluster, api: KubernetesApi) -> None:
    cluster.set_delays(ready_s=math.inf)
    api.place(VIDEO, cluster.nodes[0])
    with pytest.raises(ClusterError, match="video-.* has 0 of 1 replicas.*phase is Pending"):
        api.wait_until_ready(timeout_s=0.2)


def test_waiting_survives_an_expired_and_a_cut_watch(
    cluster: Cluster, api: KubernetesApi, wait_s: float
) -> None:
    cluster.set_delays(ready_s=0.5)
    cluster.expire_next_watch()
    cluster.cut_next_watch()
    api.scale(VIDEO, cluster.nodes[0], 2)
    api.wait_until_ready(wait_s)
    assert placement(api, cluster).ready[0, 0] == 2
    assert sum(request.watches for request in cluster.requests) == 3


def test_waiting_goes_on_when_the_time_of_a_watch_is_over(
    cluster: Cluster, api: KubernetesApi, wait_s: float
) -> None:
    cluster.set_delays(ready_s=0.2)
    cluster.end_next_watch()
    api.place(VIDEO, cluster.nodes[0])
    api.wait_until_ready(wait_s)
    assert sum(request.watches for request in cluster.requests) == 2


def test_deleting_leaves_nothing_behind(
    api: KubernetesApi, cluster: Cluster, wait_s: float
) -> None:
    for node in cluster.nodes[:2]:
        api.scale(VIDEO, node, 2)
    api.wait_until_ready(wait_s)
    api.delete_owned(timeout_s=wait_s)
    assert deployments(cluster) == {}
    pods = client.CoreV1Api(cluster.api_client()).list_namespaced_pod(cluster.namespace).items
    assert pods == []


def test_deleting_says_what_does_not_go(
    cluster: Cluster, api: KubernetesApi, wait_s: float
) -> None:
    api.place(VIDEO, cluster.nodes[0])
    api.wait_until_ready(wait_s)
    cluster.set_delays(stop_s=math.inf)
    with pytest.raises(ClusterError, match="still being deleted.*video-"):
        api.delete_owned(timeout_s=0.2)
    with pytest.raises(ConflictError, match="is being deleted"):
        api.place(VIDEO, cluster.nodes[0])
