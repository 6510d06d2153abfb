"""Whether a Deployment has come up, and why not."""

from typing import Any


def is_rolled_out(deployment: Any) -> bool:
    """Tell if all wanted replicas of a `V1Deployment`, and no others, are up to date and ready."""
    status = deployment.status
    wanted = deployment.spec.replicas
    return (
        deployment.metadata.deletion_timestamp is None
        and (status.observed_generation or 0) >= deployment.metadata.generation
        and (status.replicas or 0) == wanted
        and (status.updated_replicas or 0) == wanted
        and (status.ready_replicas or 0) == wanted
    )


def why_not_created(deployment: Any) -> str:
    """Say why a `V1Deployment` has no pods: a quota or an admission refused them, or nobody did."""
    for condition in deployment.status.conditions or []:
        if condition.type == "ReplicaFailure" and condition.status == "True":
            return str(condition.message)
    return "no pod was created: is kube-controller-manager running?"


def why_not_scheduled(pod: Any) -> str | None:
    """Say why a `V1Pod` is on no node yet: the text of its last FailedScheduling event."""
    for condition in pod.status.conditions or []:
        if condition.type == "PodScheduled" and condition.status == "False":
            return str(condition.message)
    return None


def why_not_started(pod: Any) -> str:
    """Say what a `V1Pod` on a node waits for, as far as its status tells."""
    statuses = (pod.status.init_container_statuses or []) + (pod.status.container_statuses or [])
    for status in statuses:
        waiting = status.state and status.state.waiting
        if waiting:
            return ": ".join(filter(None, (waiting.reason, waiting.message)))
    return f"its phase is {pod.status.phase}, and it does not report Ready"
