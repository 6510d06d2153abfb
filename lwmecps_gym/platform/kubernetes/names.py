"""How the names of services and nodes become names in Kubernetes, and come back.

Scenario names are free ("bs_1", "AR video"), Kubernetes names are not. Objects therefore carry the
exact names in annotations, which is where they are read back from, and a derived value in labels,
which is what selectors use.
"""

import hashlib
import json
import re

MANAGED_BY = "app.kubernetes.io/managed-by"
OWNER = "lwmecps-gym"
SERVICE = "lwmecps.io/service"
NODE = "lwmecps.io/node"
OWNED_SELECTOR = f"{MANAGED_BY}={OWNER},{SERVICE},{NODE}"
WORKLOAD = "lwmecps.io/workload"

# A pod is called <deployment>-<10 characters of the ReplicaSet>-<5 of the pod>, and a host name
# has at most 63: a longer Deployment name would have its pods' names cut.
_DEPLOYMENT_NAME_LENGTH = 46
_LABEL_LENGTH = 63
_LABEL_VALUE = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")


def dns_label(name: str) -> str:
    """Turn a name into a DNS-1123 label, at most 63 characters; different names may meet."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower())[:_LABEL_LENGTH].strip("-") or "x"


def label_value(name: str) -> str:
    """Return `name` if it may be a label's value, else a valid value that is unique to it."""
    if len(name) <= _LABEL_LENGTH and _LABEL_VALUE.fullmatch(name):
        return name
    return _with_digest(dns_label(name), name, _LABEL_LENGTH)


def deployment_name(service: str, node: str) -> str:
    """Name the Deployment of a service on a node: `<service>-<node>`, unique to the pair.

    A digest of the exact pair is added where the plain form would be cut, would lose a character,
    or could be split in two ways (a service name with a dash in it).
    """
    name = f"{dns_label(service)}-{dns_label(node)}"
    unambiguous = "-" not in service and name == f"{service}-{node}"
    if unambiguous and len(name) <= _DEPLOYMENT_NAME_LENGTH:
        return name
    return _with_digest(name, json.dumps([service, node]), _DEPLOYMENT_NAME_LENGTH)


def owned_labels(service: str, node: str) -> dict[str, str]:
    """Labels of everything that the platform owns for a service on a node."""
    return {MANAGED_BY: OWNER, SERVICE: label_value(service), NODE: label_value(node)}


def exact_names(service: str, node: str) -> dict[str, str]:
    """Annotations that hold the names as the scenario writes them."""
    return {SERVICE: service, NODE: node}


def _with_digest(text: str, source: str, length: int) -> str:
    digest = hashlib.sha256(source.encode()).hexdigest()[:8]
    return f"{text[: length - 9].rstrip('-')}-{digest}"
