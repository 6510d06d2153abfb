"""The API server: what each request does to the objects, and what it answers."""

import base64
import json
import time
from collections.abc import Callable, Iterator

from . import shapes
from .controllers import Controllers, is_ready
from .objects import (
    BUDGETS,
    DEPLOYMENTS,
    EVENTS,
    NAMESPACES,
    NODES,
    PODS,
    RESOURCES,
    Json,
    ObjectStore,
    Refusal,
    Resource,
    timestamp,
)
from .requests import Request, Target, find_target, full_key, selects

ADMIN = "admin"
VIEWER = "viewer"  # may do nothing

_DEFAULTS: dict[Resource, Callable[[Json], Json]] = {
    NAMESPACES: shapes.namespace,
    PODS: shapes.pod,
    DEPLOYMENTS: shapes.deployment,
    BUDGETS: shapes.budget,
    NODES: dict,
    EVENTS: dict,
}


class ApiServer:
    """Answers requests; a request that is refused raises `Refusal`."""

    def __init__(self, store: ObjectStore, controllers: Controllers) -> None:
        self._store = store
        self._controllers = controllers
        self._replicas_managers: dict[str, tuple[str, str]] = {}  # by uid: manager, subresource

    def answer(self, request: Request) -> tuple[int, Json]:
        """Return status and body."""
        target = self.target(request)
        with self._store.lock:
            if request.method == "GET":
                return 200, self._read(target, request)
            if request.method == "POST":
                return 201, self._create(target, request)
            if request.method == "PUT":
                return 200, self._replace(target, request)
            if request.method == "PATCH":
                return 200, self._patch(target, request)
            return 200, self._delete(target, request)

    def target(self, request: Request) -> Target:
        """Find what the path means; refuse unknown paths and users without rights."""
        if request.token not in (None, ADMIN, VIEWER):
            raise Refusal(401, "Unauthorized", "Unauthorized")
        target = find_target(request.path)
        if request.token != ADMIN:
            raise _forbidden(request, target)
        return target

    def watch(self, request: Request) -> Iterator[Json | None]:
        """Return events, and None now and then, until the watch's time is over."""
        return self._events(self.target(request), request)

    def _events(self, target: Target, request: Request) -> Iterator[Json | None]:
        ends_at = time.monotonic() + float(request.query.get("timeoutSeconds", 60))
        store = self._store
        asked = int(request.query.get("resourceVersion") or 0)
        with store.lock:
            seen = asked or store.version
            items = [] if asked else self._selected(target, request)
        yield from ({"type": "ADDED", "object": item} for item in items)
        while time.monotonic() < ends_at:
            with store.lock:
                changes = list(store.changes(target.resource, seen))
                if not changes:
                    store.lock.wait(0.05)
            for change in changes:
                seen = change.version
                if selects(target, request, change.object):
                    yield {"type": change.type, "object": change.object}
            yield None

    def _read(self, target: Target, request: Request) -> Json:
        if target.name is None:
            return self._list(target, request)
        item = self._store.get(target.resource, target.namespace, target.name)
        return shapes.scale(item) if target.sub == "scale" else item

    def _selected(self, target: Target, request: Request, version: int | None = None) -> list[Json]:
        items = self._store.all(target.resource, target.namespace or None, version)
        return [item for item in items if selects(target, request, item)]

    def _list(self, target: Target, request: Request) -> Json:
        version, start = self._store.version, ""
        if "continue" in request.query:  # all pages show the same moment
            token = json.loads(base64.b64decode(request.query["continue"]))
            version, start = token["rv"], token["start"]
        items = [
            item for item in self._selected(target, request, version) if full_key(item) > start
        ]
        metadata: Json = {"resourceVersion": str(version)}
        limit = int(request.query.get("limit", 0)) or len(items)
        if len(items) > limit:
            token = {"rv": version, "start": full_key(items[limit - 1])}
            metadata["continue"] = base64.b64encode(json.dumps(token).encode()).decode()
            metadata["remainingItemCount"] = len(items) - limit
        hidden = ("kind", "apiVersion")
        return {
            "kind": f"{target.resource.kind}List",
            "apiVersion": target.resource.api_version,
            "metadata": metadata,
            "items": [
                {key: value for key, value in item.items() if key not in hidden}
                for item in items[:limit]
            ],
        }

    def _create(self, target: Target, request: Request) -> Json:
        if target.sub == "eviction":
            return self._evict(target)
        item = _DEFAULTS[target.resource](request.body)
        created = self._store.create(target.resource, target.namespace, item)
        self._replicas_managers[created["metadata"]["uid"]] = (_manager(request), "")
        return created

    def _evict(self, target: Target) -> Json:
        pod = self._store.get(PODS, target.namespace, target.name or "")
        for budget in self._store.all(BUDGETS, target.namespace):
            selector = budget["spec"]["selector"]["matchLabels"].items()
            pods = self._store.all(PODS, target.namespace)
            guarded = [p for p in pods if selector <= p["metadata"].get("labels", {}).items()]
            healthy = sum(map(is_ready, guarded))
            needed = budget["spec"]["minAvailable"]
            if healthy <= needed and any(full_key(pod) == full_key(other) for other in guarded):
                message = (
                    f"The disruption budget {budget['metadata']['name']} needs {needed} healthy "
                    f"pods and has {healthy} currently"
                )
                raise Refusal(
                    429,
                    "TooManyRequests",
                    "Cannot evict pod as it would violate the pod's disruption budget.",
                    {"causes": [{"reason": "DisruptionBudget", "message": message}]},
                )
        self._controllers.delete_pod(pod)
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}

    def _replace(self, target: Target, request: Request) -> Json:
        current = self._store.get(target.resource, target.namespace, target.name or "")
        item = _DEFAULTS[target.resource](request.body)
        item["metadata"]["namespace"] = target.namespace
        item["status"] = current["status"]
        return self._store.update(target.resource, item)

    def _patch(self, target: Target, request: Request) -> Json:
        current = self._store.get(target.resource, target.namespace, target.name or "")
        replicas = request.body.get("spec", {}).get("replicas")
        if replicas is not None and target.resource == DEPLOYMENTS:
            self._check_replicas(current, replicas, request)
            manager = (_manager(request), target.sub or "")
            self._replicas_managers[current["metadata"]["uid"]] = manager
        patched = self._store.update(target.resource, _merged(current, request.body))
        return shapes.scale(patched) if target.sub == "scale" else patched

    def _check_replicas(self, current: Json, replicas: int, request: Request) -> None:
        name = current["metadata"]["name"]
        if replicas < 0:
            why = f"Invalid value: {replicas}: must be greater than or equal to 0"
            message = f'Scale.autoscaling "{name}" is invalid: spec.replicas: {why}'
            cause = {"reason": "FieldValueInvalid", "message": why, "field": "spec.replicas"}
            details = {"name": name, "group": "autoscaling", "kind": "Scale", "causes": [cause]}
            raise Refusal(422, "Invalid", message, details)
        manager, sub = self._replicas_managers[current["metadata"]["uid"]]
        applies = request.content_type.startswith("application/apply-patch")
        if applies and manager != _manager(request) and current["spec"]["replicas"] != replicas:
            through = f' with subresource "{sub}"' if sub else ""
            why = f'conflict with "{manager}"{through} using apps/v1'
            cause = {"reason": "FieldManagerConflict", "message": why, "field": ".spec.replicas"}
            message = f"Apply failed with 1 conflict: {why}: .spec.replicas"
            raise Refusal(409, "Conflict", message, {"causes": [cause]})

    def _delete(self, target: Target, request: Request) -> Json:
        item = self._store.get(target.resource, target.namespace, target.name or "")
        if target.resource == PODS:
            self._controllers.delete_pod(item)
            return item
        policy = request.query.get("propagationPolicy") or request.body.get("propagationPolicy")
        if policy == "Foreground":
            item["metadata"] |= {
                "deletionTimestamp": timestamp(),
                "deletionGracePeriodSeconds": 0,
                "finalizers": ["foregroundDeletion"],
            }
            return self._store.update(target.resource, item)
        if target.resource == NAMESPACES:
            for resource in RESOURCES:
                for inside in self._store.all(resource, target.name):
                    self._store.remove(resource, inside)
        self._store.remove(target.resource, item)
        uid = item["metadata"]["uid"]
        details = {"name": target.name, "kind": target.resource.plural, "uid": uid}
        success = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
        return success | {"details": details}


def _forbidden(request: Request, target: Target) -> Refusal:
    verbs = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
    reading = "get" if target.name else "watch" if request.watches else "list"
    user = request.token or "system:anonymous"
    resource = target.resource
    plural = f"{resource.plural}/{target.sub}" if target.sub else resource.plural
    where = f'in the namespace "{target.namespace}"' if target.namespace else "at the cluster scope"
    named = f' "{target.name}"' if target.name else ""
    message = (
        f'{resource.full_name}{named} is forbidden: User "{user}" cannot '
        f'{verbs.get(request.method, reading)} resource "{plural}" '
        f'in API group "{resource.group}" {where}'
    )
    name = {"name": target.name} if target.name else {}
    group = {"group": resource.group} if resource.group else {}
    return Refusal(403, "Forbidden", message, {**name, **group, "kind": resource.plural})


def _manager(request: Request) -> str:
    return request.query.get("fieldManager") or request.user_agent.partition("/")[0]


def _merged(item: Json, patch: Json) -> Json:
    """Apply a JSON merge patch (RFC 7396)."""
    merged = dict(item)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            merged[key] = _merged(merged.get(key) or {}, value)
        else:
            merged[key] = value
    return merged
