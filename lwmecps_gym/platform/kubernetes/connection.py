"""Requests to the Kubernetes API: timeouts, retries, pages, watches, and errors one can read."""

import json
import logging
import math
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import urllib3
import yaml
from kubernetes import client, config, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.config import ConfigException

from lwmecps_gym.platform.config import Settings
from lwmecps_gym.platform.errors import ClusterError

NOT_FOUND = 404
CONFLICT = 409
GONE = 410
_FORBIDDEN = 403
_RETRIED = (429, 500, 502, 503, 504)
_LONGEST_WAIT_S = 30.0
_LONGEST_WATCH_S = 60.0

_ADVICE = {
    0: "check the address, the certificate authority and the proxy in the kubeconfig",
    401: "the credentials are not accepted: renew the token or certificate in the kubeconfig",
    _FORBIDDEN: "the user lacks that right: grant it with a Role or ClusterRole and a binding",
    NOT_FOUND: "create it first, or check the name of the namespace",
    429: "the cluster asks for patience: try again later",
}

_log = logging.getLogger(__name__)


def connect(settings: Settings) -> client.ApiClient:
    """Make a client from the kubeconfig of the settings, else in-cluster, else the default one.

    Raises:
        ClusterError: None of them gives a configuration.
    """
    configuration = client.Configuration()
    configuration.retries = False  # Connection retries; two layers would multiply the waits
    try:
        _load(configuration, settings.kubeconfig)
    except (ConfigException, OSError, yaml.YAMLError) as error:
        tried = settings.kubeconfig or "neither in-cluster nor the default kubeconfig"
        raise ClusterError(
            f"no access to a Kubernetes cluster ({tried}): {error}; "
            "set LWMECPS_KUBECONFIG to the path of a working kubeconfig"
        ) from error
    return client.ApiClient(configuration)


def _load(configuration: client.Configuration, kubeconfig: Path | None) -> None:
    if kubeconfig is None:
        try:
            config.load_incluster_config(configuration)  # type: ignore[no-untyped-call]
            return
        except ConfigException as error:
            _log.debug("not in a cluster: %s", error)
    config.load_kube_config(  # type: ignore[no-untyped-call]
        kubeconfig and str(kubeconfig), client_configuration=configuration
    )


class Connection:
    """One way for every request to go.

    Every request that is sent here may be sent twice without harm, so a lost answer is retried like
    a refused one.

    Args:
        api_client: The official client. If it has retries of its own, they come first.
        timeout_s: Longest wait for a connection, and for the answer to go on [s].
        attempts: How often a request is sent before it fails.
        backoff_s: First wait between attempts; each next one is twice as long [s].
        page_size: Most objects in one answer to a list.
    """

    def __init__(
        self,
        api_client: client.ApiClient,
        *,
        timeout_s: float,
        attempts: int,
        backoff_s: float,
        page_size: int,
    ) -> None:
        self.api_client = api_client
        self._timeout_s = timeout_s
        self._attempts = attempts
        self._backoff_s = backoff_s
        self._page_size = page_size

    def request(
        self,
        what: str,
        function: Callable[..., Any],
        *args: Any,
        passing: tuple[int, ...] = (),
        **kwargs: Any,
    ) -> Any:
        """Call a method of the official client, again if the reason may pass.

        Args:
            what: The verb and the object, for the message: "list nodes".
            function: The client's method.
            *args: Its arguments.
            **kwargs: Its keyword arguments.
            passing: HTTP statuses that the caller handles: their `ApiException` is let through.

        Raises:
            ClusterError: The API refused, or did not answer in any attempt.
            ApiException: With a status in `passing`.
        """
        timeout = (self._timeout_s, self._timeout_s)
        attempt = 0
        while True:
            attempt += 1
            try:
                return function(*args, _request_timeout=timeout, **kwargs)
            except ApiException as error:
                if error.status in passing:
                    raise
                wait_s = self._wait_s(attempt, error)
                if error.status not in _RETRIED or attempt >= self._attempts or wait_s is None:
                    raise self._refused(what, error) from error
                _log.warning("%s: HTTP %s, again in %.1f s", what, error.status, wait_s)
            except urllib3.exceptions.HTTPError as error:
                wait_s = self._backoff(attempt)
                if attempt >= self._attempts:
                    raise ClusterError(
                        f"cannot {what}: the Kubernetes API at {self._host} does not answer "
                        f"({error}), {attempt} attempts; check that it is up and reachable"
                    ) from error
                _log.warning("%s: %s, again in %.1f s", what, error, wait_s)
            except ValueError as error:
                raise self._not_understood(what, error) from error
            time.sleep(wait_s)

    def list_all(
        self, what: str, function: Callable[..., Any], *args: Any, **selectors: str
    ) -> tuple[list[Any], str]:
        """List page by page; return the objects and the resourceVersion of the list.

        A page whose token has expired makes the list start anew.
        """
        for _ in range(self._attempts):
            try:
                return self._list_pages(what, function, *args, **selectors)
            except ApiException as error:
                _log.warning("%s: the list expired (%s), starting anew", what, error.reason)
        raise ClusterError(
            f"cannot {what}: the list expired {self._attempts} times before its last page; "
            f"the API server at {self._host} compacts too fast or answers too slowly"
        )

    def _list_pages(
        self, what: str, function: Callable[..., Any], *args: Any, **selectors: str
    ) -> tuple[list[Any], str]:
        items: list[Any] = []
        following: dict[str, str] = {}
        while True:
            page = self.request(
                what,
                function,
                *args,
                passing=(GONE,),
                limit=self._page_size,
                **selectors,
                **following,
            )
            items.extend(page.items)
            if not page.metadata._continue:
                return items, page.metadata.resource_version
            following = {"_continue": page.metadata._continue}

    def watch(
        self,
        what: str,
        function: Callable[..., Any],
        *args: Any,
        resource_version: str,
        longest_s: float,
        **selectors: str,
    ) -> Iterator[tuple[str, Any]]:
        """Yield (type, object) of what changes after `resource_version`, until the stream ends.

        It ends after `longest_s` (whole seconds, rounded up), when the connection is cut, when the
        API server is busy, and when it no longer knows `resource_version`: list again, watch again.

        Raises:
            ClusterError: The API refused.
        """
        seconds = max(1, math.ceil(min(longest_s, _LONGEST_WATCH_S)))
        watcher = watch.Watch()  # type: ignore[no-untyped-call]
        try:
            for event in watcher.stream(  # type: ignore[no-untyped-call]
                function,
                *args,
                resource_version=resource_version,
                timeout_seconds=seconds,
                _request_timeout=(self._timeout_s, seconds + self._timeout_s),
                **selectors,
            ):
                yield event["type"], event["object"]
        except ApiException as error:
            if error.status == GONE:
                return
            wait_s = self._wait_s(1, error)
            if error.status not in _RETRIED or wait_s is None:
                raise self._refused(what, error) from error
            _log.warning("%s: HTTP %s, again in %.1f s", what, error.status, wait_s)
            time.sleep(min(wait_s, longest_s))
        except urllib3.exceptions.HTTPError as error:
            _log.warning("%s: %s, listing again", what, error)
            time.sleep(min(self._backoff(1), longest_s))
        except ValueError as error:
            raise self._not_understood(what, error) from error

    @property
    def _host(self) -> str:
        return str(self.api_client.configuration.host)

    def _backoff(self, attempt: int) -> float:
        longest = min(_LONGEST_WAIT_S, self._backoff_s * 2.0 ** (attempt - 1))
        return longest * random.uniform(0.5, 1.0)

    def _wait_s(self, attempt: int, error: ApiException) -> float | None:
        """Return how long to wait; None if the API asks for more than anyone would wait."""
        asked = error.headers.get("Retry-After") if error.headers else None
        if asked is None:
            return self._backoff(attempt)
        try:
            wait_s = float(urllib3.Retry().parse_retry_after(asked))
        except urllib3.exceptions.InvalidHeader:
            return self._backoff(attempt)
        return wait_s if wait_s <= _LONGEST_WAIT_S else None

    def _not_understood(self, what: str, error: ValueError) -> ClusterError:
        why = " ".join(str(error).split())[:300]
        return ClusterError(
            f"cannot {what}: the answer of {self._host} is not one of the Kubernetes API: {why}; "
            "check the address, and for a proxy in between"
        )

    def _refused(self, what: str, error: ApiException) -> ClusterError:
        status = _status_body(error)
        details = status.get("details") or {}
        causes = [cause["message"] for cause in details.get("causes", []) if "message" in cause]
        why = "; ".join([status.get("message") or error.reason or "no reason given", *causes])
        advice = _ADVICE.get(error.status, "")
        return ClusterError(
            f"cannot {what}: the Kubernetes API at {self._host} answered "
            f"{error.status} {status.get('reason') or error.reason}: {why}"
            + (f" ({advice})" if advice else "")
        )


def _status_body(error: ApiException) -> dict[str, Any]:
    """Return the Status object in the body; a plain text becomes its message."""
    text = (error.body or "").strip()
    try:
        body = json.loads(text)
    except ValueError:
        return {"message": text[:300]}
    return body if isinstance(body, dict) else {"message": text[:300]}
