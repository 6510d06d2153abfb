"""Tracking, proved by what lies in the run's own file."""

import json
import logging
import os
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

from lwmecps_gym.platform.artifacts import ArtifactStore
from lwmecps_gym.platform.config import Settings
from lwmecps_gym.platform.errors import InvalidInputError
from lwmecps_gym.platform.models import TrainingTask, new_id
from lwmecps_gym.platform.offline_runs import sync_command
from lwmecps_gym.platform.wandb_config import Tracker

BLOCK_BYTES = 32768
FILE_HEADER_BYTES = 7
CHUNK_HEADER = struct.Struct("<IHB")
LAST_CHUNKS = (1, 4)  # a whole record, or the last chunk of one


@pytest.fixture(autouse=True)
def no_wandb_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "data"))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "home")


def a_task(**changes: object) -> TrainingTask:
    fields: dict[str, object] = {
        "id": new_id(),
        "name": "evening peak",
        "model_type": "ppo",
        "parameters": {"learning_rate": 3e-4, "hidden": [64, 64]},
        "total_episodes": 20,
        "scenario": {"name": "tiny"},
        "env": "lwmecps-v3",
        "seed": 7,
    }
    return TrainingTask.model_validate({**fields, **changes})


def read_records(file: Path) -> Iterator[Record]:
    """Yield the records of a `.wandb` file: protobuf messages in LevelDB's log format."""
    content = file.read_bytes()
    position, message = FILE_HEADER_BYTES, b""
    while position + CHUNK_HEADER.size <= len(content):
        if BLOCK_BYTES - position % BLOCK_BYTES < CHUNK_HEADER.size:
            position += BLOCK_BYTES - position % BLOCK_BYTES
            continue
        _, length, kind = CHUNK_HEADER.unpack_from(content, position)
        position += CHUNK_HEADER.size
        if position + length > len(content):
            return
        message += content[position : position + length]
        position += length
        if kind in LAST_CHUNKS:
            yield Record.FromString(message)
            message = b""


def records_of(settings: Settings, task: TrainingTask) -> list[Record]:
    """Return all records of a finished run."""
    (file,) = (settings.data_dir / "wandb").glob(f"offline-run-*-{task.id}/run-*.wandb")
    records = list(read_records(file))
    assert any(record.HasField("exit") for record in records), f"{file} has no end"
    return records


def history_of(records: list[Record]) -> list[dict[str, object]]:
    return [
        {
            "/".join(item.nested_key) or item.key: json.loads(item.value_json)
            for item in r.history.item
        }
        for r in records
        if r.HasField("history")
    ]


def test_an_offline_run_holds_config_history_and_model(settings: Settings, tmp_path: Path) -> None:
    task = a_task()
    artifacts = ArtifactStore(tmp_path / "artifacts")
    digest = artifacts.put({"w": np.ones((2, 3))}, {"kind": "ppo"})

    tracker = Tracker.start(settings, task)
    assert tracker.run_id == task.id
    for step in range(3):
        tracker.log({"return": -10.0 + step, "loss/policy": 0.5}, step=step * 100)
    tracker.log_model("Evening peak", artifacts.path(digest), {"digest": digest}, ["v1", "latest"])
    tracker.finish()
    assert tracker.run_id is None

    records = records_of(settings, task)
    run = next(r.run for r in records if r.HasField("run"))
    assert (run.run_id, run.display_name, run.project, run.job_type) == (
        task.id,
        "evening peak",
        "lwmecps-gym",
        "training",
    )
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert config["parameters"] == {"learning_rate": 3e-4, "hidden": [64, 64]}
    assert (config["scenario"], config["env"], config["seed"]) == ("tiny", "lwmecps-v3", 7)

    history = history_of(records)
    assert [(line["_step"], line["return"]) for line in history] == [
        (0, -10.0),
        (100, -9.0),
        (200, -8.0),
    ]
    assert history[0]["loss/policy"] == 0.5

    artifact = next(r.artifact for r in records if r.HasField("artifact"))
    assert (artifact.name, artifact.type, sorted(artifact.aliases)) == (
        "evening-peak",
        "model",
        ["latest", "v1"],
    )
    assert json.loads(artifact.metadata) == {"digest": digest}
    assert {Path(entry.local_path) for entry in artifact.manifest.contents} == set(
        artifacts.path(digest).iterdir()
    )
    assert next(r.exit.exit_code for r in records if r.HasField("exit")) == 0


def test_a_run_holds_what_its_process_and_machine_use(settings: Settings) -> None:
    measured: set[str] = set()
    for duration_s in (0.5, 2, 8):  # W&B begins to measure when its process gets to it
        task = a_task()
        tracker = Tracker.start(settings, task)
        time.sleep(duration_s)
        tracker.finish()
        measured = {i.key for r in records_of(settings, task) for i in r.stats.item}
        if measured:
            break
    assert {"memory_percent", "proc.memory.rssMB"} <= measured


def test_the_log_has_the_command_that_sends_an_offline_run(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    tracker = Tracker.start(settings, a_task())
    tracker.log({"return": 1.0}, step=1)
    tracker.finish()
    command = next(line for line in caplog.messages if "wandb sync" in line)
    folder = Path(command.rpartition("wandb sync ")[2])
    assert folder.is_dir()
    assert list(folder.glob("*.wandb"))


def test_the_command_that_sends_runs_is_known_as_long_as_there_are_any(tmp_path: Path) -> None:
    data_dir = tmp_path / "my data"
    assert sync_command(data_dir, "one") is None
    (data_dir / "wandb" / "offline-run-20260101_000000-one").mkdir(parents=True)
    assert sync_command(data_dir, "one") == f"wandb sync '{data_dir}/wandb'/offline-run-*-one"
    assert sync_command(data_dir, "two") is None


def test_a_failed_training_leaves_its_exit_code(settings: Settings) -> None:
    task = a_task()
    Tracker.start(settings, task).finish(exit_code=1)
    assert [r.exit.exit_code for r in records_of(settings, task) if r.HasField("exit")] == [1]


def test_two_trainings_of_one_process_have_a_run_each(settings: Settings) -> None:
    first, second = a_task(), a_task()
    trackers = [Tracker.start(settings, first), Tracker.start(settings, second)]
    for n, tracker in enumerate(trackers):
        tracker.log({"return": float(n)}, step=0)
    for tracker in trackers:
        tracker.finish()
    assert [line["return"] for line in history_of(records_of(settings, first))] == [0]
    assert [line["return"] for line in history_of(records_of(settings, second))] == [1]


def test_a_disabled_run_writes_nothing_and_takes_every_call(
    settings: Settings, tmp_path: Path
) -> None:
    tracker = Tracker.start(settings.model_copy(update={"wandb_mode": "disabled"}), a_task())
    tracker.log({"return": 1.0}, step=0)
    tracker.log_model("peak", tmp_path, {}, ["v1"])
    tracker.finish()
    assert tracker.run_id is None
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_mode_is_named(settings: Settings) -> None:
    with pytest.raises(InvalidInputError, match="WANDB_MODE is 'sometimes'"):
        Tracker.start(settings.model_copy(update={"wandb_mode": "sometimes"}), a_task())


def test_a_key_that_wandb_refuses_is_a_warning_and_the_run_stays_offline(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    task = a_task()
    with_key = Settings.model_validate(
        {"data_dir": settings.data_dir, "wandb_api_key": "too-short"}
    )
    with caplog.at_level(logging.WARNING):
        tracker = Tracker.start(with_key, task)
    assert "cannot track training" in caplog.text
    assert "too-short" not in caplog.text
    tracker.log({"return": 1.0}, step=0)
    tracker.finish()
    assert len(history_of(records_of(settings, task))) == 1


def test_what_wandb_refuses_is_a_warning_and_later_values_are_kept(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    task = a_task()
    tracker = Tracker.start(settings, task)
    with caplog.at_level(logging.WARNING):
        tracker.log_model("peak", tmp_path, {f"key{n}": n for n in range(101)}, ["v1"])
    assert f"refuses a model of training {task.id}" in caplog.text
    tracker.log({"return": 1.0}, step=0)
    tracker.finish()
    assert len(history_of(records_of(settings, task))) == 1


def test_a_data_folder_that_cannot_be_made_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.WARNING):
        tracker = Tracker.start(Settings(data_dir=tmp_path / "file" / "data"), a_task())
    assert "cannot track training" in caplog.text
    assert tracker.run_id is None


def test_a_model_folder_that_is_not_there_is_the_callers_error(
    settings: Settings, tmp_path: Path
) -> None:
    tracker = Tracker.start(settings, a_task())
    with pytest.raises(FileNotFoundError):
        tracker.log_model("peak", tmp_path / "nowhere", {}, [])
    tracker.finish()


TRAINING = """
import logging, os, signal, sys, time
from pathlib import Path
from lwmecps_gym.platform.config import Settings
from lwmecps_gym.platform.models import TrainingTask
from lwmecps_gym.platform.wandb_config import Tracker

logging.basicConfig(level=logging.WARNING)
task = TrainingTask.model_validate_json(sys.argv[2])
tracker = Tracker.start(Settings(data_dir=Path(sys.argv[1])), task)
tracker.log({"return": 0.0}, step=0)
"""

TRAINING_WHOSE_WANDB_DIES = f"""
{TRAINING}
mine = f"--pid\\0{{os.getpid()}}\\0".encode()
(service,) = [int(file.parent.name) for file in Path("/proc").glob("[0-9]*/cmdline")
              if b"wandb-core" in file.read_bytes() and mine in file.read_bytes()]
os.kill(service, signal.SIGKILL)
time.sleep(0.5)
for step in range(1, 20):
    tracker.log({{"return": 1.0}}, step=step)
tracker.finish()
print("trained to the end")
"""


def run_in_a_process(program: str, data_dir: Path, **environment: str) -> tuple[str, str]:
    done = subprocess.run(
        [sys.executable, "-c", program, str(data_dir), a_task().model_dump_json()],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def test_a_training_outlives_the_wandb_process(tmp_path: Path) -> None:
    said, warned = run_in_a_process(TRAINING_WHOSE_WANDB_DIES, tmp_path)
    assert said == "trained to the end\n"
    assert warned.count("W&B fails to take values") == 1


def test_the_address_of_another_process_wandb_is_not_used(tmp_path: Path) -> None:
    gone = f"3-1-unix-{tmp_path}/gone.socket"
    _, warned = run_in_a_process(TRAINING, tmp_path, WANDB_SERVICE=gone)
    assert warned == ""
    assert len(list((tmp_path / "wandb").glob("offline-run-*/*.wandb"))) == 1
