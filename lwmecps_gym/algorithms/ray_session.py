"""One way to start Ray: quietly, on this machine, unless `RAY_ADDRESS` names a cluster."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

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


SERVE_DEFAULTS = {
    # HAProxy hands requests straight to a replica's own port: a proxy in Python, and a call of a
    # handle after it, cost several times what a decision does.
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    # Otherwise Serve's shutdown after `asyncio.run` meets a closed event loop.
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "1",
    # Where all is on one machine no balancer elsewhere has to learn that a replica leaves.
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0.5",
    "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
}
"""Ray Serve's settings for a Ray that is started here, unless the environment has others.

Serve reads them when it is imported and passes them on to its processes through Ray.
"""
_SERVE_PORTS = ("RAY_SERVE_HAPROXY_STATS_PORT", "RAY_SERVE_HAPROXY_METRICS_PORT")
"""HAProxy's pages of counters; Ray binds them to all addresses, each platform needs its own."""


def start_ray() -> None:
    """Start Ray on this machine, or connect to `RAY_ADDRESS`."""
    if "RAY_ADDRESS" not in os.environ:
        _set_up_serve()
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


def _set_up_serve() -> None:
    for name, value in SERVE_DEFAULTS.items():
        os.environ.setdefault(name, value)
    with ExitStack() as held:  # together, so that they are different
        for name in _SERVE_PORTS:
            probe = held.enter_context(socket.create_server(("", 0)))
            os.environ.setdefault(name, str(probe.getsockname()[1]))


def hush_ray() -> None:
    """Let Ray's loggers tell errors alone: it warns of its own deprecated parts."""
    for name in ("ray", "ray.rllib", "ray.serve", "ray.tune"):
        logging.getLogger(name).setLevel(logging.ERROR)
