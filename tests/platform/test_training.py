"""Trainings: who launches one, what a run reports, and what ends one that falls silent."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from lwmecps_gym.platform.config import Settings
from lwmecps_gym.platform.database import SqliteDocuments, Store, open_store
from lwmecps_gym.platform.errors import ConflictError, InvalidInputError, NotFoundError
from lwmecps_gym.platform.held_task import LEASE_S
from lwmecps_gym.platform.models import (
    ModelVersion,
    TaskState,
    TrainingRequest,
    TrainingTask,
    new_id,
)
from lwmecps_gym.platform.task_queue import BEGIN_LEASE_S, LAST_WORD_S
from lwmecps_gym.platform.task_run import TaskRun
from lwmecps_gym.platform.training import TrainingService

pytestmark = pytest.mark.timeout(60)


class FakeClock:
    """A clock that only moves when told to."""

    def __init__(self) -> None:
        self.time = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time

    def advance(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


class RecordingLauncher:
    """Launches nothing, and knows what it was told to launch."""

    def __init__(self) -> None:
        self.launched: list[str] = []

    def launch(self, task: TrainingTask) -> None:
        self.launched.append(task.id)


class ThreadLauncher:
    """Runs a function of the task in a thread, as a cluster would in a process."""

    def __init__(self, train: Callable[[str], None]) -> None:
        self._train = train
        self.threads: list[threading.Thread] = []

    def launch(self, task: TrainingTask) -> None:
        thread = threading.Thread(target=self._train, args=(task.id,))
        self.threads.append(thread)
        thread.start()


class Rival(Store):
    """A store in which someone else writes just before each of the next `wins` updates."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(SqliteDocuments(settings.data_dir / "lwmecps.sqlite3"))
        self.wins = 0

    def update_task(self, task: TrainingTask, **changes: Any) -> TrainingTask:
        if self.wins > 0:
            self.wins -= 1
            super().update_task(self.get_task(task.id), wandb_run_id="rival")
        return super().update_task(task, **changes)


class RefusingLauncher:
    def launch(self, task: TrainingTask) -> None:
        raise ConnectionError("the cluster\nis gone")


def prepare(request: TrainingRequest) -> TrainingTask:
    """What the algorithms' `prepare` does, for one algorithm without parameters."""
    if request.model_type != "plain":
        raise InvalidInputError(f"model_type: there is no {request.model_type!r}")
    return TrainingTask(
        id=new_id(),
        name=request.name,
        model_type=request.model_type,
        parameters=request.parameters,
        total_episodes=request.total_episodes,
        scenario={"name": "tiny"},
        env="lwmecps-v1",
        seed=request.seed,
    )


def request(name: str = "first", model_type: str = "plain") -> TrainingRequest:
    return TrainingRequest(name=name, model_type=model_type, total_episodes=4)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path)


@pytest.fixture
def store(settings: Settings) -> Store:
    return open_store(settings)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def pending_task(store: Store) -> TrainingTask:
    return store.create_task(prepare(request()))


def report(run: TaskRun, iteration: int, episode_return: float | None = -5.0) -> None:
    run.report(
        iteration=iteration,
        episode=iteration,
        env_steps=100 * iteration,
        episode_return=episode_return,
        env_steps_per_s=50.0,
        values={"loss": 1.0 / iteration},
    )


def test_a_created_training_is_launched_at_once(store: Store) -> None:
    launcher = RecordingLauncher()
    task = TrainingService(store, prepare, launcher, max_concurrent=1).create(request())
    assert launcher.launched == [task.id]
    assert task.state is TaskState.PENDING


def test_a_refused_request_leaves_nothing_behind(store: Store) -> None:
    launcher = RecordingLauncher()
    service = TrainingService(store, prepare, launcher, max_concurrent=1)
    with pytest.raises(InvalidInputError, match="model_type"):
        service.create(request(model_type="unknown"))
    assert store.list_tasks() == ([], None)
    assert launcher.launched == []


def test_trainings_wait_for_a_free_slot_and_start_in_order_of_creation(
    store: Store, clock: FakeClock
) -> None:
    launcher = RecordingLauncher()
    service = TrainingService(store, prepare, launcher, max_concurrent=2, clock=clock)
    ids = [service.create(request(f"number {number}")).id for number in range(4)]
    service.reconcile()
    assert launcher.launched == ids[:2]
    with pytest.raises(RuntimeError), TaskRun.begin(store, ids[0], attempt=1, clock=clock):
        raise RuntimeError("over")
    service.reconcile()
    assert launcher.launched == ids[:3]


def test_two_services_over_one_store_launch_every_task_once(settings: Settings) -> None:
    launcher = RecordingLauncher()
    first, second = (
        TrainingService(open_store(settings), prepare, launcher, max_concurrent=20)
        for _ in range(2)
    )
    waiting = open_store(settings)
    ids = [pending_task(waiting).id for _ in range(20)]
    together = threading.Barrier(2)

    def reconcile(service: TrainingService) -> None:
        together.wait()
        service.reconcile()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(reconcile, (first, second)))
    assert sorted(launcher.launched) == sorted(ids)


def test_two_services_share_one_slot(settings: Settings) -> None:
    launcher = RecordingLauncher()
    services = [
        TrainingService(open_store(settings), prepare, launcher, max_concurrent=1) for _ in range(2)
    ]
    waiting = open_store(settings)
    oldest, _ = pending_task(waiting), pending_task(waiting)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(TrainingService.reconcile, services))
    assert launcher.launched == [oldest.id]


def test_a_training_that_cannot_be_launched_fails_with_the_reason(store: Store) -> None:
    service = TrainingService(store, prepare, RefusingLauncher(), max_concurrent=1)
    task = service.create(request())
    assert task.state is TaskState.FAILED
    assert task.error == (
        "The training could not be launched: ConnectionError: the cluster is gone"
    )


def test_a_training_that_never_begins_is_launched_again_and_fails_after_so_many_attempts(
    store: Store, clock: FakeClock
) -> None:
    launcher = RecordingLauncher()
    service = TrainingService(
        store, prepare, launcher, max_concurrent=1, clock=clock, max_attempts=2
    )
    task = service.create(request())
    clock.advance(BEGIN_LEASE_S)
    service.reconcile()
    assert service.get(task.id).state is TaskState.PENDING
    clock.advance(1)
    service.reconcile()
    assert launcher.launched == [task.id, task.id]
    with pytest.raises(ConflictError, match="at attempt 2: attempt 1 is out of turn"):
        TaskRun.begin(store, task.id, attempt=1, clock=clock)
    clock.advance(BEGIN_LEASE_S + 1)
    service.reconcile()
    ended = service.get(task.id)
    assert ended.state is TaskState.FAILED
    assert "2 attempts in a row were lost" in str(ended.error)
    assert "did not begin in time" in str(ended.error)
    with pytest.raises(ConflictError, match="is failed; begin is for one that is pending"):
        TaskRun.begin(store, task.id, attempt=2, clock=clock)


def test_a_running_training_that_falls_silent_is_taken_back_and_its_run_learns_of_it(
    store: Store, clock: FakeClock
) -> None:
    launcher = RecordingLauncher()
    service = TrainingService(store, prepare, launcher, max_concurrent=1, clock=clock)
    task = service.create(request())
    with (
        pytest.raises(ConflictError, match="at attempt 2"),
        TaskRun.begin(store, task.id, attempt=1, clock=clock) as run,
    ):
        clock.advance(LEASE_S + 1)
        service.reconcile()
        assert service.get(task.id).state is TaskState.RUNNING, "it may speak a last time"
        clock.advance(LAST_WORD_S + 1)
        service.reconcile()
        report(run, 1)
    assert launcher.launched == [task.id, task.id]
    waiting = service.get(task.id)
    assert (waiting.state, waiting.attempt, waiting.losses) == (TaskState.PENDING, 2, 1)
    assert service.metrics(task.id) == []


def test_a_suspect_that_speaks_again_goes_on(store: Store, clock: FakeClock) -> None:
    service = TrainingService(store, prepare, RecordingLauncher(), max_concurrent=1, clock=clock)
    task = service.create(request())
    with TaskRun.begin(store, task.id, attempt=1, clock=clock) as run:
        clock.advance(LEASE_S + 1)
        service.reconcile()
        report(run, 1)
        clock.advance(LAST_WORD_S + 1)
        service.reconcile()
        run.complete(_version(store, task.id))
    ended = service.get(task.id)
    assert (ended.state, ended.attempt, ended.losses) == (TaskState.COMPLETED, 1, 0)


def test_reports_keep_a_running_training_alive(store: Store, clock: FakeClock) -> None:
    service = TrainingService(store, prepare, RecordingLauncher(), max_concurrent=1, clock=clock)
    task = service.create(request())
    with pytest.raises(RuntimeError), TaskRun.begin(store, task.id, attempt=1, clock=clock) as run:
        for iteration in range(1, 4):
            clock.advance(LEASE_S - 1)
            report(run, iteration)
            service.reconcile()
            assert service.get(task.id).state is TaskState.RUNNING
        raise RuntimeError("over")


def test_the_lease_is_renewed_while_nothing_is_reported(store: Store) -> None:
    task = pending_task(store)
    with pytest.raises(RuntimeError), TaskRun.begin(store, task.id, lease_s=0.3):
        begun = store.get_task(task.id).lease_until
        threading.Event().wait(0.6)
        renewed = store.get_task(task.id).lease_until
        assert begun is not None and renewed is not None and renewed > begun
        raise RuntimeError("over")


def test_a_second_begin_conflicts(store: Store) -> None:
    task = pending_task(store)
    with pytest.raises(RuntimeError), TaskRun.begin(store, task.id):
        with pytest.raises(ConflictError, match="is running; begin is for one that is pending"):
            TaskRun.begin(store, task.id)
        raise RuntimeError("over")


def test_heartbeats_and_reports_at_once_lose_nothing(settings: Settings) -> None:
    """The heartbeat beats every millisecond, and every report is of a revision of its own."""
    store = open_store(settings)
    task = pending_task(store)
    with TaskRun.begin(store, task.id, lease_s=0.003) as run:
        for iteration in range(1, 101):
            report(run, iteration, episode_return=float(iteration))
        run.complete(_version(store, task.id))
    ended = store.get_task(task.id)
    assert (ended.state, ended.episode, ended.env_steps) == (TaskState.COMPLETED, 100, 10_000)
    assert (ended.first_return, ended.episode_return) == (1.0, 100.0)
    assert ended.revision > 102
    assert [line.iteration for line in store.list_metrics(task.id)] == list(range(1, 101))


def test_a_lost_race_is_run_again_from_what_won_it(store: Store, settings: Settings) -> None:
    task = pending_task(store)
    rival = Rival(settings)
    with TaskRun.begin(rival, task.id) as run:
        for _ in range(3):
            rival.wins = 5
            report(run, 1)
        run.complete(_version(store, task.id))
    ended = store.get_task(task.id)
    assert (ended.state, ended.episode, ended.wandb_run_id) == (TaskState.COMPLETED, 1, "rival")


def test_a_completed_training_names_its_version(store: Store, clock: FakeClock) -> None:
    service: TrainingService

    def train(task_id: str) -> None:
        with TaskRun.begin(store, task_id, attempt=1, clock=clock) as run:
            clock.advance(10)
            report(run, 2)
            progress = service.progress(task_id)
            assert (progress.share, progress.elapsed_s, progress.time_left_s) == (0.5, 10.0, 10.0)
            clock.advance(10)
            report(run, 4)
            run.complete(_version(store, task_id))

    launcher = ThreadLauncher(train)
    service = TrainingService(store, prepare, launcher, max_concurrent=1, clock=clock)
    task = service.create(request())
    launcher.threads[0].join()
    progress = service.progress(task.id)
    assert progress.state is TaskState.COMPLETED
    assert (progress.model_id, progress.version, progress.error) == ("first", 1, None)
    assert (progress.share, progress.elapsed_s, progress.time_left_s) == (1.0, 20.0, None)
    assert (progress.episode, progress.total_episodes) == (4, 4)
    assert service.get(task.id).lease_until is None


def test_an_error_ends_the_training_as_failed_and_goes_on(store: Store) -> None:
    task = pending_task(store)
    with pytest.raises(ValueError, match="bad"), TaskRun.begin(store, task.id):
        raise ValueError("bad\n  weights")
    ended = store.get_task(task.id)
    assert (ended.state, ended.error) == (TaskState.FAILED, "ValueError: bad weights")
    assert ended.finished_at is not None


def test_leaving_without_a_version_is_a_failure(store: Store) -> None:
    task = pending_task(store)
    with TaskRun.begin(store, task.id):
        pass
    assert store.get_task(task.id).error == "The training ended without a model version."


def test_numbers_that_are_not_finite_are_left_out(store: Store) -> None:
    task = pending_task(store)
    with pytest.raises(RuntimeError), TaskRun.begin(store, task.id) as run:
        run.report(
            iteration=1,
            episode=0,
            env_steps=10,
            episode_return=float("nan"),
            env_steps_per_s=1.0,
            values={"loss": float("inf"), "entropy": 0.5},
        )
        raise RuntimeError("over")
    assert store.get_task(task.id).episode_return is None
    assert store.list_metrics(task.id)[0].values == {"entropy": 0.5}


def test_a_repeated_report_is_the_same_line(store: Store) -> None:
    task = pending_task(store)
    with pytest.raises(RuntimeError), TaskRun.begin(store, task.id) as run:
        report(run, 1)
        report(run, 1)
        raise RuntimeError("over")
    assert len(store.list_metrics(task.id)) == 1


def test_an_unknown_training_is_not_found(store: Store) -> None:
    service = TrainingService(store, prepare, RecordingLauncher(), max_concurrent=1)
    for ask in (service.get, service.progress, service.metrics):
        with pytest.raises(NotFoundError, match="nowhere"):
            ask("nowhere")


def _version(store: Store, task_id: str) -> ModelVersion:
    return store.add_version(
        "first", model_type="plain", task_id=task_id, digest="0" * 64, metrics={"return": -5.0}
    )
