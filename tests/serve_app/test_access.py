"""Who may call what: keys, scopes, hosts, rates; and the audit of it."""

import re
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from lwmecps_gym.platform.access import Scope, issue_key
from lwmecps_gym.platform.database import Store
from lwmecps_gym.platform.models import now
from lwmecps_gym.serve_app.access import REMEMBER_S, is_public, needed_scope
from lwmecps_gym.serve_app.route_names import api_routes

TRAINING = "/api/v1/training"
GOOD = {"name": "a training", "model_type": "ppo", "total_episodes": 100}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
CHANGES = ("POST", "PUT", "PATCH", "DELETE")

MakeApp = Callable[..., FastAPI]


@pytest.fixture
def bearer(store: Store) -> Callable[..., dict[str, str]]:
    """Make a key of a scope, as the header that shows it."""

    def make(scope: Scope, name: str = "ci", lifetime: timedelta | None = None) -> dict[str, str]:
        key, text = issue_key(name, scope, lifetime)
        store.keys.add(key)
        return {"Authorization": f"Bearer {text}"}

    return make


Bearer = Callable[..., dict[str, str]]


def request(client: TestClient, path: str, method: str, **options: Any) -> Any:
    """Call a route; its parameters name nothing that exists."""
    url = re.sub(r"\{[^}]+\}", "nothing", path)
    body = {"json": {}} if method in CHANGES else {}
    return client.request(method, url, **body, **options)


def test_every_route_asks_for_a_key_and_for_its_scope(
    app: FastAPI, client: TestClient, bearer: Bearer
) -> None:
    keys = {scope: bearer(scope) for scope in Scope}
    guarded = [(path, endpoint, methods) for path, methods, endpoint in api_routes(app)
               if not is_public(path) and not path.startswith("/docs")]  # fmt: skip
    assert len(guarded) > 10
    for path, endpoint, taken in guarded:
        for method in METHODS:
            answer = request(client, path, method)
            assert answer.status_code == 401, (method, path)
            assert answer.headers["www-authenticate"] == 'Bearer realm="lwmecps"'
        for method in taken:
            needed = needed_scope(endpoint, method)
            for scope, headers in keys.items():
                if path.endswith("/events") and scope.includes(needed):
                    continue
                answer = request(client, path, method, headers=headers)
                if scope.includes(needed):
                    assert answer.status_code not in (401, 403), (method, path, scope)
                else:
                    assert answer.status_code == 403, (method, path, scope)
                    assert f'scope="{needed}"' in answer.headers["www-authenticate"]


def test_every_change_declares_a_scope(app: FastAPI) -> None:
    undeclared = [
        (method, path)
        for path, methods, endpoint in api_routes(app)
        for method in methods
        if method in CHANGES and not hasattr(endpoint, "needed_scope")
    ]
    assert undeclared == []


def test_probes_and_the_documentation_need_no_key(client: TestClient, bearer: Bearer) -> None:
    bearer(Scope.VIEWER)
    for path in ("/healthz", "/readyz", "/docs", "/openapi.json", "/docs/assets/swagger-ui.css"):
        assert client.get(path).status_code == 200, path


def test_anyone_may_call_until_there_is_a_key(client: TestClient, bearer: Bearer) -> None:
    assert client.get(TRAINING).status_code == 200
    headers = bearer(Scope.VIEWER)
    time.sleep(REMEMBER_S)
    assert client.get(TRAINING).status_code == 401
    assert client.get(TRAINING, headers=headers).status_code == 200


def test_nobody_comes_in_without_a_key_where_keys_are_required(make_app: MakeApp) -> None:
    with_keys = TestClient(make_app(auth="required"))
    assert with_keys.get(TRAINING).status_code == 401


def test_the_admins_key_of_the_settings_is_one(make_app: MakeApp) -> None:
    secret = "an-admin-key-of-more-than-32-letters"
    client = TestClient(make_app(admin_key=secret))
    assert client.get(TRAINING).status_code == 401
    headers = {"Authorization": f"Bearer {secret}"}
    assert client.get("/api/v1/audit", headers=headers).status_code == 200
    wrong = {"Authorization": f"Bearer {secret[:-1]}"}
    assert client.get("/api/v1/audit", headers=wrong).status_code == 401


@pytest.mark.parametrize(
    "authorization",
    ["Bearer", "Bearer x", "Basic YTpi", "bearer lwmecps_" + "0" * 20 + "_" + "A" * 43, "\xff"],
)
def test_what_is_no_key_is_refused(client: TestClient, bearer: Bearer, authorization: str) -> None:
    bearer(Scope.ADMIN)
    answer = client.get(TRAINING, headers={"Authorization": authorization.encode("latin-1")})
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]


def test_a_changed_key_is_none(client: TestClient, bearer: Bearer) -> None:
    text = bearer(Scope.ADMIN)["Authorization"]
    changed = text[:-1] + ("A" if text[-1] != "A" else "B")
    assert client.get(TRAINING, headers={"Authorization": changed}).status_code == 401


def test_an_expired_and_a_revoked_key_are_refused(
    client: TestClient, store: Store, bearer: Bearer
) -> None:
    expired = bearer(Scope.ADMIN, lifetime=timedelta(0))
    assert "expired" in client.get(TRAINING, headers=expired).json()["detail"]
    revoked = bearer(Scope.ADMIN)
    store.keys.revoke(store.keys.list()[-1].id, now())
    assert client.get(TRAINING, headers=revoked).status_code == 401


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", ""]
)
def test_a_foreign_host_is_refused_where_no_key_protects(make_app: MakeApp, host: str) -> None:
    client = TestClient(make_app(allowed_hosts=()))
    answer = client.get(TRAINING, headers={"Host": host})
    assert answer.status_code == 421
    assert "LWMECPS_ALLOWED_HOSTS" in answer.json()["detail"]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8000", "[::1]:8000", "LocalHost:1"])
def test_this_machines_names_are_answered(make_app: MakeApp, host: str) -> None:
    client = TestClient(make_app(allowed_hosts=()))
    assert client.get(TRAINING, headers={"Host": host}).status_code == 200


def test_a_page_from_elsewhere_may_not_read_answers_unless_its_origin_is_set(
    make_app: MakeApp,
) -> None:
    asked = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    closed, opened = (
        TestClient(make_app(auth="required", **cors)).options(TRAINING, headers=asked)
        for cors in ({}, {"cors_origins": ("https://app.example",)})
    )
    assert "access-control-allow-origin" not in closed.headers
    assert opened.headers["access-control-allow-origin"] == "https://app.example"


def test_one_who_asks_too_often_waits_and_others_do_not(make_app: MakeApp, bearer: Bearer) -> None:
    client = TestClient(make_app(requests_per_s=2))
    eager, calm = bearer(Scope.VIEWER), bearer(Scope.VIEWER)
    assert client.get(TRAINING, headers=calm).status_code == 200
    answers = [client.get(TRAINING, headers=eager) for _ in range(20)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert answers[0].status_code == 200 and refused
    assert int(refused[0].headers["retry-after"]) >= 1
    assert client.get(TRAINING, headers=calm).status_code == 200


def test_one_who_was_let_in_is_not_kept_out_by_others_at_the_same_address(
    make_app: MakeApp, bearer: Bearer
) -> None:
    client = TestClient(make_app(requests_per_s=2))
    calm = bearer(Scope.VIEWER)
    assert client.get(TRAINING, headers=calm).status_code == 200
    time.sleep(REMEMBER_S)
    others = [client.get(TRAINING).status_code for _ in range(20)]
    assert others[0] == 401 and others[-1] == 429
    assert client.get(TRAINING, headers=calm).status_code == 200


def test_answers_tell_browsers_to_guess_frame_and_keep_nothing(client: TestClient) -> None:
    for path in (TRAINING, "/nowhere", "/docs"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"


def test_the_documentation_runs_no_script_but_its_own(client: TestClient) -> None:
    policy = client.get("/docs").headers["content-security-policy"]
    assert re.search(r"script-src 'self' 'sha256-[^']+'; ", policy)


def test_an_error_that_nobody_expected_has_the_headers_too(app: FastAPI) -> None:
    @app.get("/broken")
    async def broken() -> None:
        raise ZeroDivisionError

    answer = TestClient(app).get("/broken")
    assert (answer.status_code, answer.headers["x-content-type-options"]) == (500, "nosniff")
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


def test_the_audit_has_who_changed_what_and_how_it_ended(
    client: TestClient, bearer: Bearer
) -> None:
    trainer, admin = bearer(Scope.TRAINER, "nightly"), bearer(Scope.ADMIN, "boss")
    trainer["X-Request-ID"] = "nightly-0001"
    created = client.post(TRAINING, json=GOOD, headers=trainer).json()["id"]
    client.post(TRAINING, json={}, headers=trainer)
    client.post("/api/v1/models/m/deploy", headers=trainer)
    client.post("/api/v1/models/m/deploy", headers=admin)
    client.post("/api/v1/models/m/predict", json={}, headers=admin)
    lines = client.get("/api/v1/audit", headers=admin).json()["items"]
    assert [(line["who"], line["route"], line["object_id"], line["status"]) for line in lines] == [
        ("boss", "/api/v1/models/{model_id}/deploy", "m", 404),
        ("nightly", "/api/v1/models/{model_id}/deploy", "m", 403),
        ("nightly", TRAINING, None, 422),
        ("nightly", TRAINING, created, 201),
    ]
    assert {line["request_id"] for line in lines[1:]} == {"nightly-0001"}
    one = client.get("/api/v1/audit?who=boss&limit=1", headers=admin).json()
    assert ([line["who"] for line in one["items"]], one["next_cursor"]) == (["boss"], None)


@pytest.mark.parametrize("query", ["cursor=nonsense", "sort=who", "limit=0"])
def test_a_wrong_query_of_the_audit_is_refused_by_name(client: TestClient, query: str) -> None:
    answer = client.get(f"/api/v1/audit?{query}")
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [query.partition("=")[0]]


@pytest.mark.parametrize(
    ("given", "kept"), [("build-4711.a", True), ("x", False), ("a b" * 9, False), ("y" * 65, False)]
)
def test_a_sane_request_id_is_kept_and_another_is_made(
    client: TestClient, given: str, kept: bool
) -> None:
    answer = client.get("/nowhere", headers={"X-Request-ID": given})
    assert (answer.headers["x-request-id"] == given) is kept
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
