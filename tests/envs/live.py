"""A small scenario on the nodes of a test cluster, and what tests ask of that cluster."""

import time
from typing import Any

import numpy as np
import pytest
from kubernetes import client

from lwmecps_gym.platform.kubernetes_api import KubernetesApi

from ..kubernetes_server import KubernetesServer, RealCluster

PAUSE = "registry.k8s.io/pause:3.10"
SERVICES = ["video", "ar_headset"]

Cluster = KubernetesServer | RealCluster


def document(cluster: Cluster) -> dict[str, Any]:
    """A scenario on the first two nodes, as large as what they have left."""
    names = [name.replace("bs-", "bs_") for name in cluster.nodes[:2]]
    nodes = KubernetesApi(cluster.api_client()).list_nodes(names)
    return {
        "name": "live",
        "control_interval_s": 60,
        "episode_steps": 5,
        "nodes": [
            {
                "name": node.name,
                "cpu": node.free_cpu,
                "memory_mib": node.free_memory_mib,
                "max_pods": node.free_pods,
            }
            for node in nodes
        ],
        "services": [
            {"name": "video", "cpu": 0.15, "memory_mib": 32, "rate_rps": 60, "slo_ms": 100,
             "min_replicas": 1, "max_replicas": 3},
            {"name": "ar_headset", "cpu": 0.05, "memory_mib": 16, "rate_rps": 100, "slo_ms": 40,
             "min_replicas": 1, "max_replicas": 4},
        ],
        "sites": [
            {"name": name, "rtt_ms": {other: 2 if other == name else 30 for other in names}}
            for name in names
        ],
        "workload": {
            "diurnal": {
                "peak_users": dict(zip(names, (20, 10), strict=True)),
                "requests_per_user_rps": 4,
                "share": {"video": {"mean": 0.6}, "ar_headset": {"mean": 0.4}},
            }
        },
    }  # fmt: skip


def ready_pods(cluster: Cluster) -> list[list[int]]:
    """Ready pods of each service on each node, counted from the pods themselves, [S, N]."""
    core: Any = client.CoreV1Api(cluster.api_client())
    places = [
        (pod.metadata.labels.get("lwmecps.io/service"), pod.spec.node_name)
        for pod in core.list_namespaced_pod(cluster.namespace).items
        if pod.metadata.deletion_timestamp is None
        and any(c.type == "Ready" and c.status == "True" for c in pod.status.conditions or [])
    ]
    return [[places.count((service, node)) for node in cluster.nodes[:2]] for service in SERVICES]


def add_pod(cluster: Cluster, node: str, cpu: str) -> None:
    """Have someone else run a pod that requests `cpu`."""
    container = {"name": "c", "image": PAUSE, "resources": {"requests": {"cpu": cpu}}}
    core: Any = client.CoreV1Api(cluster.api_client())
    spec = {"nodeName": node, "containers": [container]}
    core.create_namespaced_pod(cluster.namespace, {"metadata": {"name": "other"}, "spec": spec})


def have_new_pods_take_two_seconds(cluster: Cluster) -> None:
    if isinstance(cluster, RealCluster):
        pytest.skip("pods of a real cluster are as fast as they are")
    time.sleep(2.1)  # so that those which are ready are old enough to stay so
    cluster.set_delays(ready_s=2)


def legal_action(observation: dict[str, Any], rng: np.random.Generator) -> np.int64:
    """Any action that the mask allows, but to do nothing."""
    return np.int64(rng.choice(np.flatnonzero(observation["action_mask"][1:]) + 1))


def assert_same(observation: dict[str, Any], expected: dict[str, Any]) -> None:
    assert observation.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(observation[name], values, rtol=1e-5, atol=1e-6, err_msg=name)
