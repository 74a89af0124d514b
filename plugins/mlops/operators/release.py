"""Judge, reconcile, await: a proposed version on its way to the users; and roll back, the way back."""

from __future__ import annotations

from typing import Any

from airflow.sdk.exceptions import AirflowSkipException

from include.lifecycle.errors import Transient
from include.lifecycle.spec.catalog import open_catalog
from mlops.business_time import Context, actor, asked, asked_at
from mlops.hooks.registry import RegistryHook
from mlops.hooks.server import ServerHook
from mlops.links import VersionLink, version_address
from mlops.operators.step import LifecycleOperator


class JudgeProposalOperator(LifecycleOperator):
    """Takes the newest undecided proposal from the ledger's fold and promotes or rejects it.

    Older proposals are superseded. A proposal must pass a smoke test and its gates against the
    champion of now.
    """

    ui_color = "#f9d5c9"
    operator_extra_links = (VersionLink(),)

    def __init__(self, *, model: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model = model

    def perform(self, context: Context) -> dict[str, Any]:
        """Return what was decided, or skip when nothing waits for a decision."""
        from include.lifecycle.steps.releasing import judge_newest

        judged = judge_newest(
            open_catalog().model(self.model), self.store, actor(context), asked(context, "version")
        )
        if judged is None:
            raise AirflowSkipException("no proposal waits for a decision")
        self.addresses[VersionLink] = version_address(RegistryHook().url, self.model, judged.version)
        self.log.info("version %s: %s, because %s", judged.version, judged.event, judged.why)
        return {"version": judged.version, "event": judged.event, "why": judged.why}


class ReconcileOperator(LifecycleOperator):
    """Makes MLflow's aliases and the release document equal to the ledger."""

    ui_color = "#cfe2f3"

    def __init__(self, *, model: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model = model

    def perform(self, context: Context) -> dict[str, Any]:
        """Return the champion that everything points at now."""
        from include.lifecycle.release.reconcile import reconcile

        state = reconcile(self.model, self.store, RegistryHook().get_conn())
        if state.champion is None:
            raise AirflowSkipException("no champion yet")
        return {"champion": state.champion.version, "ledger_seq": state.seq}


class RollBackOperator(LifecycleOperator):
    """Gives users a version again that they had before: the form's, or the one before the champion.

    Ledger, release document and registry follow in this order, so that traffic does not wait for a
    registry that is away; a retry goes on where this one ended.
    """

    ui_color = "#f9d5c9"
    template_fields = ("model",)

    def __init__(self, *, model: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model = model

    def perform(self, context: Context) -> dict[str, Any]:
        """Return the champion of now; raises Rejected when there is no version to go back to."""
        from include.lifecycle.release.decisions import record, roll_back
        from include.lifecycle.release.reconcile import publish, reconcile
        from include.lifecycle.store.ledger import Ledger

        store, who, reason = self.store, actor(context), context["params"]["reason"]
        decide = roll_back(asked(context, "version"), reason, who, asked_at(context))
        if (entry := record(Ledger(store, self.model), decide, who)) is not None:
            self.log.info(
                "from version %s to %s, because %s", entry.data["version"], entry.data["to"], reason
            )
        publish(self.model, store)
        state = reconcile(self.model, store, RegistryHook().get_conn())
        assert state.champion is not None
        return {"champion": state.champion.version, "ledger_seq": state.seq}


class AwaitServerOperator(LifecycleOperator):
    """Waits until the server answers with the champion."""

    ui_color = "#d7ecd9"
    template_fields = ("model",)

    def __init__(self, *, model: str, patience_seconds: float = 60, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.patience_seconds = patience_seconds

    def perform(self, context: Context) -> str:
        """Return the version that the server answers with; raises Transient when it takes too long."""
        import httpx
        from tenacity import (
            RetryError,
            retry,
            retry_if_exception_type,
            retry_if_result,
            stop_after_delay,
            wait_fixed,
        )

        from include.lifecycle.release.document import read_release

        document = read_release(self.model, self.store)
        wanted = document.champion.version if document and document.champion else None
        if wanted is None:
            raise AirflowSkipException("no champion yet")
        server = ServerHook()
        asking = retry(
            retry=retry_if_result(lambda version: version != wanted)
            | retry_if_exception_type(httpx.TransportError),
            stop=stop_after_delay(self.patience_seconds),
            wait=wait_fixed(0.2),
        )
        try:
            return str(asking(server.champion)(self.model))
        except RetryError as error:
            raise Transient(
                f"the server does not answer with version {wanted} of {self.model} "
                f"({error.last_attempt}); look at its log, then clear this task"
            ) from None
