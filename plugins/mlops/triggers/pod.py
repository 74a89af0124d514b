"""Waits for a pod that ends, and no longer than sense for one that should have ended."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from airflow.providers.cncf.kubernetes.triggers.pod import KubernetesPodTrigger
from airflow.providers.cncf.kubernetes.utils.pod_manager import PodLaunchTimeoutException
from kubernetes.client import models as k8s

from mlops.pod_failure import is_overdue


class StepPodTrigger(KubernetesPodTrigger):
    """Gives up a pod that nobody is left to end: its node is lost, and never says what became of it."""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Where this class is, and what makes it anew."""
        _, told = super().serialize()
        return f"{__name__}.{type(self).__name__}", told

    async def _get_pod(self) -> k8s.V1Pod:  # type: ignore[override]  # which tries again by itself
        pod = await super()._get_pod()
        if is_overdue(pod, datetime.now(UTC)):
            raise PodLaunchTimeoutException(f"{self.pod_name} was to end, and its node does not answer")
        return pod
