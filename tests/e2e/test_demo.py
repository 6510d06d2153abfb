"""The demo trains, compares, deploys and asks a model, and leaves nothing running."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from matplotlib.image import imread

from lwmecps_gym.algorithms.evaluation import Evaluation

pytestmark = [pytest.mark.ray, pytest.mark.slow]

MARK = f"LWMECPS_TEST_RUN={uuid4().hex}"
"""In the environment of the demo, and so of every process that it starts."""


def left_over() -> list[str]:
    """Command lines of the processes that carry the mark."""
    return [command for command in _marked() if command]


def _marked() -> Iterator[str]:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if MARK.encode() in (folder / "environ").read_bytes().split(b"\0"):
                yield (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it has ended, or is someone else's


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a demo that was run once, with few episodes, and its text as demo.txt."""
    folder = tmp_path_factory.mktemp("demo")
    unset = {"MONGODB_URL", "WANDB_API_KEY", "WANDB_MODE", "RAY_ADDRESS", "LWMECPS_DATA_DIR"}
    done = subprocess.run(
        [Path(sys.executable).with_name("lwmecps"), "demo", "--episodes", "64",
         "--output", str(folder / "out")],
        env={name: value for name, value in os.environ.items() if name not in unset}
        | dict([MARK.split("=")]),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "Traceback" not in done.stdout
    (folder / "out" / "demo.txt").write_text(done.stdout)
    return folder / "out"


def test_no_process_of_the_demo_is_left(output: Path) -> None:
    deadline = time.monotonic() + 10
    while left_over() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert left_over() == []


def test_the_picture_is_a_png_of_a_decent_size(output: Path) -> None:
    height, width, _ = imread(output / "day.png").shape
    assert width >= 1000 and height >= 600


def test_even_a_short_training_beats_random_and_uniform_placement(output: Path) -> None:
    document = json.loads((output / "evaluation.json").read_text())
    costs = {row.policy: row.cost for row in Evaluation.model_validate(document).rows}
    assert {"demo:1", "hpa", "kube_default", "greedy_cost"} <= costs.keys()
    assert costs["demo:1"] < costs["uniform"]
    assert costs["demo:1"] < costs["random"]


def test_it_says_what_it_did_and_what_to_do_next(output: Path) -> None:
    text = (output / "demo.txt").read_text()
    for said in (
        "POST /api/v1/training", "model demo version 1", "greedy_cost", "recommended:",
        "mean latency", "Serve it:", "Compare it:",
    ):  # fmt: skip
        assert said in text
    assert str(output) in text  # commands that can be copied name the folder
