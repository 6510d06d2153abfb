"""The stand-in for a cluster answers as a recorded kube-apiserver 1.36 did."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import httpx
import pytest

from ..kubernetes_server import KubernetesServer

RECORDING = (
    Path(__file__).parents[3] / "shared" / "data" / "kubernetes" / "api-server-1.36-exchanges.json"
)
EXCHANGES = json.loads(RECORDING.read_text()) if RECORDING.exists() else []
TOKENS = {"read as a user without rights": "viewer", "no token": None, "wrong token": "wrong"}

pytestmark = pytest.mark.skipif(
    not EXCHANGES, reason=f"no recording of a kube-apiserver at {RECORDING}"
)


def shape(value: Any, path: str = "") -> set[str]:
    """All paths to keys; the bookkeeping of field managers is not part of the stand-in."""
    if isinstance(value, dict):
        paths = [shape(value[key], f"{path}/{key}") for key in value if key != "managedFields"]
    elif isinstance(value, list):
        paths = [shape(item, f"{path}[]") for item in value]
    else:
        paths = []
    return {path}.union(*paths)


def life_of_pods(events: list[dict[str, Any]]) -> list[list[Any]]:
    """What a watch told of each pod, whatever its name: the order between pods is chance."""
    lives = defaultdict(list)
    for event in events:
        pod = event["object"]
        bound = "nodeName" in pod["spec"]
        state = (event["type"], pod["status"]["phase"], bound, sorted(shape(pod)))
        lives[pod["metadata"]["name"]].append(state)
    return sorted(lives.values())


@pytest.fixture(scope="module")
def answers() -> dict[str, httpx.Response]:
    """The answer of the stand-in to each recorded request, in the recorded order."""
    found: dict[str, httpx.Response] = {}
    with KubernetesServer() as cluster, httpx.Client(base_url=cluster.url) as http:
        for number in range(1, 5):
            cluster.add_node(f"edge-{number}", cpu=4, memory_mib=8192)
        for exchange in EXCHANGES:
            name, request = exchange["name"], exchange["request"]
            cluster.settle()
            headers = {"User-Agent": "python-requests/2.32", "Authorization": "Bearer admin"}
            if name in TOKENS:
                headers["Authorization"] = f"Bearer {TOKENS[name]}" if TOKENS[name] else ""
            if request.get("content_type"):
                headers["Content-Type"] = request["content_type"]
            path, params = request["path"], dict(request["params"] or {})
            if path.endswith("/eviction"):
                pods = found["list pods of the namespace"].json()["items"]
                path = path.replace(path.split("/")[-2], pods[0]["metadata"]["name"])
            if "watch" in params:  # the recorded one began before there was any pod
                params |= {"resourceVersion": "1", "timeoutSeconds": "1"}
            body = json.dumps(request["body"]) if request.get("body") else None
            found[name] = http.request(
                request["method"], path, params=params, headers=headers, content=body
            )
    return found


@pytest.mark.parametrize(
    "exchange", [e for e in EXCHANGES if "watch" not in e["name"]], ids=lambda e: str(e["name"])
)
def test_an_answer_has_the_recorded_status_kind_reason_and_keys(
    exchange: dict[str, Any], answers: dict[str, httpx.Response]
) -> None:
    answer, recorded = answers[exchange["name"]], exchange["response"]
    assert answer.status_code == recorded["status"]
    assert answer.headers["Content-Type"] == recorded["headers"]["Content-Type"]
    if answer.headers["Content-Type"].startswith("text/plain"):
        assert answer.text == recorded["body"]
        return
    body = answer.json()
    for key in ("kind", "apiVersion", "reason", "code"):
        assert body.get(key) == recorded["body"].get(key)
    assert shape(body) == shape(recorded["body"])
    if body["kind"] == "Status":
        assert body == recorded["body"]


@pytest.mark.parametrize(
    "exchange", [e for e in EXCHANGES if "watch" in e["name"]], ids=lambda e: str(e["name"])
)
def test_a_watch_tells_the_recorded_life_of_each_pod(
    exchange: dict[str, Any], answers: dict[str, httpx.Response]
) -> None:
    recorded = exchange["response"].get("events") or [
        json.loads(line) for line in exchange["response"]["body"].splitlines()
    ]
    events = [json.loads(line) for line in answers[exchange["name"]].text.splitlines()]
    assert life_of_pods(events) == life_of_pods(recorded)
