"""Runs a recorded call in a pod; done exactly when the call's receipt proves it, whatever the pod says."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn, cast

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk import Context as AirflowContext
from airflow.sdk.exceptions import AirflowException
from airflow.triggers.base import BaseTrigger
from kubernetes.client import models as k8s
from kubernetes.client.exceptions import ApiException
from tenacity import Retrying, before_sleep_log, retry_if_exception, stop_after_delay, wait_exponential
from urllib3.exceptions import HTTPError

from include.lifecycle.errors import Transient
from include.lifecycle.spec.compute import Compute
from include.lifecycle.spec.profile import Kubernetes, open_profile
from include.lifecycle.store.objects import Store
from include.lifecycle.store.receipts import Receipt, find_receipt, read_call
from include.lifecycle.store.usage import Attempt
from mlops.business_time import Context
from mlops.hooks.store import StoreHook
from mlops.operators.step import airflow_errors
from mlops.pod_failure import why
from mlops.pod_spec import CONTAINER, RUN_KEY, pod_of, resources_of, short, subject_of
from mlops.pod_usage import attempt_of, attempt_of_gone
from mlops.triggers.pod import StepPodTrigger
from mlops.waiting_task import waited_for_by

_LOGS = 10
"""Seconds between two looks at the log of a pod that runs."""
_GRACE = 30
"""Seconds that a pod has, when it is ended, to save a checkpoint."""


class StepPodOperator(KubernetesPodOperator):
    """Runs the call of `run_key` in a pod that has what `compute` says, and returns its run key.

    Of pods for one call, whoever started them, one is waited for and the others are ended. The task is
    deferred meanwhile: it takes no worker.
    """

    template_fields: Sequence[str] = ("run_key", *KubernetesPodOperator.template_fields)

    def __init__(self, *, run_key: str, compute: Compute | None = None, **kwargs: Any) -> None:
        self.run_key = run_key
        self.compute = compute or Compute()
        self._gone: str | None = None
        self.cluster = open_profile().kubernetes or Kubernetes()
        super().__init__(
            kubernetes_conn_id=self.cluster.connection,
            base_container_name=CONTAINER,
            deferrable=True,
            # Receipts and labels find what a call has; a name kept by Airflow may be an older call's.
            durable=False,
            on_finish_action="delete_active_pod",
            schedule_timeout_seconds=_seconds(self.compute.patience),
            startup_timeout_seconds=_seconds(self.cluster.startup),
            startup_check_interval_seconds=1,
            logging_interval=_LOGS,
            termination_grace_period=_GRACE,
            log_pod_spec_on_failure=False,
            do_xcom_push=False,
            **kwargs,
        )

    def execute(self, context: Context) -> str:
        """Adopt the receipt, or wait, deferred, for a pod that writes it."""
        with airflow_errors():
            return self.start(context).run_key

    def trigger_reentry(self, context: Context, event: dict[str, Any]) -> str:
        """Go on after the pod was waited for."""
        with airflow_errors():
            return self.finish(context, event).run_key

    def start(self, context: Context) -> Receipt:
        """The receipt if it is there; otherwise raises TaskDeferred, to go on with `finish`."""
        store = StoreHook().get_conn()
        if (receipt := find_receipt(self.run_key, store)) is not None:
            return receipt
        call = read_call(self.run_key, store)
        subject, attempt = subject_of(call, store), context["ti"].try_number
        self.annotations = waited_for_by(context["ti"])
        self.full_pod_spec = pod_of(call, subject, self.compute, self.cluster, attempt)
        with cluster_answers(call.step):
            patiently(self.execute_async, cast(AirflowContext, context))
        return self._proven(store, call.step)

    def finish(self, context: Context, event: dict[str, Any]) -> Receipt:
        """The receipt that the pod left; raises Transient or Rejected, by what became of the pod.

        Raises TaskDeferred while the pod goes on.
        """
        store = StoreHook().get_conn()
        step, said = read_call(self.run_key, store).step, str(event.get("message", ""))
        with cluster_answers(step):
            try:
                patiently(super().trigger_reentry, cast(AirflowContext, context), event)
            except AirflowException as error:
                said = said or _first_line(error)
            if self.pod is None:
                self._gone = event["name"]
        return self._proven(store, step, said)

    def defer(self, *, trigger: BaseTrigger, **kwargs: Any) -> NoReturn:
        """Wait, as for any pod, though not for ever for one whose node is lost."""
        _, told = trigger.serialize()
        super().defer(trigger=StepPodTrigger(**told), **kwargs)

    def get_or_create_pod(self, pod_request_obj: k8s.V1Pod, context: Context) -> k8s.V1Pod:
        """The oldest pod of this call that has not ended, the others are; a new one where there is none."""
        pods = [pod for pod in self._pods() if _goes_on(pod)]
        pods.sort(key=lambda pod: (pod.metadata.creation_timestamp, pod.metadata.name))
        for second in pods[1:]:
            self.pod_manager.delete_pod(second)
        if pods:
            name = pods[0].metadata.name
            self.log.info("pod %s runs this call already: waiting for it", name)
            told = {"metadata": {"annotations": self.annotations}}
            return self.client.patch_namespaced_pod(name, self.cluster.namespace, told)
        return self.pod_manager.create_pod(pod_request_obj)

    def attempts(self) -> list[Attempt]:
        """What the pods of this call used that have ended, once this task has had to do with any.

        Empty while the cluster does not answer: a pod that ended stays there, to be seen later.
        """
        if self.pod is None and self._gone is None:
            return []
        now = datetime.now(UTC)
        try:
            found = [attempt_of(pod, now) for pod in self._pods() if not _goes_on(pod)]
            if self._gone is not None:
                promised = resources_of(self.compute).requests
                found.append(attempt_of_gone(self._events(self._gone), promised, now))
        except (ApiException, HTTPError) as error:
            self.log.warning("what the pods used is not known now: %s", _first_line(error))
            return []
        return [attempt for attempt in found if attempt is not None]

    def _pods(self) -> list[k8s.V1Pod]:
        selector = f"{RUN_KEY}={short(self.run_key)}"
        pods: list[k8s.V1Pod] = self.client.list_namespaced_pod(
            self.cluster.namespace, label_selector=selector
        ).items
        return pods

    def _events(self, pod: str) -> list[k8s.CoreV1Event]:
        events: list[k8s.CoreV1Event] = self.client.list_namespaced_event(
            self.cluster.namespace, field_selector=f"involvedObject.name={pod}"
        ).items
        return events

    def _proven(self, store: Store, step: str, said: str = "") -> Receipt:
        if (receipt := find_receipt(self.run_key, store)) is None:
            raise why(self.pod, step, said)
        return receipt


@contextmanager
def cluster_answers(step: str) -> Iterator[None]:
    """Raise Transient where the cluster does not answer."""
    try:
        yield
    except (ApiException, HTTPError) as error:
        raise Transient(f"{step}: the cluster does not answer ({_first_line(error)})") from error


def _is_away(error: BaseException) -> bool:
    """Whether the API server was not reached, or cannot answer now; a refusal is an answer."""
    if isinstance(error, ApiException):
        return not error.status or error.status == 429 or error.status >= 500
    return isinstance(error, HTTPError)


patiently = Retrying(
    retry=retry_if_exception(_is_away),
    stop=stop_after_delay(60),
    wait=wait_exponential(max=5),
    before_sleep=before_sleep_log(logging.getLogger(__name__), logging.WARNING),
    reraise=True,
)
"""Calls again what the cluster does not answer, for a minute: its API server comes back, and the task has
only so many tries."""


def _goes_on(pod: k8s.V1Pod) -> bool:
    return pod.status.phase in ("Pending", "Running", "Unknown") and pod.metadata.deletion_timestamp is None


def _seconds(duration: timedelta) -> int:
    return int(duration.total_seconds())


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
