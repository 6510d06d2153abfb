"""The OpenAPI document tells the truth: schemathesis asks what it allows and what it forbids."""

import os
from collections.abc import Callable
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from lwmecps_gym.platform.models import ModelVersion
from lwmecps_gym.serve_app.reference import render_page
from lwmecps_gym.serve_app.routes import make_routes

from ..pages import page_of

EXAMPLES = int(os.environ.get("LWMECPS_TEST_EXAMPLES", "3"))
"""Requests for each route, allowed ones and forbidden ones."""

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
WITHOUT_INPUT = ("GET /healthz", "GET /readyz", "GET /metrics")
"""They take nothing that could be wrong, so there is nothing to generate."""

TRAINING = {"name": "a training", "model_type": "ppo", "total_episodes": 100}


@schemathesis.serializer("application/x-tar")
def as_bytes(ctx: Any, value: Any) -> bytes:
    """Send whatever is generated for an archive."""
    return value if isinstance(value, bytes) else repr(value).encode()


def ask(operation: APIOperation, mode: GenerationMode, known: dict[str, Any]) -> None:
    """Send generated requests; allowed ones go to what exists."""

    @seed(20261122)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case: schemathesis.Case) -> None:
        if mode is GenerationMode.POSITIVE:
            for name in case.path_parameters:
                case.path_parameters[name] = known.get(name, case.path_parameters[name])
        case.call_and_validate(checks=CHECKS)

    try:
        send()
    except Exception as error:
        error.add_note(f"at {operation.label}")
        raise


def test_the_page_of_routes_is_the_one_that_is_made() -> None:
    made = render_page(make_routes().openapi())
    assert page_of("api-reference.md") == made, "lwmecps openapi --page > docs/api-reference.md"


def test_the_examples_of_bodies_are_taken(
    app: FastAPI, add_version: Callable[[], ModelVersion]
) -> None:
    add_version()
    client = TestClient(app)
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    for path, name, status in (
        ("/api/v1/training", "TrainingRequest", 201),
        ("/api/v1/models/untrained/deploy", "DeployRequest", 200),
        ("/api/v1/models/untrained/predict", "DecisionRequest", 200),
    ):
        [example] = schemas[name]["examples"]
        assert client.post(path, json=example).status_code == status, name


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.name.lower())
def test_every_answer_is_a_documented_one(
    app: FastAPI,
    add_version: Callable[[], ModelVersion],
    mode: GenerationMode,
) -> None:
    client = TestClient(app)
    task_id = ""
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) > 20
    version = 1
    for operation in operations:
        if mode is GenerationMode.NEGATIVE and operation.label in WITHOUT_INPUT:
            continue
        if "{task_id}" in operation.path:  # the events of one that has not ended would never end
            task_id = client.post("/api/v1/training", json=TRAINING).json()["id"]
            assert client.post(f"/api/v1/training/{task_id}/cancel").status_code == 200
        if "{model_id}" in operation.path:  # the one before may have deleted it
            version = add_version().version
            client.post("/api/v1/models/untrained/deploy", json={"version": version})
        known = {"model_id": "untrained", "task_id": task_id, "version": version, "name": "tiny"}
        ask(operation, mode, known)
