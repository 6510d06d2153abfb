"""The package imports only what is needed, and hides nothing of Python."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

STEPS = {
    "environments": "gymnasium.make('lwmecps-v3')",
    "help": "command('--help')",
    "scenarios list": "command('scenarios', 'list')",
    "models list": "command('models', 'list')",
    "tasks list": "command('tasks', 'list')",
    "evaluate": "command('evaluate', *'--scenario tiny --policy static --episodes 1'.split())",
}
"""What one process does, in this order: it forgets nothing that it has imported."""
OTHERS = {"LWMECPS_URL", "LWMECPS_ALGORITHMS", "MONGODB_URL"}
"""What would lead the commands elsewhere."""
PROLOGUE = """
import contextlib, json, sys
import gymnasium, lwmecps_gym.envs
from lwmecps_gym.cli import app

def command(*arguments):
    app(arguments, standalone_mode=False)

def step(name, code):
    with contextlib.redirect_stdout(sys.stderr):
        eval(code)
    loaded[name] = sorted({"ray", "torch"} & set(sys.modules))

loaded = {}
"""


def python(code: str, folder: Path) -> str:
    """Run code in a Python of its own, and return what it printed."""
    given = {name: value for name, value in os.environ.items() if name not in OTHERS}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, cwd=folder, check=False,
        env=given | {"LWMECPS_DATA_DIR": str(folder / "data")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


ROOT = Path(__file__).parents[1]


def test_the_package_does_not_hide_pythons_own_platform_at_the_root() -> None:
    printed = python("import platform; print(platform.system())", ROOT)
    assert printed.strip() in ("Linux", "Darwin")


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Which of Ray and torch a process has imported after each of `STEPS`."""
    steps = "".join(f"step({name!r}, {code!r})\n" for name, code in STEPS.items())
    code = f"{PROLOGUE}{steps}print(json.dumps(loaded))"
    answer: dict[str, list[str]] = json.loads(python(code, tmp_path_factory.mktemp("folder")))
    return answer


@pytest.mark.parametrize("step", [name for name in STEPS if name != "evaluate"])
def test_what_needs_no_ray_and_no_torch_imports_neither(
    loaded: dict[str, list[str]], step: str
) -> None:
    assert loaded[step] == []


def test_heuristics_are_compared_without_ray(loaded: dict[str, list[str]]) -> None:
    assert "ray" not in loaded["evaluate"]
