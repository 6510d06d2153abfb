"""Fixtures that more than one folder of tests uses."""

import sys
from collections.abc import Iterator

import pytest

from lwmecps_gym.algorithms.ray_session import ray_running
from lwmecps_gym.algorithms.registry import ALGORITHMS

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


@pytest.fixture(scope="module")
def own_algorithms() -> Iterator[None]:
    """Lets the tests of a module register algorithms and import their files; forgets both."""
    known, modules = dict(ALGORITHMS), set(sys.modules)
    yield
    for name in ALGORITHMS.keys() - known.keys():
        module = ALGORITHMS.pop(name).made_by.partition(":")[0]
        if module not in modules:
            sys.modules.pop(module, None)
