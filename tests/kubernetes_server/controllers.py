"""What acts on the objects: a Deployment controller, a scheduler, a kubelet."""

import copy
import itertools
import time
from collections import Counter, defaultdict
from decimal import Decimal

from kubernetes.utils.quantity import parse_quantity

from . import shapes
from .objects import DEPLOYMENTS, EVENTS, NODES, PODS, Json, ObjectStore, timestamp


class Controllers:
    """Brings the objects of a store one step nearer to what they ask for, each time it is called.

    A pod becomes ready `ready_delay_s` after it was bound to a node, and is gone `stop_delay_s`
    after it was told to stop.
    """

    def __init__(self, store: ObjectStore, ready_delay_s: float, stop_delay_s: float) -> None:
        self.ready_delay_s = ready_delay_s
        self.stop_delay_s = stop_delay_s
        self._store = store
        self._numbers = itertools.count()
        self._deployment_of: dict[str, str] = {}  # uids: of a pod, of its Deployment
        self._bound_at: dict[str, float] = {}
        self._stopped_at: dict[str, float] = {}

    def step(self) -> None:
        """Act once; the caller holds the store's lock."""
        self._collect_orphans()
        pods = self._pods_by_deployment()
        for deployment in self._store.all(DEPLOYMENTS):
            self._run_deployment(deployment, pods[deployment["metadata"]["uid"]])
        for pod in self._store.all(PODS):
            if "deletionTimestamp" in pod["metadata"]:
                self._stop(pod)
            elif "nodeName" not in pod["spec"]:
                self._schedule(pod)
            else:
                self._start(pod)
        pods = self._pods_by_deployment()
        for deployment in self._store.all(DEPLOYMENTS):
            self._report(deployment, pods[deployment["metadata"]["uid"]])

    def settled(self) -> bool:
        """Tell if every pod is ready, or waits for a node that it fits; the caller holds the lock.

        What has just been asked for must have been seen: call `step` first.
        """
        return all(
            "deletionTimestamp" not in pod["metadata"]
            and (is_ready(pod) or "nodeName" not in pod["spec"])
            for pod in self._store.all(PODS)
        )

    def delete_pod(self, pod: Json) -> None:
        """Tell a pod to stop."""
        if "deletionTimestamp" in pod["metadata"]:
            return
        pod = copy.deepcopy(pod)
        grace = pod["spec"]["terminationGracePeriodSeconds"]
        pod["metadata"] |= {
            "deletionTimestamp": timestamp(),
            "deletionGracePeriodSeconds": grace,
        }
        self._stopped_at[pod["metadata"]["uid"]] = time.monotonic()
        self._store.update(PODS, pod)

    def _pods_by_deployment(self) -> defaultdict[str, list[Json]]:
        found = defaultdict(list)
        for pod in self._store.all(PODS):
            found[self._deployment_of.get(pod["metadata"]["uid"], "")].append(pod)
        return found

    def _collect_orphans(self) -> None:
        alive = {item["metadata"]["uid"] for item in self._store.all(DEPLOYMENTS)}
        for pod in self._store.all(PODS):
            owner = self._deployment_of.get(pod["metadata"]["uid"])
            if owner is not None and owner not in alive:
                self.delete_pod(pod)

    def _run_deployment(self, deployment: Json, pods: list[Json]) -> None:
        if "deletionTimestamp" in deployment["metadata"]:
            for pod in pods:
                self.delete_pod(pod)
            if not pods:
                self._store.remove(DEPLOYMENTS, deployment)
            return
        template = shapes.template_hash(deployment)
        running = []
        for pod in pods:
            if "deletionTimestamp" in pod["metadata"]:
                continue
            if pod["metadata"]["labels"]["pod-template-hash"] == template:
                running.append(pod)
            else:
                self.delete_pod(pod)
        wanted = deployment["spec"]["replicas"]
        for pod in sorted(running, key=is_ready)[: max(0, len(running) - wanted)]:
            self.delete_pod(pod)
        for _ in range(wanted - len(running)):
            item = shapes.pod(shapes.pod_of(deployment, next(self._numbers)))
            pod = self._store.create(PODS, deployment["metadata"]["namespace"], item)
            self._deployment_of[pod["metadata"]["uid"]] = deployment["metadata"]["uid"]

    def _schedule(self, pod: Json) -> None:
        nodes = self._store.all(NODES)
        reasons = {node["metadata"]["name"]: self._misfit(pod, node) for node in nodes}
        fitting = [name for name, reason in reasons.items() if reason is None]
        pod = copy.deepcopy(pod)
        if fitting:
            load = Counter(other["spec"].get("nodeName") for other in self._store.all(PODS))
            pod["spec"]["nodeName"] = min(fitting, key=lambda name: load[name])
            pod["status"]["conditions"] = [shapes.condition("PodScheduled", True)]
            self._bound_at[pod["metadata"]["uid"]] = time.monotonic()
            self._store.update(PODS, pod)
            return
        counts = sorted(Counter(reasons.values()).items(), key=str)
        message = (
            f"0/{len(nodes)} nodes are available: "
            + ", ".join(f"{count} {reason}" for reason, count in counts)
            + f". no new claims to deallocate, preemption: 0/{len(nodes)} nodes are available: "
            f"{len(nodes)} Preemption is not helpful for scheduling."
        )
        known = pod["status"].get("conditions", [])
        if [condition["message"] for condition in known] == [message]:
            return
        pod["status"]["conditions"] = [
            shapes.condition(
                "PodScheduled", False, observedGeneration=1, reason="Unschedulable", message=message
            )
        ]
        namespace = pod["metadata"]["namespace"]
        self._store.create(EVENTS, namespace, shapes.scheduling_event(pod, message))
        self._store.update(PODS, pod)

    def _misfit(self, pod: Json, node: Json) -> str | None:
        name = node["metadata"]["name"]
        if not _affinity_allows(pod, name):
            return "node(s) didn't satisfy plugin(s) [NodeAffinity]"
        if node["spec"].get("unschedulable"):
            return "node(s) were unschedulable"
        if any(t["effect"] != "PreferNoSchedule" for t in node["spec"].get("taints", [])):
            return "node(s) had untolerated taint(s)"
        bound = [p for p in self._store.all(PODS) if p["spec"].get("nodeName") == name]
        allocatable = node["status"]["allocatable"]
        for resource in ("cpu", "memory"):
            used = sum(_request(other, resource) for other in [*bound, pod])
            if used > _amount(allocatable[resource]):
                return f"Insufficient {resource}"
        if len(bound) >= int(allocatable["pods"]):
            return "Too many pods"
        return None

    def _start(self, pod: Json) -> None:
        uid = pod["metadata"]["uid"]
        name = pod["spec"]["nodeName"]
        nodes = [item for item in self._store.all(NODES) if item["metadata"]["name"] == name]
        node_ready = any(map(is_ready, nodes))
        bound_at = self._bound_at.setdefault(uid, time.monotonic())
        ready = node_ready and time.monotonic() >= bound_at + self.ready_delay_s
        if ready == is_ready(pod):
            return
        pod = copy.deepcopy(pod)
        if not ready:
            for condition in pod["status"]["conditions"]:
                if condition["type"] == "Ready":
                    condition["status"] = "False"
            self._store.update(PODS, pod)
            return
        address = f"10.1.{next(self._numbers) % 250}.{len(self._bound_at) % 250}"
        kinds = ("Initialized", "Ready", "ContainersReady", "PodScheduled")
        pod["status"] |= {
            "phase": "Running",
            "conditions": [shapes.condition(kind, True) for kind in kinds],
            "podIP": address,
            "podIPs": [{"ip": address}],
            "startTime": timestamp(),
            "containerStatuses": [
                {
                    "name": container["name"],
                    "state": {"running": {"startedAt": timestamp()}},
                    "lastState": {},
                    "ready": True,
                    "restartCount": 0,
                    "image": container["image"],
                    "imageID": container["image"],
                    "started": True,
                }
                for container in pod["spec"]["containers"]
            ],
        }
        self._store.update(PODS, pod)

    def _stop(self, pod: Json) -> None:
        if time.monotonic() >= self._stopped_at[pod["metadata"]["uid"]] + self.stop_delay_s:
            self._store.remove(PODS, pod)

    def _report(self, deployment: Json, pods: list[Json]) -> None:
        running = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
        template = shapes.template_hash(deployment)
        updated = [p for p in running if p["metadata"]["labels"]["pod-template-hash"] == template]
        ready = sum(map(is_ready, running))
        wanted = deployment["spec"]["replicas"]
        counts = {
            "replicas": len(running),
            "updatedReplicas": len(updated),
            "readyReplicas": ready,
            "availableReplicas": ready,
            "unavailableReplicas": wanted - ready,
        }
        status = {
            "observedGeneration": deployment["metadata"]["generation"],
            **{key: count for key, count in counts.items() if count > 0},
            "terminatingReplicas": len(pods) - len(running),
        }
        old = {key: value for key, value in deployment["status"].items() if key != "conditions"}
        if status == old:
            return
        deployment = copy.deepcopy(deployment)
        name = deployment["metadata"]["name"]
        status["conditions"] = [
            _deployment_condition(
                "Available",
                ready >= wanted,
                "MinimumReplicasAvailable" if ready >= wanted else "MinimumReplicasUnavailable",
                "Deployment has minimum availability.",
            ),
            _deployment_condition(
                "Progressing",
                True,
                "NewReplicaSetAvailable" if ready >= wanted else "ReplicaSetUpdated",
                f'ReplicaSet "{name}-{template}" has successfully progressed.',
            ),
        ]
        annotations = deployment["metadata"].setdefault("annotations", {})
        annotations["deployment.kubernetes.io/revision"] = "1"
        deployment["status"] = status
        self._store.update(DEPLOYMENTS, deployment)


def is_ready(item: Json) -> bool:
    """Tell if a pod or a node has the condition Ready, and it is True."""
    conditions = item["status"].get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _affinity_allows(pod: Json, node: str) -> bool:
    required = (
        pod["spec"]
        .get("affinity", {})
        .get("nodeAffinity", {})
        .get("requiredDuringSchedulingIgnoredDuringExecution")
    )
    if required is None:
        return True
    fields = [field for term in required["nodeSelectorTerms"] for field in term["matchFields"]]
    return any(field["key"] == "metadata.name" and node in field["values"] for field in fields)


def _request(pod: Json, resource: str) -> Decimal:
    containers = pod["spec"]["containers"]
    requests = [c.get("resources", {}).get("requests", {}) for c in containers]
    return sum((_amount(request.get(resource, "0")) for request in requests), start=Decimal(0))


def _amount(quantity: str) -> Decimal:
    return Decimal(parse_quantity(quantity))  # type: ignore[no-untyped-call]


def _deployment_condition(kind: str, status: bool, reason: str, message: str) -> Json:
    return {
        "type": kind,
        "status": str(status),
        "lastUpdateTime": timestamp(),
        "lastTransitionTime": timestamp(),
        "reason": reason,
        "message": message,
    }
