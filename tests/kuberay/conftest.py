"""The manifests, the rendered chart, and strict checks of Kubernetes objects."""

import functools
import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import helm_python
import jsonschema
import pytest
import yaml
from kubernetes import client

Object: TypeAlias = dict[str, Any]

REPOSITORY = Path(__file__).parents[2]
KUBERAY = REPOSITORY / "kuberay"
CHART = KUBERAY / "lwmecps-gym"
CRDS = REPOSITORY.parent / "shared" / "data" / "kuberay-crds"
OBJECT_META = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string", "pattern": "^[a-z]([-a-z0-9]*[a-z0-9])?$", "maxLength": 47},
        "namespace": {"type": "string"},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "annotations": {"type": "object", "additionalProperties": {"type": "string"}},
    },
    "additionalProperties": False,
}


def strict(schema: Object) -> Object:
    """Turn a CRD's structural schema into a JSON schema that refuses what the API server prunes."""
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"], "pattern": schema.get("pattern", "")}
    result = dict(schema)
    if "properties" in schema:
        result["properties"] = {key: strict(value) for key, value in schema["properties"].items()}
    if "items" in schema:
        result["items"] = strict(schema["items"])
    if schema.get("type") == "object" and not schema.get("x-kubernetes-preserve-unknown-fields"):
        extra = schema.get("additionalProperties", False)
        result["additionalProperties"] = strict(extra) if isinstance(extra, dict) else extra
    if schema.get("nullable"):
        result["type"] = [schema["type"], "null"]
    return result


@functools.cache
def crd_validator(kind: str, version: str) -> jsonschema.protocols.Validator:
    path = CRDS / f"ray.io_{kind.lower()}s.yaml.gz"
    if not path.exists():
        pytest.skip(f"the CRD {path.name} of the shared data folder is not here")
    versions = yaml.load(gzip.decompress(path.read_bytes()), yaml.CSafeLoader)["spec"]["versions"]
    [schema] = [v["schema"]["openAPIV3Schema"] for v in versions if v["name"] == version]
    result = strict(schema)
    result["properties"]["metadata"] = OBJECT_META
    result["properties"]["kind"] = {"const": kind}
    return jsonschema.Draft202012Validator(result)


@pytest.fixture
def ray_errors() -> Callable[[Object], list[str]]:
    """What the CRD of a ray.io object says against it; unknown fields are errors too."""

    def errors(resource: Object) -> list[str]:
        group, version = resource["apiVersion"].split("/")
        assert group == "ray.io"
        found = crd_validator(resource["kind"], version).iter_errors(resource)
        return [f"{error.json_path}: {error.message}" for error in found]

    return errors


@pytest.fixture
def core_errors() -> Callable[[Object], list[str]]:
    """The fields of a Kubernetes object that the official client's model does not know."""
    api: Any = client.ApiClient()

    def errors(resource: Object) -> list[str]:
        version = resource["apiVersion"].split("/")[-1].capitalize()
        kind = version + resource["kind"]
        model = api.deserialize(json.dumps(resource), kind, "application/json")
        return list(lost(resource, api.sanitize_for_serialization(model), "$"))

    return errors


def lost(before: Any, after: Any, path: str) -> Iterator[str]:
    """Yield the paths of `before` that are not in `after`."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in before.items():
            if key not in after:
                yield f"{path}.{key}"
            else:
                yield from lost(value, after[key], f"{path}.{key}")
    elif isinstance(before, list) and isinstance(after, list):
        for index, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from lost(one, other, f"{path}[{index}]")


@pytest.fixture(scope="session")
def chart() -> Iterator[helm_python.Chart]:
    with helm_python.Chart.load(CHART) as loaded:
        yield loaded


@pytest.fixture(scope="session")
def render(chart: helm_python.Chart) -> Callable[[Object], list[Object]]:
    """Render the chart as release `demo` in the namespace `mec`; the objects, notes left out."""

    def objects(values: Object) -> list[Object]:
        files = chart.render(values, name="demo", namespace="mec")
        texts = [text for name, text in files.items() if name.endswith(".yaml")]
        return [found for text in texts for found in yaml.safe_load_all(text) if found]

    return objects


MONGODB_PASSWORD = "p@ss/w:rd+%&é"
WANDB_KEY = "0123456789abcdef0123456789abcdef01234567"
VALUES: dict[str, Object] = {
    "defaults": {},
    "mongodb with a password": {
        "mongodb": {"enabled": True, "auth": {"password": MONGODB_PASSWORD}},
    },
    "existing secrets": {
        "mongodb": {"enabled": True, "auth": {"existingSecret": "my-mongodb"}},
        "wandb": {"enabled": True, "existingSecret": "my-wandb"},
    },
    "wandb": {"wandb": {"enabled": True, "apiKey": WANDB_KEY, "mode": "online"}},
    "external mongodb": {
        "mongodb": {"externalUrl": f"mongodb+srv://me:{MONGODB_PASSWORD}@db.example.org/"},
    },
    "external mongodb in a secret": {"mongodb": {"auth": {"existingSecret": "my-mongodb"}}},
    "everything on": {
        "image": {"pullSecrets": [{"name": "registry"}]},
        "mongodb": {"enabled": True, "auth": {"password": MONGODB_PASSWORD}},
        "wandb": {"enabled": True, "apiKey": WANDB_KEY},
        "training": {"persistence": {"accessMode": "ReadWriteMany", "storageClass": "nfs"}},
        "kubernetes": {"namespace": "edge", "serviceAccount": {"annotations": {"a": "b"}}},
        "ray": {
            "head": {"nodeSelector": {"zone": "a"}, "tolerations": [{"operator": "Exists"}]},
            "workers": {"enabled": True},
            "autoscaling": {"enabled": True},
        },
        "serve": {"numReplicas": 2},
        "service": {"annotations": {"a": "b"}},
        "ingress": {"enabled": True, "host": "lwmecps.example.org", "tlsSecretName": "tls"},
        "networkPolicy": {
            "operatorNamespace": "kuberay",
            "metricsFrom": [{"namespaceSelector": {}}],
        },
        "podDisruptionBudget": {"enabled": True},
        "serviceMonitor": {
            "enabled": True,
            "labels": {"release": "prometheus"},
            "apiKeySecret": "my-key",
        },
    },
    "everything off": {
        "mongodb": {"auth": {"enabled": False}, "persistence": {"enabled": False}},
        "training": {"persistence": {"enabled": False}},
        "kubernetes": {"rbac": {"create": False}, "serviceAccount": {"create": False}},
        "networkPolicy": {"enabled": False},
    },
    "mongodb without a login": {
        "mongodb": {
            "enabled": True,
            "auth": {"enabled": False},
            "persistence": {"enabled": False},
        },
    },
}


@pytest.fixture(params=list(VALUES.values()), ids=list(VALUES))
def values(request: pytest.FixtureRequest) -> Object:
    """Values that a user may install the chart with; the test runs for each."""
    found: Object = request.param
    return found


@pytest.fixture
def objects(render: Callable[[Object], list[Object]], values: Object) -> list[Object]:
    """The objects that the chart renders with `values`."""
    return render(values)


@pytest.fixture(params=["rayservice.yaml", "raycluster.yaml", "rayjob.yaml"])
def manifest(request: pytest.FixtureRequest) -> list[Object]:
    """The objects of a plain manifest; the test runs for each file."""
    return list(yaml.safe_load_all((KUBERAY / request.param).read_text()))


@pytest.fixture
def ray_groups() -> Callable[[list[Object]], list[Object]]:
    """The head and worker groups of all Ray objects in a list."""

    def groups(resources: list[Object]) -> list[Object]:
        found = []
        for resource in resources:
            if resource["apiVersion"].startswith("ray.io/"):
                spec = resource["spec"]
                cluster = spec.get("rayClusterConfig") or spec.get("rayClusterSpec") or spec
                found += [cluster["headGroupSpec"], *cluster.get("workerGroupSpecs", [])]
        return found

    return groups
