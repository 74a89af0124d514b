"""Compare a staged version with the champion on live requests: shadow, then a growing share."""

from __future__ import annotations

from typing import Any

from airflow.sdk.exceptions import AirflowSkipException, TaskDeferred

from include.lifecycle.release.ladder import Rung
from include.lifecycle.spec.catalog import open_catalog
from mlops.business_time import Context, actor
from mlops.notices import of_move
from mlops.notifying import tell
from mlops.operators.step import LifecycleOperator, airflow_errors
from mlops.release_map import announcer
from mlops.triggers.canary import CanaryTrigger


class CanaryOperator(LifecycleOperator):
    """Takes a version from rung to rung while it answers as it should, and out of traffic when it does not.

    Deferred while requests are counted. Whoever is retried goes on with the rung that the ledger names.
    """

    ui_color = "#f9e7c9"
    template_fields = ("staged",)

    def __init__(self, *, model: str, staged: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model, self.staged = model, staged

    def perform(self, context: Context) -> dict[str, Any]:
        """Return what became of the version; skip when it was rejected."""
        version, event = self.staged["version"], self.staged["event"]
        if event == "rejected":
            raise AirflowSkipException(f"version {version} was rejected: {self.staged['why']}")
        return self._climb(context, version)

    def resume(
        self, context: Context, event: dict[str, Any], version: str, rung: dict[str, Any]
    ) -> dict[str, Any]:
        """Climb on, or abort, after that rung was watched."""
        from include.lifecycle.steps.climbing import abort

        with airflow_errors():
            self.log.info("version %s: %s", version, event["why"])
            why = event["why"] if event["stop"] else self._errs(version)
            if why is None:
                return self._climb(context, version, watched=Rung.model_validate(rung))
            moved = abort(self.model, version, why, self.store, actor(context), announcer())
            tell(of_move(self.model, moved), context)
            return {"version": version, "event": moved.event if moved else "aborted", "why": why}

    def _errs(self, version: str) -> str | None:
        """Why a version must be stopped by the labels that are known by now; None when it may go on."""
        from include.lifecycle.steps.climbing import judge_by_labels

        catalog = open_catalog()
        model = catalog.model(self.model)
        found = judge_by_labels(model, catalog.dataset(model.rows), version, self.store)
        self.log.info("version %s, by labels known by now: %s", version, found.why)
        return found.why if found.stop else None

    def _climb(self, context: Context, version: str, watched: Rung | None = None) -> dict[str, Any]:
        from include.lifecycle.steps.climbing import climb

        model = open_catalog().model(self.model)
        climbed = climb(model, version, self.store, actor(context), watched=watched, announce=announcer())
        if climbed is None:
            return {"version": version, "event": "climbed", "why": "no rung is left"}
        rung, since = climbed
        self.log.info("version %s: %s, share %g", version, rung.stage, rung.share)
        told: dict[str, Any] = {"version": version, "rung": rung.model_dump(mode="json")}
        policy = model.release.model_dump(mode="json")
        trigger = CanaryTrigger(model=self.model, policy=policy, since=since.isoformat(), **told)
        raise TaskDeferred(trigger=trigger, method_name="resume", kwargs=told)
