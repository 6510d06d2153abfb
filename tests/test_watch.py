"""`lwmecps watch` shows what a policy does, in the terminal or as a file."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lwmecps_gym import cli
from lwmecps_gym.algorithms.evaluation import evaluate_policies
from lwmecps_gym.algorithms.heuristics import make_heuristic
from lwmecps_gym.commands.watch import scenes
from lwmecps_gym.envs.scenario import load_scenario

Watch = Callable[..., int]


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Watch:
    """Run `lwmecps watch` on the small scenario in this process; gives the exit code."""
    monkeypatch.setenv("LWMECPS_DATA_DIR", str(tmp_path / "data"))

    def call(*arguments: str) -> int:
        monkeypatch.setattr(
            sys, "argv", ["lwmecps", "watch", "--scenario", "tiny", "--speed", "0", *arguments]
        )
        with pytest.raises(SystemExit) as end:
            cli.main()
        return int(end.value.code or 0)

    return call


def test_it_plays_the_day_that_is_evaluated() -> None:
    scenario = load_scenario(load_scenario("tiny").document() | {"episode_steps": 50})
    policies = [make_heuristic("greedy_cost", scenario) for _ in "ab"]
    _, (day,) = evaluate_policies(scenario, policies[:1], episodes=1, seed=4)
    played = scenes(scenario, policies[1], 4, 0.0, range(1, scenario.episode_steps + 1))
    assert [scene.cost for scene in played] == pytest.approx(day.cost.tolist())


def test_every_step_is_told_where_there_is_no_terminal(
    watch: Watch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert watch("--policy", "greedy_latency", "--steps", "3", "--start", "20") == 0
    told = capsys.readouterr().out
    assert [f"day 1, 20:{minute:02}" in told for minute in (0, 5, 10, 15, 20)] == [True] * 4 + [
        False
    ]
    assert "place a replica of video on bs_" in told and "node" in told


@pytest.mark.parametrize(("name", "frames"), [("end.png", 1), ("sub/day.gif", 4)])
def test_it_saves_a_picture_of_the_end_or_of_all_steps(
    watch: Watch, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, frames: int
) -> None:
    assert watch("--steps", "3", "--save", str(tmp_path / name)) == 0
    printed = capsys.readouterr()
    assert printed.out == "" and name in printed.err
    with Image.open(tmp_path / name) as image:
        assert (image.size, getattr(image, "n_frames", 1)) == ((960, 640), frames)
        assert len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)) > 10


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--save", "day.mp4"], "'day.mp4': want a file that ends in .gif or .png"),
        (["--save", "/proc/no/day.png", "--steps", "1"], "/proc/no/day.png: cannot be written"),
        (["--policy", "best"], "'best'"),
        (["--start", "25"], "'--start'"),
    ],
)
def test_what_cannot_be_is_refused(
    watch: Watch, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert watch(*arguments) == 2
    assert said in capsys.readouterr().err
