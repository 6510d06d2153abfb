"""The tutorial on algorithms of one's own, run as it is written."""

import io
import json
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from lwmecps_gym import cli

from .pages import commands_of, files_of

PAGE = "algorithms/your-own.md"

pytestmark = [pytest.mark.ray, pytest.mark.slow]

Answers = dict[str, Any]


def run(command: list[str]) -> Any:
    """Run a command of the page in this process, as JSON."""
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed):
        patch.setattr(sys, "argv", [*command, "--json"])
        patch.setenv("LWMECPS_ALGORITHMS", "")  # --import sets it
        with pytest.raises(SystemExit) as end:
            cli.main()
    assert not end.value.code, command
    return json.loads(printed.getvalue())


@pytest.fixture(scope="module")
def answers(
    ray_session: None, own_algorithms: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Answers]:
    """What the tutorial's commands answer, by command."""
    folder: Path = tmp_path_factory.mktemp("own")
    for name, text in files_of(PAGE).items():
        (folder / name).write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in ("MONGODB_URL", "WANDB_API_KEY"):
            patch.delenv(name, raising=False)
        patch.setenv("LWMECPS_DATA_DIR", str(folder / "data"))
        patch.setenv("WANDB_MODE", "disabled")
        yield {
            command[3]: run(command)
            for command in commands_of(PAGE)
            if command[2] == "reinforce.py" and command[3] != "serve"
        }


def test_the_class_of_the_page_learns_and_is_better_than_standing_still(answers: Answers) -> None:
    trained = answers["train"]
    assert (trained["model_id"], trained["version"]) == ("reinforce-tiny", 1)
    assert (trained["episodes"], trained["env_steps"]) == (40, 40 * 288)
    assert trained["return"]["first"] < 1.2 * trained["return"]["last"]  # both are negative
    cost = {row["policy"]: row["cost"] for row in answers["evaluate"]["rows"]}
    assert cost["reinforce-tiny:1"] < 0.8 * cost["static"]


def test_the_sweep_of_the_page_draws_parameters_of_the_class(answers: Answers) -> None:
    sweep = answers["sweep"]
    assert [trial["state"] for trial in sweep["trials"]] == ["finished", "finished"]
    assert all(0.003 <= t["parameters"]["learning_rate"] <= 0.03 for t in sweep["trials"])
    assert all(trial["env_steps"] == 20 * 288 for trial in sweep["trials"])
