"""Train: rows as they were known, features, trees, the gate's predictions, the drift reference."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from datetime import datetime, timedelta
from operator import itemgetter
from pathlib import Path

import pandas as pd

from include.lifecycle.data.point_in_time import EVENT_TIME, pin_versions
from include.lifecycle.data.privacy.anonymity import privacy_of
from include.lifecycle.data.privacy.policies import require_one_key, require_policy
from include.lifecycle.errors import Rejected
from include.lifecycle.model.estimators import check_estimator
from include.lifecycle.model.features import input_types, load_feature_code
from include.lifecycle.model.gpu import GpuWatch
from include.lifecycle.model.packaging import compile_trees, write_package
from include.lifecycle.model.training import Trained, on_device, train
from include.lifecycle.model.training_set import IDENTITY, InMemory, TrainingSet, sample_of
from include.lifecycle.model.workers import Communicator, joined
from include.lifecycle.monitor.drift import Reference, describe
from include.lifecycle.spec.catalog import Catalog, label_known_after
from include.lifecycle.spec.dataset import DatasetSpec
from include.lifecycle.spec.model import ModelSpec
from include.lifecycle.spec.quantities import parse_duration
from include.lifecycle.spec.value import canonical_json, sha256
from include.lifecycle.steps.code import code_hash
from include.lifecycle.steps.provenance import keep_provenance
from include.lifecycle.steps.running import Work
from include.lifecycle.steps.together import workers_of
from include.lifecycle.steps.training_rows import known_rows, training_set
from include.lifecycle.store.checkpoints import StoredCheckpoints
from include.lifecycle.store.objects import Output, Store
from include.lifecycle.store.receipts import Call
from include.lifecycle.store.scan import connect

_ONLY_SAID = {"description", "owner", "tags"}
_HOW_IT_RUNS = {"checkpoint"}
SAMPLE_ROWS = 5_000
"""Training rows kept for drift reports."""
EXAMPLE_ROWS = 5


def datasets_of(model: ModelSpec, catalog: Catalog) -> dict[str, DatasetSpec]:
    """The specs of the datasets that a model reads, by name."""
    names = (model.rows, *(join.dataset for join in model.joins))
    return {name: catalog.dataset(name) for name in names}


def plan(
    model: ModelSpec, catalog: Catalog, as_of: datetime, store: Store, search: str | None = None
) -> Call:
    """The call that trains a model on what is published now and was known at `as_of`.

    `search` is the key of the search that found its parameters, where one did. The features file goes
    into the store and its hash into the call. Raises SpecError for an unknown estimator or parameter, and
    Rejected when a dataset has nothing published, something that was published under another privacy
    policy, or pseudonyms made with several keys.
    """
    check_estimator(model)
    datasets, versions = datasets_of(model, catalog), pin_versions(model, store)
    for name, spec in datasets.items():
        require_policy(spec, versions[name], store)
    require_one_key(datasets, versions, store)
    specs = {
        "model": model.model_dump(mode="json", exclude={"search", "monitoring", "governor", "gates"}),
        "lookback": model.monitoring.model_dump(mode="json")["lookback"],
        "datasets": {name: spec.model_dump(mode="json") for name, spec in datasets.items()},
    }
    features = store.keep(catalog.features_path(model).read_bytes())
    needs = model.compute.get("train")
    device = {"device": "cuda"} if needs is not None and needs.gpu else {}
    workers = {"workers": needs.workers} if needs is not None and needs.workers > 1 else {}
    found_by = {"search": search} if search is not None else {}
    inputs = {"features": features.model_dump(mode="json"), "versions": versions}
    return Call(
        step="train",
        spec=specs,
        inputs={**inputs, **device, **workers, **found_by},
        as_of=as_of,
        code=code_hash("train"),
        seed=model.training.seed,
    )


def fingerprint(call: Call) -> str:
    """Hash of what a person changes to get another model: spec, features, code; not the data, and
    not what is only said of it or how it runs."""
    model = {key: value for key, value in call.spec["model"].items() if key not in _ONLY_SAID}
    model["training"] = {key: value for key, value in model["training"].items() if key not in _HOW_IT_RUNS}
    datasets = {
        name: [
            sorted(spec["columns"], key=itemgetter("name")),
            spec["key"],
            spec["event_time"],
            *([spec["privacy"]] if spec["privacy"] else []),
        ]
        for name, spec in call.spec["datasets"].items()
    }
    return sha256(canonical_json([model, datasets, call.inputs["features"], call.code, call.seed]))


def run(work: Work) -> None:
    """Outputs the package's files, `gate`, `reference`, `sample`, and what it was trained with; counts
    rows; results about the fit."""
    model = ModelSpec.model_validate(work.call.spec["model"])
    datasets = {name: DatasetSpec.model_validate(spec) for name, spec in work.call.spec["datasets"].items()}
    source = work.store.read(Output.model_validate(work.call.inputs["features"]))
    end = work.call.as_of - label_known_after(model, datasets[model.rows])
    inputs = input_types(model, datasets)
    code = load_feature_code(source, model.features_file)
    workers = work.until_receipt.enter_context(joined(work.run_key, work.store, workers_of(work.call)))
    work.leads = workers.leads
    rows, found = known_rows(work, model, datasets, workers)
    _keep_example(work, rows, inputs, private=bool(privacy_of(datasets, found)))
    table = training_set(work, model, rows, code, inputs)
    awaiting = work.termination.awaiting() if model.training.is_xgboost else nullcontext()
    work.checkpoints = StoredCheckpoints(
        work.run_key,
        work.store,
        model.training.checkpoint,
        lambda: any(workers.total(work.termination.told)),
    )
    device = work.call.inputs.get("device")
    training = on_device(model.training, device)
    try:
        with awaiting, GpuWatch() if device else nullcontext() as watch:
            trained = train(training, table, end, work.checkpoints, workers)
    except Rejected as error:
        raise Rejected(f"{model.name}.yaml: {error}") from error

    _keep_trained(work, trained, source, inputs, datasets[model.rows])
    if model.training.is_xgboost:
        _keep_compiled(work, trained, table)
    privacy = privacy_of(datasets, found)
    lookback = parse_duration(work.call.spec["lookback"])
    _keep_references(work, table, lookback, workers, private=bool(privacy))
    count = int(*workers.total(len(table)))
    work.counts |= {"rows": count, "gate_rows": len(trained.gate)}
    if found is not None:
        work.counts |= {"rows_in": count + found.suppressed, "suppressed": found.suppressed}
    work.results |= {
        **({"trees": trained.trees} if trained.trees is not None else {}),
        "base_rate": trained.base_rate,
        "newest_event": trained.gate[EVENT_TIME].max().isoformat(),
        **({"privacy": privacy} if privacy else {}),
        **({"gpu": watch.use.model_dump()} if watch else {}),
    }
    keep_provenance(work)


def _keep_trained(
    work: Work, trained: Trained, source: bytes, inputs: Mapping[str, str], rows: DatasetSpec
) -> None:
    """The package's files, and the gate's scores."""
    package = write_package(
        work.folder / "package",
        trained.fitted,
        source,
        inputs=inputs,
        key=rows.key[0],
        event_time=rows.event_time,
    )
    for file in package:
        work.keep(file.name, file)
    trained.gate.to_parquet(work.folder / "gate.parquet")
    work.keep("gate", work.folder / "gate.parquet")


def _keep_compiled(work: Work, trained: Trained, table: TrainingSet) -> None:
    """The trees compiled, and the verdict on them; without them a version answers as well, more slowly."""
    categories = trained.fitted.categories
    held_out = table.between(trained.gate[EVENT_TIME].min(), None, list(categories))
    file, parity = compile_trees(work.folder / "package", trained.fitted, held_out, work.call.seed)
    if file is not None:
        work.keep(file.name, file)
    work.results["compiled"] = parity.model_dump()


def _keep_references(
    work: Work, table: TrainingSet, lookback: timedelta, workers: Communicator, *, private: bool
) -> None:
    """The reference and the sample; of private data the sample's columns are shuffled apart, since
    reports compare them one by one and nobody's row need stay."""
    references = _references(table, lookback, workers)
    document = {name: item.model_dump(mode="json") for name, item in references.items()}
    work.keep("reference", canonical_json(document))
    sample = workers.gather(sample_of(table, SAMPLE_ROWS // workers.size, work.call.seed))
    if private:
        for place, name in enumerate(sample):
            sample[name] = sample[name].sample(frac=1, random_state=work.call.seed + place).to_numpy()
    sample.to_parquet(work.folder / "sample.parquet", index=False)
    work.keep("sample", work.folder / "sample.parquet")


def _references(table: TrainingSet, lookback: timedelta, workers: Communicator) -> dict[str, Reference]:
    """Of the rows of all workers, feature by feature: no worker has room for all of them."""
    if workers.size == 1:
        return describe(table, lookback)
    found: dict[str, Reference] = {}
    for name in (*table.texts, *table.numbers):
        (own,) = table.between(None, None, [*IDENTITY, name])
        rows = workers.gather(own)
        found |= describe(InMemory(rows[list(IDENTITY)], rows[[name]]), lookback)
    return found


def _keep_example(work: Work, rows: pd.DataFrame | Path, inputs: Iterable[str], *, private: bool) -> None:
    """The newest rows' inputs; of private data one row of each input's most frequent value: nobody's."""
    with connect() as db:
        if isinstance(rows, pd.DataFrame):
            db.register("known", rows)
        else:
            db.read_parquet(str(rows)).create_view("known")
        columns = [f'"{name}"' for name in inputs]
        if private:
            modes = (
                f"(SELECT {name} FROM known WHERE {name} IS NOT NULL GROUP BY {name} "
                f"ORDER BY count(*) DESC, {name} LIMIT 1) AS {name}"
                for name in columns
            )
            example = db.sql(f"SELECT {', '.join(modes)}").df()
        else:
            newest = f"OFFSET (SELECT greatest(count(*) - {EXAMPLE_ROWS}, 0) FROM known)"
            example = db.sql(f"SELECT {', '.join(columns)} FROM known {newest}").df()
    work.keep("example", canonical_json(json.loads(example.to_json(orient="records", date_format="iso"))))
