"""Fixtures that more than one folder of tests uses."""

from collections.abc import Iterator

import pytest

from lwmecps_gym.algorithms.ray_session import ray_running

from .kubernetes_server import KubernetesServer


@pytest.fixture
def kubernetes_cluster() -> Iterator[KubernetesServer]:
    """A stand-in for a Kubernetes cluster, without nodes; see `KubernetesServer`."""
    with KubernetesServer() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """Ray, started once for all tests that need it."""
    with ray_running():
        yield
