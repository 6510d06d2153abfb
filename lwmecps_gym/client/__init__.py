"""A typed client of the REST API, in two kinds: `Client` waits, `AsyncClient` is awaited."""

from lwmecps_gym.client.clients import AsyncClient, Client

__all__ = ["AsyncClient", "Client"]
