"""The stand-in as tests use it: an HTTP server, nodes to add, and faults to inject."""

import threading
import time
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self

import yaml
from kubernetes import client

from . import shapes
from .api import ADMIN, ApiServer
from .controllers import Controllers
from .http import Fault, handler_class
from .objects import NAMESPACES, NODES, Json, ObjectStore, Refusal
from .requests import Request


class KubernetesServer:
    """A cluster without nodes, with the namespaces `default` and `kube-system`.

    Attributes:
        url: Where the API is.
        namespace: Where tests put their things.
        nodes: The names of its nodes, in the order they were added.
        requests: All requests so far, oldest first.
    """

    def __init__(self, ready_delay_s: float = 0.02, stop_delay_s: float = 0.02) -> None:
        self.namespace = "default"
        self.nodes: list[str] = []
        self.requests: list[Request] = []
        self._faults: list[Fault] = []
        self._store = ObjectStore()
        self._controllers = Controllers(self._store, ready_delay_s, stop_delay_s)
        self._stopped = threading.Event()
        api = ApiServer(self._store, self._controllers)
        handler = handler_class(api, self._take_fault, self._stopped)
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._threads = [
            threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True),
            threading.Thread(target=self._run_controllers, daemon=True),
        ]
        for name in ("default", "kube-system"):
            self.add_namespace(name)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped.set()
        self._http.shutdown()
        self._http.server_close()
        for thread in self._threads:
            thread.join()

    def api_client(self, token: str | None = ADMIN) -> client.ApiClient:
        """A new official client; `token` may be "admin", "viewer" (who has no rights) or None."""
        configuration = client.Configuration()
        configuration.host = self.url
        configuration.retries = False
        if token is not None:
            configuration.api_key["BearerToken"] = f"Bearer {token}"
        return client.ApiClient(configuration)

    def write_kubeconfig(self, path: Path) -> Path:
        """Write a kubeconfig of the admin to `path`."""
        context = {"cluster": "stand-in", "user": ADMIN}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "stand-in",
            "clusters": [{"name": "stand-in", "cluster": {"server": self.url}}],
            "users": [{"name": ADMIN, "user": {"token": ADMIN}}],
            "contexts": [{"name": "stand-in", "context": context}],
        }
        path.write_text(yaml.safe_dump(document))
        return path

    def add_namespace(self, name: str) -> None:
        with self._store.lock:
            self._store.create(NAMESPACES, "", shapes.namespace({"metadata": {"name": name}}))

    def add_node(
        self,
        name: str,
        cpu: float,
        memory_mib: float,
        pods: int = 110,
        labels: dict[str, str] | None = None,
    ) -> None:
        """Add a ready node with so many cores, MiB and places for pods."""
        with self._store.lock:
            self.nodes.append(name)
            item = shapes.node(name, len(self.nodes), cpu, memory_mib, pods, labels or {})
            self._store.create(NODES, "", item)

    def set_node_ready(self, name: str, ready: bool) -> None:
        """Have the kubelet of a node stop reporting, or report again; its pods follow."""
        with self._store.lock:
            item = self._store.get(NODES, "", name)
            item["status"]["conditions"][0]["status"] = "True" if ready else "Unknown"
            self._store.update(NODES, item)
            self._controllers.step()

    def cordon(self, name: str, cordoned: bool = True) -> None:
        """Keep new pods from a node, as `kubectl cordon` does."""
        with self._store.lock:
            item = self._store.get(NODES, "", name)
            taint = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
            item["spec"] = {"unschedulable": True, "taints": [taint]} if cordoned else {}
            self._store.update(NODES, item)

    def set_delays(self, ready_s: float | None = None, stop_s: float | None = None) -> None:
        """Set how long a pod takes to become ready once bound, and to be gone once stopped."""
        with self._store.lock:
            if ready_s is not None:
                self._controllers.ready_delay_s = ready_s
            if stop_s is not None:
                self._controllers.stop_delay_s = stop_s

    def settle(self, timeout_s: float = 5.0) -> None:
        """Wait until nothing moves: pods are ready, gone, or fit no node."""
        ends_at = time.monotonic() + timeout_s
        while time.monotonic() < ends_at:
            with self._store.lock:
                before = self._store.version
                self._controllers.step()
                if self._store.version == before and self._controllers.settled():
                    return
            time.sleep(0.005)
        raise TimeoutError(f"the cluster still moves after {timeout_s} s")

    def fail_next(
        self,
        status: int,
        *,
        times: int = 1,
        method: str = "",
        url: str = "",
        retry_after: str | None = None,
        reason: str = "",
        message: str = "injected by the test",
        causes: list[Json] | None = None,
    ) -> None:
        """Refuse the next requests of this method whose URL contains `url`; not watches."""
        refusal = Refusal(status, reason, message, {"causes": causes} if causes else None)
        headers = {} if retry_after is None else {"Retry-After": retry_after}
        self._faults.append(Fault(times, method, url, refusal=refusal, headers=headers))

    def cut_next(self, *, times: int = 1, method: str = "", url: str = "") -> None:
        """Carry out the next such requests, but cut the connection in the midst of the answer."""
        self._faults.append(Fault(times, method, url, kind="cut"))

    def expire_next_watch(self) -> None:
        """Answer the next watch with the event 410 Gone."""
        refusal = Refusal(410, "Expired", "too old resource version")
        self._faults.append(Fault(1, refusal=refusal, watches=True))

    def cut_next_watch(self) -> None:
        """Cut the connection of the next watch before its first event."""
        self._faults.append(Fault(1, kind="cut", watches=True))

    def end_next_watch(self) -> None:
        """End the next watch before its first event, as if its time were over."""
        self._faults.append(Fault(1, kind="end", watches=True))

    def _take_fault(self, request: Request) -> Fault | None:
        with self._store.lock:
            self.requests.append(request)
            fault = next((fault for fault in self._faults if fault.meets(request)), None)
            if fault:
                fault.times -= 1
            return fault

    def _run_controllers(self) -> None:
        seen = 0
        while not self._stopped.wait(0.01):
            with self._store.lock:
                if seen != self._store.version or not self._controllers.settled():
                    seen = self._store.version
                    self._controllers.step()
