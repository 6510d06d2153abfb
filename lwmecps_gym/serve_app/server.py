"""Runs the platform on this machine: Ray, Serve and the API, started and stopped together."""

import logging
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import httpx

from lwmecps_gym.algorithms.ray_session import ray_alive, ray_running
from lwmecps_gym.platform.config import Settings
from lwmecps_gym.platform.database import open_store
from lwmecps_gym.platform.errors import InvalidInputError, LwmecpsError
from lwmecps_gym.serve_app.gate import is_loopback
from lwmecps_gym.serve_app.leftovers import end_orphaned_proxy

READY_TIMEOUT_S = 60.0
LOOK_S = 5.0
"""Time between two looks whether Ray is alive, s."""
APP_NAME = "lwmecps"


@contextmanager
def running(settings: Settings, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Run the platform while the block runs; gives the URL of the API.

    Ray is started here unless this process has it already or `RAY_ADDRESS` names a cluster; what
    was started here is stopped at the end. Port 0 takes any free one.

    Raises:
        InvalidInputError: The host or port cannot be used, or others can reach the host and
            there is no key that they would need.
        StoreUnavailableError: The store does not answer.
        LwmecpsError: The API was not ready in time.
    """
    port = _usable_port(host, port)
    settings = _guarded(settings, host)
    with ExitStack() as started:
        own_ray = started.enter_context(ray_running())
        # These take seconds, in which Ray's processes start.
        from ray import serve

        from lwmecps_gym.serve_app.app import application

        # Importing Serve sets its logger's level anew.
        logging.getLogger("ray.serve").setLevel(logging.ERROR)
        serve.start(http_options={"host": host, "port": port})
        if not own_ray:
            # Where Ray ends anyway this is left out: Serve's controller would be reported as lost.
            started.callback(serve.shutdown)
        serve.run(application(settings), name=APP_NAME)
        # Of a Ray that has died it would be asked forever.
        started.callback(lambda: serve.delete(APP_NAME) if ray_alive() else None)
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        _wait_until_ready(url)
        yield url


def serve_forever(
    settings: Settings, host: str, port: int, *, ready: Callable[[str], None] = print
) -> None:
    """Run the platform until SIGTERM or SIGINT.

    Args:
        settings: The settings of the platform.
        host: Address to listen at.
        port: Port to listen at; 0 takes any free one.
        ready: Called with the URL of the API once it answers.

    Raises:
        InvalidInputError: The host or port cannot be used.
        StoreUnavailableError: The store does not answer.
        LwmecpsError: The API was not ready in time, or Ray died.
    """
    stopping = threading.Event()
    signals = (signal.SIGTERM, signal.SIGINT)
    with running(settings, host, port) as url:
        # Ray sets its own handlers when it starts, so these come after.
        previous = [signal.signal(number, lambda *_: stopping.set()) for number in signals]
        try:
            ready(url)
            while not stopping.wait(LOOK_S):
                if not ray_alive():
                    raise LwmecpsError(
                        "Ray has died, and the platform with it; start it again: what was accepted "
                        "is in the store, and trainings go on from their last checkpoints"
                    )
        finally:
            for number, handler in zip(signals, previous, strict=True):
                signal.signal(number, handler)


def _guarded(settings: Settings, host: str) -> Settings:
    """Return the settings as they are safe at this host."""
    store = open_store(settings)
    try:
        if is_loopback(host):
            return settings
        if settings.auth == "auto" and settings.admin_key is None and not store.keys.exist():
            raise InvalidInputError(
                f"others can reach the API at {host}, and there is no key that it could ask them "
                "for: make one by `lwmecps keys create --scope admin --name me`, or let a proxy "
                "that authenticates stand before it and add --insecure-no-auth"
            )
        return settings.with_keys_required()
    finally:
        store.close()


def free_port() -> int:
    """Return a port that is free on the loopback address at this moment."""
    return _usable_port("127.0.0.1", 0)


def _usable_port(host: str, port: int) -> int:
    if not 0 <= port <= 65535:
        raise InvalidInputError(f"cannot listen at port {port}: choose one from 0 to 65535")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.create_server((host, port), family=family) as probe:
            return int(probe.getsockname()[1])
    except OSError as error:
        if end_orphaned_proxy(port):
            return _usable_port(host, port)
        raise InvalidInputError(
            f"cannot listen at {host}, port {port}: {error}; choose another port, or 0 for any"
        ) from error


def _wait_until_ready(url: str) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    # The client must not send calls to this machine through a proxy that the environment names.
    with httpx.Client(base_url=url, trust_env=False, timeout=10) as client:
        while True:
            try:
                response = client.get("/readyz")
                if response.is_success:
                    return
                answer = response.text
            except httpx.TransportError as error:
                answer = str(error)
            if time.monotonic() > deadline:
                raise LwmecpsError(
                    f"the API at {url} was not ready within {READY_TIMEOUT_S:.0f} s: {answer}; "
                    "the logs of Ray are under /tmp/ray/session_latest/logs"
                )
            time.sleep(0.1)
