"""Amounts of CPU and memory, and what pods request of them, in cores and MiB."""

from dataclasses import dataclass
from typing import Any

from kubernetes.utils.quantity import parse_quantity

_MIB = 1024 * 1024


@dataclass(frozen=True)
class Resources:
    """An amount of CPU [cores] and memory [MiB]."""

    cpu: float = 0.0
    memory_mib: float = 0.0

    def __add__(self, other: "Resources") -> "Resources":
        return Resources(self.cpu + other.cpu, self.memory_mib + other.memory_mib)

    def at_least(self, other: "Resources") -> "Resources":
        """Return the larger of both, for CPU and memory apart."""
        return Resources(max(self.cpu, other.cpu), max(self.memory_mib, other.memory_mib))


def quantity(text: str) -> float:
    """Parse a quantity in Kubernetes' notation: "250m", "64Mi", "110"."""
    return float(parse_quantity(text))  # type: ignore[no-untyped-call]


def resources(quantities: dict[str, str] | None) -> Resources:
    """Parse `{"cpu": "250m", "memory": "64Mi"}`; what is not named is zero."""
    quantities = quantities or {}
    return Resources(
        cpu=quantity(quantities.get("cpu", "0")),
        memory_mib=quantity(quantities.get("memory", "0")) / _MIB,
    )


def pod_requests(pod: Any) -> Resources:
    """Return what kube-scheduler counts for a `V1Pod`.

    The larger of its containers together and of each step of its initialisation, where an init
    container that restarts always (a sidecar) goes on running; a request of the pod as a whole goes
    before that of its containers; the runtime's overhead comes on top. After "Resource sharing
    within containers" and "Sidecar containers" in the Kubernetes documentation.
    """
    sidecars = Resources()
    initialising = Resources()
    for container in pod.spec.init_containers or []:
        request = _container_requests(container)
        if container.restart_policy == "Always":
            sidecars += request
            initialising = initialising.at_least(sidecars)
        else:
            initialising = initialising.at_least(sidecars + request)
    containers = sum((_container_requests(c) for c in pod.spec.containers), start=sidecars)
    total = containers.at_least(initialising)
    of_the_pod = (pod.spec.resources and pod.spec.resources.requests) or {}
    whole = resources(of_the_pod)
    total = Resources(
        cpu=whole.cpu if "cpu" in of_the_pod else total.cpu,
        memory_mib=whole.memory_mib if "memory" in of_the_pod else total.memory_mib,
    )
    return total + resources(pod.spec.overhead)


def _container_requests(container: Any) -> Resources:
    return resources(container.resources and container.resources.requests)
