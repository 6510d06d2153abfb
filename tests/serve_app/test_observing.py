"""What is counted, timed and logged of requests, and how the platform's state is told."""

import json
import logging
from collections.abc import Callable, Iterator

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from lwmecps_gym.platform.config import Settings
from lwmecps_gym.platform.logs import set_up_logging
from lwmecps_gym.platform.models import ModelVersion

TRAINING = "/api/v1/training"
BODY = {"name": "a training", "model_type": "ppo", "total_episodes": 100}
STATE = {"state": {"placement": {"video": {"bs_1": 1}}}}

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scraped(client: TestClient) -> Samples:
    """Read the metrics as Prometheus does."""
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((name, frozenset(labels.items())))


def test_requests_are_counted_and_timed_by_the_template_of_their_route(
    client: TestClient,
) -> None:
    for task_id in ("a", "b", "c"):
        client.get(f"{TRAINING}/{task_id}")
    client.get("/no/such/route/1"), client.get("/no/such/route/2")
    samples = scraped(client)
    name, route = "lwmecps_http_requests_total", f"{TRAINING}/{{task_id}}"
    assert value(samples, name, method="GET", route=route, status="404") == 3
    assert value(samples, name, method="GET", route="unmatched", status="404") == 2
    timed = "lwmecps_http_request_duration_seconds_count"
    assert value(samples, timed, method="GET", route=route) == 3


def test_requests_that_the_gate_refused_are_counted_too(
    make_app: Callable[..., FastAPI],
) -> None:
    secret = "an-admin-key-of-more-than-32-letters"
    client = TestClient(make_app(admin_key=secret))
    client.get(TRAINING)
    client.headers["Authorization"] = f"Bearer {secret}"
    counted = value(
        scraped(client), "lwmecps_http_requests_total",
        method="GET", route="unmatched", status="401",
    )  # fmt: skip
    assert counted == 1


def test_the_platforms_state_is_told(
    client: TestClient, add_version: Callable[[], ModelVersion]
) -> None:
    client.post(TRAINING, json=BODY), client.post(TRAINING, json=BODY)
    add_version()
    client.post("/api/v1/models/untrained/deploy")
    client.post("/api/v1/models/untrained/predict", json=STATE)
    client.post("/api/v1/models/untrained/predict", json={"observation": [0.0]})
    samples = scraped(client)
    assert value(samples, "lwmecps_trainings", state="pending") == 2
    assert value(samples, "lwmecps_trainings", state="failed") == 0
    assert value(samples, "lwmecps_training_queue_length") == 2
    assert value(samples, "lwmecps_deployments") == 1
    assert value(samples, "lwmecps_predictions_total", model="untrained") == 2
    assert value(samples, "lwmecps_prediction_errors_total", model="untrained") == 1


@pytest.fixture
def own_logging() -> Iterator[None]:
    """Leave logging as it was."""
    logger = logging.getLogger("lwmecps_gym")
    before = logger.handlers, logger.level, logger.propagate
    yield
    logger.handlers, logger.level, logger.propagate = before


def test_a_request_is_one_line_of_json_with_its_id(
    own_logging: None, client: TestClient, capsys: pytest.CaptureFixture[str]
) -> None:
    set_up_logging(Settings(log_format="json"))
    client.get(f"{TRAINING}/nowhere", headers={"X-Request-ID": "nightly-0001"})
    client.get(TRAINING)
    [line] = [json.loads(each) for each in capsys.readouterr().err.splitlines()]
    assert (line["level"], line["request_id"]) == ("info", "nightly-0001")
    assert (line["route"], line["status"]) == (f"{TRAINING}/{{task_id}}", 404)
    assert line["duration_ms"] > 0


def test_an_error_is_one_line_of_json_with_its_traceback(
    own_logging: None, capsys: pytest.CaptureFixture[str]
) -> None:
    set_up_logging(Settings(log_format="json"))
    try:
        raise ZeroDivisionError("no")
    except ZeroDivisionError:
        logging.getLogger("lwmecps_gym.x").exception("it\nfailed", extra={"task_id": "t"})
    [line] = capsys.readouterr().err.splitlines()
    found = json.loads(line)
    assert (found["message"], found["task_id"]) == ("it\nfailed", "t")
    assert "ZeroDivisionError: no" in found["error"]
