"""Where replicas run, counted from pods and Deployments."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lwmecps_gym.platform.kubernetes.capacity import pod_requests
from lwmecps_gym.platform.kubernetes.names import MANAGED_BY, NODE, OWNER, SERVICE
from lwmecps_gym.platform.kubernetes.nodes import is_ready


@dataclass(frozen=True)
class Placement:
    """What runs where: S services on N nodes, in the order of `services` and `nodes`.

    Attributes:
        services: Scenario names of the services.
        nodes: Scenario names of the nodes.
        ready: int64 [S, N]; pods that are Ready and not terminating.
        starting: int64 [S, N]; replicas wanted and not ready: pending, unschedulable, pulling an
            image, starting up. They take capacity and serve nothing yet.
        resource_used_by_others: float64 [N, 2]; CPU [cores] and memory [MiB] that all further pods
            on the node request, in any namespace: those that the platform does not own, its own of
            other services, and those that are still terminating.
        pods_by_others: int64 [N]; how many pods those are.
    """

    services: tuple[str, ...]
    nodes: tuple[str, ...]
    ready: npt.NDArray[np.int64]
    starting: npt.NDArray[np.int64]
    resource_used_by_others: npt.NDArray[np.float64]
    pods_by_others: npt.NDArray[np.int64]


def owned_place(item: Any) -> tuple[str, str] | None:
    """Return (service, node) of a `V1Pod` or `V1Deployment` of the platform, None of another."""
    names = item.metadata.annotations or {}
    if (item.metadata.labels or {}).get(MANAGED_BY) != OWNER or not {SERVICE, NODE} <= set(names):
        return None
    return names[SERVICE], names[NODE]


def count_placement(
    services: Sequence[str],
    nodes: Mapping[str, str],
    deployments: Iterable[Any],
    pods: Iterable[Any],
    namespace: str,
) -> Placement:
    """Count replicas.

    Args:
        services: Scenario names of the services.
        nodes: Kubernetes name of each node by its scenario name, in the wanted order.
        deployments: The Deployments (`V1Deployment`) that the platform owns in `namespace`.
        pods: The pods (`V1Pod`) of all namespaces that have not run to their end.
        namespace: Where the platform's own pods are.
    """
    shape = (len(services), len(nodes))
    at = {(s, n): (i, j) for i, s in enumerate(services) for j, n in enumerate(nodes)}
    on_node = {kubernetes_name: j for j, kubernetes_name in enumerate(nodes.values())}
    ready = np.zeros(shape, dtype=np.int64)
    wanted = np.zeros(shape, dtype=np.int64)
    used = np.zeros((len(nodes), 2), dtype=np.float64)
    others = np.zeros(len(nodes), dtype=np.int64)

    for deployment in deployments:
        place = owned_place(deployment)
        if place in at and deployment.metadata.deletion_timestamp is None:
            wanted[at[place]] = deployment.spec.replicas
    for pod in pods:
        place = owned_place(pod) if pod.metadata.namespace == namespace else None
        if place in at and pod.metadata.deletion_timestamp is None:
            ready[at[place]] += is_ready(pod)
        elif pod.spec.node_name in on_node:
            j = on_node[pod.spec.node_name]
            request = pod_requests(pod)
            used[j] += (request.cpu, request.memory_mib)
            others[j] += 1

    return Placement(
        services=tuple(services),
        nodes=tuple(nodes),
        ready=ready,
        starting=np.maximum(wanted - ready, 0),
        resource_used_by_others=used,
        pods_by_others=others,
    )
