"""The nodes of the cluster, and which of them a scenario's name means."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from lwmecps_gym.platform.errors import InvalidInputError, NotFoundError
from lwmecps_gym.platform.kubernetes.capacity import Resources, pod_requests, quantity, resources
from lwmecps_gym.platform.kubernetes.names import NODE, dns_label


@dataclass(frozen=True)
class NodeInfo:
    """A node of the cluster.

    Attributes:
        name: The scenario's name of it: its label `lwmecps.io/node`, or its own name.
        kubernetes_name: The name of the Node object.
        cpu: Allocatable CPU [cores].
        memory_mib: Allocatable memory [MiB].
        max_pods: How many pods the kubelet takes.
        ready: The kubelet says that it is ready.
        schedulable: Not cordoned, and no taint keeps new pods away.
        free_cpu: `cpu` less the requests of all pods on it [cores]; not below zero.
        free_memory_mib: `memory_mib` less the requests of all pods on it [MiB]; not below zero.
        free_pods: How many more pods fit by number; not below zero.
    """

    name: str
    kubernetes_name: str
    cpu: float
    memory_mib: float
    max_pods: int
    ready: bool
    schedulable: bool
    free_cpu: float
    free_memory_mib: float
    free_pods: int


def node_info(node: Any, pods: Iterable[Any], name: str | None = None) -> NodeInfo:
    """Describe a `V1Node` on which these `V1Pod`s are bound; `name` overrides its own."""
    have = resources(node.status.allocatable)
    max_pods = int(quantity((node.status.allocatable or {}).get("pods", "0")))
    requests = [pod_requests(pod) for pod in pods]
    used = sum(requests, start=Resources())
    return NodeInfo(
        name=name or scenario_name(node),
        kubernetes_name=node.metadata.name,
        cpu=have.cpu,
        memory_mib=have.memory_mib,
        max_pods=max_pods,
        ready=is_ready(node),
        schedulable=not node.spec.unschedulable and not _keeps_pods_away(node.spec.taints or []),
        free_cpu=max(0.0, have.cpu - used.cpu),
        free_memory_mib=max(0.0, have.memory_mib - used.memory_mib),
        free_pods=max(0, max_pods - len(requests)),
    )


def scenario_name(node: Any) -> str:
    """Return what the scenario calls a `V1Node`: its label `lwmecps.io/node`, else its name."""
    return str((node.metadata.labels or {}).get(NODE, node.metadata.name))


def is_ready(item: Any) -> bool:
    """Tell if a `V1Node` or a `V1Pod` has the condition Ready, and it is True."""
    conditions = (item.status and item.status.conditions) or []
    return any(c.type == "Ready" and c.status == "True" for c in conditions)


def resolve_nodes(names: Sequence[str], nodes: Iterable[Any]) -> dict[str, str]:
    """Map scenario names of nodes to the names of Node objects, in the order of `names`.

    A `V1Node` is meant by its label `lwmecps.io/node`, by its own name, or by the DNS-1123 form of
    the scenario's name, in this order.

    Raises:
        NotFoundError: There is no node for a name.
        InvalidInputError: Two names mean the same node, or the same label is on two nodes.
    """
    own_names = {node.metadata.name for node in nodes}
    by_label: dict[str, str] = {}
    for node in nodes:
        label = (node.metadata.labels or {}).get(NODE)
        if label in by_label:
            raise InvalidInputError(
                f"the label {NODE}={label} is on the nodes {by_label[label]} and "
                f"{node.metadata.name}; leave it on one of them"
            )
        if label is not None:
            by_label[label] = node.metadata.name

    found: dict[str, str] = {}
    for name in names:
        meant = by_label.get(name, name)
        meant = meant if meant in own_names else dns_label(name)
        if meant not in own_names:
            raise NotFoundError(
                f"the cluster has no node for {name!r}: none is called {name!r} or "
                f"{dns_label(name)!r} or has the label {NODE}={name}; "
                f"its nodes are {', '.join(sorted(own_names)) or 'none at all'}"
            )
        if meant in found.values():
            raise InvalidInputError(
                f"{name!r} and another name of {list(names)} both mean the node {meant}"
            )
        found[name] = meant
    return found


def _keeps_pods_away(taints: list[Any]) -> bool:
    return any(taint.effect in ("NoSchedule", "NoExecute") for taint in taints)
