"""A cluster for the tests of `kubernetes_api`: the stand-in, or a real one.

`LWMECPS_TEST_KUBECONFIG` names the kubeconfig of a real cluster with two nodes or more; the tests
then make a namespace there and delete it. What a real cluster does not do on demand is skipped.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kubernetes import client

from lwmecps_gym.platform.kubernetes_api import KubernetesApi

from ..kubernetes_server import KubernetesServer, RealCluster

KUBECONFIG = os.environ.get("LWMECPS_TEST_KUBECONFIG")


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> Iterator[KubernetesServer | RealCluster]:
    """Two nodes or more; the stand-in has edge-1, edge-2, edge-3 with 1.2 cores and 2 GiB."""
    if KUBECONFIG:
        with RealCluster(Path(KUBECONFIG)) as real:
            if len(real.nodes) < 2:
                pytest.skip("the real cluster has fewer than two nodes that take pods")
            yield real
    else:
        server = request.getfixturevalue("kubernetes_cluster")
        for name in ("edge-1", "edge-2", "edge-3"):
            server.add_node(name, cpu=1.2, memory_mib=2048)
        yield server


@pytest.fixture
def connected() -> Callable[..., KubernetesApi]:
    """Make a `KubernetesApi` with little patience, and pages that most lists do not fit on."""

    def connect(api_client: client.ApiClient, namespace: str = "default") -> KubernetesApi:
        return KubernetesApi(
            api_client, namespace, timeout_s=5, attempts=3, backoff_s=0.01, page_size=2
        )

    return connect


@pytest.fixture
def api(
    cluster: KubernetesServer | RealCluster, connected: Callable[..., KubernetesApi]
) -> KubernetesApi:
    """The cluster's API, in the cluster's namespace for tests."""
    return connected(cluster.api_client(), cluster.namespace)


@pytest.fixture
def wait_s() -> float:
    """How long pods may take to come or go [s]."""
    return 120.0 if KUBECONFIG else 10.0
