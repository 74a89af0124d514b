"""Waits until the Job of a call is over, and shows the log of the worker that leads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import ClientError
from airflow.providers.cncf.kubernetes.hooks.kubernetes import AsyncKubernetesHook
from airflow.triggers.base import BaseTrigger, TriggerEvent
from kubernetes_asyncio.client import ApiException, BatchV1Api, CoreV1Api

from mlops.job_state import is_over, pods_of, waits_too_long
from mlops.pod_spec import CONTAINER

_EVERY = 5
"""Seconds between two looks."""
_LEADER = "batch.kubernetes.io/job-completion-index"


class JobTrigger(BaseTrigger):
    """Fires when a Job has ended, is gone, or has a pod that waits longer than it may (in seconds)."""

    def __init__(self, name: str, namespace: str, connection: str, patience: float, startup: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.name, self.namespace, self.connection = name, namespace, connection
        self.patience, self.startup = patience, startup
        self._hook = AsyncKubernetesHook(conn_id=connection)
        self._shown = ""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Where this class is, and what makes it anew."""
        named = ("name", "namespace", "connection", "patience", "startup")
        return f"{__name__}.{type(self).__name__}", {name: getattr(self, name) for name in named}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """One event, when there is nothing more to wait for."""
        while not await self._is_done():
            await asyncio.sleep(_EVERY)
        yield TriggerEvent({"name": self.name})  # type: ignore[no-untyped-call]

    async def on_kill(self) -> None:
        """End the Job of a task that a person ended."""
        async with self._hook.get_conn() as connection:
            await BatchV1Api(connection).delete_namespaced_job(
                self.name, self.namespace, propagation_policy="Background"
            )

    async def _is_done(self) -> bool:
        limits = timedelta(seconds=self.patience), timedelta(seconds=self.startup)
        try:
            async with self._hook.get_conn() as connection:
                job = await BatchV1Api(connection).read_namespaced_job(self.name, self.namespace)
                found = await CoreV1Api(connection).list_namespaced_pod(
                    self.namespace, label_selector=f"job-name={self.name}"
                )
                pods = pods_of(job, found.items)
                await self._show_log(connection, pods)
        except (ApiException, ClientError, OSError) as error:
            self.log.warning("the cluster does not answer: %s", (str(error) or repr(error)).splitlines()[0])
            return isinstance(error, ApiException) and error.status == 404
        return is_over(job) or waits_too_long(pods, datetime.now(UTC), *limits) is not None

    async def _show_log(self, connection: Any, pods: list[Any]) -> None:
        """Each line once, by the time that it begins with."""
        for pod in pods:
            if pod.metadata.labels.get(_LEADER) != "0" or pod.status.phase == "Pending":
                continue
            said = await CoreV1Api(connection).read_namespaced_pod_log(
                pod.metadata.name, self.namespace, container=CONTAINER, timestamps=True
            )
            for line in said.splitlines():
                moment, _, text = line.partition(" ")
                if moment > self._shown:
                    self.log.info("%s", text)
                    self._shown = moment
