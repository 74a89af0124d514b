"""How much longer is a nightly training through the lifecycle than the same work in a bare script?

`python -m tests.benchmarks.loop` trains as of the end of 2013, with a champion from November: once as
the DAG's tasks do it (plan, train, evaluate, gates, register, propose), once as a script would: the
same rows, features, fits and metrics, logged to the same MLflow. Both in one process, after imports,
as a task that is forked from the scheduler finds them.
"""

from __future__ import annotations

import logging
import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import mlflow
import mlflow.xgboost

from include.lifecycle.model.evaluation import Evaluation
from include.lifecycle.model.gates import judge
from include.lifecycle.model.registry import Registry
from include.lifecycle.release.decisions import Actor, propose, record
from include.lifecycle.release.fold import fold
from include.lifecycle.release.state import Proposal
from include.lifecycle.spec.catalog import open_catalog
from include.lifecycle.steps import evaluate, register, train
from include.lifecycle.steps.planning import plan_training
from include.lifecycle.steps.running import run_step
from include.lifecycle.store.ledger import Ledger
from include.lifecycle.store.objects import Store
from include.lifecycle.store.receipts import Receipt, read_call, read_receipt
from tests.benchmarks.bare_script import run_bare_script
from tests.benchmarks.figures import Figure, at_most, print_figures
from tests.benchmarks.parts import Parts
from tests.benchmarks.year import MODEL, publish_year
from tests.lifecycle import tiny

CHAMPION_AS_OF, AS_OF = datetime(2013, 11, 1, tzinfo=UTC), datetime(2014, 1, 1, tzinfo=UTC)
ROUNDS = 2
MAX_RATIO = 1.5
DAY = timedelta(days=1)


def main() -> None:
    """Measure, and print the figures."""
    print_figures(run())


def run() -> list[Figure]:
    """Train both ways in turn, several times; compares the fastest of each."""
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    bare, ours = [], []
    with TemporaryDirectory(prefix="perennial-loop-") as name:
        folder = Path(name)
        _prepare(folder)
        for number in range(ROUNDS):
            copy = Store(str(shutil.copytree(folder / "store", folder / f"store-{number}")))
            _empty_mlflow(folder / f"mlflow-{number}")
            bare.append(run_bare_script(copy, AS_OF))
            ours.append(_lifecycle(copy))
    fastest_bare = min(bare, key=lambda parts: parts.total)
    fastest = min(ours, key=lambda parts: parts.total)
    _print_parts("a bare script", fastest_bare)
    _print_parts("the lifecycle", fastest)
    ratio = fastest.total / fastest_bare.total
    fits = (fastest_bare.seconds["fits"], fastest.seconds["  fits"])
    rest = (fastest_bare.total - fits[0], fastest.total - fits[1])
    same_fits = (fits[0] + rest[1]) / fastest_bare.total
    print(f"\nratio {ratio:.2f}, fastest of {ROUNDS} each; {same_fits:.2f} if the fits took the same time")
    print(f"apart from the fits {rest[0]:.2f} s in the script, {rest[1]:.2f} s in the lifecycle")
    return [at_most("loop: a training, times the bare script", MAX_RATIO, ratio, ".2f")]


def _prepare(folder: Path) -> None:
    """A store with the year's daily partitions and a champion."""
    store = Store(str(folder / "store"))
    publish_year(store)
    _empty_mlflow(folder / "mlflow-champion")
    _lifecycle(store, CHAMPION_AS_OF)
    waiting = fold(Ledger(store, MODEL).entries()).undecided[-1]
    tiny.promote(Ledger(store, MODEL), waiting.version, "benchmark", _actor(AS_OF))


def _empty_mlflow(folder: Path) -> None:
    """An MLflow of its own, which keeps its files below a folder."""
    folder.mkdir()
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    for experiment in (MODEL, "bare"):
        mlflow.create_experiment(experiment, artifact_location=str(folder / "artifacts"))


def _lifecycle(store: Store, as_of: datetime = AS_OF) -> Parts:
    """What the tasks of `<model>.train` do, one after the other."""
    catalog, parts, actor = open_catalog(), Parts(), _actor(as_of)
    ledger = Ledger(store, MODEL)
    with _inside(parts):
        with parts.part("plan"):
            planned = plan_training(MODEL, catalog, store, slot=as_of, asked_for=False, actor=actor)
            assert planned.run_key is not None, planned.why
        with parts.part("train"):
            trained, _ = run_step(read_call(planned.run_key, store), store)
            parts.trees = trained.results["trees"]
        with parts.part("evaluate"):
            call = evaluate.plan(read_receipt(trained.run_key, store), fold(ledger.entries()).champion, store)
            evaluated, _ = run_step(call, store)
        with parts.part("gates"):
            evaluated = read_receipt(evaluated.run_key, store)
            evaluation = Evaluation.model_validate(evaluated.results["evaluation"])
            verdict = judge(evaluation, catalog.model(MODEL).gates)
        with parts.part("register"):
            trained = read_receipt(trained.run_key, store)
            registered, _ = run_step(register.plan(trained, evaluated, verdict), store)
        with parts.part("propose"):
            proposal = _proposal(registered)
            record(ledger, propose(proposal, verdict.why), actor)
    return parts


@contextmanager
def _inside(parts: Parts) -> Iterator[None]:
    """Measure what the steps spend their time on."""
    inner = [
        (train, "read_rows", "  rows"),
        (train, "compute_features", "  features"),
        (train, "train", "  fits"),
        (train, "write_package", "  package"),
        (train, "_keep_references", "  drift reference and sample"),
        (evaluate, "_champion_scores", "  champion's scores"),
        (evaluate, "evaluate", "  metrics and intervals"),
        (Registry, "register", "  MLflow"),
    ]
    with ExitStack() as stack:
        for owner, name, part in inner:
            stack.enter_context(patch.object(owner, name, parts.timed(part, getattr(owner, name))))
        yield


def _proposal(registered: Receipt) -> Proposal:
    inputs = registered.call.inputs
    return Proposal(
        version=registered.results["version"],
        run_key=inputs["train"],
        as_of=registered.call.as_of,
        evaluation=inputs["evaluate"],
    )


def _actor(as_of: datetime) -> Actor:
    return Actor(name=f"{MODEL}.train", run_id=f"{MODEL}.train/{as_of:%Y-%m-%d}")


def _print_parts(name: str, parts: Parts) -> None:
    print(f"\n{name:40} {parts.total:8.2f} s  ({parts.trees} trees)")
    for part, seconds in parts.seconds.items():
        print(f"  {part:38} {seconds:8.2f}")


if __name__ == "__main__":
    main()
