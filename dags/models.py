"""`<model>.train`, `.release`, `.monitor` and `.reproduce` for each include/models/*.yaml.

A model whose YAML has a `search` also has `<model>.search`.
Airflow's `dag_id` of the run being started limits the work to that one model.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import (
    DAG,
    AssetOrTimeSchedule,
    CronTriggerTimetable,
    Param,
    TaskGroup,
    TriggerRule,
    get_parsing_context,
)
from mlops.assets import candidate, drift, searched
from mlops.documentation import (
    describe_monitor,
    describe_release,
    describe_reproduce,
    describe_search,
    describe_train,
)
from mlops.operators.approve import ApproveOperator
from mlops.operators.canary import CanaryOperator
from mlops.operators.monitor import GovernOperator, MeasureOperator
from mlops.operators.release import AwaitServerOperator, PromoteOperator, ReconcileOperator, StageOperator
from mlops.operators.reproduce import ReproduceOperator
from mlops.operators.search import AskOperator, FinishSearchOperator, PlanSearchOperator, TrialOperator
from mlops.operators.train import (
    EvaluateOperator,
    GateOperator,
    PlanTrainingOperator,
    RegisterOperator,
    TrainOperator,
)
from mlops.retrying import RETRYING
from mlops.timetable import SpanTimetable

from include.lifecycle.errors import SpecError
from include.lifecycle.spec.catalog import open_catalog
from include.lifecycle.spec.compute import Compute
from include.lifecycle.spec.dataset import DatasetSpec
from include.lifecycle.spec.model import ModelSpec
from include.lifecycle.spec.search import Search


def common(model: ModelSpec) -> dict[str, Any]:
    """What the DAGs of a model share."""
    return {
        "description": model.description,
        "catchup": False,
        "max_active_runs": 1,
        "default_args": {"owner": model.owner, **RETRYING},
    }


def moment(title: str, description: str) -> Param:
    """A moment that a form may leave empty."""
    return Param(None, type=["null", "string"], format="date-time", title=title, description=description)


def version_of(description: str) -> Param:
    """A version that a form may leave empty."""
    return Param(None, type=["null", "string"], title="Version", description=description)


def pool_of(needs: Compute | None) -> str:
    """Where what trains waits for its turn."""
    return "gpu" if needs and needs.gpu else "training"


def train(model: ModelSpec) -> DAG:
    """Nightly, or when drift asks: from published rows to a proposed version."""
    nightly = CronTriggerTimetable(model.training.schedule, timezone="UTC", run_immediately=True)
    wakes = drift(model) | searched(model) if model.search else drift(model)
    with DAG(
        f"{model.name}.train",
        schedule=AssetOrTimeSchedule(timetable=nightly, assets=wakes),
        doc_md=describe_train(model),
        tags={"train", *model.tags},
        params={
            "as_of": moment("As of", "Train on what was known then; empty: the run's own time."),
        },
        **common(model),
    ) as dag:
        plan = PlanTrainingOperator(
            task_id="plan", model=model.name, doc_md="Decides whether to train, and pins the data."
        )
        needs = model.compute.get("train")
        trained = TrainOperator(
            task_id="train",
            model=model.name,
            planned=plan.output,
            compute=needs,
            pool=pool_of(needs),
            doc_md="Chooses the number of trees, scores the gate span, refits on all rows known.",
        )
        evaluated = EvaluateOperator(
            task_id="evaluate",
            model=model.name,
            trained=trained.output,
            compute=model.compute.get("evaluate"),
            doc_md="Candidate and champion on the same rows, which neither had seen.",
        )
        gated = GateOperator(
            task_id="gates",
            model=model.name,
            evaluated=evaluated.output,
            doc_md="Skips, with the reason, when a gate fails.",
        )
        RegisterOperator(
            task_id="register",
            model=model.name,
            gated=gated.output,
            compute=model.compute.get("register"),
            outlets=[candidate(model)],
            doc_md="Registers the version in MLflow and proposes it in the ledger.",
        )
    return dag


def search(model: ModelSpec, settings: Search) -> DAG:
    """By hand, or by its own schedule: rounds of trials, and the parameters that did best."""
    with DAG(
        f"{model.name}.search",
        schedule=settings.schedule and CronTriggerTimetable(settings.schedule, timezone="UTC"),
        doc_md=describe_search(model, settings),
        tags={"search", *model.tags},
        params={"as_of": moment("As of", "Search on what was known then; empty: the run's own time.")},
        **common(model),
    ) as dag:
        plan = PlanSearchOperator(
            task_id="plan", model=model.name, doc_md="Pins the data that all trials learn from."
        )
        last = plan
        for number in range(settings.rounds):
            last = trials_of_round(model, plan, number, after=last)
        last >> FinishSearchOperator(
            task_id="finish",
            planned=plan.output,
            trigger_rule=TriggerRule.ALL_DONE,
            outlets=[searched(model)],
            doc_md="Chooses the winner, logs the trials in MLflow, wakes the training.",
        )
    return dag


def trials_of_round(model: ModelSpec, plan: Any, number: int, *, after: Any) -> Any:
    """Asks for a round's trials and runs them; a trial that fails stops no other, and no later round."""
    needs = model.compute.get("trial")
    with TaskGroup(f"round_{number}", tooltip="Trials that run at the same time"):
        ask = AskOperator(
            task_id="ask",
            planned=plan.output,
            number=number,
            trigger_rule=TriggerRule.ALL_DONE_MIN_ONE_SUCCESS,
            doc_md="What to try next, by the trials so far; nothing when the time is over.",
        )
        trial = TrialOperator.partial(
            task_id="trial",
            model=model.name,
            compute=needs,
            pool="gpu" if needs and needs.gpu else "default_pool",
            map_index_template="{{ task.asked['number'] }}",
            doc_md="Fits until the stop span and is measured on it, or is pruned.",
        ).expand(asked=ask.output)
    after >> ask
    return trial


def release(model: ModelSpec) -> DAG:
    """Woken by a candidate: from a proposal to the version that the server answers with."""
    with DAG(
        f"{model.name}.release",
        schedule=[candidate(model)],
        doc_md=describe_release(model),
        tags={"release", *model.tags},
        params={"version": version_of("The waiting version to decide on; empty: the newest one.")},
        **common(model),
    ) as dag:
        stage = StageOperator(
            task_id="stage",
            model=model.name,
            doc_md="Starts the version in a server of its own and asks it yesterday's requests, then gates "
            "against the champion of now; verdict and measurements in the ledger.",
        )
        canary = CanaryOperator(
            task_id="canary",
            model=model.name,
            staged=approved(model, stage),
            doc_md="Compares it with the champion on live requests, where the YAML has `release`.",
        )
        promote = PromoteOperator(
            task_id="promote",
            model=model.name,
            climbed=canary.output,
            doc_md="Makes the version champion, unless a newer one became that meanwhile.",
        )
        reconcile = ReconcileOperator(
            task_id="reconcile",
            model=model.name,
            trigger_rule=TriggerRule.NONE_FAILED,
            doc_md="Makes aliases and release document equal to the ledger.",
        )
        answer = AwaitServerOperator(
            task_id="await_server",
            model=model.name,
            doc_md="Waits until the server answers with the champion.",
        )
        promote >> reconcile >> answer
    return dag


def approved(model: ModelSpec, stage: StageOperator) -> Any:
    """What became of a staged version after as many people as its policy names."""
    policy = model.release.approval
    last = stage.output
    for place, task_id in enumerate(("approve", "approve_too")[: max(1, policy.people)], 1):
        last = ApproveOperator(
            task_id=task_id,
            model=model.name,
            staged=last,
            within=policy.within,
            place=place,
            doc_md="Goes on where nobody has to be asked; else waits for an answer in Required Actions.",
        ).output
    return last


def monitor(model: ModelSpec, rows: DatasetSpec) -> DAG:
    """Each window: drift, performance, and whether to retrain."""
    with DAG(
        f"{model.name}.monitor",
        schedule=SpanTimetable(model.monitoring.schedule, "UTC", rows.schedule.start, rows.schedule.end),
        doc_md=describe_monitor(model),
        tags={"monitor", *model.tags},
        params={
            "window_end": moment("End of the window", "Empty: the end of the run's data interval."),
        },
        **common(model),
    ) as dag:
        measure = MeasureOperator(
            task_id="measure",
            model=model.name,
            compute=model.compute.get("measure"),
            doc_md="Joins predictions with matured labels; drift over all rows; Evidently's report.",
        )
        GovernOperator(
            task_id="govern",
            model=model.name,
            measured=measure.output,
            outlets=[drift(model)],
            doc_md="Records the window; wakes the training, or skips with the reason.",
        )
    return dag


def reproduce(model: ModelSpec) -> DAG:
    """By hand: is a version what its data and its code make of it?"""
    needs = model.compute.get("train")
    with DAG(
        f"{model.name}.reproduce",
        schedule=None,
        doc_md=describe_reproduce(model),
        tags={"reproduce", *model.tags},
        params={"version": version_of("The version to train again; empty: the champion.")},
        **common(model),
    ) as dag:
        ReproduceOperator(
            task_id="reproduce",
            model=model.name,
            compute=needs,
            pool=pool_of(needs),
            doc_md="Trains the version again; fails, with what differs, unless all bytes are the same.",
        )
    return dag


catalog = open_catalog()
wanted = get_parsing_context().dag_id
for name in catalog.model_names():
    if wanted is None or wanted.startswith(f"{name}."):
        try:
            spec = catalog.model(name)
        except SpecError:
            continue  # dags/broken_specs.py shows it
        for build in (train, release, reproduce):
            globals()[f"{name}_{build.__name__}"] = build(spec)
        if spec.search:
            globals()[f"{name}_search"] = search(spec, spec.search)
        globals()[f"{name}_monitor"] = monitor(spec, catalog.dataset(spec.rows))
