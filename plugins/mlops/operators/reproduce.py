"""Reproduce: a version trained again, and proven to be what its data and its code make of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from include.lifecycle.errors import Rejected
from mlops.business_time import Context, actor, asked
from mlops.operators.step import StepOperator

if TYPE_CHECKING:
    from include.lifecycle.steps.reproduce import Reproduction
    from include.lifecycle.store.objects import Store
    from include.lifecycle.store.receipts import Call, Receipt


class ReproduceOperator(StepOperator):
    """Trains the form's version, or the champion, again; fails unless every byte is the same."""

    ui_color = "#d9c8f0"

    def __init__(self, *, model: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model = model

    def plan(self, context: Context, store: Store) -> Call:
        """The reproduction that this run asks for: each run trains anew, its retries do not."""
        from include.lifecycle.steps import reproduce

        version, occasion = asked(context, "version"), actor(context).run_id
        call = reproduce.plan(self.model, version, store, occasion=occasion)
        if changed := reproduce.changed_code(call, store):
            self.log.warning("%s", changed)
        return call

    def after(self, context: Context, receipt: Receipt, store: Store) -> None:
        """Say what was found; raises Rejected when a byte differs."""
        found = _found(receipt)
        if not found.identical:
            raise Rejected(str(found))
        self.log.info("%s", found)

    def summary(self, receipt: Receipt) -> dict[str, Any]:
        """The version, and how many files are the same."""
        found = _found(receipt)
        return {"version": found.version, "identical": found.identical, "files": found.files}


def _found(receipt: Receipt) -> Reproduction:
    from include.lifecycle.steps.reproduce import Reproduction

    return Reproduction.model_validate(receipt.results["reproduction"])
