"""Ask people whether a staged version may reach users, in Airflow's Required Actions."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, cast

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk.exceptions import AirflowSkipException

from include.lifecycle.release.decisions import Actor
from include.lifecycle.spec.catalog import open_catalog
from include.lifecycle.spec.profile import profile_name
from mlops.business_time import Context, actor
from mlops.hooks.store import StoreHook
from mlops.operators.step import airflow_errors

YES, NO = "Approve", "Reject"


class ApproveOperator(HITLOperator):
    """Approves a staged version, or asks a person to; who does not answer in time has said no.

    With two people in the policy two of these follow each other, in places 1 and 2: the second takes no
    answer of the first's.
    """

    template_fields = ("staged",)

    def __init__(self, *, model: str, staged: Any, within: timedelta, place: int = 1, **kwargs: Any) -> None:
        super().__init__(
            subject=f"Release of {model}", options=[YES, NO], defaults=NO, response_timeout=within, **kwargs
        )
        self.model, self.staged, self.place = model, staged, place

    def execute(self, context: Context) -> Any:
        """Return what was decided, wait for a person's answer, or skip when the version was rejected."""
        from include.lifecycle.steps.approving import approve_unasked, table_of
        from include.lifecycle.steps.releasing import Moved

        version, event = self.staged["version"], self.staged["event"]
        if event == "rejected":
            raise AirflowSkipException(f"version {version} was rejected: {self.staged['why']}")
        with airflow_errors():
            model = open_catalog().model(self.model)
            profile, store = profile_name(), StoreHook().get_conn()
            found = approve_unasked(model, version, profile, store, actor(context), self.place)
        if isinstance(found, Moved):
            self.log.info("version %s: %s, because %s", version, found.event, found.why)
            return found.model_dump()
        self.subject = f"Release version {version} of {self.model}?"
        self.body = table_of(found)
        return super().execute(cast(Any, context))

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Return what the answer made of the version."""
        from include.lifecycle.steps.approving import take_answer

        answer = super().execute_complete(cast(Any, context), event)
        agrees, who = answer["chosen_options"] == [YES], answer["responded_by_user"]
        name = who["name"] if who else f"nobody within {self.response_timeout}"
        with airflow_errors():
            run_id = actor(context).run_id
            moved = take_answer(
                open_catalog().model(self.model),
                self.staged["version"],
                who["id"] if who else "",
                agrees,
                StoreHook().get_conn(),
                Actor(name=name, run_id=run_id),
            )
        if moved is None:
            raise AirflowSkipException(f"version {self.staged['version']} was decided on already")
        self.log.info("version %s: %s, because %s", moved.version, moved.event, moved.why)
        return moved.model_dump()
