"""Plan, train, evaluate, gate, register: from published rows to a proposed version."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from include.lifecycle.errors import InFlight, Rejected
from include.lifecycle.spec.catalog import open_catalog
from mlops.business_time import Context, actor, asked_or_slot, is_asked_for
from mlops.hooks.registry import RegistryHook
from mlops.links import RunLink, VersionLink, run_address, version_address
from mlops.operators.step import LifecycleOperator, StepOperator

if TYPE_CHECKING:
    from include.lifecycle.store.objects import Store
    from include.lifecycle.store.receipts import Call, Receipt


class PlanTrainingOperator(LifecycleOperator):
    """Decides whether to train, pins the data, and takes the lease of the one training in flight.

    A run that a person asked for trains unless there is nothing new; any other asks the governor.
    """

    ui_color = "#e8e0f5"

    def __init__(self, *, model: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model = model

    def perform(self, context: Context) -> dict[str, Any]:
        """Return the run key of the training to do, or skip with the reason."""
        from include.lifecycle.steps.planning import plan_training

        try:
            planned = plan_training(
                self.model,
                open_catalog(),
                self.store,
                slot=asked_or_slot(context, "as_of"),
                asked_for=is_asked_for(context),
                actor=actor(context),
            )
        except InFlight as error:
            if is_asked_for(context):
                raise
            raise AirflowSkipException(str(error)) from None
        if planned.run_key is None:
            raise AirflowSkipException(planned.why)
        self.log.info("training as of %s: %s", planned.as_of, planned.why)
        return {"run_key": planned.run_key, "as_of": planned.as_of.isoformat(), "why": planned.why}


class OfTrainingOperator(StepOperator):
    """A step of a training; gives the lease back when it can never succeed."""

    model: str

    def rejected(self, context: Context, call: Call, error: Rejected, store: Store) -> None:
        """The training ends in the ledger as failed; cleared after its cure, it goes on from there."""
        from include.lifecycle.release.decisions import end_training, record
        from include.lifecycle.store.ledger import Ledger

        ended = end_training(call.inputs.get("train", call.run_key), call.as_of, "failed", str(error))
        record(Ledger(store, self.model), ended, actor(context))


class TrainOperator(OfTrainingOperator):
    """Trains a version."""

    ui_color = "#d9c8f0"
    template_fields: Sequence[str] = ("planned",)

    def __init__(self, *, model: str, planned: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.planned = planned

    def plan(self, context: Context, store: Store) -> Call:
        """The call that was planned."""
        from include.lifecycle.store.receipts import read_call

        return read_call(self.planned["run_key"], store)

    def summary(self, receipt: Receipt) -> dict[str, Any]:
        """Number of trees and newest event."""
        return dict(receipt.results)


class EvaluateOperator(OfTrainingOperator):
    """Compares the candidate with the champion on rows that neither had seen."""

    ui_color = "#fdf1cf"
    template_fields: Sequence[str] = ("trained",)

    def __init__(self, *, model: str, trained: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.trained = trained

    def plan(self, context: Context, store: Store) -> Call:
        """The comparison with today's champion."""
        from include.lifecycle.release.fold import fold
        from include.lifecycle.steps import evaluate
        from include.lifecycle.store.ledger import Ledger
        from include.lifecycle.store.receipts import read_receipt

        champion = fold(Ledger(store, self.model).entries()).champion
        return evaluate.plan(read_receipt(self.trained["run_key"], store), champion, store)

    def summary(self, receipt: Receipt) -> dict[str, Any]:
        """The candidate's metrics on the gate rows."""
        metrics = receipt.results["evaluation"]["candidate"]
        return {name: round(item["value"], 5) for name, item in metrics.items()}


class GateOperator(LifecycleOperator):
    """Applies the gates; a version that fails one ends here, with the reason in the ledger."""

    ui_color = "#f9d5c9"
    template_fields: Sequence[str] = ("evaluated",)

    def __init__(self, *, model: str, evaluated: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.evaluated = evaluated

    def perform(self, context: Context) -> dict[str, Any]:
        """Return the verdict, or skip with the reason."""
        from include.lifecycle.model.evaluation import Evaluation
        from include.lifecycle.model.gates import judge
        from include.lifecycle.release.decisions import end_training, record
        from include.lifecycle.store.ledger import Ledger
        from include.lifecycle.store.receipts import read_receipt

        store = self.store
        evaluated = read_receipt(self.evaluated["run_key"], store)
        evaluation = Evaluation.model_validate(evaluated.results["evaluation"])
        verdict = judge(evaluation, open_catalog().model(self.model).gates)
        if not verdict.passed:
            ended = end_training(
                evaluated.call.inputs["train"], evaluated.call.as_of, "rejected", verdict.why
            )
            record(Ledger(store, self.model), ended, actor(context))
            raise AirflowSkipException(verdict.why)
        self.log.info("gates passed: %s", verdict.why)
        return {"evaluate": evaluated.run_key, "verdict": verdict.model_dump(mode="json")}


class RegisterOperator(OfTrainingOperator):
    """Registers the version in MLflow, proposes it in the ledger, emits the candidate asset."""

    ui_color = "#cfe2f3"
    template_fields: Sequence[str] = ("gated",)
    operator_extra_links = (RunLink(), VersionLink())

    def __init__(self, *, model: str, gated: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.gated = gated

    def plan(self, context: Context, store: Store) -> Call:
        """The registration of what passed its gates."""
        from include.lifecycle.model.gates import Verdict
        from include.lifecycle.steps import register
        from include.lifecycle.store.receipts import read_receipt

        RegistryHook().get_conn()
        evaluated = read_receipt(self.gated["evaluate"], store)
        trained = read_receipt(evaluated.call.inputs["train"], store)
        return register.plan(trained, evaluated, Verdict.model_validate(self.gated["verdict"]))

    def after(self, context: Context, receipt: Receipt, store: Store) -> None:
        """Propose the version; link it; wake the release."""
        from include.lifecycle.release.costs import run_metrics, totals_of_run
        from include.lifecycle.release.decisions import propose, record
        from include.lifecycle.release.state import Proposal
        from include.lifecycle.store.ledger import Ledger

        found, inputs = receipt.results, receipt.call.inputs
        proposal = Proposal(
            version=found["version"],
            run_key=inputs["train"],
            as_of=receipt.call.as_of,
            evaluation=inputs["evaluate"],
            metrics=found["metrics"],
        )
        ledger = Ledger(store, self.model)
        record(ledger, propose(proposal, inputs["gates"]["why"]), actor(context))
        training = totals_of_run(inputs["train"], ledger.entries())
        RegistryHook().get_conn().set_metrics(found["run_id"], run_metrics(training))
        url = RegistryHook().url
        self.addresses[RunLink] = run_address(url, found["experiment_id"], found["run_id"])
        self.addresses[VersionLink] = version_address(url, self.model, found["version"])
        for outlet in self.outlets:
            context["outlet_events"][outlet].extra = {"version": found["version"]}

    def summary(self, receipt: Receipt) -> dict[str, Any]:
        """The registered version."""
        return {"version": receipt.results["version"]}
