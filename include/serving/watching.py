"""Release documents in a ConfigMap, followed by a watch: one that is mounted lags by up to a minute."""

from __future__ import annotations

import json
import os
import ssl
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from include.lifecycle.errors import Rejected, Transient

RELEASES = "PERENNIAL_RELEASES"
_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_TRUSTED = _ACCOUNT / "ca.crt"
_PERIOD = 10
"""Seconds of one watch, after which all is read anew: a connection that died unnoticed costs no more."""
_PATIENCE = 5.0


class WatchedMap:
    """The data of one ConfigMap, as fresh as the cluster's last word; kept while the cluster is away."""

    def __init__(self, namespace: str, name: str, cluster: httpx.Client, *, retry_after: float = 1.0) -> None:
        self._name, self._path = name, f"/api/v1/namespaces/{namespace}/configmaps"
        self._cluster, self._retry_after = cluster, retry_after
        self._data: Mapping[str, str] = {}
        self._trouble: str | None = None
        self._read, self._stopped = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        """Follow in the background."""
        self._thread.start()

    def stop(self) -> None:
        """Follow no longer; an open watch ends by itself."""
        self._stopped.set()

    def contents(self) -> dict[str, bytes | None]:
        """The documents by model; raises Transient before they were read, and while they cannot be."""
        if not self._read.wait(_PATIENCE):
            raise Transient(f"ConfigMap {self._name} has not been read yet; ask again in a second")
        if self._trouble is not None:
            raise Transient(self._trouble)
        return {model: text.encode() for model, text in self._data.items()}

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._watch(self._get())
                pause = self._retry_after / 10
            except Exception as error:
                self._trouble, pause = f"ConfigMap {self._name}: {_words(error)}", self._retry_after
                self._read.set()
            self._stopped.wait(pause)

    def _get(self) -> str:
        """Read all; the resource version of what was read."""
        answer = self._cluster.get(f"{self._path}/{self._name}")
        found = answer.raise_for_status().json()
        self._keep(found)
        self._trouble = None
        self._read.set()
        return str(found["metadata"]["resourceVersion"])

    def _watch(self, version: str) -> None:
        """Follow the changes since a version until the watch ends, expires, or the ConfigMap is deleted."""
        asked = {
            "watch": "true",
            "fieldSelector": f"metadata.name={self._name}",
            "resourceVersion": version,
            "timeoutSeconds": str(_PERIOD),
        }
        with self._cluster.stream("GET", self._path, params=asked, timeout=_PERIOD + 5) as answer:
            answer.raise_for_status()
            for event in _events(answer):
                if event["type"] not in ("ADDED", "MODIFIED") or self._stopped.is_set():
                    return
                self._keep(event["object"])

    def _keep(self, found: Mapping[str, Any]) -> None:
        self._data = found.get("data") or {}


def watched_map(environment: Mapping[str, str] = os.environ) -> WatchedMap | None:
    """The ConfigMap that PERENNIAL_RELEASES names; None where it is not set, and the store is followed.

    Raises Rejected for another address, and outside of a cluster.
    """
    address = environment.get(RELEASES)
    if not address:
        return None
    parts = urlsplit(address)
    namespace, name = parts.netloc, parts.path.removeprefix("/")
    if parts.scheme != "configmap" or not namespace or not name or "/" in name:
        raise Rejected(f"{RELEASES}: {address!r} is not configmap://<namespace>/<name>")
    if "KUBERNETES_SERVICE_HOST" not in environment or not _TRUSTED.is_file():
        raise Rejected(f"{RELEASES}: {address} can be watched from a pod alone; unset it to follow the store")
    return WatchedMap(namespace, name, _cluster(environment))


def _cluster(environment: Mapping[str, str]) -> httpx.Client:
    """The API server, as a pod finds it, asked with the token of the pod's account."""
    host, port = environment["KUBERNETES_SERVICE_HOST"], environment.get("KUBERNETES_SERVICE_PORT", "443")
    trusted = ssl.create_default_context(cafile=_TRUSTED)
    url = f"https://{f'[{host}]' if ':' in host else host}:{port}"
    return httpx.Client(base_url=url, verify=trusted, timeout=5, auth=_with_token, trust_env=False)


def _with_token(request: httpx.Request) -> httpx.Request:
    # The cluster writes a new token about each hour.
    request.headers["Authorization"] = f"Bearer {(_ACCOUNT / 'token').read_text().strip()}"
    return request


def _events(answer: httpx.Response) -> Iterator[dict[str, Any]]:
    for line in answer.iter_lines():
        if line:
            yield json.loads(line)


def _words(error: Exception) -> str:
    if isinstance(error, httpx.HTTPStatusError):
        status = error.response.status_code
        cure = {
            404: "; the first release makes it",
            403: "; the pod's account must get and watch it",
        }
        return f"the cluster answers {status}{cure.get(status, '')}"
    return f"the cluster does not answer ({error or type(error).__name__})"
