"""``python -m include.lifecycle check`` checks every spec; ``schema`` writes the JSON Schemas."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

from include.lifecycle.errors import LifecycleError
from include.lifecycle.spec.catalog import Catalog, open_catalog
from include.lifecycle.spec.profile import open_profile
from include.lifecycle.spec.schema import stale_schemas, write_schemas


def check() -> list[str]:
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


def main(arguments: list[str]) -> int:
    """Exit code 0 when all is well, 1 with the mistakes on stderr, 2 for an unknown command."""
    if arguments == ["schema"]:
        write_schemas()
        return 0
    if arguments != ["check"]:
        print("usage: python -m include.lifecycle {check|schema}", file=sys.stderr)
        return 2
    mistakes = check()
    for mistake in mistakes:
        print(mistake, file=sys.stderr)
    if not mistakes:
        catalog = open_catalog()
        found = len(catalog.dataset_names()), len(catalog.model_names())
        print(f"{found[0]} datasets and {found[1]} models are fine")
    return 1 if mistakes else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
