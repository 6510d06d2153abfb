"""A real cluster in the place of the stand-in."""

import secrets
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
from kubernetes import client, config

from .api import ADMIN


class RealCluster:
    """The cluster of a kubeconfig, with a namespace of its own that is deleted at the end.

    Attributes:
        namespace: Where tests put their things.
        nodes: The names of its nodes that take pods.
    """

    def __init__(self, kubeconfig: Path) -> None:
        self._kubeconfig = kubeconfig
        self._core = client.CoreV1Api(self.api_client())
        self.namespace = f"lwmecps-test-{secrets.token_hex(4)}"
        self.nodes = [
            str(node.metadata.name)
            for node in self._core.list_node().items
            if node.metadata and node.spec and not node.spec.unschedulable and not node.spec.taints
        ]

    def __enter__(self) -> Self:
        metadata = client.V1ObjectMeta(name=self.namespace)
        self._core.create_namespace(client.V1Namespace(metadata=metadata))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._core.delete_namespace(self.namespace, _preload_content=False)

    def api_client(self, token: str = ADMIN) -> client.ApiClient:
        if token != ADMIN:
            pytest.skip("a real cluster has no users made for tests")
        found: client.ApiClient = config.new_client_from_config(  # type: ignore[no-untyped-call]
            str(self._kubeconfig)
        )
        return found

    def __getattr__(self, name: str) -> Any:
        pytest.skip(f"{name}: a real cluster does not do that on demand")
