"""Stage, promote, reconcile, await: a version on its way to the users; and roll back, the way back."""

from __future__ import annotations

from typing import Any

from airflow.sdk.exceptions import AirflowSkipException

from include.lifecycle.errors import Transient
from include.lifecycle.spec.catalog import open_catalog
from mlops.business_time import Context, actor, asked, asked_at
from mlops.hooks.registry import RegistryHook
from mlops.hooks.server import ServerHook
from mlops.links import VersionLink, version_address
from mlops.notices import of_move, of_rollback
from mlops.notifying import tell
from mlops.operators.step import LifecycleOperator
from mlops.release_map import announcer


class StageOperator(LifecycleOperator):
    """Takes the newest undecided proposal from the ledger's fold, and stages or rejects it.

    Other proposals are superseded. A proposal must pass staging, in a server of its own that ends with
    this task, and its gates against the champion of now. A version whose release was begun and not
    ended comes first.
    """

    ui_color = "#f9d5c9"
    operator_extra_links = (VersionLink(),)

    def __init__(self, *, model: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model = model

    def perform(self, context: Context) -> dict[str, Any]:
        """Return what was decided, or skip when nothing waits for a decision."""
        from include.lifecycle.steps.releasing import stage_newest

        moved = stage_newest(
            open_catalog().model(self.model), self.store, actor(context), asked(context, "version")
        )
        if moved is None:
            raise AirflowSkipException("no proposal waits for a decision")
        self.addresses[VersionLink] = version_address(RegistryHook().url, self.model, moved.version)
        self.log.info("version %s: %s, because %s", moved.version, moved.event, moved.why)
        return moved.model_dump()


class PromoteOperator(LifecycleOperator):
    """Makes a version that climbed all rungs the champion."""

    ui_color = "#f9d5c9"
    template_fields = ("climbed",)

    def __init__(self, *, model: str, climbed: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model, self.climbed = model, climbed

    def perform(self, context: Context) -> dict[str, Any]:
        """Return what was decided; skip when the version was aborted."""
        from include.lifecycle.steps.releasing import promote

        version = self.climbed["version"]
        if self.climbed["event"] == "aborted":
            raise AirflowSkipException(f"version {version} was aborted: {self.climbed['why']}")
        moved = promote(self.model, version, self.store, actor(context))
        if moved is None:
            raise AirflowSkipException(f"version {version} was decided on already")
        self.log.info("version %s: %s, because %s", version, moved.event, moved.why)
        tell(of_move(self.model, moved), context)
        return moved.model_dump()


class ReconcileOperator(LifecycleOperator):
    """Makes MLflow's aliases and the release document equal to the ledger."""

    ui_color = "#cfe2f3"

    def __init__(self, *, model: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model = model

    def perform(self, context: Context) -> dict[str, Any]:
        """Return the champion that everything points at now."""
        from include.lifecycle.release.reconcile import reconcile

        state = reconcile(self.model, self.store, RegistryHook().get_conn(), announcer())
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
        from include.lifecycle.release.decisions import record
        from include.lifecycle.release.moves import roll_back
        from include.lifecycle.release.reconcile import publish, reconcile
        from include.lifecycle.store.ledger import Ledger

        store, who, reason = self.store, actor(context), context["params"]["reason"]
        decide = roll_back(asked(context, "version"), reason, who, asked_at(context))
        if (entry := record(Ledger(store, self.model), decide, who)) is not None:
            self.log.info(
                "from version %s to %s, because %s", entry.data["version"], entry.data["to"], reason
            )
        publish(self.model, store, announcer())
        tell(of_rollback(self.model, entry), context)
        state = reconcile(self.model, store, RegistryHook().get_conn(), announcer())
        assert state.champion is not None
        return {"champion": state.champion.version, "ledger_seq": state.seq}


class AwaitServerOperator(LifecycleOperator):
    """Waits until the server answers with the champion, whoever that is by then."""

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

        if self._champion() is None:
            raise AirflowSkipException("no champion yet")
        server = ServerHook()
        asking = retry(
            retry=retry_if_result(lambda version: version != self._champion())
            | retry_if_exception_type(httpx.TransportError),
            stop=stop_after_delay(self.patience_seconds),
            wait=wait_fixed(0.2),
        )
        try:
            return str(asking(server.champion)(self.model))
        except RetryError as error:
            raise Transient(
                f"the server does not answer with version {self._champion()} of {self.model} "
                f"({error.last_attempt}); look at its log, then clear this task"
            ) from None

    def _champion(self) -> str | None:
        """The version that the newest release document names: it may be another one while this waits."""
        from include.lifecycle.release.document import read_release

        document = read_release(self.model, self.store)
        return document.champion.version if document and document.champion else None
