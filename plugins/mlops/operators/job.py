"""Runs a recorded call by several workers, the pods of one Job; done when the call's receipt proves it."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cached_property
from logging import getLogger
from typing import Any

from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook
from airflow.sdk.exceptions import TaskDeferred
from kubernetes.client import models as k8s
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from include.lifecycle.errors import Transient
from include.lifecycle.spec.compute import Compute
from include.lifecycle.spec.profile import Kubernetes, open_profile
from include.lifecycle.store.receipts import Receipt, find_receipt, read_call
from include.lifecycle.store.usage import Attempt
from mlops.business_time import Context
from mlops.hooks.store import StoreHook
from mlops.job_spec import job_name, job_of
from mlops.job_state import is_over, pods_of, why_not
from mlops.operators.pod import cluster_answers, patiently
from mlops.pod_spec import subject_of
from mlops.pod_usage import attempt_of
from mlops.triggers.job import JobTrigger
from mlops.waiting_task import waited_for_by

log = getLogger(__name__)
_REMOVAL = 90
"""Seconds that a Job which has ended may take to be removed, its pods included."""


class StepJob:
    """The Job of a call, which is in the cluster at most once, whoever starts it."""

    def __init__(self, run_key: str, compute: Compute, timeout: timedelta | None = None) -> None:
        self.run_key, self.compute, self.timeout = run_key, compute, timeout
        self.cluster = open_profile().kubernetes or Kubernetes()
        self.store = StoreHook().get_conn()
        self.call = read_call(run_key, self.store)
        self._subject = subject_of(self.call, self.store)
        self._name = job_name(self.call, self._subject)
        self._ended: list[k8s.V1Pod] = []

    def start(self, context: Context) -> Receipt:
        """The receipt if it is there; otherwise raises TaskDeferred, to go on with `finish`."""
        if (receipt := find_receipt(self.run_key, self.store)) is not None:
            return receipt
        with cluster_answers(self.call.step):
            job = job_of(self.call, self._subject, self.compute, self.cluster, context["ti"].try_number)
            patiently(self._get_or_create, job, waited_for_by(context["ti"]))
        raise TaskDeferred(trigger=self._trigger(), method_name="resume", timeout=self.timeout)

    def finish(self, context: Context, event: dict[str, Any]) -> Receipt:
        """The receipt that the Job left; raises Transient or Rejected, by what became of its pods."""
        if (receipt := find_receipt(self.run_key, self.store)) is not None:
            with suppress(ApiException, HTTPError):  # it costs what can be seen: done is done
                self._ended = self._pods()
            return receipt
        with cluster_answers(self.call.step):
            self._ended = patiently(self._pods)
            job = patiently(self._found)
            error = why_not(job, pods_of(job, self._ended), self.call.step)
            self.on_kill()
        raise error

    def attempts(self) -> list[Attempt]:
        """What the pods of the Job used, once it was waited for."""
        now = datetime.now(UTC)
        return [found for pod in self._ended if (found := attempt_of(pod, now)) is not None]

    def on_kill(self) -> None:
        """End the Job, and in the background its pods: one whose node is lost would keep it for ever."""
        with suppress(ApiException):
            self._hook.batch_v1_client.delete_namespaced_job(
                self._name, self.cluster.namespace, propagation_policy="Background"
            )

    def _get_or_create(self, job: k8s.V1Job, annotations: dict[str, str]) -> None:
        job.metadata.annotations = annotations
        deadline = time.monotonic() + _REMOVAL
        while time.monotonic() < deadline:
            try:
                self._hook.batch_v1_client.create_namespaced_job(self.cluster.namespace, job)
                return
            except ApiException as error:
                if error.status != 409:
                    raise
            found = self._found()
            if not is_over(found):
                log.info("Job %s runs this call already: waiting for it", self._name)
                told = {"metadata": {"annotations": annotations}}
                self._hook.batch_v1_client.patch_namespaced_job(self._name, self.cluster.namespace, told)
                return
            self.on_kill()
            time.sleep(1)
        raise Transient(f"{self.call.step}: Job {self._name} has ended, and is still there")

    def _found(self) -> k8s.V1Job | None:
        try:
            return self._hook.batch_v1_client.read_namespaced_job(self._name, self.cluster.namespace)
        except ApiException as error:
            if error.status != 404:
                raise
            return None

    def _pods(self) -> list[k8s.V1Pod]:
        pods: list[k8s.V1Pod] = self._hook.core_v1_client.list_namespaced_pod(
            self.cluster.namespace, label_selector=f"job-name={self._name}"
        ).items
        return pods

    def _trigger(self) -> JobTrigger:
        patience, startup = self.compute.patience.total_seconds(), self.cluster.startup.total_seconds()
        return JobTrigger(self._name, self.cluster.namespace, self.cluster.connection, patience, startup)

    @cached_property
    def _hook(self) -> KubernetesHook:
        return KubernetesHook(conn_id=self.cluster.connection)
