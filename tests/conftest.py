"""Fixtures that more than one folder of tests uses."""

from collections.abc import Iterator

import pytest

from .kubernetes_server import KubernetesServer


@pytest.fixture
def kubernetes_cluster() -> Iterator[KubernetesServer]:
    """A stand-in for a Kubernetes cluster, without nodes; see `KubernetesServer`."""
    with KubernetesServer() as cluster:
        yield cluster
