"""The objects of the cluster: kept in memory, versioned, listed, and watched."""

import copy
import re
import threading
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

Json = dict[str, Any]

_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")


@dataclass(frozen=True)
class Resource:
    """A kind of object and where the API has it."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def full_name(self) -> str:
        """As messages have it: "deployments.apps"."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


NAMESPACES = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
NODES = Resource("", "v1", "nodes", "Node", namespaced=False)
PODS = Resource("", "v1", "pods", "Pod")
EVENTS = Resource("", "v1", "events", "Event")
DEPLOYMENTS = Resource("apps", "v1", "deployments", "Deployment")
BUDGETS = Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
RESOURCES = (NAMESPACES, NODES, PODS, EVENTS, DEPLOYMENTS, BUDGETS)


class Refusal(Exception):
    """An answer that is not a success: a Status object."""

    def __init__(self, code: int, reason: str, message: str, details: Json | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.body: Json = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason,
            **({"details": details} if details else {}),
            "code": code,
        }


@dataclass(frozen=True)
class Change:
    """One entry of the history that watches read."""

    version: int
    type: str
    resource: Resource
    object: Json


class ObjectStore:
    """All objects, and the history of their changes. Hold `lock` for every call."""

    def __init__(self) -> None:
        self.lock = threading.Condition(threading.RLock())
        self.version = 1
        self.history: dict[Resource, list[Change]] = {resource: [] for resource in RESOURCES}
        self._objects: dict[Resource, dict[tuple[str, str], Json]] = {
            resource: {} for resource in RESOURCES
        }

    def create(self, resource: Resource, namespace: str, item: Json) -> Json:
        metadata = item["metadata"]
        _check_names(resource, metadata)
        if resource.namespaced and ("", namespace) not in self._objects[NAMESPACES]:
            raise _not_found(NAMESPACES, namespace)
        if (namespace, metadata["name"]) in self._objects[resource]:
            details = _details(resource, metadata["name"])
            message = f'{resource.full_name} "{metadata["name"]}" already exists'
            raise Refusal(409, "AlreadyExists", message, details)
        metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": timestamp()}
        if resource.namespaced:
            metadata["namespace"] = namespace
        return self._write("ADDED", resource, item)

    def get(self, resource: Resource, namespace: str, name: str) -> Json:
        """Return a copy of an object."""
        try:
            return copy.deepcopy(self._objects[resource][namespace, name])
        except KeyError:
            raise _not_found(resource, name) from None

    def all(
        self, resource: Resource, namespace: str | None = None, version: int | None = None
    ) -> list[Json]:
        """Return all objects of a kind, now or as of a version, by namespace and name.

        They are not copies: change only what `get` returns.
        """
        objects = self._objects[resource] if version is None else self._at(resource, version)
        inside = [key for key in objects if namespace in (None, key[0])]
        return [objects[key] for key in sorted(inside, key="/".join)]

    def _at(self, resource: Resource, version: int) -> dict[tuple[str, str], Json]:
        objects = {}
        for change in self.history[resource]:
            if change.version <= version:
                objects[_key(change.object)] = change.object
                if change.type == "DELETED":
                    del objects[_key(change.object)]
        return objects

    def update(self, resource: Resource, item: Json) -> Json:
        """Write an object; refuse it if it was read from an older version than there is."""
        metadata = item["metadata"]
        current = self.get(resource, metadata.get("namespace", ""), metadata["name"])
        version = metadata.get("resourceVersion")
        if version not in (None, current["metadata"]["resourceVersion"]):
            message = (
                f'Operation cannot be fulfilled on {resource.full_name} "{metadata["name"]}": '
                "the object has been modified; please apply your changes to the latest version "
                "and try again"
            )
            raise Refusal(409, "Conflict", message, _details(resource, metadata["name"]))
        for key in ("uid", "creationTimestamp"):
            metadata[key] = current["metadata"][key]
        if "generation" in current["metadata"]:
            changed = item.get("spec") != current.get("spec") and resource is not PODS
            metadata["generation"] = current["metadata"]["generation"] + changed
        if item == current:
            return current
        return self._write("MODIFIED", resource, item)

    def remove(self, resource: Resource, item: Json) -> None:
        del self._objects[resource][_key(item)]
        self._record("DELETED", resource, copy.deepcopy(item))

    def changes(self, resource: Resource, after: int) -> list[Change]:
        return [change for change in self.history[resource] if change.version > after]

    def _write(self, kind: str, resource: Resource, item: Json) -> Json:
        written = {"kind": resource.kind, "apiVersion": resource.api_version, **copy.deepcopy(item)}
        self._objects[resource][_key(item)] = written
        self._record(kind, resource, written)
        return copy.deepcopy(written)

    def _record(self, kind: str, resource: Resource, item: Json) -> None:
        self.version += 1
        item["metadata"]["resourceVersion"] = str(self.version)
        self.history[resource].append(Change(self.version, kind, resource, item))
        self.lock.notify_all()


def _key(item: Json) -> tuple[str, str]:
    """Namespace and name."""
    return item["metadata"].get("namespace", ""), item["metadata"]["name"]


def _check_names(resource: Resource, metadata: Json) -> None:
    name = metadata["name"]
    wrong = [
        (f"metadata.{field}", value)
        for field, value, pattern, longest in [
            ("name", name, _SUBDOMAIN, 253),
            *(("labels", label, _LABEL_VALUE, 63) for label in metadata.get("labels", {}).values()),
        ]
        if len(value) > longest or not pattern.fullmatch(value)
    ]
    for field, value in wrong:
        why = f'Invalid value: "{value}": not a valid name'
        cause = {"reason": "FieldValueInvalid", "message": why, "field": field}
        group = f".{resource.group}" if resource.group else ""
        message = f'{resource.kind}{group} "{name}" is invalid: {field}: {why}'
        details = {"name": name, "group": resource.group, "kind": resource.kind, "causes": [cause]}
        raise Refusal(422, "Invalid", message, details)


def timestamp() -> str:
    """Now, as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _not_found(resource: Resource, name: str) -> Refusal:
    message = f'{resource.full_name} "{name}" not found'
    return Refusal(404, "NotFound", message, _details(resource, name))


def _details(resource: Resource, name: str) -> Json:
    group = {"group": resource.group} if resource.group else {}
    return {"name": name, **group, "kind": resource.plural}
