"""Manifests and chart speak the program's language: settings, Serve application, command line."""

import shlex
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from ray._common.utils import import_attr
from ray.serve._private.build_app import build_app
from ray.serve.schema import ServeDeploySchema

from lwmecps_gym.algorithms.ray_session import SERVE_DEFAULTS
from lwmecps_gym.cli import app
from lwmecps_gym.platform.config import Settings
from lwmecps_gym.serve_app.app import build

Object = dict[str, Any]
Render = Callable[[Object], list[Object]]
Groups = Callable[[list[Object]], list[Object]]

REPOSITORY = Path(__file__).parents[2]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
[RAY_VERSION] = [
    dependency.partition("==")[2]
    for dependency in PROJECT["dependencies"]
    if dependency.startswith("ray[")
]


def known_settings() -> set[str]:
    prefix = Settings.model_config["env_prefix"]
    return {
        str(field.validation_alias or prefix + name).upper()
        for name, field in Settings.model_fields.items()
    }


def environment(groups: list[Object]) -> dict[str, Object]:
    containers = [each for group in groups for each in group["template"]["spec"]["containers"]]
    return {each["name"]: each for container in containers for each in container["env"]}


def test_manifests_set_only_what_the_settings_know(
    manifest: list[Object], ray_groups: Groups
) -> None:
    names = set(environment(ray_groups(manifest)))
    assert names
    assert names <= known_settings() | SERVE_DEFAULTS.keys()


def test_the_chart_sets_only_what_the_settings_know(
    objects: list[Object], ray_groups: Groups
) -> None:
    names = set(environment(ray_groups(objects)))
    assert names
    assert names <= known_settings() | SERVE_DEFAULTS.keys()


def test_serve_is_set_up_on_every_pod_as_on_one_machine(render: Render, ray_groups: Groups) -> None:
    workers = {
        "mongodb": {"enabled": True, "auth": {"password": "secret"}},
        "training": {"persistence": {"accessMode": "ReadWriteMany"}},
        "ray": {"workers": {"enabled": True}},
    }
    groups = ray_groups(render(workers)) + ray_groups(plain("rayservice.yaml"))
    assert len(groups) == 3
    # How long a replica drains is a matter of how many nodes there are.
    wanted = SERVE_DEFAULTS.items() - {("RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S", "0.5")}
    for group in groups:
        given = {name: each.get("value") for name, each in environment([group]).items()}
        assert wanted == {(n, v) for n, v in given.items() if n.startswith("RAY_SERVE_")}


def test_the_plain_values_of_the_chart_are_valid_settings(
    objects: list[Object], ray_groups: Groups, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, each in environment(ray_groups(objects)).items():
        if "value" in each:
            monkeypatch.setenv(name, each["value"])
    settings = Settings()
    assert str(settings.data_dir) == "/var/lib/lwmecps"
    assert settings.max_concurrent_trainings == 2


@pytest.mark.parametrize(("given", "mode"), [({}, "required"), ({"auth": "off"}, "off")])
def test_a_cluster_serves_no_api_without_keys_unless_told_to(given: Object, mode: str) -> None:
    [api] = [
        deployment
        for deployment in build_app(build(given), name="lwmecps").deployments
        if deployment.name == "Api"
    ]
    assert api.init_args[0].auth == mode


def test_a_first_key_comes_from_a_secret_alone(render: Render, ray_groups: Groups) -> None:
    [head] = ray_groups(render({"auth": {"existingSecret": "my-api", "allowedHosts": ["a", "b"]}}))
    given = environment([head])
    assert given["LWMECPS_ADMIN_KEY"]["valueFrom"]["secretKeyRef"] == {
        "name": "my-api",
        "key": "admin-key",
    }
    assert given["LWMECPS_AUTH"]["value"] == "required"
    assert given["LWMECPS_ALLOWED_HOSTS"]["value"] == "a,b"


def test_the_data_folder_is_on_the_volume(objects: list[Object], ray_groups: Groups) -> None:
    for group in ray_groups(objects):
        [container] = group["template"]["spec"]["containers"]
        [mount] = container["volumeMounts"]
        assert mount["mountPath"] == environment([group])["LWMECPS_DATA_DIR"]["value"]
        assert mount["name"] in [each["name"] for each in group["template"]["spec"]["volumes"]]


def ray_services(resources: list[Object]) -> list[Object]:
    return [resource for resource in resources if resource["kind"] == "RayService"]


def plain(name: str) -> list[Object]:
    return list(yaml.safe_load_all((REPOSITORY / "kuberay" / name).read_text()))


@pytest.fixture
def serve_configs(render: Render) -> list[ServeDeploySchema]:
    """The Serve configurations of the chart and of the manifest, read as Ray reads them."""
    services = ray_services(render({"serve": {"numReplicas": 3}}) + plain("rayservice.yaml"))
    texts = [service["spec"]["serveConfigV2"] for service in services]
    return [ServeDeploySchema.model_validate(yaml.safe_load(text)) for text in texts]


def test_ray_serve_accepts_the_configuration(serve_configs: list[ServeDeploySchema]) -> None:
    assert len(serve_configs) == 2
    for config in serve_configs:
        [application] = config.applications
        assert (application.name, application.route_prefix) == ("lwmecps", "/")
        assert (config.http_options.host, config.http_options.port) == ("0.0.0.0", 8000)


def test_only_the_api_is_replicated(serve_configs: list[ServeDeploySchema]) -> None:
    [application] = serve_configs[0].applications
    replicas = {each.name: each.num_replicas for each in application.deployments}
    assert replicas == {"Api": 3, "PolicyServer": 1}


def test_the_served_application_has_the_configured_deployments(
    serve_configs: list[ServeDeploySchema],
) -> None:
    for config in serve_configs:
        [application] = config.applications
        built = build_app(import_attr(application.import_path)({}), name=application.name)
        assert {each.name for each in built.deployments} == {
            each.name for each in application.deployments
        }


def test_the_command_line_takes_the_entrypoint_of_the_job() -> None:
    [job] = [resource for resource in plain("rayjob.yaml") if resource["kind"] == "RayJob"]
    program, command, *arguments = shlex.split(job["spec"]["entrypoint"])
    assert program in PROJECT["scripts"]
    cli: Any = typer.main.get_command(app)
    context = cli.commands[command].make_context(command, arguments)
    assert context.params["total_episodes"] == 600


def test_ray_has_the_version_that_the_project_pins(manifest: list[Object], render: Render) -> None:
    for resource in manifest + render({}):
        spec = resource.get("spec", {})
        if resource["kind"].startswith("Ray"):
            cluster = spec.get("rayClusterConfig") or spec.get("rayClusterSpec") or spec
            assert cluster["rayVersion"] == RAY_VERSION


def test_images_have_the_version_of_the_project(
    manifest: list[Object], objects: list[Object], ray_groups: Groups
) -> None:
    for group in ray_groups(manifest + objects):
        [container] = group["template"]["spec"]["containers"]
        assert container["image"] == f"lwmecps-gym:{PROJECT['version']}"


@pytest.mark.skipif(
    not (REPOSITORY / "requirements.lock").exists(),
    reason="requirements.lock, which pins what the image installs, is not there yet",
)
def test_what_the_image_copies_is_in_the_repository_and_in_its_build_context() -> None:
    dockerfile = (REPOSITORY / "kuberay" / "Dockerfile").read_text()
    ignore = (REPOSITORY / "kuberay" / "Dockerfile.dockerignore").read_text().splitlines()
    copied = [
        source
        for line in dockerfile.splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for source in line.split()[1:-1]
    ]
    assert copied
    for source in copied:
        assert (REPOSITORY / source).exists(), source
        assert f"!{source}" in ignore
