"""A dataset that the project does not ship needs a YAML and nothing else: carbon dioxide over Mauna Loa."""

from __future__ import annotations

from typing import Any

import pandas as pd
from statsmodels.datasets import co2

from include.lifecycle.data.publishing import published_table, quarantine_table
from tests.lifecycle.ingesting import fates, ingest
from tests.lifecycle.tiny import Project

YAML = """
description: Carbon dioxide in the air over Mauna Loa, by week
tags: [climate]
partition: month
schedule: {start: 1958-03-01, end: 2001-12-01}
source: {type: files, path: "air/{partition:%Y-%m}.csv"}
columns: {week: timestamp, co2: number}
key: [week]
event_time: week
expectations:
  - expect_column_values_to_not_be_null: {column: co2}
  - expect_column_values_to_be_between: {column: co2, min_value: 300, max_value: 400, severity: warn}
quarantine: {max_share: 1}
"""
MONTHS = 24


def _weeks() -> dict[str, pd.DataFrame]:
    """The measurements of the first two years by month; some weeks have none."""
    weeks = co2.load_pandas().data.rename_axis("week").reset_index()
    by_month = {str(month): rows for month, rows in weeks.groupby(weeks["week"].dt.strftime("%Y-%m"))}
    return dict(list(by_month.items())[:MONTHS])


def test_a_dataset_of_somebody_else_is_ingested_with_nothing_but_a_yaml(project: Project) -> None:
    (project.specs / "datasets/air.yaml").write_text(YAML)
    spec, months = project.catalog.dataset("air"), _weeks()
    (project.landing / "air").mkdir(parents=True)
    for month, rows in months.items():
        rows.to_csv(project.landing / "air" / f"{month}.csv", index=False)

    receipts = [ingest(spec, month, project.store) for month in months]

    for receipt in receipts:
        assert receipt.counts["rows_in"] == fates(receipt)
    weeks = pd.concat(months.values()).set_index("week")["co2"]
    published: Any = published_table("air", project.store).dataset()
    found = published.to_table().to_pandas().set_index("week")["co2"].sort_index()
    assert found.tolist() == weeks.dropna().tolist()
    quarantined: Any = quarantine_table("air", project.store).dataset()
    assert quarantined.count_rows() == weeks.isna().sum() > 0
    assert len(weeks) == len(found) + quarantined.count_rows()
