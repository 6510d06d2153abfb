"""`lwmecps bench faults` sees what is lost, done twice or half done; a real kill loses nothing."""

import time
from pathlib import Path

import httpx
import numpy as np
import pytest

from lwmecps_gym.platform.artifacts import WEIGHTS, ArtifactStore
from lwmecps_gym.platform.config import Settings
from lwmecps_gym.platform.database import Store, open_store
from lwmecps_gym.platform.models import MetricRecord, TaskState, TrainingTask
from lwmecps_gym.serve_app.faults.bench import SETTINGS, TRAINING
from lwmecps_gym.serve_app.faults.verdict import judge
from lwmecps_gym.serve_app.faults.victim import Target, Victim

STEPS = 10


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path)


@pytest.fixture
def store(settings: Settings) -> Store:
    return open_store(settings)


def a_line(iteration: int, env_steps: int) -> MetricRecord:
    return MetricRecord(
        id=f"t1/{iteration:010d}", task_id="t1", iteration=iteration,
        episode=min(3, env_steps // STEPS), env_steps=env_steps, values={},
    )  # fmt: skip


def completed(settings: Settings, store: Store, digest: str | None = None) -> TrainingTask:
    """A training of three episodes in two iterations, and its model."""
    artifacts = ArtifactStore(settings.data_dir / "artifacts")
    digest = digest or artifacts.put({"w": np.ones(2)}, {"name": "faults"})
    task = TrainingTask(
        id="t1", name="faults", model_type="q_learning", parameters={}, total_episodes=3,
        scenario={"name": "short", "episode_steps": STEPS}, env="lwmecps-v1", seed=0,
    )  # fmt: skip
    store.append_metrics([a_line(1, 20), a_line(2, 40)])
    version = store.add_version(
        "faults", model_type="q_learning", task_id="t1", digest=digest, metrics={}
    )
    return store.create_task(
        task.model_copy(
            update={
                "state": TaskState.COMPLETED, "iteration": 2, "episode": 3, "resumed": 1,
                "model_id": "faults", "version": version.version,
            }
        )
    )  # fmt: skip


def counts(settings: Settings) -> tuple[int, int, int]:
    verdict = judge(settings, ["t1"], rounds=1)
    assert (verdict.rounds, verdict.tasks) == (1, 1)
    assert verdict.good == (verdict.lost + verdict.duplicated + verdict.half_written == 0)
    return verdict.lost, verdict.duplicated, verdict.half_written


def test_a_training_that_was_completed_once_is_good(settings: Settings, store: Store) -> None:
    completed(settings, store)
    assert counts(settings) == (0, 0, 0)
    assert judge(settings, ["t1"], rounds=1).resumed == 1


def test_one_that_is_gone_or_did_not_end_well_is_lost(settings: Settings, store: Store) -> None:
    assert counts(settings) == (1, 0, 0)
    task = completed(settings, store)
    store.update_task(task, state=TaskState.FAILED)
    assert counts(settings) == (1, 0, 0)


@pytest.mark.parametrize("line", [a_line(3, 60), a_line(5, 60)])
def test_one_that_trained_on_after_its_end_did_so_twice(
    settings: Settings, store: Store, line: MetricRecord
) -> None:
    completed(settings, store)
    store.append_metrics([line])
    assert counts(settings) == (0, 1, 0)


def test_one_whose_episodes_are_counted_twice_is_found(settings: Settings, store: Store) -> None:
    completed(settings, store)
    store.append_metrics([a_line(2, 20).model_copy(update={"revision": 1, "episode": 3})])
    assert counts(settings) == (0, 1, 0)


def test_a_second_version_of_one_training_is_found(settings: Settings, store: Store) -> None:
    task = completed(settings, store)
    store.add_version(
        "faults", model_type="q_learning", task_id="t1", retry=1, metrics={},
        digest=store.get_version("faults").digest,
    )  # fmt: skip
    assert task.version == 1
    assert counts(settings) == (0, 1, 0)


def test_a_model_that_is_not_whole_is_half_written(settings: Settings, store: Store) -> None:
    completed(settings, store)
    digest = store.get_version("faults").digest
    weights = ArtifactStore(settings.data_dir / "artifacts").path(digest) / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1])
    assert counts(settings) == (0, 0, 1)
    weights.unlink()
    assert counts(settings) == (0, 0, 1)


@pytest.mark.ray
@pytest.mark.slow
def test_a_training_goes_on_after_it_and_then_all_of_the_platform_were_killed(
    tmp_path: Path,
) -> None:
    victim = Victim(tmp_path, SETTINGS)
    try:
        victim.start()
        given = TRAINING | {"total_episodes": 200}
        created = httpx.post(f"{victim.url}/api/v1/training", json=given, trust_env=False)
        task_id = created.json()["id"]

        def wait(**wanted: object) -> None:
            deadline = time.monotonic() + 120
            while True:
                url = f"{victim.url}/api/v1/training/{task_id}/progress"
                progress = httpx.get(url, trust_env=False, timeout=30).json()
                if wanted.items() <= progress.items() and progress["checkpoint_iteration"]:
                    return
                assert time.monotonic() < deadline, progress
                time.sleep(0.1)

        wait(state="running")
        assert victim.kill(Target.TRAINING)
        wait(state="running", resumed=1)
        victim.kill(Target.PLATFORM)
        victim.start()
        wait(state="completed", resumed=2)
    finally:
        victim.stop()
    verdict = judge(Settings(data_dir=tmp_path), [task_id], rounds=2)
    assert verdict.good and verdict.resumed == 2
