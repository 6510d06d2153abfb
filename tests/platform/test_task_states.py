"""Which verb takes a training from which state, and what the training then does."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lwmecps_gym.platform.config import Settings
from lwmecps_gym.platform.database import Store, open_store
from lwmecps_gym.platform.errors import ConflictError, QueueFullError
from lwmecps_gym.platform.models import ModelVersion, TaskState, TrainingRequest, TrainingTask, now
from lwmecps_gym.platform.task_run import TaskRun
from lwmecps_gym.platform.training import TrainingService

VERBS = {
    "pause": {"pending": "paused", "running": "pausing"},
    "resume": {"pausing": "running", "paused": "pending"},
    "stop": {"running": "stopping", "pausing": "stopping", "paused": "stopping"},
    "cancel": dict.fromkeys(("pending", "running", "pausing", "paused", "stopping"), "cancelled"),
    "retry": dict.fromkeys(("failed", "cancelled", "stopped"), "pending"),
}


class RecordingLauncher:
    """Launches nothing; has room for one, and knows what it was told to launch."""

    def __init__(self) -> None:
        self.launched: list[tuple[str, int]] = []

    def launch(self, task: TrainingTask) -> None:
        self.launched.append((task.id, task.attempt))

    def capacity(self) -> int:
        return 1


def a_task(task_id: str = "t1", state: TaskState = TaskState.PENDING) -> TrainingTask:
    return TrainingTask(
        id=task_id, name="first", model_type="plain", parameters={}, total_episodes=4,
        scenario={"name": "tiny"}, env="lwmecps-v1", seed=0, state=state,
    )  # fmt: skip


def a_request() -> TrainingRequest:
    return TrainingRequest(name="first", model_type="plain", total_episodes=4)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(Settings(data_dir=tmp_path))


@pytest.fixture
def launcher() -> RecordingLauncher:
    return RecordingLauncher()


@pytest.fixture
def service(store: Store, launcher: RecordingLauncher) -> TrainingService:
    names = iter(f"t{number}" for number in range(1, 100))
    return TrainingService(store, lambda _: a_task(next(names)), launcher, None, max_queued=2)


def version_of(run: TaskRun, digest: str = "0" * 64) -> ModelVersion:
    return run.add_version(digest, {"return": -5.0})


def report(run: TaskRun, iteration: int) -> None:
    run.report(
        iteration=iteration, episode=iteration, env_steps=100 * iteration, episode_return=-1.0,
        env_steps_per_s=50.0, values={"loss": 1.0 / iteration},
    )  # fmt: skip


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_is_for_some_states_and_a_conflict_that_names_the_state_in_all_others(
    verb: str, store: Store, service: TrainingService
) -> None:
    for state in TaskState:
        task = store.create_task(a_task(f"in-{state}", state))
        call: Callable[[str], TrainingTask] = getattr(service, verb)
        if state in VERBS[verb]:
            assert call(task.id).state == VERBS[verb][state]
        else:
            with pytest.raises(ConflictError, match=f"training in-{state} is {state}; {verb} is "):
                call(task.id)
            assert store.get_task(task.id) == task


def test_a_paused_training_gives_its_place_to_the_next_and_goes_on_after_it(
    store: Store, service: TrainingService, launcher: RecordingLauncher
) -> None:
    service.create(a_request()), service.create(a_request())
    with TaskRun.begin(store, "t1", attempt=1) as run:
        report(run, 1)
        assert service.pause("t1").state is TaskState.PAUSING
        report(run, 2)
        assert run.task.state is TaskState.PAUSING
        assert run.park()
    assert service.get("t1").state is TaskState.PAUSED
    service.reconcile()
    service.resume("t1")
    service.reconcile()
    assert launcher.launched == [("t1", 1), ("t2", 1)]
    service.cancel("t2")
    service.reconcile()
    assert launcher.launched[-1] == ("t1", 2)


def test_a_pause_that_is_taken_back_pauses_nothing(store: Store, service: TrainingService) -> None:
    service.create(a_request())
    with TaskRun.begin(store, "t1", attempt=1) as run:
        service.pause("t1")
        service.resume("t1")
        assert not run.park()
        run.complete(version_of(run))
    assert service.get("t1").state is TaskState.COMPLETED


def test_a_training_paused_before_it_began_does_not_begin(
    store: Store, service: TrainingService
) -> None:
    service.create(a_request())
    service.pause("t1")
    with pytest.raises(ConflictError, match="is paused; begin is for "):
        TaskRun.begin(store, "t1", attempt=1)


def test_a_stopped_training_keeps_its_model_and_a_retry_makes_another_version(
    store: Store, service: TrainingService
) -> None:
    service.create(a_request())
    with TaskRun.begin(store, "t1", attempt=1) as run:
        report(run, 1)
        service.stop("t1")
        report(run, 2)
        run.complete(version_of(run), whole=False)
    stopped = service.get("t1")
    assert (stopped.state, stopped.version, stopped.episode) == (TaskState.STOPPED, 1, 2)
    assert stopped.finished_at is not None
    waiting = service.retry("t1")
    assert (waiting.version, waiting.finished_at, waiting.retries) == (None, None, 1)
    service.reconcile()
    with TaskRun.begin(store, "t1", attempt=2) as run:
        run.complete(version_of(run, "1" * 64))
    assert service.get("t1").version == 2


def test_a_training_that_is_stopped_while_paused_is_launched_to_store_its_model(
    store: Store, service: TrainingService, launcher: RecordingLauncher
) -> None:
    store.create_task(a_task(state=TaskState.PAUSED))
    service.stop("t1")
    service.reconcile()
    assert launcher.launched == [("t1", 1)]
    with TaskRun.begin(store, "t1", attempt=1) as run:
        assert run.task.state is TaskState.STOPPING
        run.complete(version_of(run), whole=False)
    assert service.get("t1").state is TaskState.STOPPED


def test_a_cancelled_training_makes_no_model(store: Store, service: TrainingService) -> None:
    service.create(a_request())
    with (
        pytest.raises(ConflictError, match="is cancelled"),
        TaskRun.begin(store, "t1", attempt=1) as run,
    ):
        service.cancel("t1")
        version_of(run)
    assert service.get("t1").state is TaskState.CANCELLED
    assert store.list_models() == []


def test_it_is_too_late_to_cancel_once_the_model_is_being_stored(
    store: Store, service: TrainingService
) -> None:
    service.create(a_request())
    with TaskRun.begin(store, "t1", attempt=1) as run:
        version = version_of(run)
        with pytest.raises(ConflictError, match="its model is being stored"):
            service.cancel("t1")
        run.complete(version)
    assert service.get("t1").state is TaskState.COMPLETED


def test_two_attempts_that_store_the_model_at_once_make_one_version(
    store: Store, service: TrainingService
) -> None:
    service.create(a_request())
    run = TaskRun.begin(store, "t1", attempt=1)
    with run:
        first = version_of(run)
        assert version_of(run, "1" * 64) == first
        run.complete(first)
    assert [v.version for v in store.list_versions("first")] == [1]


def test_a_full_queue_refuses_and_stores_nothing(service: TrainingService) -> None:
    for _ in range(3):
        service.create(a_request())
    with pytest.raises(QueueFullError, match="2 trainings wait already"):
        service.create(a_request())
    assert len(service.list()[0]) == 3
    assert [service.progress(f"t{number}").ahead for number in (1, 2, 3)] == [None, 0, 1]


@pytest.mark.parametrize(
    ("state", "after"),
    [("running", "pending"), ("pausing", "paused"), ("stopping", "stopping")],
)
def test_a_process_that_is_told_to_end_gives_its_training_back_at_once(
    state: str, after: str, store: Store, service: TrainingService
) -> None:
    service.create(a_request())
    with pytest.raises(SystemExit), TaskRun.begin(store, "t1", attempt=1):
        if state != "running":
            (service.pause if state == "pausing" else service.stop)("t1")
        raise SystemExit(1)
    task = service.get("t1")
    assert (task.state, task.lease_until, task.error) == (TaskState(after), None, None)


def test_a_training_is_taken_only_from_whom_is_silent(
    store: Store, service: TrainingService, launcher: RecordingLauncher
) -> None:
    service.create(a_request())
    with pytest.raises(RuntimeError), TaskRun.begin(store, "t1", attempt=1):
        with pytest.raises(ConflictError, match="is running, and who runs it has promised"):
            service.take_now("t1")
        raise RuntimeError("over")
    taken = service.take_now("t1")
    assert (taken.state, taken.attempt, taken.error) == (TaskState.PENDING, 2, None)
    assert launcher.launched[-1] == ("t1", 2)
    store.create_task(
        a_task("t9", TaskState.PAUSING).model_copy(update={"lease_until": now(), "begun": True})
    )
    assert service.take_now("t9").state is TaskState.PENDING
