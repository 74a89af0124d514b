"""``python -m include.lifecycle`` checks specs, writes schemas, trains again, tells costs and decisions."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from include.lifecycle.errors import LifecycleError, Rejected
from include.lifecycle.spec.catalog import Catalog, open_catalog
from include.lifecycle.spec.nearest import nearest
from include.lifecycle.spec.profile import open_profile
from include.lifecycle.spec.schema import stale_schemas, write_schemas

if TYPE_CHECKING:
    from include.lifecycle.store.ledger import Entry


def mistakes() -> list[str]:
    """Everything that is wrong with the specs, their expectations, features files and schemas."""
    catalog = open_catalog()
    broken = [str(mistake) for mistake in catalog.mistakes()]
    checks: list[Callable[[], object]] = [open_profile]
    checks += [partial(_check_dataset, catalog, name) for name in catalog.dataset_names()]
    checks += [partial(_check_model, catalog, name) for name in catalog.model_names()]
    for run in checks:
        try:
            run()
        except LifecycleError as error:
            broken.append(str(error))
    broken += [f"{path}: not current; run python -m include.lifecycle schema" for path in stale_schemas()]
    return list(dict.fromkeys(broken))


def _check_dataset(catalog: Catalog, name: str) -> None:
    from include.lifecycle.data.validation.suite import build_rules

    build_rules(catalog.dataset(name))


def _check_model(catalog: Catalog, name: str) -> None:
    from include.lifecycle.model.estimators import check_estimator
    from include.lifecycle.model.features import load_feature_code

    model = catalog.model(name)
    check_estimator(model)
    path = catalog.features_path(model)
    load_feature_code(path.read_bytes(), str(path))


def check(asked: argparse.Namespace) -> int:
    """Print all mistakes; exit code 1 when there is one."""
    found = mistakes()
    for mistake in found:
        print(mistake, file=sys.stderr)
    if not found:
        catalog = open_catalog()
        datasets, models = len(catalog.dataset_names()), len(catalog.model_names())
        print(f"{datasets} datasets and {models} models are fine")
    return 1 if found else 0


def schema(asked: argparse.Namespace) -> int:
    """Write the JSON Schemas that editors complete a spec by."""
    write_schemas()
    return 0


def reproduce(asked: argparse.Namespace) -> int:
    """Train a version again; exit code 0 when all bytes are the same, 1 when they differ."""
    from include.lifecycle.steps import reproduce as step
    from include.lifecycle.steps.provenance import this_machine
    from include.lifecycle.steps.running import run_step
    from include.lifecycle.store.objects import open_store

    store = open_store()
    call = step.plan(asked.model, asked.version, store, occasion=this_machine(), threads=asked.threads)
    if changed := step.changed_code(call, store):
        print(changed, file=sys.stderr)
    receipt, adopted = run_step(call, store)
    found = step.Reproduction.model_validate(receipt.results["reproduction"])
    print(f"{found}\nfound on {receipt.ended:%Y-%m-%d %H:%M} UTC, on this machine" if adopted else found)
    return 0 if found.identical else 1


def costs(asked: argparse.Namespace) -> int:
    """Print the totals per month of the models named, or of all."""
    from include.lifecycle.release.costs import table_of_months
    from include.lifecycle.release.fold import fold
    from include.lifecycle.store.ledger import models_of
    from include.lifecycle.store.objects import open_store

    for model in asked.models or models_of(open_store()):
        print(f"{model}\n{table_of_months(fold(_entries(model)).usage)}\n")
    return 0


def ledger(asked: argparse.Namespace) -> int:
    """Verify, show or export what was decided about a model."""
    from include.lifecycle.release.history import json_lines, told

    entries = _entries(asked.model)
    if asked.what == "verify":
        _verify_head(asked.model, entries)
        print(f"{asked.model}: {len(entries)} entries, none changed, removed, reordered or cut off")
    else:
        print((told if asked.what == "show" else json_lines)(entries), end="")
    return 0


def _entries(model: str) -> list[Entry]:
    """The ledger of a model, its chain verified; raises Rejected where there is none."""
    from include.lifecycle.store.ledger import Ledger, models_of
    from include.lifecycle.store.objects import open_store

    store = open_store()
    if model not in (known := models_of(store)):
        raise Rejected(f"no ledger of {model!r} in {store.uri}{nearest(model, known)}")
    return Ledger(store, model).entries()


def _verify_head(model: str, entries: list[Entry]) -> None:
    """Raise Tampered where entries are gone that the registry knows of, Rejected where nobody can tell."""
    from include.lifecycle.model.registry import Registry
    from include.lifecycle.store.ledger import verify_anchor

    unbroken = f"{model}: the chain of {len(entries)} entries is unbroken, but whether its end was cut off"
    if (uri := os.environ.get("MLFLOW_TRACKING_URI")) is None:
        raise Rejected(f"{unbroken} only MLflow tells: set MLFLOW_TRACKING_URI to its address")
    anchored = Registry(uri).anchor(model)
    if anchored is None:
        raise Rejected(f"{unbroken} cannot be told: MLflow has no tag of it; run {model}.release")
    verify_anchor(entries, *anchored)


def main(arguments: list[str]) -> int:
    """The command's exit code; 1 for what cannot be done, 75 for what may be done later."""
    asked = _parser().parse_args(arguments)
    try:
        code: int = asked.run(asked)
    except LifecycleError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m include.lifecycle")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for run, text in (
        (check, "say what is wrong with the specs, their expectations, features files and schemas"),
        (schema, "write the JSON Schemas that editors complete a spec by"),
        (reproduce, "train a version again from what it was trained from, and compare bytes"),
        (costs, "say what each model used, and what that cost, per month"),
        (ledger, "verify, show or export (as JSON Lines) what was decided about a model, and why"),
    ):
        command = commands.add_parser(run.__name__, help=text, description=text)
        command.set_defaults(run=run)
        if run is reproduce:
            command.add_argument("model")
            command.add_argument("version")
            command.add_argument("--threads", type=int, help="default: as many as it was trained on")
        if run is costs:
            command.add_argument("models", nargs="*", metavar="model", help="default: all that have a ledger")
        if run is ledger:
            command.add_argument("what", choices=("verify", "show", "export"))
            command.add_argument("model")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
