"""One way to start Ray: quietly, on this machine, unless `RAY_ADDRESS` names a cluster."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import ray


@contextmanager
def ray_running() -> Iterator[bool]:
    """Have Ray while the block runs; gives whether it was started here, and so ends with it."""
    own = not ray.is_initialized()
    if own:
        start_ray()
    try:
        yield own
    finally:
        if own:
            ray.shutdown()


def start_ray() -> None:
    """Start Ray on this machine, or connect to `RAY_ADDRESS`."""
    ray.init(
        os.environ.get("RAY_ADDRESS", "local"),
        include_dashboard=None if os.environ.get("RAY_ADDRESS") else False,
        namespace="lwmecps",
        logging_level=logging.ERROR,
        log_to_driver=False,
    )
    hush_ray()


def ray_alive() -> bool:
    """Whether any node of Ray still works."""
    return any(node["Alive"] for node in ray.nodes())


def hush_ray() -> None:
    """Let Ray's loggers tell errors alone: it warns of its own deprecated parts."""
    for name in ("ray", "ray.rllib", "ray.serve", "ray.tune"):
        logging.getLogger(name).setLevel(logging.ERROR)
