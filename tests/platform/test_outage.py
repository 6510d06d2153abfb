"""The store goes away for a while: a training goes on, and nothing is lost or written twice."""

import resource
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from lwmecps_gym.platform import held_task
from lwmecps_gym.platform.checkpoints import Checkpoints, Reached
from lwmecps_gym.platform.database import Store
from lwmecps_gym.platform.errors import ConflictError, StoreUnavailableError
from lwmecps_gym.platform.models import TaskState, TrainingTask
from lwmecps_gym.platform.task_run import TaskRun
from lwmecps_gym.platform.training import TrainingService

from ..outages import BACK_ENDS, Outage, store_with_outage

pytestmark = pytest.mark.timeout(60)


class NoLauncher:
    def launch(self, task: TrainingTask) -> None:
        pass

    def capacity(self) -> int:
        return 1


@pytest.fixture(params=BACK_ENDS)
def store_and_outage(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[Store, Outage]]:
    with store_with_outage(request.param, tmp_path) as found:
        yield found


@pytest.fixture
def store(store_and_outage: tuple[Store, Outage]) -> Store:
    return store_and_outage[0]


@pytest.fixture
def outage(store_and_outage: tuple[Store, Outage]) -> Outage:
    return store_and_outage[1]


@pytest.fixture
def service(store: Store) -> TrainingService:
    return TrainingService(store, lambda _: a_task(), NoLauncher(), 1, last_word_s=5)


def a_task() -> TrainingTask:
    return TrainingTask(
        id="t1", name="first", model_type="plain", parameters={}, total_episodes=9,
        scenario={"name": "tiny"}, env="lwmecps-v1", seed=0,
    )  # fmt: skip


def report(run: TaskRun, *iterations: int) -> None:
    for iteration in iterations:
        run.report(
            iteration=iteration, episode=iteration, env_steps=100 * iteration, episode_return=-1.0,
            env_steps_per_s=50.0, values={"loss": 1.0 / iteration},
        )  # fmt: skip


def wait_until(true: Callable[[], bool]) -> None:
    """Wait until it is true; the store may still be away."""
    deadline = time.monotonic() + 20
    while True:
        with suppress(StoreUnavailableError):
            if true():
                return
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_was_reported_meanwhile_is_written_in_order_and_once_by_itself(
    store: Store, outage: Outage
) -> None:
    store.create_task(a_task())
    with TaskRun.begin(store, "t1") as run:
        report(run, 1)
        with outage():
            report(run, *range(2, 9))
        wait_until(lambda: len(store.list_metrics("t1")) == 8)
        assert [line.iteration for line in store.list_metrics("t1")] == list(range(1, 9))
        report(run, 9)
        run.complete(run.add_version("0" * 64, {}))
    assert [line.iteration for line in store.list_metrics("t1")] == list(range(1, 10))
    ended = store.get_task("t1")
    assert (ended.state, ended.episode, ended.first_return) == (TaskState.COMPLETED, 9, -1.0)


def test_a_training_outlives_an_outage_that_is_longer_than_its_lease(
    store: Store, outage: Outage, service: TrainingService
) -> None:
    store.create_task(a_task())
    with TaskRun.begin(store, "t1", lease_s=0.2) as run:
        with outage():
            report(run, 1)
            time.sleep(0.5)
        service.reconcile()
        report(run, 2)
        wait_until(lambda: store.get_task("t1").episode == 2)
        service.reconcile()
        run.complete(run.add_version("0" * 64, {}))
    ended = store.get_task("t1")
    assert (ended.state, ended.losses, ended.attempt) == (TaskState.COMPLETED, 0, 0)


def test_a_training_ends_once_the_store_is_back(
    store: Store, outage: Outage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_task, "AGAIN_S", 0.05)
    store.create_task(a_task())

    def end() -> None:
        with TaskRun.begin(store, "t1") as run:
            begun.set()
            away.wait()
            report(run, 1)
            run.complete(run.add_version("0" * 64, {}))

    begun, away = threading.Event(), threading.Event()
    thread = threading.Thread(target=end)
    thread.start()
    begun.wait()
    with outage():
        away.set()
        thread.join(0.5)
        assert thread.is_alive()
    thread.join()
    assert store.get_task("t1").version == 1


def test_a_training_that_can_keep_no_more_waits_and_loses_nothing(
    store: Store, outage: Outage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_task, "AGAIN_S", 0.05)
    monkeypatch.setattr(held_task, "MOST_KEPT", 4)
    store.create_task(a_task())

    def train() -> None:
        with TaskRun.begin(store, "t1") as run:
            begun.set()
            away.wait()
            for iteration in range(1, 10):
                report(run, iteration)
                seen.append(iteration)
            run.complete(run.add_version("0" * 64, {}))

    seen: list[int] = []
    begun, away = threading.Event(), threading.Event()
    thread = threading.Thread(target=train)
    thread.start()
    begun.wait()
    with outage():
        away.set()
        wait_until(lambda: seen == [1, 2, 3])
        thread.join(0.5)
        assert seen == [1, 2, 3]
    thread.join()
    assert [line.iteration for line in store.list_metrics("t1")] == list(range(1, 10))


def test_a_training_that_was_ended_during_an_outage_learns_of_it_after(
    store: Store, outage: Outage, service: TrainingService
) -> None:
    store.create_task(a_task())
    with pytest.raises(ConflictError, match="is cancelled"), TaskRun.begin(store, "t1") as run:
        with outage():
            report(run, 1)
        service.cancel("t1")
        wait_until(lambda: not run.alive)
        report(run, 2)
    assert store.list_metrics("t1") == []


def test_a_full_disk_leaves_the_checkpoints_before_it_whole(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoints", attempt=1)
    checkpoints.write(lambda folder: _fill(folder, 1000), Reached(iteration=1))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(StoreUnavailableError, match="cannot be written.*the disk has room"):
            checkpoints.write(lambda folder: _fill(folder, 200_000), Reached(iteration=2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    latest = checkpoints.latest()
    assert latest is not None and latest.reached.iteration == 1
    assert [file.name for file in (tmp_path / "checkpoints").iterdir()] == ["000001-0000000001"]


def _fill(folder: Path, size: int) -> None:
    (folder / "weights").write_bytes(bytes(size))
