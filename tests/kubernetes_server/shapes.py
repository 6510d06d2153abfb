"""What the API server fills in: defaults, and objects as the recording has them."""

import hashlib
import json
import uuid
from datetime import UTC, datetime
from typing import Any

from .objects import Json, timestamp

_DEFAULT_TOLERATIONS = [
    {
        "key": f"node.kubernetes.io/{key}",
        "operator": "Exists",
        "effect": "NoExecute",
        "tolerationSeconds": 300,
    }
    for key in ("not-ready", "unreachable")
]


def node(name: str, number: int, cpu: float, memory_mib: float, pods: int, labels: Json) -> Json:
    amounts = {
        "cpu": f"{round(cpu * 1000)}m",
        "ephemeral-storage": "100Gi",
        "memory": f"{round(memory_mib)}Mi",
        "pods": str(pods),
    }
    own_labels = {
        "beta.kubernetes.io/arch": "amd64",
        "beta.kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
    }
    return {
        "metadata": {
            "name": name,
            "labels": own_labels | labels,
            "annotations": {"node.alpha.kubernetes.io/ttl": "0"},
        },
        "spec": {},
        "status": {
            "capacity": amounts,
            "allocatable": dict(amounts),
            "conditions": [
                {
                    "type": "Ready",
                    "status": "True",
                    "lastHeartbeatTime": timestamp(),
                    "lastTransitionTime": timestamp(),
                    "reason": "KubeletReady",
                    "message": "ok",
                }
            ],
            "addresses": [
                {"type": "InternalIP", "address": f"10.0.0.{number}"},
                {"type": "Hostname", "address": name},
            ],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 0}},
            "nodeInfo": {
                "machineID": "",
                "systemUUID": "",
                "bootID": "",
                "kernelVersion": "6",
                "osImage": "fake",
                "containerRuntimeVersion": "fake://1",
                "kubeletVersion": "v1.36.2",
                "kubeProxyVersion": "",
                "operatingSystem": "linux",
                "architecture": "amd64",
            },
        },
    }


def namespace(item: Json) -> Json:
    name = item["metadata"]["name"]
    labels = item["metadata"].get("labels", {}) | {"kubernetes.io/metadata.name": name}
    return {
        "metadata": item["metadata"] | {"labels": labels},
        "spec": {"finalizers": ["kubernetes"]},
        "status": {"phase": "Active"},
    }


def deployment(item: Json) -> Json:
    spec: Json = {
        "replicas": 1,
        "strategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"},
        },
        "revisionHistoryLimit": 10,
        "progressDeadlineSeconds": 600,
    } | item["spec"]
    spec["template"] = spec["template"] | {"spec": _pod_spec(spec["template"]["spec"])}
    return {"metadata": item["metadata"] | {"generation": 1}, "spec": spec, "status": {}}


def pod(item: Json) -> Json:
    spec: Json = {
        "tolerations": _DEFAULT_TOLERATIONS,
        "priority": 0,
        "enableServiceLinks": True,
        "preemptionPolicy": "PreemptLowerPriority",
    } | _pod_spec(item["spec"])
    resources = [container.get("resources", {}) for container in spec["containers"]]
    guaranteed = all(r.get("limits") and r["limits"] == r.get("requests") for r in resources)
    some = any(r.get("requests") or r.get("limits") for r in resources)
    quality = "Guaranteed" if guaranteed else "Burstable" if some else "BestEffort"
    return {
        "metadata": item["metadata"] | {"generation": 1},
        "spec": spec,
        "status": {"phase": "Pending", "qosClass": quality},
    }


def pod_of(deployment: Json, number: int) -> Json:
    """The next pod of a Deployment, before the defaults."""
    template = deployment["spec"]["template"]
    replica_set = f"{deployment['metadata']['name']}-{template_hash(deployment)}"
    labels = template["metadata"]["labels"] | {"pod-template-hash": template_hash(deployment)}
    metadata: Json = {
        "name": f"{replica_set}-{hashlib.sha256(str(number).encode()).hexdigest()[:5]}",
        "generateName": f"{replica_set}-",
        "labels": labels,
        "ownerReferences": [
            {
                "apiVersion": "apps/v1",
                "kind": "ReplicaSet",
                "name": replica_set,
                "uid": str(uuid.uuid5(uuid.UUID(deployment["metadata"]["uid"]), replica_set)),
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }
    if "annotations" in template["metadata"]:
        metadata["annotations"] = template["metadata"]["annotations"]
    return {"metadata": metadata, "spec": template["spec"]}


def template_hash(deployment: Json) -> str:
    text = json.dumps(deployment["spec"]["template"], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:9]


def budget(item: Json) -> Json:
    counts = ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods")
    return {
        "metadata": item["metadata"] | {"generation": 1},
        "spec": item["spec"],
        "status": dict.fromkeys(counts, 0),
    }


def scale(deployment: Json) -> Json:
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    labels = deployment["spec"]["selector"]["matchLabels"]
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {key: deployment["metadata"][key] for key in kept},
        "spec": {"replicas": deployment["spec"]["replicas"]},
        "status": {
            "replicas": deployment["status"].get("replicas", 0),
            "selector": ",".join(f"{key}={value}" for key, value in labels.items()),
        },
    }


def scheduling_event(pod: Json, message: str) -> Json:
    now = datetime.now(UTC)
    kept = ("namespace", "name", "uid", "resourceVersion")
    involved = {key: pod["metadata"][key] for key in kept}
    return {
        "metadata": {"name": f"{pod['metadata']['name']}.{int(now.timestamp() * 1e9):x}"},
        "involvedObject": {"kind": "Pod", "apiVersion": "v1", **involved},
        "reason": "FailedScheduling",
        "message": message,
        "source": {},
        "firstTimestamp": None,
        "lastTimestamp": None,
        "type": "Warning",
        "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "action": "Scheduling",
        "reportingComponent": "default-scheduler",
        "reportingInstance": "default-scheduler-stand-in",
    }


def condition(kind: str, status: bool, **more: Any) -> Json:
    """A condition of a pod."""
    return {
        "type": kind,
        "status": str(status),
        "lastProbeTime": None,
        "lastTransitionTime": timestamp(),
        **more,
    }


def _pod_spec(spec: Json) -> Json:
    defaults = {
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "securityContext": {},
        "schedulerName": "default-scheduler",
    }
    return defaults | spec | {"containers": [_container(c) for c in spec["containers"]]}


def _container(container: Json) -> Json:
    tagged = ":" in container["image"].rpartition("/")[2]
    return {
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "imagePullPolicy": "IfNotPresent" if tagged else "Always",
    } | container
