"""The Deployments that the platform owns: one for each service on each node."""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from kubernetes import client
from kubernetes.client.exceptions import ApiException

from lwmecps_gym.platform.errors import ClusterError, ConflictError
from lwmecps_gym.platform.kubernetes.connection import CONFLICT, NOT_FOUND, Connection
from lwmecps_gym.platform.kubernetes.names import OWNED_SELECTOR, WORKLOAD, deployment_name
from lwmecps_gym.platform.kubernetes.nodes import is_ready
from lwmecps_gym.platform.kubernetes.placement import owned_place
from lwmecps_gym.platform.kubernetes.rollout import (
    why_not_created,
    why_not_scheduled,
    why_not_started,
)
from lwmecps_gym.platform.kubernetes.workload import WorkloadSpec, deployment, workload_digest

_CONFLICT_ATTEMPTS = 5


class OwnedDeployments:
    """Reads and writes them in one namespace; every method raises `ClusterError`."""

    def __init__(self, connection: Connection, namespace: str) -> None:
        self._connection = connection
        self._namespace = namespace
        self._core = client.CoreV1Api(connection.api_client)
        self._apps = client.AppsV1Api(connection.api_client)

    def list_all(self) -> tuple[list[Any], str]:
        """Return them (`V1Deployment`) and the resourceVersion of the list."""
        return self._connection.list_all(
            f"list deployments.apps in namespace {self._namespace}",
            self._apps.list_namespaced_deployment,
            self._namespace,
            label_selector=OWNED_SELECTOR,
        )

    def replicas(self, service: str, node: str) -> int:
        """Return how many replicas of a service are wanted on a node.

        Raises:
            ConflictError: The Deployment is not the platform's, or is being deleted.
        """
        current = self._read(service, node)
        return int(current.spec.replicas) if current else 0

    def scale(self, service: WorkloadSpec, node: str, kubernetes_node: str, replicas: int) -> None:
        """Have `replicas` of a service on a node; make, renew or scale its Deployment.

        Raises:
            ConflictError: It is not the platform's, is being deleted, or was changed by someone
                else at every attempt.
        """
        wanted = deployment(service, node, kubernetes_node, replicas)
        digest = workload_digest(service, kubernetes_node)
        name = deployment_name(service.name, node)
        for _ in range(_CONFLICT_ATTEMPTS):
            current = self._read(service.name, node)
            with suppress(ApiException):  # 404, 409: someone was between the read and the write
                if current is None:
                    if replicas > 0:
                        self._create(name, wanted)
                elif current.metadata.annotations.get(WORKLOAD) != digest:
                    self._replace(name, wanted, current.metadata.resource_version)
                elif current.spec.replicas != replicas:
                    self._patch_scale(name, replicas)
                return
        raise ConflictError(
            f"Deployment {name} in namespace {self._namespace} was changed by someone else "
            f"{_CONFLICT_ATTEMPTS} times in a row; see who else writes it, such as an autoscaler"
        )

    def delete_all(self) -> None:
        """Ask for the deletion of all of them; each goes once its pods are gone."""
        for item in self.list_all()[0]:
            name = item.metadata.name
            with suppress(ApiException):  # 404: it is gone already
                self._connection.request(
                    f"delete deployments.apps {name} in namespace {self._namespace}",
                    self._apps.delete_namespaced_deployment,
                    name,
                    self._namespace,
                    propagation_policy="Foreground",
                    # The answer is a Deployment, which the client would read as a Status.
                    _preload_content=False,
                    passing=(NOT_FOUND,),
                ).drain_conn()

    def wait_for(self, done: Callable[[list[Any]], bool], timeout_s: float) -> list[Any]:
        """Follow all of them until `done` or the time is over; return them."""
        deadline = time.monotonic() + timeout_s
        while True:
            deployments, version = self.list_all()
            current = {item.metadata.name: item for item in deployments}
            left_s = deadline - time.monotonic()
            if done(deployments) or left_s <= 0:
                return deployments
            for kind, item in self._connection.watch(
                f"watch deployments.apps in namespace {self._namespace}",
                self._apps.list_namespaced_deployment,
                self._namespace,
                label_selector=OWNED_SELECTOR,
                resource_version=version,
                longest_s=left_s,
            ):
                current[item.metadata.name] = item
                if kind == "DELETED":
                    del current[item.metadata.name]
                if done(list(current.values())):
                    return list(current.values())

    def why_late(self, deployments: list[Any]) -> Iterator[str]:
        """Say of each of these (`V1Deployment`) what is missing, and why."""
        pods, _ = self._connection.list_all(
            f"list pods in namespace {self._namespace}",
            self._core.list_namespaced_pod,
            self._namespace,
            label_selector=OWNED_SELECTOR,
        )
        for item in deployments:
            own = [pod for pod in pods if owned_place(pod) == owned_place(item)]
            reasons = {self._why_not_ready(pod) for pod in own if not is_ready(pod)}
            if not own:
                reasons = {why_not_created(item)}
            yield (
                f"{item.metadata.name} has {item.status.ready_replicas or 0} of "
                f"{item.spec.replicas} replicas ready"
                + "".join(f": {reason}" for reason in sorted(reasons))
            )

    def _why_not_ready(self, pod: Any) -> str:
        unscheduled = why_not_scheduled(pod)
        if unscheduled:
            return unscheduled
        why = why_not_started(pod)
        try:
            warnings, _ = self._connection.list_all(
                f"list events in namespace {self._namespace}",
                self._core.list_namespaced_event,
                self._namespace,
                field_selector=f"involvedObject.name={pod.metadata.name},type=Warning",
            )
        except ClusterError as error:  # a right that only this message needs
            return f"{why} ({error})"
        return "; ".join([why, *sorted({f"{item.reason}: {item.message}" for item in warnings})])

    def _read(self, service: str, node: str) -> Any | None:
        """Read the Deployment of a service on a node; None if there is none.

        Raises:
            ConflictError: It is not the platform's, or is being deleted.
        """
        name = deployment_name(service, node)
        try:
            found = self._connection.request(
                f"get deployments.apps {name} in namespace {self._namespace}",
                self._apps.read_namespaced_deployment,
                name,
                self._namespace,
                passing=(NOT_FOUND,),
            )
        except ApiException:
            return None
        if owned_place(found) != (service, node):
            raise ConflictError(
                f"Deployment {name} in namespace {self._namespace} is not the platform's own for "
                f"service {service!r} on node {node!r}, so it is left alone; remove or rename it, "
                "or give the platform another namespace"
            )
        if found.metadata.deletion_timestamp is not None:
            raise ConflictError(
                f"Deployment {name} in namespace {self._namespace} is being deleted; "
                "try again when it is gone"
            )
        return found

    def _create(self, name: str, wanted: client.V1Deployment) -> None:
        self._connection.request(
            f"create deployments.apps {name} in namespace {self._namespace}",
            self._apps.create_namespaced_deployment,
            self._namespace,
            wanted,
            passing=(CONFLICT,),
        )

    def _replace(self, name: str, wanted: client.V1Deployment, resource_version: str) -> None:
        if wanted.metadata:
            wanted.metadata.resource_version = resource_version
        self._connection.request(
            f"update deployments.apps {name} in namespace {self._namespace}",
            self._apps.replace_namespaced_deployment,
            name,
            self._namespace,
            wanted,
            passing=(CONFLICT, NOT_FOUND),
        )

    def _patch_scale(self, name: str, replicas: int) -> None:
        self._connection.request(
            f"patch deployments.apps/scale {name} in namespace {self._namespace}",
            self._apps.patch_namespaced_deployment_scale,
            name,
            self._namespace,
            {"spec": {"replicas": replicas}},
            _content_type="application/merge-patch+json",
            passing=(CONFLICT, NOT_FOUND),
        )
