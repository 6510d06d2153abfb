"""The package imports only what is needed, and hides nothing of Python."""

import subprocess
import sys
from pathlib import Path

import pytest


def python(code: str, folder: Path) -> str:
    """Run code in a Python of its own, and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


ROOT = Path(__file__).parents[1]


def test_the_package_does_not_hide_pythons_own_platform_at_the_root() -> None:
    printed = python("import platform; print(platform.system())", ROOT)
    assert printed.strip() in ("Linux", "Darwin")


@pytest.mark.parametrize(
    "code",
    [
        "import gymnasium, lwmecps_gym.envs; gymnasium.make('lwmecps-v3')",
        "from lwmecps_gym.cli import app; app(['scenarios', 'list'], standalone_mode=False)",
        "from lwmecps_gym.cli import app; app(['models', 'list'], standalone_mode=False)",
    ],
    ids=["environments", "scenarios list", "models list"],
)
def test_what_needs_no_ray_and_no_torch_imports_neither(code: str, tmp_path: Path) -> None:
    check = "import sys; print(sorted({'ray', 'torch'} & set(sys.modules)))"
    assert python(f"{code}; {check}", tmp_path).splitlines()[-1] == "[]"


def test_heuristics_are_compared_without_ray(tmp_path: Path) -> None:
    code = (
        "from lwmecps_gym.cli import app; "
        "app(['evaluate', '--scenario', 'tiny', '--policy', 'static', '--episodes', '1'], "
        "standalone_mode=False); import sys; print('ray' in sys.modules)"
    )
    assert python(code, tmp_path).splitlines()[-1] == "False"
