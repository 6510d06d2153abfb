"""One contract, proved on every back end of the store."""

import math
import multiprocessing
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from lwmecps_gym.platform.config import Settings
from lwmecps_gym.platform.database import (
    Documents,
    MongoDocuments,
    SqliteDocuments,
    Store,
    open_store,
)
from lwmecps_gym.platform.errors import (
    ConflictError,
    InvalidInputError,
    NotFoundError,
    StoreUnavailableError,
)
from lwmecps_gym.platform.models import (
    MetricRecord,
    ModelVersion,
    TaskState,
    TrainingTask,
    new_id,
    now,
)

Opener = Callable[[], Documents]


def a_task(**changes: object) -> TrainingTask:
    fields: dict[str, object] = {
        "id": new_id(),
        "name": "evening peak",
        "model_type": "ppo",
        "parameters": {"learning_rate": 3e-4, "hidden": [64, 64]},
        "total_episodes": 20,
        "scenario": {"name": "tiny", "nodes": [{"name": "bs_1", "cpu": 1.2}]},
        "env": "lwmecps-v3",
        "seed": 7,
    }
    return TrainingTask.model_validate({**fields, **changes})


def a_metric(task_id: str, iteration: int, **values: float) -> MetricRecord:
    return MetricRecord(
        id=f"{task_id}/{iteration:010d}",
        task_id=task_id,
        iteration=iteration,
        episode=iteration * 4,
        env_steps=iteration * 1000,
        values=values or {"return": -1.5 * iteration},
    )


def add_version(store: Store, digest: str, name: str = "Evening peak") -> ModelVersion:
    return store.add_version(
        name, model_type="ppo", task_id=None, digest=digest, metrics={"return": -3.5}
    )


def test_a_task_is_read_as_it_was_written(store: Store) -> None:
    task = a_task(lease_until=now(), name="Абвгд 🛰", episode_return=-12.25)
    store.create_task(task)
    assert store.get_task(task.id) == task


def test_a_taken_id_is_a_conflict_and_changes_nothing(store: Store) -> None:
    task = a_task()
    store.create_task(task)
    with pytest.raises(ConflictError, match=task.id):
        store.create_task(a_task(id=task.id, name="another"))
    assert store.get_task(task.id) == task


def test_tasks_are_counted_by_state(store: Store) -> None:
    for state in (TaskState.PENDING, TaskState.FAILED, TaskState.FAILED):
        store.create_task(a_task(state=state))
    counts = [store.count_tasks(state) for state in TaskState if store.count_tasks(state)]
    assert counts == [1, 2]


def test_what_does_not_exist_is_not_found(store: Store) -> None:
    with pytest.raises(NotFoundError, match="training task 'nobody'"):
        store.get_task("nobody")
    with pytest.raises(NotFoundError, match="model 'nobody'"):
        store.get_model("nobody")
    with pytest.raises(NotFoundError, match="model 'nobody'"):
        store.list_versions("nobody")
    with pytest.raises(NotFoundError, match="nobody"):
        store.get_deployment("nobody")
    with pytest.raises(NotFoundError, match="nobody"):
        store.undeploy("nobody", by="me")
    with pytest.raises(NotFoundError, match="nobody"):
        store.update_task(a_task(id="nobody"), episode=1)


def test_an_update_gives_the_task_with_the_next_revision(store: Store) -> None:
    task = store.create_task(a_task())
    running = store.update_task(task, state=TaskState.RUNNING, started_at=now(), episode=3)
    assert (running.state, running.episode, running.revision) == (TaskState.RUNNING, 3, 1)
    assert store.get_task(task.id) == running


def test_an_update_of_a_stale_task_is_a_conflict(store: Store) -> None:
    task = store.create_task(a_task())
    store.update_task(task, episode=1)
    with pytest.raises(ConflictError, match="revision 1"):
        store.update_task(task, episode=2)
    assert store.get_task(task.id).episode == 1


def test_of_many_threads_updating_one_task_exactly_one_wins(store: Store) -> None:
    task = store.create_task(a_task())

    def claim(worker: int) -> bool:
        try:
            store.update_task(task, state=TaskState.RUNNING, episode=worker)
        except ConflictError:
            return False
        return True

    with ThreadPoolExecutor(16) as threads:
        won = list(threads.map(claim, range(16)))
    assert won.count(True) == 1
    assert store.get_task(task.id).episode == won.index(True)


def test_pages_of_tasks_run_from_the_newest_and_show_each_once(store: Store) -> None:
    ids = [f"{n:020x}" for n in range(11)]
    for task_id in ids:
        store.create_task(a_task(id=task_id))
    seen: list[str] = []
    cursor: str | None = None
    pages = 0
    while pages == 0 or cursor is not None:
        tasks, cursor = store.list_tasks(limit=4, cursor=cursor)
        seen += [task.id for task in tasks]
        pages += 1
    assert seen == ids[::-1]
    assert pages == 3


def test_a_last_page_that_is_full_has_no_cursor(store: Store) -> None:
    for _ in range(4):
        store.create_task(a_task())
    tasks, cursor = store.list_tasks(limit=4)
    assert len(tasks) == 4
    assert cursor is None


def test_tasks_are_filtered_by_state_and_algorithm(store: Store) -> None:
    ppo, dqn = store.create_task(a_task()), store.create_task(a_task(model_type="dqn"))
    store.update_task(ppo, state=TaskState.RUNNING)
    assert [t.id for t in store.list_tasks(state=TaskState.RUNNING)[0]] == [ppo.id]
    assert [t.id for t in store.list_tasks(model_type="dqn")[0]] == [dqn.id]
    assert store.list_tasks(state=TaskState.RUNNING, model_type="dqn") == ([], None)
    assert store.list_tasks(model_type="' OR 1=1 --") == ([], None)


def test_a_limit_below_one_is_refused(store: Store) -> None:
    with pytest.raises(InvalidInputError, match="limit is 0"):
        store.list_tasks(limit=0)
    with pytest.raises(InvalidInputError, match="limit is -1"):
        store.list_metrics("any", limit=-1)


@pytest.mark.parametrize(
    "value", [2**64, "\ud800", {"a\0b": 1}], ids=["65 bit", "lone surrogate", "NUL in a key"]
)
def test_what_a_back_end_cannot_keep_is_refused_by_all(store: Store, value: object) -> None:
    task = a_task(parameters={"deep": [{"x": value}]})
    with pytest.raises(InvalidInputError, match="TrainingTask.parameters.deep"):
        store.create_task(task)
    assert store.list_tasks() == ([], None)


def test_metrics_are_read_in_order_after_an_iteration(store: Store) -> None:
    store.append_metrics([a_metric("t1", i) for i in range(12)])
    store.append_metrics([a_metric("t2", i) for i in range(3)])
    assert [m.iteration for m in store.list_metrics("t1")] == list(range(12))
    assert [m.iteration for m in store.list_metrics("t1", since=8)] == [9, 10, 11]
    assert [m.iteration for m in store.list_metrics("t1", since=1, limit=2)] == [2, 3]
    assert store.list_metrics("t1", since=11) == []


def test_a_metric_written_twice_is_stored_once_as_first_written(store: Store) -> None:
    first = [a_metric("t", 0, loss=1.0), a_metric("t", 1, loss=2.0)]
    store.append_metrics(first)
    store.append_metrics([a_metric("t", i, loss=9.0) for i in range(3)])
    assert [m.values["loss"] for m in store.list_metrics("t")] == [1.0, 2.0, 9.0]


def test_metrics_that_are_not_finite_come_back_as_such(store: Store) -> None:
    store.append_metrics([a_metric("t", 0, a=math.nan, b=math.inf, c=-math.inf, d=0.5)])
    values = store.list_metrics("t")[0].values
    assert math.isnan(values["a"])
    assert (values["b"], values["c"], values["d"]) == (math.inf, -math.inf, 0.5)


def test_a_metric_under_a_foreign_id_is_refused(store: Store) -> None:
    metric = a_metric("t", 4).model_copy(update={"id": "t/4"})
    with pytest.raises(InvalidInputError, match="'t/0000000004'"):
        store.append_metrics([metric])


def test_no_metrics_are_a_valid_list(store: Store) -> None:
    store.append_metrics([])
    assert store.list_metrics("t") == []


def test_the_first_version_makes_the_model(store: Store) -> None:
    version = add_version(store, "a" * 64)
    assert (version.id, version.model_id, version.version) == (
        "evening-peak/000001",
        "evening-peak",
        1,
    )
    model = store.get_model("evening-peak")
    assert (model.name, model.latest_version) == ("Evening peak", 1)
    assert store.get_version("evening-peak") == version
    assert [m.id for m in store.list_models()] == ["evening-peak"]


def test_versions_are_numbered_on_and_the_latest_is_the_default(store: Store) -> None:
    versions = [add_version(store, f"{n:064x}") for n in range(3)]
    add_version(store, "f" * 64, name="other")
    assert store.list_versions("evening-peak") == versions
    assert store.get_version("evening-peak") == versions[2]
    assert store.get_version("evening-peak", 1) == versions[0]
    for absent in (0, 4, -1):
        with pytest.raises(NotFoundError, match="it has 1 to 3"):
            store.get_version("evening-peak", absent)


def test_threads_adding_versions_get_distinct_consecutive_numbers(store: Store) -> None:
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda n: add_version(store, f"{n:064x}"), range(24)))
    assert sorted(version.version for version in made) == list(range(1, 25))
    assert store.get_model("evening-peak").latest_version == 24
    assert [v.digest for v in store.list_versions("evening-peak")] == [
        v.digest for v in sorted(made, key=lambda v: v.version)
    ]


@contextmanager
def process_that_dies_before_writing(collection: str, documents: Documents) -> Iterator[None]:
    """Within, every write to the collection is the last thing that does not happen."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("insert", "replace"):
            write: Callable[..., object] = getattr(documents, name)

            def dying(to: str, *args: object, write: Callable[..., object] = write) -> object:
                if to == collection:
                    raise KeyboardInterrupt
                return write(to, *args)

            patch.setattr(documents, name, dying)
        with pytest.raises(KeyboardInterrupt):
            yield


@pytest.mark.parametrize("published", [0, 1])
def test_a_version_whose_writer_died_is_not_seen_until_the_next_writer_comes(
    documents: Documents, published: int
) -> None:
    store = Store(documents)
    for n in range(published):
        add_version(store, f"{n:064x}")
    with process_that_dies_before_writing("models", documents):
        add_version(store, "d" * 64)

    if published:
        assert store.get_version("evening-peak").version == published
        assert len(store.list_versions("evening-peak")) == published
        with pytest.raises(NotFoundError):
            store.get_version("evening-peak", published + 1)
    else:
        assert store.list_models() == []

    assert add_version(store, "e" * 64).version == published + 2
    assert store.get_version("evening-peak", published + 1).digest == "d" * 64


def test_a_task_that_repeats_its_call_gets_the_same_version(documents: Documents) -> None:
    store = Store(documents)

    def add(task_id: str) -> ModelVersion:
        return store.add_version(
            "peak", model_type="ppo", task_id=task_id, digest="a" * 64, metrics={}
        )

    with process_that_dies_before_writing("models", documents):
        add("task-1")
    assert [add("task-1").version for _ in range(2)] == [1, 1]
    assert add("task-2").version == 2


def test_a_store_that_is_opened_again_has_everything(back_end: Opener) -> None:
    before = back_end()
    store = Store(before)
    task = store.create_task(a_task())
    store.append_metrics([a_metric(task.id, 0)])
    version = add_version(store, "a" * 64)
    deployment = store.deploy("evening-peak", by="me")
    if isinstance(before, SqliteDocuments):
        before.close()

    after = back_end()
    again = Store(after)
    again.ping()
    assert again.get_task(task.id) == task
    assert [m.iteration for m in again.list_metrics(task.id)] == [0]
    assert again.get_version("evening-peak") == version
    assert again.get_deployment("evening-peak") == deployment
    after.close()


def test_reading_beyond_one_page_gives_all(store: Store) -> None:
    store.append_metrics([a_metric("t", i) for i in range(1200)])
    first = store.list_metrics("t")
    rest = store.list_metrics("t", since=first[-1].iteration)
    assert [m.iteration for m in first + rest] == list(range(1200))


def _add_versions(path: Path, writer: int, count: int) -> list[int]:
    documents = SqliteDocuments(path, busy_timeout_s=30)
    store = Store(documents)
    numbers = [add_version(store, f"{writer * 100 + n:064x}").version for n in range(count)]
    documents.close()
    return numbers


def test_processes_that_open_a_new_sqlite_file_at_once_number_versions_on(tmp_path: Path) -> None:
    path = tmp_path / "new.sqlite3"
    with ProcessPoolExecutor(3, mp_context=multiprocessing.get_context("spawn")) as processes:
        made = [processes.submit(_add_versions, path, writer, 8) for writer in range(3)]
        numbers = [number for future in made for number in future.result()]
    assert sorted(numbers) == list(range(1, 25))


def test_threads_that_open_a_new_sqlite_file_at_once_all_succeed(tmp_path: Path) -> None:
    path = tmp_path / "new.sqlite3"
    with ThreadPoolExecutor(12) as threads:
        for opened in threads.map(lambda _: SqliteDocuments(path), range(12)):
            opened.close()


def test_a_locked_sqlite_file_is_an_unavailable_store_until_it_is_free(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite3"
    store = Store(SqliteDocuments(path, busy_timeout_s=0.1))
    known = store.create_task(a_task())
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreUnavailableError, match=r"store\.sqlite3.*locked"):
        store.create_task(a_task())
    with pytest.raises(StoreUnavailableError):
        store.append_metrics([a_metric("t", 0)])
    assert store.get_task(known.id) == known, "readers do not wait for a writer"
    other.execute("ROLLBACK")
    other.close()
    store.append_metrics([a_metric("t", 0)])
    assert len(store.list_metrics("t")) == 1


def test_a_file_that_is_no_database_is_an_unavailable_store(tmp_path: Path) -> None:
    (tmp_path / "lwmecps.sqlite3").write_text("not a database, but longer than a header" * 40)
    with pytest.raises(StoreUnavailableError, match=r"lwmecps\.sqlite3.*not a database"):
        open_store(Settings(data_dir=tmp_path))


def test_without_a_mongodb_url_the_store_is_a_file_in_the_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MONGODB_URL", raising=False)
    store = open_store(Settings(data_dir=tmp_path / "made" / "here"))
    store.ping()
    store.close()
    assert (tmp_path / "made" / "here" / "lwmecps.sqlite3").is_file()


def test_a_data_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailableError, match="LWMECPS_DATA_DIR"):
        open_store(Settings(data_dir=tmp_path / "file" / "data"))


def test_a_mongodb_that_does_not_answer_is_an_unavailable_store() -> None:
    with pytest.raises(StoreUnavailableError, match="MongoDB"):
        MongoDocuments.connect("mongodb://127.0.0.1:9/", "lwmecps", answer_within_s=0.2)
