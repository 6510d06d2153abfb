"""Starting and stopping the platform on this machine."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from lwmecps_gym.platform.config import Settings
from lwmecps_gym.platform.errors import InvalidInputError, StoreUnavailableError
from lwmecps_gym.serve_app.server import running

SERVE = """
import sys
from pathlib import Path
from lwmecps_gym.platform.config import Settings
from lwmecps_gym.serve_app.server import serve_forever
serve_forever(Settings(data_dir=Path(sys.argv[1])), "127.0.0.1", 0,
              ready=lambda url: print(url, flush=True))
"""


def test_a_taken_port_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(InvalidInputError, match=f"port {port}.*choose another"),
            running(Settings(data_dir=tmp_path), port=port),
        ):
            pytest.fail("it must not start")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 70_000), ("192.0.2.1.9", 0)])
def test_an_address_that_is_none_is_refused(tmp_path: Path, host: str, port: int) -> None:
    with (
        pytest.raises(InvalidInputError, match="cannot listen"),
        running(Settings(data_dir=tmp_path), host, port),
    ):
        pytest.fail("it must not start")


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_an_address_that_others_reach_is_refused_while_there_is_no_key(
    tmp_path: Path, host: str
) -> None:
    with (
        pytest.raises(InvalidInputError, match="lwmecps keys create"),
        running(Settings(data_dir=tmp_path), host),
    ):
        pytest.fail("it must not start")


def test_a_store_that_cannot_be_opened_is_refused_before_ray_starts(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(StoreUnavailableError),
        running(Settings(data_dir=tmp_path / "file")),
    ):
        pytest.fail("it must not start")


@pytest.mark.ray
@pytest.mark.slow
def test_sigterm_stops_all_that_was_started(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SERVE, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        url = process.stdout.readline().strip()
        assert httpx.get(f"{url}/readyz", trust_env=False).status_code == 200
        children = _descendants(process.pid)
        assert len(children) > 3
        process.send_signal(signal.SIGTERM)
        rest, errors = process.communicate(timeout=60)
    assert (process.returncode, rest) == (0, "")
    assert "Traceback" not in errors and "INFO" not in errors
    assert [child for child in children if Path(f"/proc/{child}").exists()] == []


def _descendants(pid: int) -> list[int]:
    """Processes that a process started, and those that they started."""
    found: list[int] = []
    for task in os.listdir(f"/proc/{pid}/task"):
        text = Path(f"/proc/{pid}/task/{task}/children").read_text()
        for child in map(int, text.split()):
            found += [child, *_descendants(child)]
    return found
