"""A Kubernetes cluster, from the connection that the profile names."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook

from include.lifecycle.errors import Conflict, LifecycleError, Rejected, Transient

if TYPE_CHECKING:
    from kubernetes.client import ApiClient
    from kubernetes.client.exceptions import ApiException

MANAGER = "perennial"
"""Under this name the cluster remembers which fields are ours."""
_PATIENCE = 20
"""Seconds for one answer."""
_ANY = {200: "object", 201: "object"}
Object = dict[str, Any]


class ClusterHook(BaseHook):
    """Objects of any kind, as plain data, by server-side apply: what others own in them stays.

    Raises Conflict when another writer came first, Transient while the cluster does not answer, and
    Rejected when it refuses.
    """

    def __init__(self, conn_id: str = "kubernetes_default") -> None:
        super().__init__()
        self.conn_id = conn_id

    def get_conn(self) -> ApiClient:
        """A client of the cluster's API."""
        from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook

        return KubernetesHook(conn_id=self.conn_id).get_conn()

    def read(self, item: Object) -> Object | None:
        """The object of that kind and name as it is, or None."""
        return self._call("GET", _path(item))

    def create(self, item: Object) -> Object:
        """The object, made if it is not there."""
        try:
            return self._call("POST", _path(item).rpartition("/")[0], item, {}) or {}
        except Conflict:
            if (found := self.read(item)) is None:
                raise
            return found

    def apply(self, item: Object, *, dry_run: bool = False) -> Object:
        """The object with our fields as `item` has them; with a resourceVersion, only if it is still that."""
        only_asked = {"dryRun": "All"} if dry_run else {}
        return self._call("PATCH", _path(item), item, {"force": "true", **only_asked}) or {}

    def _call(
        self, method: str, path: str, body: Object | None = None, told: Mapping[str, str] | None = None
    ) -> Object | None:
        """The cluster's answer; None for what is read and not there."""
        kind = "application/apply-patch+yaml" if method == "PATCH" else "application/json"
        written = {} if told is None else {"fieldManager": MANAGER, **told}
        with _cluster_errors(path, missing=method == "GET"):
            answer: Object = self._client.call_api(
                path,
                method,
                query_params=list(written.items()),
                header_params={"Content-Type": kind, "Accept": "application/json"},
                body=body,
                response_types_map=_ANY,
                auth_settings=["BearerToken"],
                _return_http_data_only=True,
                _request_timeout=_PATIENCE,
            )
            return answer
        return None

    @property
    def _client(self) -> ApiClient:
        if not hasattr(self, "_conn"):
            self._conn = self.get_conn()
        return self._conn


@contextmanager
def _cluster_errors(path: str, *, missing: bool) -> Iterator[None]:
    """Turn the client's errors into ours; with `missing`, what is not there is no error."""
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ApiException as error:
        if not (missing and error.status == 404):
            raise _error(path, error) from error
    except HTTPError as error:
        raise Transient(f"{path}: the cluster does not answer ({error})") from error


def _error(path: str, error: ApiException) -> LifecycleError:
    kind: type[LifecycleError] = Rejected
    if error.status == 409:
        kind = Conflict
    elif not error.status or error.status == 429 or error.status >= 500:
        kind = Transient
    try:
        said = json.loads(error.body or "")["message"]
    except (ValueError, KeyError, TypeError):
        said = error.reason
    return kind(f"{path}: {said}")


def _path(item: Object) -> str:
    version, kind = item["apiVersion"], item["kind"]
    plural = f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s"
    base = "/api/v1" if version == "v1" else f"/apis/{version}"
    return f"{base}/namespaces/{item['metadata']['namespace']}/{plural.lower()}/{item['metadata']['name']}"
