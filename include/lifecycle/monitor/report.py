"""Evidently's report on a bounded, seeded sample, for people to look at."""

from __future__ import annotations

import pandas as pd

from include.lifecycle.store.scratch import scratch_folder


def drift_report(reference: pd.DataFrame, current: pd.DataFrame, sample: int, seed: int) -> bytes:
    """HTML that compares features of a window with those of the training."""
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    text = [name for name in reference if reference[name].dtype == object]
    numbers = [name for name in reference if name not in text]
    definition = DataDefinition(categorical_columns=text, numerical_columns=numbers)
    now = Dataset.from_pandas(_sample(current, sample, seed), data_definition=definition)
    then = Dataset.from_pandas(_sample(reference, sample, seed), data_definition=definition)
    snapshot = Report([DataDriftPreset(method="psi")]).run(now, then)
    with scratch_folder("report") as folder:
        file = folder / "report.html"
        snapshot.save_html(str(file))
        return file.read_bytes()


def _sample(rows: pd.DataFrame, size: int, seed: int) -> pd.DataFrame:
    return rows.sample(n=min(size, len(rows)), random_state=seed).reset_index(drop=True)
