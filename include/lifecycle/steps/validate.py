"""Validate: the staged rows get their types and are audited; bad rows part from good ones."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq

from include.lifecycle.data.publishing import newest_per_key, write_bad, write_good
from include.lifecycle.data.types import typed
from include.lifecycle.data.validation import audit, judge_quarantine
from include.lifecycle.spec.dataset import DatasetSpec
from include.lifecycle.steps.code import code_hash
from include.lifecycle.steps.running import Work
from include.lifecycle.store.receipts import Call, Receipt, read_receipt


def plan(extracted: Receipt) -> Call:
    """The call that validates what an extraction staged."""
    return Call(
        step="validate",
        spec=extracted.call.spec,
        inputs={"extract": extracted.run_key, "partition": extracted.call.inputs["partition"]},
        as_of=extracted.call.as_of,
        code=code_hash("validate"),
    )


def run(work: Work) -> None:
    """Outputs `good`, `bad`, `gx_result`, `gx_page`; counts rows_in = good + quarantined + repeated.

    The result `stop` says why the partition must not be published, or is None.
    """
    spec = DatasetSpec.model_validate(work.call.spec)
    extracted = read_receipt(work.call.inputs["extract"], work.store)
    staged = work.store.fetch(extracted.outputs["staged"], work.folder / "staged.parquet")
    rows, broken = typed(spec, staged)
    found = audit(spec, work.call.inputs["partition"], rows)
    rules = broken.astype("string").fillna(found.rules)
    fine = rows[rules.isna()]
    good = newest_per_key(spec, fine)

    write_good(spec, good, work.folder / "good.parquet")
    written = pq.read_table(staged).take(np.flatnonzero(rules.notna())).to_pandas()
    write_bad(written, rules.dropna(), work.call.run_key, work.folder / "bad.parquet")
    work.keep("good", work.folder / "good.parquet")
    work.keep("bad", work.folder / "bad.parquet")
    work.keep("gx_result", found.result.encode())
    work.keep("gx_page", found.page.encode())
    quarantined = int(rules.notna().sum())
    work.counts |= {
        "rows_in": len(rows),
        "good": len(good),
        "quarantined": quarantined,
        "repeated": len(fine) - len(good),
    }
    work.results["stop"] = judge_quarantine(spec, found, len(rows), quarantined)
