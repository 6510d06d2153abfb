"""A platform in a process of its own, parts of which are killed; it kills nothing else."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from enum import StrEnum
from pathlib import Path

import httpx
import psutil

from lwmecps_gym.platform.errors import LwmecpsError

START_S = 180.0
"""How long the platform may take until it is ready, s."""
END_S = 60.0
"""How long it may take to end, s."""
RAY_ENDS_S = 5.0
"""How long Ray is given to end by itself, once the process that started it is gone, s."""
_FOREIGN = ("LWMECPS_", "WANDB_", "MONGODB_", "RAY_")
"""Beginnings of variables that would lead it out of its folder, or to another's cluster."""


class Target(StrEnum):
    """What can be killed; the value is how the process calls itself, or all of them."""

    TRAINING = "ray::TrainingActor"
    API = "ray::ServeReplica:lwmecps:Api"
    POLICIES = "ray::ServeReplica:lwmecps:PolicyServer"
    CONTROLLER = "ray::ServeController"
    SERVER = "lwmecps serve"
    """The process that started Ray; the rest is left to end by itself."""
    PLATFORM = "everything"


class Victim:
    """A `lwmecps serve` over a folder, started again whenever it is asked for.

    Its processes are those of the sessions that it began, which no other process can join.

    Args:
        folder: Its data folder; its output goes to `serve.log` there.
        settings: Environment variables.
    """

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        self._folder = folder
        kept = {name: v for name, v in os.environ.items() if not name.startswith(_FOREIGN)}
        self._environment = {
            **kept,
            **settings,
            "LWMECPS_DATA_DIR": str(folder),
            "WANDB_MODE": "disabled",
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._sessions: set[int] = set()
        self._port = _free_port()
        self.url = f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start it and wait until it is ready.

        Raises:
            LwmecpsError: It ended, or was not ready in time; the message has its last words.
        """
        command = [sys.executable, "-m", "lwmecps_gym.cli", "serve", "--port", str(self._port)]
        with (self._folder / "serve.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )
        self._sessions.add(self._process.pid)
        deadline = time.monotonic() + START_S
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                last = (self._folder / "serve.log").read_text(errors="replace")[-1000:]
                raise LwmecpsError(f"the platform did not start: {last}")
            time.sleep(0.2)

    def kill(self, target: Target) -> bool:
        """Kill a part of it by SIGKILL; False if there is none at the moment."""
        if target is Target.PLATFORM:
            self._kill_all()
            return True
        if target is Target.SERVER:
            assert self._process is not None
            self._process.kill()
            self._process.wait()
            time.sleep(RAY_ENDS_S)
            return True
        found = [each for each in self._processes() if _title(each).startswith(target)]
        for process in found:
            _kill(process)
        return bool(found)

    def stop(self) -> None:
        """End it as an operator would, by SIGTERM; kill what is left."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(END_S)
        self._kill_all()

    def _ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", trust_env=False, timeout=5).is_success
        except httpx.TransportError:
            return False

    def _kill_all(self) -> None:
        deadline = time.monotonic() + END_S
        while processes := self._processes():
            for process in processes:
                _kill(process)
            if time.monotonic() > deadline:
                raise LwmecpsError(f"processes of the platform do not end: {processes}")
            time.sleep(0.1)
        if self._process is not None:
            self._process.wait()

    def _processes(self) -> list[psutil.Process]:
        """Its processes that run; those that ended and were not waited for do not count."""
        found = []
        for process in psutil.process_iter():
            try:
                ours = os.getsid(process.pid) in self._sessions
                if ours and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (psutil.NoSuchProcess, ProcessLookupError, PermissionError):
                continue
        return found


def _free_port() -> int:
    """A port that is free, and that nobody gets by asking for any: Ray does, while it starts."""
    while True:
        port = random.randrange(20_000, 30_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def _kill(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        process.kill()
