"""What the tests of the platform share: a cluster, and the store on every back end.

The cluster is a stand-in, or a real one.

`LWMECPS_TEST_KUBECONFIG` names the kubeconfig of a real cluster with two nodes or more; the tests
then make a namespace there and delete it. What a real cluster does not do on demand is skipped.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from kubernetes import client
from pymongo import MongoClient

from lwmecps_gym.platform.database import Documents, MongoDocuments, SqliteDocuments, Store
from lwmecps_gym.platform.kubernetes_api import KubernetesApi
from lwmecps_gym.platform.models import new_id

from ..kubernetes_server import KubernetesServer, RealCluster
from ..mongodb_server import MongoServer

KUBECONFIG = os.environ.get("LWMECPS_TEST_KUBECONFIG")
MONGODB_URL = os.environ.get("LWMECPS_TEST_MONGODB_URL")
needs_mongodb = pytest.mark.skipif(
    MONGODB_URL is None, reason="LWMECPS_TEST_MONGODB_URL names no MongoDB to test with"
)

Opener = Callable[[], Documents]


@pytest.fixture(
    params=["sqlite", "wire", pytest.param("mongodb", marks=needs_mongodb)],
)
def back_end(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    """A function that opens the same database again and again, as several processes would."""
    with ExitStack() as opened:

        def connect(url: str, database: str) -> Documents:
            documents = MongoDocuments.connect(url, database)
            opened.callback(documents.close)
            return documents

        if request.param == "sqlite":
            yield lambda: SqliteDocuments(tmp_path / "store.sqlite3")
        elif request.param == "wire":
            server = opened.enter_context(MongoServer())
            yield lambda: connect(server.url, "lwmecps-test")
        else:
            assert MONGODB_URL is not None
            url, database = MONGODB_URL, f"lwmecps-test-{new_id()}"
            yield lambda: connect(url, database)
            client: MongoClient[dict[str, object]] = MongoClient(url)
            client.drop_database(database)
            client.close()


@pytest.fixture
def documents(back_end: Opener) -> Iterator[Documents]:
    opened = back_end()
    yield opened
    opened.close()


@pytest.fixture
def store(documents: Documents) -> Store:
    return Store(documents)


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
