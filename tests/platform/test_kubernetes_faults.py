"""What can go wrong with a request: pages, refusals, cut connections, settings."""

import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from lwmecps_gym.platform.config import Settings
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
Connected = Callable[..., KubernetesApi]


def placement(api: KubernetesApi, cluster: Cluster) -> Placement:
    return api.read_placement(["video", "ar_headset"], cluster.nodes[:2])


def client_of(url: str) -> client.ApiClient:
    configuration: Any = client.Configuration()
    configuration.host = url
    configuration.retries = False
    return client.ApiClient(configuration)


def test_lists_longer_than_a_page_are_read_to_the_end(
    cluster: Cluster, api: KubernetesApi, wait_s: float
) -> None:
    api.scale(VIDEO, cluster.nodes[0], 7)
    api.wait_until_ready(wait_s)
    assert placement(api, cluster).ready[0, 0] == 7
    pages = [r for r in cluster.requests if r.path == "/api/v1/pods" and "continue" in r.query]
    assert len(pages) == 3


def test_a_list_whose_next_page_has_expired_starts_anew(
    cluster: Cluster, api: KubernetesApi, wait_s: float
) -> None:
    api.scale(VIDEO, cluster.nodes[0], 5)
    api.wait_until_ready(wait_s)
    cluster.fail_next(410, url="/api/v1/pods?limit=2&continue=", reason="Expired")
    assert placement(api, cluster).ready[0, 0] == 5


@pytest.mark.parametrize("status", [429, 500, 503, 504])
def test_a_busy_api_server_is_asked_again(
    cluster: Cluster, api: KubernetesApi, status: int
) -> None:
    cluster.fail_next(status, times=2)
    assert len(api.list_nodes()) == 3


def test_retry_after_is_honoured(cluster: Cluster, api: KubernetesApi) -> None:
    cluster.fail_next(429, retry_after="1")
    started_at = time.monotonic()
    api.list_nodes()
    assert 1.0 <= time.monotonic() - started_at < 2.0


def test_nobody_waits_for_an_hour(cluster: Cluster, api: KubernetesApi) -> None:
    cluster.fail_next(429, retry_after="3600")
    with pytest.raises(ClusterError, match="429"):
        api.list_nodes()
    assert len(cluster.requests) == 1


def test_an_api_server_that_stays_busy_ends_the_call(cluster: Cluster, api: KubernetesApi) -> None:
    cluster.fail_next(503, times=9, message="etcdserver: leader changed")
    with pytest.raises(
        ClusterError, match="cannot list nodes: .* 503 .*etcdserver: leader changed"
    ):
        api.list_nodes()
    assert len(cluster.requests) == 3


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH"])
def test_an_answer_that_is_cut_off_does_no_harm(
    cluster: Cluster, api: KubernetesApi, method: str, wait_s: float
) -> None:
    cluster.cut_next(method=method, url="/deployments")
    api.place(VIDEO, cluster.nodes[0])
    api.place(VIDEO, cluster.nodes[0])
    api.wait_until_ready(wait_s)
    assert placement(api, cluster).ready[0, 0] == 2


def test_a_conflict_is_read_again_and_settled(
    cluster: Cluster, api: KubernetesApi, wait_s: float
) -> None:
    api.place(VIDEO, cluster.nodes[0])
    cluster.fail_next(409, times=2, method="PATCH", reason="Conflict")
    api.scale(VIDEO, cluster.nodes[0], 3)
    changed = WorkloadSpec("video", cpu=0.2, memory_mib=16, image=PAUSE)
    cluster.fail_next(409, times=2, method="PUT", reason="Conflict")
    api.scale(changed, cluster.nodes[0], 2)
    api.wait_until_ready(wait_s)
    assert placement(api, cluster).ready[0, 0] == 2


def test_a_conflict_that_does_not_end_is_told(cluster: Cluster, api: KubernetesApi) -> None:
    api.place(VIDEO, cluster.nodes[0])
    cluster.fail_next(409, times=99, method="PATCH", reason="Conflict")
    with pytest.raises(ConflictError, match="video-.* was changed by someone else"):
        api.scale(VIDEO, cluster.nodes[0], 3)


def test_a_user_without_rights_learns_which_one_is_missing(
    cluster: Cluster, connected: Connected
) -> None:
    viewer = connected(cluster.api_client("viewer"))
    missing = r'cannot list nodes: .* 403 Forbidden: .*User "viewer" cannot list resource "nodes"'
    with pytest.raises(ClusterError, match=missing + ".*Role"):
        viewer.list_nodes()
    with pytest.raises(ClusterError, match=r'cannot list resource "deployments".*namespace'):
        viewer.wait_until_ready(1)


def test_credentials_that_are_not_accepted_are_told(cluster: Cluster, connected: Connected) -> None:
    with pytest.raises(ClusterError, match="cannot list nodes: .* 401 Unauthorized.*renew"):
        connected(cluster.api_client("stolen")).list_nodes()


def test_a_disruption_budget_in_the_way_is_named(cluster: Cluster, api: KubernetesApi) -> None:
    api.place(VIDEO, cluster.nodes[0])
    needs = "The disruption budget video needs 4 healthy pods and has 4 currently"
    cause = {"reason": "DisruptionBudget", "message": needs}
    cluster.fail_next(429, times=9, method="PATCH", reason="TooManyRequests", causes=[cause])
    with pytest.raises(ClusterError, match=f"429 TooManyRequests: .*{needs}"):
        api.scale(VIDEO, cluster.nodes[0], 0)


def test_a_namespace_that_is_not_there_is_named(cluster: Cluster, connected: Connected) -> None:
    with pytest.raises(ClusterError, match='404 NotFound: namespaces "nowhere" not found'):
        connected(cluster.api_client(), "nowhere").place(VIDEO, cluster.nodes[0])


def test_a_server_that_is_not_there_is_told_with_its_address(connected: Connected) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with pytest.raises(ClusterError, match=f"the Kubernetes API at {url} does not answer"):
        connected(client_of(url)).list_nodes()


def test_a_server_that_never_answers_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        api_client = client_of(f"http://127.0.0.1:{silent.getsockname()[1]}")
        api = KubernetesApi(api_client, timeout_s=0.2, attempts=2)
        with pytest.raises(ClusterError, match="does not answer .* 2 attempts"):
            api.list_nodes()


def test_a_server_that_is_no_kubernetes_is_told(connected: Connected) -> None:
    class LoginPage(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<html>Please log in</html>")

    with HTTPServer(("127.0.0.1", 0), LoginPage) as proxy:
        threading.Thread(target=proxy.handle_request).start()
        with pytest.raises(ClusterError, match="is not one of the Kubernetes API.*proxy"):
            connected(client_of(f"http://127.0.0.1:{proxy.server_port}")).list_nodes()


def test_the_settings_name_kubeconfig_and_namespace(
    kubernetes_cluster: KubernetesServer, tmp_path: Path
) -> None:
    kubernetes_cluster.add_namespace("mec")
    kubernetes_cluster.add_node("edge-1", cpu=1, memory_mib=1024)
    kubeconfig = kubernetes_cluster.write_kubeconfig(tmp_path / "config")
    settings = Settings(kubeconfig=kubeconfig, kubernetes_namespace="mec")
    api = KubernetesApi.from_settings(settings)
    api.place(VIDEO, "edge-1")
    assert kubernetes_cluster.requests[-1].path == "/apis/apps/v1/namespaces/mec/deployments"


@pytest.mark.parametrize("text", [None, "not: [yaml", "kind: Config"])
def test_a_kubeconfig_that_does_not_work_is_named(tmp_path: Path, text: str | None) -> None:
    kubeconfig = tmp_path / "config"
    if text is not None:
        kubeconfig.write_text(text)
    with pytest.raises(ClusterError, match=f"{kubeconfig}.*LWMECPS_KUBECONFIG"):
        KubernetesApi.from_settings(Settings(kubeconfig=kubeconfig))
