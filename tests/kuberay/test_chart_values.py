"""Secrets stay in Secrets, and values that cannot work are refused with what to do."""

import json
import re
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import helm_python
import pytest
import yaml
from pymongo.uri_parser import parse_uri

Object = dict[str, Any]
Render = Callable[[Object], list[Object]]
Groups = Callable[[list[Object]], list[Object]]


def of_kind(objects: list[Object], kind: str) -> list[Object]:
    return [resource for resource in objects if resource["kind"] == kind]


def test_passwords_and_keys_are_only_in_secrets(values: Object, objects: list[Object]) -> None:
    wanted = [
        values.get("mongodb", {}).get("auth", {}).get("password"),
        values.get("mongodb", {}).get("externalUrl"),
        values.get("wandb", {}).get("apiKey"),
    ]
    others = json.dumps([o for o in objects if o["kind"] != "Secret"], ensure_ascii=False)
    for secret in filter(None, wanted):
        assert secret not in others


def test_no_secret_is_made_when_none_is_needed(render: Render) -> None:
    assert of_kind(render({}), "Secret") == []
    existing = {
        "mongodb": {"enabled": True, "auth": {"existingSecret": "my-mongodb"}},
        "wandb": {"enabled": True, "existingSecret": "my-wandb"},
    }
    assert of_kind(render(existing), "Secret") == []


def environment(objects: list[Object], ray_groups: Groups) -> Object:
    [head] = ray_groups(objects)
    return {each["name"]: each for each in head["template"]["spec"]["containers"][0]["env"]}


def test_existing_secrets_are_the_ones_referred_to(render: Render, ray_groups: Groups) -> None:
    objects = render(
        {
            "mongodb": {"enabled": True, "auth": {"existingSecret": "my-mongodb"}},
            "wandb": {"enabled": True, "existingSecret": "my-wandb"},
        }
    )
    env = environment(objects, ray_groups)
    assert env["MONGODB_URL"]["valueFrom"]["secretKeyRef"] == {"name": "my-mongodb", "key": "url"}
    assert env["WANDB_API_KEY"]["valueFrom"]["secretKeyRef"] == {
        "name": "my-wandb",
        "key": "api-key",
    }
    [database] = of_kind(objects, "StatefulSet")
    by_name = {e["name"]: e for e in database["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert by_name["MONGO_INITDB_ROOT_PASSWORD"]["valueFrom"]["secretKeyRef"] == {
        "name": "my-mongodb",
        "key": "password",
    }


@pytest.mark.parametrize("password", ["plain", "p@ss/w:rd+%&é", "a b", "$HOME"])
def test_the_connection_string_holds_any_password(render: Render, password: str) -> None:
    objects = render({"mongodb": {"enabled": True, "auth": {"password": password}}})
    [secret] = of_kind(objects, "Secret")
    parsed = parse_uri(secret["stringData"]["url"])
    assert (parsed["username"], parsed["password"]) == ("lwmecps", password)
    assert parsed["nodelist"] == [("demo-lwmecps-gym-mongodb", 27017)]
    assert secret["stringData"]["password"] == password
    services = [each["metadata"]["name"] for each in of_kind(objects, "Service")]
    assert "demo-lwmecps-gym-mongodb" in services


def test_a_new_key_reaches_the_pods(render: Render, ray_groups: Groups) -> None:
    def annotations(key: str) -> Object:
        [head] = ray_groups(render({"wandb": {"enabled": True, "apiKey": key}}))
        found: Object = head["template"]["metadata"]["annotations"]
        return found

    assert annotations("one") == annotations("one")
    assert annotations("one") != annotations("two")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mongodb": {"enabled": True}}, "there is no default one: set mongodb.auth.password"),
        (
            {"mongodb": {"enabled": True, "externalUrl": "mongodb://db/"}},
            "choose the chart's MongoDB or an outside one",
        ),
        (
            {"mongodb": {"externalUrl": "mongodb://db/", "auth": {"existingSecret": "s"}}},
            "put the URL in one of them",
        ),
        ({"wandb": {"enabled": True, "mode": "online"}}, "set wandb.apiKey"),
        ({"ray": {"workers": {"enabled": True}}}, "needs MongoDB"),
        (
            {
                "ray": {"workers": {"enabled": True}},
                "mongodb": {"externalUrl": "mongodb://db/"},
            },
            "training.persistence.accessMode=ReadWriteMany",
        ),
        ({"ray": {"autoscaling": {"enabled": True}}}, "set ray.workers.enabled=true"),
        (
            {
                "ray": {"workers": {"enabled": True, "minReplicas": 9}},
                "mongodb": {"externalUrl": "mongodb://db/"},
                "training": {"persistence": {"accessMode": "ReadWriteMany"}},
            },
            r"ray.workers.minReplicas \(9\) is above ray.workers.maxReplicas \(4\)",
        ),
        ({"ingress": {"enabled": True}}, "needs ingress.host"),
        (
            {"serviceMonitor": {"apiKeySecret": "s"}, "auth": {"allowedHosts": ["a"]}},
            "leave one of them out",
        ),
    ],
)
def test_values_that_do_not_fit_together_fail_with_what_to_do(
    render: Render, values: Object, message: str
) -> None:
    with pytest.raises(helm_python.HelmRenderError, match=message):
        render(values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mongo": {}}, "mongo"),
        ({"mongodb": {"auth": {"pasword": "x"}}}, "pasword"),
        ({"ray": {"head": {"replicas": 2}}}, "replicas"),
        ({"networkPolicy": {"from": [{"podSelektor": {}}]}}, "podSelektor"),
        ({"networkPolicy": {"from": []}}, "from"),
        ({"training": {"maxConcurrent": 0}}, "maxConcurrent"),
        ({"training": {"persistence": {"accessMode": "ReadWriteOncePod"}}}, "accessMode"),
        ({"wandb": {"mode": "on"}}, "mode"),
        ({"mongodb": {"externalUrl": "http://db"}}, "externalUrl"),
    ],
)
def test_unknown_keys_and_wrong_values_are_refused(
    chart: helm_python.Chart, render: Render, values: Object, message: str
) -> None:
    with pytest.raises(helm_python.HelmValuesError, match=message):
        chart.validate_schema(values)
    with pytest.raises(helm_python.HelmError, match=message):
        render(values)


def leaves(schema: Object, prefix: str = "") -> dict[str, Object]:
    """Map the path of each value to its schema."""
    found: dict[str, Object] = {}
    for key, each in schema["properties"].items():
        if "properties" in each:
            found |= leaves(each, f"{prefix}{key}.")
        elif prefix + key != "global":
            found[prefix + key] = each
    return found


def lookup(values: Object, path: str) -> object:
    for key in path.split("."):
        values = values[key]
    return values


def test_each_value_has_a_description_and_a_default(chart: helm_python.Chart) -> None:
    def groups(schema: Object) -> Iterator[Object]:
        for each in schema.get("properties", {}).values():
            yield each
            yield from groups(each)

    assert chart.schema is not None
    assert all(each["description"] for each in groups(chart.schema))
    for path in leaves(chart.schema):
        lookup(chart.values, path)


def test_the_readme_lists_each_value_with_its_default(chart: helm_python.Chart) -> None:
    assert chart.schema is not None
    [readme] = [each["data"] for each in chart.files if each["name"] == "README.md"]
    rows = {line for line in readme.splitlines() if line.startswith("| `")}
    assert rows == {
        f"| `{path}` | `{json.dumps(lookup(chart.values, path))}` | {each['description']} |"
        for path, each in leaves(chart.schema).items()
    }


def test_the_values_in_the_deployment_guide_can_be_installed_together(render: Render) -> None:
    guide = (Path(__file__).parents[2] / "docs" / "deployment.md").read_text()
    blocks = [textwrap.dedent(each) for each in re.findall(r"(?:^ {4,}.*\n)+", guide, re.MULTILINE)]
    groups = re.compile(r"^(image|mongodb|ray|training|networkPolicy):$", re.MULTILINE)
    values: Object = {}
    for block in filter(groups.match, blocks):
        values |= yaml.safe_load(block)
    assert set(values) == {"image", "mongodb", "ray", "training", "networkPolicy"}
    kinds = {resource["kind"] for resource in render(values)}
    assert {"RayService", "StatefulSet", "NetworkPolicy"} <= kinds
