"""The Deployment that runs one service on one node."""

import hashlib
import json
import math
from dataclasses import asdict, dataclass

from kubernetes import client

from lwmecps_gym.platform.errors import InvalidInputError
from lwmecps_gym.platform.kubernetes.names import (
    WORKLOAD,
    deployment_name,
    dns_label,
    exact_names,
    owned_labels,
)


@dataclass(frozen=True)
class WorkloadSpec:
    """What one replica of a service is.

    Attributes:
        name: The scenario's name of the service.
        cpu: CPU that a replica requests, and is limited to [cores].
        memory_mib: Memory that a replica requests, and is limited to [MiB].
        image: The container's image.
        port: TCP port it serves on; a replica is ready once that accepts connections. Without a
            port it is ready once it runs.
    """

    name: str
    cpu: float
    memory_mib: float
    image: str
    port: int | None = None

    def __post_init__(self) -> None:
        for field, value in (("cpu", self.cpu), ("memory_mib", self.memory_mib)):
            if not (math.isfinite(value) and value > 0):
                raise InvalidInputError(
                    f"service {self.name!r}: {field} is {value}; it must be a number above zero"
                )


def workload_digest(spec: WorkloadSpec, kubernetes_node: str) -> str:
    """Return what differs when a Deployment was made from another spec or for another node."""
    text = json.dumps([asdict(spec), kubernetes_node], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def deployment(
    spec: WorkloadSpec, node: str, kubernetes_node: str, replicas: int
) -> client.V1Deployment:
    """Describe the Deployment of a service on a node.

    Args:
        spec: The service.
        node: The scenario's name of the node.
        kubernetes_node: The name of the Node object; pods are bound to it by kube-scheduler, which
            still checks that they fit (`spec.nodeName` would not).
        replicas: How many are wanted.
    """
    labels = owned_labels(spec.name, node)
    names = exact_names(spec.name, node)
    return client.V1Deployment(
        api_version="apps/v1",
        kind="Deployment",
        metadata=client.V1ObjectMeta(
            name=deployment_name(spec.name, node),
            labels=labels,
            annotations=names | {WORKLOAD: workload_digest(spec, kubernetes_node)},
        ),
        spec=client.V1DeploymentSpec(
            replicas=replicas,
            selector=client.V1LabelSelector(match_labels=labels),
            # A surge needs room that a full node does not have: replace pods one by one instead.
            strategy=client.V1DeploymentStrategy(
                type="RollingUpdate",
                rolling_update=client.V1RollingUpdateDeployment(max_surge=0, max_unavailable=1),
            ),
            template=client.V1PodTemplateSpec(
                metadata=client.V1ObjectMeta(labels=labels, annotations=names),
                spec=client.V1PodSpec(
                    affinity=_only_on(kubernetes_node), containers=[_container(spec)]
                ),
            ),
        ),
    )


def _only_on(kubernetes_node: str) -> client.V1Affinity:
    by_name = client.V1NodeSelectorRequirement(
        key="metadata.name", operator="In", values=[kubernetes_node]
    )
    return client.V1Affinity(
        node_affinity=client.V1NodeAffinity(
            required_during_scheduling_ignored_during_execution=client.V1NodeSelector(
                node_selector_terms=[client.V1NodeSelectorTerm(match_fields=[by_name])]
            )
        )
    )


def _container(spec: WorkloadSpec) -> client.V1Container:
    milli_cpu = math.ceil(round(spec.cpu * 1000, 6))  # 0.28 * 1000 is a hair above 280
    amounts = {"cpu": f"{milli_cpu}m", "memory": f"{math.ceil(spec.memory_mib)}Mi"}
    container = client.V1Container(
        name=dns_label(spec.name),
        image=spec.image,
        resources=client.V1ResourceRequirements(requests=amounts, limits=amounts),
    )
    if spec.port is not None:
        container.ports = [client.V1ContainerPort(container_port=spec.port)]
        container.readiness_probe = client.V1Probe(
            tcp_socket=client.V1TCPSocketAction(port=spec.port), period_seconds=1
        )
    return container
