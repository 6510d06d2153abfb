"""Manifests and chart hold what the API describes, and no field that its server would drop."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

Object = dict[str, Any]
Errors = Callable[[Object], list[str]]


def ray_objects(resources: list[Object]) -> list[Object]:
    found = [resource for resource in resources if resource["apiVersion"].startswith("ray.io/")]
    assert found
    return found


def test_manifests_are_valid(manifest: list[Object], ray_errors: Errors) -> None:
    for resource in ray_objects(manifest):
        assert ray_errors(resource) == []


def test_rendered_chart_is_valid(objects: list[Object], ray_errors: Errors) -> None:
    for resource in ray_objects(objects):
        assert ray_errors(resource) == []


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("spec.upgradeStrategie", {}, "'upgradeStrategie' was unexpected"),
        (
            "spec.rayClusterConfig.headGroupSpec.template.spec.containers.0.imagePulPolicy",
            "Always",
            "'imagePulPolicy' was unexpected",
        ),
        (
            "spec.rayClusterConfig.headGroupSpec.template.spec.volumes.0.emptyDir",
            {"sizLimit": "1Gi"},
            "'sizLimit' was unexpected",
        ),
        ("spec.rayClusterConfig.headGroupSpec.rayStartParams.num-cpus", 4, "is not of type"),
        ("spec.rayClusterConfig.authOptions.mode", "password", "is not one of"),
        ("metadata.name", "9-is-no-letter", "does not match"),
    ],
)
def test_a_wrong_field_is_found(
    render: Callable[[Object], list[Object]],
    ray_errors: Errors,
    path: str,
    value: object,
    message: str,
) -> None:
    [service] = copy.deepcopy(ray_objects(render({})))
    *parents, last = path.split(".")
    place: Any = service
    for key in parents:
        place = place[int(key) if key.isdigit() else key]
    place[last] = value

    [error] = ray_errors(service)
    assert message in error


def test_a_missing_required_field_is_found(
    render: Callable[[Object], list[Object]], ray_errors: Errors
) -> None:
    [service] = copy.deepcopy(ray_objects(render({})))
    del service["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]
    [error] = ray_errors(service)
    assert "'template' is a required property" in error


def core_objects(resources: list[Object]) -> list[Object]:
    groups = ("ray.io/", "monitoring.coreos.com/")
    return [resource for resource in resources if not resource["apiVersion"].startswith(groups)]


def test_other_objects_of_the_manifests_have_no_unknown_field(
    manifest: list[Object], core_errors: Errors
) -> None:
    assert [found for each in core_objects(manifest) if (found := core_errors(each))] == []


def test_other_objects_of_the_chart_have_no_unknown_field(
    objects: list[Object], core_errors: Errors
) -> None:
    assert [found for each in core_objects(objects) if (found := core_errors(each))] == []


def test_an_unknown_field_of_another_object_is_found(core_errors: Errors) -> None:
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "a"},
        "spec": {"podSelector": {}, "ingres": []},
    }
    assert core_errors(policy) == ["$.spec.ingres"]
