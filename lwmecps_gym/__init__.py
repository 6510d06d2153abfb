"""Learned placement of services on edge (MEC) Kubernetes clusters."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lwmecps_gym.algorithms.registry import register_algorithm
    from lwmecps_gym.client import AsyncClient, Client

__all__ = ["AsyncClient", "Client", "__version__", "register_algorithm"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import what the package offers only where it is asked for: it takes a second."""
    if name == "register_algorithm":
        from lwmecps_gym.algorithms.registry import register_algorithm

        return register_algorithm
    if name in ("AsyncClient", "Client"):
        from lwmecps_gym import client

        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
