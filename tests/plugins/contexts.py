"""The context that Airflow gives to a task, made by hand from its own classes."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from airflow.sdk.api.datamodels._generated import DagRun, DagRunState, DagRunType
from airflow.sdk.execution_time.context import OutletEventAccessors

from tests.lifecycle.tiny import midnight


def context_of(
    *,
    dag_id: str = "late.train",
    run_type: DagRunType = DagRunType.SCHEDULED,
    run_id: str | None = None,
    interval: tuple[datetime, datetime] | None = None,
    logical_date: datetime | None = None,
    run_after: datetime | None = None,
    user: str | None = None,
    **params: str | None,
) -> dict[str, Any]:
    """A run's context; without interval and logical date it is like one triggered by hand or asset."""
    run_after = run_after or (interval[1] if interval else midnight(25))
    run = DagRun(
        dag_id=dag_id,
        run_id=run_id or f"{run_type.value}__{run_after:%Y-%m-%d}",
        logical_date=logical_date,
        data_interval_start=interval[0] if interval else None,
        data_interval_end=interval[1] if interval else None,
        run_after=run_after,
        start_date=run_after,
        end_date=None,
        partition_key=None,
        run_type=run_type,
        state=DagRunState.RUNNING,
        conf={},
        triggering_user_name=user,
        consumed_asset_events=[],
    )
    context: dict[str, Any] = {
        "dag_run": run,
        "params": {"partition": None, "as_of": None, "version": None, "window_end": None, **params},
        "outlet_events": OutletEventAccessors(),
    }
    if interval:
        context |= {"data_interval_start": interval[0], "data_interval_end": interval[1]}
    return context


def day_of(day: int, **more: Any) -> dict[str, Any]:
    """A scheduled run over one day's interval."""
    return context_of(interval=(midnight(day), midnight(day) + timedelta(days=1)), **more)
