"""Measures a version apart from production: does it answer as a batch does, how fast, in how much memory?"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from include.lifecycle.model.packaging import fetch_package
from include.lifecycle.model.predictor import Predictor
from include.lifecycle.monitor.requests import Logged, newest_requests
from include.lifecycle.release.reconcile import release_of
from include.lifecycle.release.state import Measured, Proposal
from include.lifecycle.steps.apart import DoesNotServe, Serve, Served, served_apart
from include.lifecycle.store.objects import Store
from include.lifecycle.store.receipts import Receipt
from include.lifecycle.store.scratch import scratch_folder

_TIMED = 200
"""Requests are timed at least, so that the slowest of a hundred says something: rows are asked again."""

Row = Mapping[str, Any]
Answer = float | str
"""A probability, or why there is none."""


@dataclass(frozen=True)
class _Asked:
    """What came of all requests."""

    ready: float
    first: Sequence[Answer]
    """To the example rows."""
    answers: Sequence[Answer]
    """To the logged requests, or to the example rows once more."""
    seconds: Sequence[float]
    memory: int


def measure_apart(
    trained: Receipt,
    proposal: Proposal,
    champion: Proposal | None,
    store: Store,
    requests: int,
    serve: Serve = served_apart,
) -> Measured | str:
    """What a version shows in a server of its own, or why it does not answer as it should.

    Its example rows come first, then at most so many `requests` of the newest logged day before its as-of.
    Raises Tampered when its files are not those of the receipt, Transient when no server comes up.
    """
    model = trained.call.spec["model"]["name"]
    examples = json.loads(store.read(trained.outputs["example"]))
    logged = newest_requests(model, store, proposal.as_of, requests, trained.call.seed)
    with scratch_folder("staging") as folder:
        package = folder / "package"
        package.mkdir()
        fetch_package(trained, store, package)
        try:
            predictor = _loaded(package)
            _in_one_batch(predictor, examples)  # who fails here already needs no server
            if not all(predictor.inputs.keys() <= item.row.keys() for item in logged):
                logged = []  # the champion did not look at all its inputs: they are not in the log
            started = time.monotonic()
            with serve(model, release_of(proposal, trained), package) as served:
                asked = _ask(served, examples, logged, time.monotonic() - started)
            return _measured(asked, predictor, examples, logged, champion)
        except DoesNotServe as trouble:
            return f"staging: {trouble}"


def _loaded(package: Path) -> Predictor:
    try:
        return Predictor(package)
    except Exception as error:
        raise DoesNotServe(f"it does not load: {type(error).__name__}: {error}") from None


def _in_one_batch(predictor: Predictor, rows: Sequence[Row]) -> npt.NDArray[np.float64]:
    """Probabilities as one call gives them; raises DoesNotServe where there are none."""
    try:
        answers = predictor.predict({name: [row[name] for row in rows] for name in predictor.inputs})
    except Exception as error:
        raise DoesNotServe(f"no answer to a batch of rows: {type(error).__name__}: {error}") from None
    if not bool(np.all((answers >= 0) & (answers <= 1))):
        raise DoesNotServe(f"answers between {answers.min()} and {answers.max()} are no probabilities")
    return answers


def _ask(served: Served, examples: Sequence[Row], logged: Sequence[Logged], ready: float) -> _Asked:
    """Raises DoesNotServe when an example row gets no answer: they are of its own training."""
    first = [served.ask(row) for row in examples]
    if refusals := [answer for answer in first if isinstance(answer, str)]:
        raise DoesNotServe(f"no answer to an example row: {refusals[0]}")
    rows = [item.row for item in logged] or examples
    answers, seconds = [], []
    for row in islice(cycle(rows), max(_TIMED, len(rows))):
        started = time.perf_counter()
        answers.append(served.ask(row))
        seconds.append(time.perf_counter() - started)
    return _Asked(ready, first, answers[: len(rows)], seconds, served.peak_bytes())


def _measured(
    asked: _Asked,
    predictor: Predictor,
    examples: Sequence[Row],
    logged: Sequence[Logged],
    champion: Proposal | None,
) -> Measured:
    rows = [item.row for item in logged] or examples
    return Measured(
        seconds=round(asked.ready, 1),
        requests=len(rows),
        refused=sum(isinstance(answer, str) for answer in asked.answers),
        apart=max(_apart(asked.first, examples, predictor), _apart(asked.answers, rows, predictor)),
        p99_ms=round(1e3 * float(np.quantile(asked.seconds, 0.99)), 2),
        memory=asked.memory,
        day=logged[0].day if logged else None,
        **_change(asked.answers, logged, champion),
    )


def _apart(answers: Sequence[Answer], rows: Sequence[Row], predictor: Predictor) -> float:
    """Largest difference between answers to single requests and those to the same rows in one batch."""
    answered = {number: answer for number, answer in enumerate(answers) if not isinstance(answer, str)}
    if not answered:
        return 0.0
    batch = _in_one_batch(predictor, [rows[number] for number in answered])
    return float(np.abs(batch - [*answered.values()]).max())


def _change(answers: Sequence[Answer], logged: Sequence[Logged], champion: Proposal | None) -> dict[str, Any]:
    """How far the answers are from those that the champion gave when it was asked."""
    if champion is None:
        return {}
    differences = [
        abs(answer - item.score)
        for answer, item in zip(answers, logged, strict=False)
        if not isinstance(answer, str) and item.version == champion.version
    ]
    if not differences:
        return {}
    return {
        "compared_with": champion.version,
        "compared": len(differences),
        "change": round(float(np.mean(differences)), 6),
        "largest_change": round(max(differences), 6),
    }
