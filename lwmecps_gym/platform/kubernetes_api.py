"""The one place that talks to a Kubernetes cluster.

One service on one node is one Deployment that the platform owns, pinned to the node; its replicas
are the placement. What the platform did not make, it never changes.

Not guaranteed: that nobody else scales the same Deployments meanwhile. Whoever writes last wins.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Self

from kubernetes import client

from lwmecps_gym.platform.config import Settings
from lwmecps_gym.platform.errors import ClusterError, IllegalActionError, InvalidInputError
from lwmecps_gym.platform.kubernetes.connection import Connection, connect
from lwmecps_gym.platform.kubernetes.deployments import OwnedDeployments
from lwmecps_gym.platform.kubernetes.nodes import NodeInfo, node_info, resolve_nodes
from lwmecps_gym.platform.kubernetes.placement import Placement, count_placement
from lwmecps_gym.platform.kubernetes.rollout import is_rolled_out
from lwmecps_gym.platform.kubernetes.workload import WorkloadSpec

__all__ = ["KubernetesApi", "NodeInfo", "Placement", "WorkloadSpec"]

_NOT_ENDED = "status.phase!=Succeeded,status.phase!=Failed"


class KubernetesApi:
    """Services on the nodes of a cluster: read where they run, place, scale and move them.

    A node is known by its label `lwmecps.io/node`, by its own name, or by the DNS-1123 form of the
    scenario's name ("bs_1" is the Node `bs-1`). Every method raises `ClusterError` when the API
    refuses, saying what and why, or does not answer after all attempts.

    Args:
        api_client: The official client; see `from_settings`.
        namespace: Where the platform's Deployments live.
        timeout_s: Longest wait for a connection, and for an answer to go on [s].
        attempts: How often a request is sent when the API is busy (429, 5xx) or unreachable.
        backoff_s: First wait between attempts, doubled each time [s]; `Retry-After` goes before it.
        page_size: Most objects in one answer to a list.
    """

    def __init__(
        self,
        api_client: client.ApiClient,
        namespace: str = "default",
        *,
        timeout_s: float = 10.0,
        attempts: int = 5,
        backoff_s: float = 0.2,
        page_size: int = 500,
    ) -> None:
        self.namespace = namespace
        self._connection = Connection(
            api_client,
            timeout_s=timeout_s,
            attempts=attempts,
            backoff_s=backoff_s,
            page_size=page_size,
        )
        self._core = client.CoreV1Api(api_client)
        self._deployments = OwnedDeployments(self._connection, namespace)
        self._kubernetes_names: dict[str, str] = {}

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Use the kubeconfig of the settings, else the service account, else the default one."""
        return cls(connect(settings), settings.kubernetes_namespace)

    def list_nodes(self, names: Sequence[str] | None = None) -> list[NodeInfo]:
        """Describe the nodes `names` in that order; all nodes of the cluster if not given.

        Raises:
            NotFoundError: The cluster has no node for one of the names.
        """
        nodes, _ = self._connection.list_all("list nodes", self._core.list_node)
        pods = defaultdict(list)
        for pod in self._pods_everywhere():
            pods[pod.spec.node_name].append(pod)
        if names is None:
            return [node_info(node, pods[node.metadata.name]) for node in nodes]
        by_name = {node.metadata.name: node for node in nodes}
        return [
            node_info(by_name[kubernetes_name], pods[kubernetes_name], name)
            for name, kubernetes_name in resolve_nodes(names, nodes).items()
        ]

    def read_placement(self, services: Sequence[str], nodes: Sequence[str]) -> Placement:
        """Count the replicas of S services on N nodes, and what else takes room there.

        Raises:
            NotFoundError: The cluster has no node for one of the names.
        """
        kubernetes_names = self._resolve(nodes)
        deployments, _ = self._deployments.list_all()
        pods = self._pods_everywhere()
        return count_placement(services, kubernetes_names, deployments, pods, self.namespace)

    def scale(self, service: WorkloadSpec, node: str, replicas: int) -> None:
        """Have `replicas` of a service on a node; return without waiting for them.

        Makes the Deployment if there is none, and renews its pods if `service` has changed since
        it was made. At 0 the Deployment stays, with no pods.

        Raises:
            ConflictError: A Deployment of that name is not the platform's, is being deleted, or was
                changed by someone else at every attempt.
            InvalidInputError: `replicas` is negative.
            NotFoundError: The cluster has no such node.
        """
        if replicas < 0:
            raise InvalidInputError(
                f"service {service.name!r} on node {node!r}: replicas is {replicas}; "
                "it must be at least 0"
            )
        kubernetes_name = self._resolve([node])[node]
        self._deployments.scale(service, node, kubernetes_name, replicas)

    def place(self, service: WorkloadSpec, node: str) -> None:
        """Add one replica of a service on a node; raises what `scale` raises."""
        self.scale(service, node, self._deployments.replicas(service.name, node) + 1)

    def remove(self, service: WorkloadSpec, node: str) -> None:
        """Take away one replica of a service from a node; raises what `scale` raises.

        Raises:
            IllegalActionError: There is none.
        """
        self.scale(service, node, self._replicas_to_remove(service.name, node) - 1)

    def move(self, service: WorkloadSpec, source: str, target: str) -> None:
        """Start one replica on `target`, then remove one from `source`, without a wait in between.

        Raises:
            IllegalActionError: There is none on `source`; nothing was started.
        """
        self._replicas_to_remove(service.name, source)
        self.place(service, target)
        self.remove(service, source)

    def wait_until_ready(self, timeout_s: float) -> None:
        """Wait until every Deployment of the platform has all its replicas ready.

        Raises:
            ClusterError: The time is over; the message says what is missing and why, such as
                "0/4 nodes are available: 4 Insufficient cpu".
        """
        left = self._deployments.wait_for(lambda items: all(map(is_rolled_out, items)), timeout_s)
        late = [item for item in left if not is_rolled_out(item)]
        if late:
            reasons = "; ".join(self._deployments.why_late(late))
            raise ClusterError(
                f"{len(late)} of {len(left)} Deployments in namespace {self.namespace} are not "
                f"ready after {timeout_s:g} s: {reasons}"
            )

    def delete_owned(self, timeout_s: float = 120.0) -> None:
        """Delete everything that the platform owns in the namespace, and wait until it is gone.

        Raises:
            ClusterError: Some of it was still there when the time was over.
        """
        self._deployments.delete_all()
        left = self._deployments.wait_for(lambda items: not items, timeout_s)
        if left:
            names = ", ".join(item.metadata.name for item in left)
            raise ClusterError(
                f"still being deleted in namespace {self.namespace} after {timeout_s:g} s: {names};"
                " see the finalizers of these Deployments and of their pods"
            )

    def _resolve(self, names: Sequence[str]) -> dict[str, str]:
        """Map scenario names of nodes to Kubernetes', in order; ask the cluster for new ones."""
        if not set(names) <= set(self._kubernetes_names):
            nodes, _ = self._connection.list_all("list nodes", self._core.list_node)
            self._kubernetes_names |= resolve_nodes(names, nodes)
        return {name: self._kubernetes_names[name] for name in names}

    def _pods_everywhere(self) -> list[Any]:
        pods, _ = self._connection.list_all(
            "list pods in all namespaces",
            self._core.list_pod_for_all_namespaces,
            field_selector=_NOT_ENDED,
        )
        return pods

    def _replicas_to_remove(self, service: str, node: str) -> int:
        replicas = self._deployments.replicas(service, node)
        if replicas == 0:
            raise IllegalActionError(
                f"no replica of service {service!r} is on node {node!r} to take away"
            )
        return replicas
