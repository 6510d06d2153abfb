"""The Helm chart, rendered by Helm's own library."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import helm_python
import yaml

Object = dict[str, Any]
Render = Callable[[Object], list[Object]]
Groups = Callable[[list[Object]], list[Object]]

CHART = Path(__file__).parents[2] / "kuberay" / "lwmecps-gym"
# What KubeRay adds to the labels of its pods.
KUBERAY_LABELS = {"app.kubernetes.io/name": "kuberay", "ray.io/node-type": "head"}


def of_kind(objects: list[Object], *kinds: str) -> list[Object]:
    return [resource for resource in objects if resource["kind"] in kinds]


def everything_on(render: Render) -> list[Object]:
    values: Object = {
        "mongodb": {"enabled": True, "auth": {"password": "secret"}},
        "training": {"persistence": {"accessMode": "ReadWriteMany"}},
        "ray": {"workers": {"enabled": True}, "autoscaling": {"enabled": True}},
        "ingress": {"enabled": True, "host": "lwmecps.example.org"},
        "podDisruptionBudget": {"enabled": True},
        "serviceMonitor": {"enabled": True},
    }
    return render(values)


def test_lints_without_a_warning(values: Object) -> None:
    report = helm_python.lint(CHART, values, strict=True, namespace="mec")
    assert report["errors"] == []
    assert [found for found in report["messages"] if found["severity"] > 1] == []


def test_every_object_carries_the_standard_labels(objects: list[Object]) -> None:
    for resource in objects:
        labels = resource["metadata"]["labels"]
        assert labels["app.kubernetes.io/name"] == "lwmecps-gym"
        assert labels["app.kubernetes.io/instance"] == "demo"
        assert labels["app.kubernetes.io/managed-by"] == "Helm"
        assert labels["app.kubernetes.io/version"] == "0.1.0"
        assert labels["helm.sh/chart"] == "lwmecps-gym-0.1.0"


def test_names_are_unique_and_begin_with_the_release(objects: list[Object]) -> None:
    names = [(resource["kind"], resource["metadata"]["name"]) for resource in objects]
    assert len(names) == len(set(names))
    assert all(name.startswith(("demo-lwmecps-gym", "mec-demo-lwmecps-gym")) for _, name in names)


def test_names_stay_within_what_kuberay_keeps(chart: helm_python.Chart) -> None:
    files = chart.render({}, name="a" * 53, namespace="mec")
    service = yaml.safe_load(files["lwmecps-gym/templates/rayservice.yaml"])
    assert len(service["metadata"]["name"]) <= 40


def matches(selector: Object, labels: Object) -> bool:
    return selector.items() <= labels.items()


def pods(objects: list[Object], ray_groups: Groups) -> Iterator[tuple[str, Object]]:
    """Yield each pod's part in the release and its labels in the cluster."""
    for group in ray_groups(objects):
        yield "ray", KUBERAY_LABELS | group["template"]["metadata"]["labels"]
    for resource in of_kind(objects, "StatefulSet"):
        yield "mongodb", resource["spec"]["template"]["metadata"]["labels"]
    for resource in of_kind(objects, "Pod"):
        yield "test", resource["metadata"]["labels"]


def test_each_selector_finds_its_pods_and_no_other(render: Render, ray_groups: Groups) -> None:
    objects = everything_on(render)
    labels = list(pods(objects, ray_groups))

    def found(selector: Object) -> set[str]:
        return {part for part, each in labels if matches(selector, each)}

    names: dict[tuple[str, str], set[str]] = {}
    for resource in objects:
        spec = resource.get("spec", {})
        selector = spec.get("podSelector") or spec.get("selector") or {}
        if resource["kind"] in ("Service", "NetworkPolicy", "StatefulSet", "PodDisruptionBudget"):
            key = resource["kind"], resource["metadata"]["name"].removeprefix("demo-lwmecps-gym")
            names[key] = found(selector.get("matchLabels", selector))
    assert names == {
        ("Service", "-mongodb"): {"mongodb"},
        ("Service", "-metrics"): {"ray"},
        ("StatefulSet", "-mongodb"): {"mongodb"},
        ("NetworkPolicy", ""): {"ray"},
        ("NetworkPolicy", "-mongodb"): {"mongodb"},
        ("PodDisruptionBudget", ""): {"ray"},
    }


def test_ray_pods_leave_their_name_label_to_kuberay(
    objects: list[Object], ray_groups: Groups
) -> None:
    for group in ray_groups(objects):
        assert "app.kubernetes.io/name" not in group["template"]["metadata"]["labels"]


def test_the_service_monitor_finds_the_metrics_service(render: Render) -> None:
    objects = everything_on(render)
    [monitor] = of_kind(objects, "ServiceMonitor")
    wanted = monitor["spec"]["selector"]["matchLabels"]
    [service] = [s for s in of_kind(objects, "Service") if matches(wanted, s["metadata"]["labels"])]
    [port] = service["spec"]["ports"]
    assert port["port"] == 8080
    assert monitor["spec"]["endpoints"][0]["port"] == port["name"]


def test_the_api_is_scraped_at_the_head_alone_with_a_key_from_a_secret(
    render: Render, ray_groups: Groups
) -> None:
    values = {"enabled": True, "apiKeySecret": "my-key"}
    policy = {"metricsFrom": [{"namespaceSelector": {}}]}
    objects = render({"serviceMonitor": values, "networkPolicy": policy})
    monitors = {each["metadata"]["name"]: each for each in of_kind(objects, "ServiceMonitor")}
    wanted = monitors["demo-lwmecps-gym-api"]["spec"]["selector"]["matchLabels"]
    [service] = [s for s in of_kind(objects, "Service") if matches(wanted, s["metadata"]["labels"])]
    [endpoint] = monitors["demo-lwmecps-gym-api"]["spec"]["endpoints"]
    assert (endpoint["path"], endpoint["port"]) == ("/metrics", service["spec"]["ports"][0]["name"])
    assert service["spec"]["ports"][0]["port"] == 8000
    assert endpoint["authorization"]["credentials"] == {"name": "my-key", "key": "api-key"}
    [head] = [labels for part, labels in pods(objects, ray_groups) if part == "ray"]
    assert matches(service["spec"]["selector"], head)
    assert not matches(service["spec"]["selector"], {**head, "ray.io/node-type": "worker"})
    [network] = of_kind(objects, "NetworkPolicy")
    assert [port["port"] for port in network["spec"]["ingress"][-1]["ports"]] == [8080, 8000]


def test_the_api_is_scraped_without_a_key_only_where_it_asks_for_none(render: Render) -> None:
    def monitors(**auth: Any) -> int:
        values = {"serviceMonitor": {"enabled": True}, "auth": auth}
        return len(of_kind(render(values), "ServiceMonitor"))

    assert monitors() == 1
    assert monitors(mode="off") == 2
    assert monitors(mode="off", allowedHosts=["proxy.example.org"]) == 1


def test_a_volume_for_one_node_keeps_all_heads_on_that_node(
    render: Render, ray_groups: Groups
) -> None:
    [head] = ray_groups(render({}))
    [rule] = head["template"]["spec"]["affinity"]["podAffinity"][
        "requiredDuringSchedulingIgnoredDuringExecution"
    ]
    assert matches(rule["labelSelector"]["matchLabels"], head["template"]["metadata"]["labels"])
    [shared] = ray_groups(render({"training": {"persistence": {"accessMode": "ReadWriteMany"}}}))
    assert "affinity" not in shared["template"]["spec"]


def test_the_ingress_and_the_test_reach_kuberays_serve_service(render: Render) -> None:
    objects = everything_on(render)
    [service] = of_kind(objects, "RayService")
    [ingress] = of_kind(objects, "Ingress")
    [pod] = of_kind(objects, "Pod")
    name = service["metadata"]["name"] + "-serve-svc"
    [path] = ingress["spec"]["rules"][0]["http"]["paths"]
    assert path["backend"]["service"]["name"] == name
    assert pod["spec"]["containers"][0]["command"][0] == "curl"
    assert pod["spec"]["containers"][0]["command"][-1] == f"http://{name}:8000/healthz"
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"


def test_by_default_only_the_namespace_and_the_operator_may_connect(render: Render) -> None:
    [policy] = of_kind(render({}), "NetworkPolicy")
    api, ray, operator = policy["spec"]["ingress"]
    assert policy["spec"]["policyTypes"] == ["Ingress"]
    assert api["from"] == [{"podSelector": {}}]
    assert [port["port"] for port in api["ports"]] == [8000]
    assert ray["from"] == [{"podSelector": policy["spec"]["podSelector"]}]
    assert [port["port"] for port in operator["ports"]] == [8265, 8000]


def test_by_default_nothing_is_open_outside_the_cluster(render: Render) -> None:
    objects = render({})
    [service] = of_kind(objects, "RayService")
    cluster = service["spec"]["rayClusterConfig"]
    assert service["spec"]["serveService"]["spec"]["type"] == "ClusterIP"
    assert cluster["headGroupSpec"]["serviceType"] == "ClusterIP"
    assert cluster["authOptions"] == {"mode": "token"}
    assert of_kind(objects, "Ingress") == []


def test_no_container_runs_as_root_or_gains_rights(
    objects: list[Object], ray_groups: Groups
) -> None:
    specs = [group["template"]["spec"] for group in ray_groups(objects)]
    specs += [each["spec"]["template"]["spec"] for each in of_kind(objects, "StatefulSet")]
    specs += [each["spec"] for each in of_kind(objects, "Pod")]
    for spec in specs:
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_the_roles_change_deployments_in_one_namespace_only(render: Render) -> None:
    objects = render({"kubernetes": {"namespace": "edge"}})
    [cluster_role] = of_kind(objects, "ClusterRole")
    [role] = of_kind(objects, "Role")
    assert {verb for rule in cluster_role["rules"] for verb in rule["verbs"]} == {
        "get",
        "list",
        "watch",
    }
    assert role["metadata"]["namespace"] == "edge"
    changing = {
        resource
        for rule in role["rules"]
        if set(rule["verbs"]) - {"get", "list", "watch"}
        for resource in rule["resources"]
    }
    assert changing == {"deployments", "deployments/scale"}
    for binding in of_kind(objects, "RoleBinding", "ClusterRoleBinding"):
        [subject] = binding["subjects"]
        assert subject == {
            "kind": "ServiceAccount",
            "name": "demo-lwmecps-gym",
            "namespace": "mec",
        }
