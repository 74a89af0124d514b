"""Trial: one set of parameters of a search, fitted and measured on the stop span, or pruned."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from include.lifecycle.errors import Rejected
from include.lifecycle.model.features import input_types, load_feature_code
from include.lifecycle.model.gpu import GpuWatch
from include.lifecycle.model.study import Outcome, Trial, open_trial
from include.lifecycle.model.training import on_device
from include.lifecycle.model.trials import fit_trial
from include.lifecycle.spec.catalog import label_known_after
from include.lifecycle.spec.dataset import DatasetSpec
from include.lifecycle.spec.model import ModelSpec
from include.lifecycle.spec.search import Parameters, Search
from include.lifecycle.steps.running import Work
from include.lifecycle.steps.training_rows import known_rows, training_set
from include.lifecycle.store.checkpoints import StoredCheckpoints
from include.lifecycle.store.objects import Output
from include.lifecycle.store.receipts import Call, Receipt, read_receipt

_BUDGET = ("trials", "minutes", "parallel", "schedule")


def plan(search: Call, told: list[str | None], parameters: Parameters) -> Call:
    """The call of a search's next trial: it has its own parameters, and is the same whatever the budget.

    `told` has, for each trial before it, the run key of the receipt that its pruner compares with, or
    None where there was none when it was asked.
    """
    spec: dict[str, Any] = dict(search.spec)
    spec["search"] = {key: value for key, value in spec["search"].items() if key not in _BUDGET}
    return Call(
        step="trial",
        spec=spec,
        inputs={**search.inputs, "parameters": parameters, "told": told},
        as_of=search.as_of,
        code=search.code,
        seed=search.seed,
    )


def run(work: Work) -> None:
    """Result `outcome`; counts rows. Keeps no output."""
    call = work.call
    model, search = ModelSpec.model_validate(call.spec["model"]), Search.model_validate(call.spec["search"])
    datasets = {name: DatasetSpec.model_validate(spec) for name, spec in call.spec["datasets"].items()}
    source = work.store.read(Output.model_validate(call.inputs["features"]))
    code = load_feature_code(source, model.features_file)
    rows, _ = known_rows(work, model, datasets)
    table = training_set(work, model, rows, code, input_types(model, datasets))
    parameters, device = call.inputs["parameters"], call.inputs.get("device")
    training = model.training.model_copy(
        update={"parameters": {**model.training.parameters, **parameters}, "segment": search.segment}
    )
    work.checkpoints = StoredCheckpoints(
        work.run_key, work.store, training.checkpoint, lambda: work.termination.told
    )
    told = [_told(run_key, work) for run_key in call.inputs["told"]]
    try:
        with work.termination.awaiting(), GpuWatch() if device else nullcontext() as watch:
            outcome = fit_trial(
                on_device(training, device),
                table,
                call.as_of - label_known_after(model, datasets[model.rows]),
                open_trial(search, told, parameters),
                search.metric,
                work.checkpoints,
            )
    except Rejected as error:
        raise Rejected(f"{model.name}.yaml: search: trial {len(told)} with {parameters}: {error}") from error
    work.counts["rows"] = len(table)
    work.results["outcome"] = outcome.model_dump(mode="json")
    work.results |= {"gpu": watch.use.model_dump()} if watch else {}


def outcome_of(receipt: Receipt) -> Outcome:
    """What came of a trial."""
    return Outcome.model_validate(receipt.results["outcome"])


def _told(run_key: str | None, work: Work) -> Trial:
    if run_key is None:
        return Trial(outcome=Outcome(state="failed"))
    receipt = read_receipt(run_key, work.store)
    return Trial(parameters=receipt.call.inputs["parameters"], outcome=outcome_of(receipt))
