"""Erase and maintain: what is done to tables as a whole."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from airflow.sdk.exceptions import AirflowSkipException
from airflow.sdk.log import mask_secret

from include.lifecycle.spec.catalog import open_catalog
from mlops.business_time import Context, actor
from mlops.hooks.connections import airflow_connection
from mlops.hooks.registry import RegistryHook
from mlops.operators.step import LifecycleOperator


class EraseOperator(LifecycleOperator):
    """Removes a person's rows from all tables, versions and logs, and says which models knew them."""

    ui_color = "#f9d5c9"

    def __init__(self, *, dataset: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dataset = dataset

    def perform(self, context: Context) -> dict[str, Any]:
        """Return the report of the erasure; it does not say whom."""
        from include.lifecycle.steps.erasing import erase

        # So named since Airflow's audit log hides what a form says under a name with "secret" in it.
        subject, reason = context["params"]["secret_subject"], context["params"]["reason"]
        mask_secret(subject)
        report = erase(
            self.dataset,
            subject,
            catalog=open_catalog(),
            store=self.store,
            connections=airflow_connection,
            registry=RegistryHook().get_conn(),
            reason=reason,
            actor=actor(context),
        )
        removed = {table: rows for table, rows in report.rows.items() if rows}
        for table, rows in removed.items():
            self.log.info("removed %d rows of %s", rows, table)
        if not removed:
            self.log.warning(
                "%s has no row of this person: is it spelled as the source writes it?", self.dataset
            )
        for item in report.marked:
            self.log.warning("%s version %s cannot be trained again from the same data", *_named(item))
        return report.model_dump(mode="json")


class MaintainOperator(LifecycleOperator):
    """Compacts and vacuums every table; keeps each version that a model not archived was trained on."""

    ui_color = "#d7ecd9"

    def perform(self, context: Context) -> list[dict[str, Any]]:
        """Return what was done to each table, or skip when nothing was published yet."""
        from include.lifecycle.steps.maintaining import maintain_tables

        pins = RegistryHook().get_conn().pinned_versions()
        done = maintain_tables(open_catalog(), self.store, pins, datetime.now(UTC))
        if not done:
            raise AirflowSkipException("nothing was published yet")
        for item in done:
            self.log.info("%s", item)
        return [item.model_dump(mode="json") for item in done]


def _named(item: Any) -> tuple[str, str]:
    return item.model, item.version or "that was never registered"
