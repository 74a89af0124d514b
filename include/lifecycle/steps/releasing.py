"""Decides on a proposal: smoke test, comparison with the champion of now, verdict in the ledger."""

from __future__ import annotations

import json

import numpy as np

from include.lifecycle.errors import Rejected
from include.lifecycle.model.evaluation import Evaluation
from include.lifecycle.model.gates import Verdict, judge
from include.lifecycle.model.packaging import fetch_package
from include.lifecycle.model.predictor import Predictor
from include.lifecycle.release.billing import bill
from include.lifecycle.release.decisions import (
    Actor,
    newest_proposal,
    record,
    settle,
    stale,
    supersede_older,
)
from include.lifecycle.release.state import ModelState, Proposal, fold
from include.lifecycle.spec.model import ModelSpec
from include.lifecycle.spec.value import Value
from include.lifecycle.steps import evaluate
from include.lifecycle.steps.running import run_step
from include.lifecycle.store.ledger import Ledger
from include.lifecycle.store.objects import Store
from include.lifecycle.store.receipts import Receipt, read_receipt
from include.lifecycle.store.scratch import scratch_folder


class Judged(Value):
    """What became of a proposal."""

    version: str
    event: str
    why: str


def judge_newest(model: ModelSpec, store: Store, actor: Actor, version: str | None) -> Judged | None:
    """Settle the newest undecided proposal, or the one asked for; None when none waits.

    Older proposals are superseded. Raises Rejected when the version asked for does not wait.
    """
    ledger = Ledger(store, model.name)
    state = fold(ledger.entries())
    proposal = newest_proposal(state) if version is None else _waiting(state, version)
    if proposal is None:
        return None
    if version is None:
        while record(ledger, supersede_older(proposal), actor) is not None:
            pass
    verdict = judge_proposal(model, proposal, state, store, actor)
    entry = record(ledger, settle(proposal, promote=verdict.passed, why=verdict.why), actor)
    if entry is None:
        return None
    return Judged(version=proposal.version, event=entry.event, why=entry.why)


def judge_proposal(
    model: ModelSpec, proposal: Proposal, state: ModelState, store: Store, actor: Actor
) -> Verdict:
    """Whether a proposal may become champion, and why: age, smoke test, gates against the champion."""
    if (reason := stale(proposal, state.champion)) is not None:
        return Verdict(passed=False, why=reason)
    trained = read_receipt(proposal.run_key, store)
    if (reason := smoke_test(trained, store)) is not None:
        return Verdict(passed=False, why=reason)
    evaluated, _ = run_step(evaluate.plan(trained, state.champion, store), store)
    if evaluated.attempt is not None:
        bill(model.name, evaluated.call, [evaluated.attempt], store, actor)
    return judge(Evaluation.model_validate(evaluated.results["evaluation"]), model.gates)


def smoke_test(trained: Receipt, store: Store) -> str | None:
    """Why a version does not answer as it should, or None when it does: its files are those of the
    receipt, it loads, and its example rows get probabilities."""
    rows = json.loads(store.read(trained.outputs["example"]))
    with scratch_folder("smoke") as folder:
        fetch_package(trained, store, folder)
        try:
            predictor = Predictor(folder)
            answers = predictor.predict({name: [row[name] for row in rows] for name in predictor.inputs})
        except Exception as error:
            return f"smoke test: {type(error).__name__}: {error}"
    if not bool(np.all((answers >= 0) & (answers <= 1))):
        return f"smoke test: answers {answers.tolist()} are no probabilities"
    return None


def _waiting(state: ModelState, version: str) -> Proposal:
    for item in state.undecided:
        if item.version == version:
            return item
    waiting = ", ".join(item.version for item in state.undecided) or "none"
    raise Rejected(f"version {version} does not wait for a decision; waiting: {waiting}")
