"""What a request asks for: the object or list that its path means, and its selectors."""

import re
from dataclasses import dataclass

from .objects import RESOURCES, Json, Resource

_PATH = re.compile(
    r"/(?:api/(?P<core>v1)|apis/(?P<group>[^/]+)/(?P<version>[^/]+))"
    r"(?:/namespaces/(?P<namespace>[^/]+))?/(?P<plural>[^/]+)"
    r"(?:/(?P<name>[^/]+))?(?:/(?P<sub>[^/]+))?"
)


@dataclass(frozen=True)
class Request:
    """A request, as far as the API server looks at it."""

    method: str
    path: str
    query: dict[str, str]
    body: Json
    content_type: str = ""
    token: str | None = None
    user_agent: str = ""

    @property
    def url(self) -> str:
        """Path and query, as they were sent but for the escapes."""
        return f"{self.path}?" + "&".join(f"{key}={value}" for key, value in self.query.items())

    @property
    def watches(self) -> bool:
        return self.query.get("watch") in ("1", "true")


@dataclass(frozen=True)
class Target:
    """What a path means."""

    resource: Resource
    namespace: str
    name: str | None
    sub: str | None


class UnknownPath(Exception):
    """The API server has nothing there; it answers in plain text."""


def find_target(path: str) -> Target:
    """Say what a path means; raise UnknownPath if nothing."""
    match = _PATH.fullmatch(path)
    for resource in RESOURCES if match else ():
        if match and _is_of(resource, match.groupdict()):
            return Target(resource, match["namespace"] or "", match["name"], match["sub"])
    raise UnknownPath(path)


def full_key(item: Json) -> str:
    """Namespace and name, in the order of lists."""
    return f"{item['metadata'].get('namespace', '')}/{item['metadata']['name']}"


def selects(target: Target, request: Request, item: Json) -> bool:
    """Tell if an object is in the namespace and meets the selectors of a request."""
    labels = item["metadata"].get("labels", {})
    if target.namespace not in ("", item["metadata"].get("namespace")):
        return False
    for term in filter(None, request.query.get("labelSelector", "").split(",")):
        key, equals, value = term.partition("=")
        if key not in labels or (equals and labels[key] != value):
            return False
    for term in filter(None, request.query.get("fieldSelector", "").split(",")):
        path, sign, value = re.split(r"(!?=)", term, maxsplit=1)
        field: object = item
        for step in path.split("."):
            field = field.get(step) if isinstance(field, dict) else None
        if (field == value) != (sign == "="):
            return False
    return True


def _is_of(resource: Resource, path: dict[str, str | None]) -> bool:
    group = "" if path["core"] else path["group"]
    version = path["core"] or path["version"]
    return (resource.group, resource.version, resource.plural) == (group, version, path["plural"])
