"""Policies at work in one process: many at once, batches, counts that last, drift."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from lwmecps_gym.algorithms.decision_request import DecisionRequest
from lwmecps_gym.platform.artifacts import ArtifactStore
from lwmecps_gym.platform.database import Store
from lwmecps_gym.platform.errors import NotFoundError, StoreUnavailableError
from lwmecps_gym.platform.models import ModelVersion
from lwmecps_gym.serve_app import policy_host
from lwmecps_gym.serve_app.policy_host import PolicyHost

AddVersion = Callable[[], ModelVersion]
MODEL = "/api/v1/models/untrained"
STATE = {"placement": {"video": {"bs_1": 1}}, "demand_rps": {"video": {"bs_1": 5}}}
REQUEST = DecisionRequest.model_validate({"state": STATE})


class SlowArtifacts(ArtifactStore):
    """Reads one artifact only when it is told to."""

    def __init__(self, root: Path, slow: str) -> None:
        super().__init__(root)
        self.slow, self.go, self.reads = slow, threading.Event(), 0

    def load(self, digest: str) -> Any:
        if digest == self.slow:
            self.reads += 1
            assert self.go.wait(20)
        return super().load(digest)


def test_a_slow_load_holds_up_nobody_else_and_is_done_once(
    tmp_path: Path, store: Store, add_version: AddVersion
) -> None:
    _, slow = add_version(), add_version()
    artifacts = SlowArtifacts(tmp_path / "artifacts", slow.digest)
    host = PolicyHost(store, artifacts)

    async def ask() -> None:
        await host.load("untrained", 1)
        waiting = [asyncio.create_task(host.predict("untrained", 2, REQUEST)) for _ in range(5)]
        for _ in range(3):
            await asyncio.wait_for(host.predict("untrained", 1, REQUEST), 10)
        waiting[0].cancel()  # a client that leaves does not end what others wait for
        assert not any(task.done() for task in waiting[1:])
        artifacts.go.set()
        await asyncio.gather(*waiting[1:])

    asyncio.run(ask())
    assert artifacts.reads == 1


def test_a_load_that_failed_is_tried_again(
    tmp_path: Path, store: Store, add_version: AddVersion
) -> None:
    digest = add_version().digest
    host = PolicyHost(store, ArtifactStore(tmp_path / "artifacts"))

    async def ask() -> None:
        folder = tmp_path / "artifacts" / digest
        folder.rename(tmp_path / "elsewhere")
        with pytest.raises(NotFoundError):
            await host.predict("untrained", 1, REQUEST)
        (tmp_path / "elsewhere").rename(folder)
        await host.predict("untrained", 1, REQUEST)

    asyncio.run(ask())


def test_the_version_that_was_not_asked_for_longest_leaves_the_memory(
    tmp_path: Path, store: Store, add_version: AddVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy_host, "MAX_LOADED", 2)
    versions = [add_version() for _ in range(3)]
    artifacts = SlowArtifacts(tmp_path / "artifacts", versions[1].digest)
    artifacts.go.set()
    host = PolicyHost(store, artifacts)

    async def ask() -> None:
        for version in (1, 2, 1, 3, 1, 2):
            await host.predict("untrained", version, REQUEST)

    asyncio.run(ask())
    assert artifacts.reads == 2


def test_counts_outlive_the_process_and_an_outage_of_the_store(
    tmp_path: Path, store: Store, add_version: AddVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_version()
    artifacts = ArtifactStore(tmp_path / "artifacts")

    async def serve(host: PolicyHost, count: int) -> None:
        for _ in range(count):
            await host.predict("untrained", 1, REQUEST)

    async def first() -> None:
        host = PolicyHost(store, artifacts)
        await serve(host, 3)
        with monkeypatch.context() as outage:

            def refuse(*args: object) -> None:
                raise StoreUnavailableError("away")

            outage.setattr(store.serving, "add", refuse)
            await host.save_counts()
        await serve(host, 2)
        keeper = asyncio.create_task(host.keep_counts())
        await asyncio.sleep(0)
        keeper.cancel()
        with pytest.raises(asyncio.CancelledError):
            await keeper

    async def second() -> None:
        host = PolicyHost(store, artifacts)
        await serve(host, 4)
        statistics = await host.statistics("untrained", 1)
        assert (statistics.requests, sum(statistics.actions.values())) == (9, 9)
        assert await host.total_requests() == 9

    asyncio.run(first())
    asyncio.run(second())


def test_a_batch_is_answered_in_order_and_counted_once(
    client: TestClient, add_version: AddVersion
) -> None:
    add_version()
    client.post(f"{MODEL}/deploy")
    answer = client.post(f"{MODEL}/predict", json={"states": [STATE, {}, STATE]}).json()
    assert len(answer["decisions"]) == 3
    assert answer["decisions"][0] | {"decision_ms": 0} == answer["decisions"][2] | {
        "decision_ms": 0
    }
    assert all(decision["effect"] and decision["description"] for decision in answer["decisions"])
    refusal = client.post(f"{MODEL}/predict", json={"states": [STATE] * 1025})
    assert refusal.status_code == 422
    serving = client.get(f"{MODEL}/metrics").json()["serving"]
    assert (serving["requests"], serving["decisions"], serving["drift"]) == (1, 3, None)


def test_drift_is_told_from_a_hundred_decisions_on(
    client: TestClient, add_profiled_version: AddVersion
) -> None:
    add_profiled_version()
    client.post(f"{MODEL}/deploy")
    flood = {"placement": {}, "demand_rps": {"video": {"bs_1": 50_000}}}
    client.post(f"{MODEL}/predict", json={"states": [flood] * 60})
    assert client.get(f"{MODEL}/metrics").json()["serving"]["drift"] is None
    client.post(f"{MODEL}/predict", json={"states": [flood] * 60})
    drift = client.get(f"{MODEL}/metrics").json()["serving"]["drift"]
    assert drift["decisions"] == 120
    assert drift["stability_index"]["demand"] > 0.25
    assert drift["stability_index"]["up"] < 0.1
    found = list(drift["stability_index"].values())
    assert found == sorted(found, reverse=True)


def test_metrics_are_told_of_any_version(client: TestClient, add_version: AddVersion) -> None:
    add_version(), add_version()
    client.post(f"{MODEL}/deploy", json={"version": 1})
    client.post(f"{MODEL}/predict", json={"state": STATE})
    requests = {
        version: client.get(f"{MODEL}/metrics", params={"version": version}).json()["serving"]
        for version in ("1", "latest")
    }
    assert (requests["1"]["requests"], requests["latest"]["requests"]) == (1, 0)
