"""Takes a proposal to all users: smoke test, comparison with the champion of now, verdicts in the ledger."""

from __future__ import annotations

import json

import numpy as np

from include.lifecycle.errors import Rejected
from include.lifecycle.model.evaluation import Evaluation
from include.lifecycle.model.gates import Verdict, judge
from include.lifecycle.model.packaging import fetch_package
from include.lifecycle.model.predictor import Predictor
from include.lifecycle.release.billing import bill
from include.lifecycle.release.decisions import Actor, record
from include.lifecycle.release.fold import fold
from include.lifecycle.release.moves import move, newest_proposal, stale, supersede_older
from include.lifecycle.release.state import ModelState, Proposal
from include.lifecycle.spec.model import ModelSpec
from include.lifecycle.spec.value import Value
from include.lifecycle.steps import evaluate
from include.lifecycle.steps.running import run_step
from include.lifecycle.store.ledger import Entry, Ledger
from include.lifecycle.store.objects import Store
from include.lifecycle.store.receipts import Receipt, read_receipt
from include.lifecycle.store.scratch import scratch_folder


class Moved(Value):
    """What became of a version, and why."""

    version: str
    event: str
    why: str


def stage_newest(model: ModelSpec, store: Store, actor: Actor, version: str | None) -> Moved | None:
    """Judge the newest proposal, or the one asked for, and stage or reject it; None when none waits.

    A version that live requests reach already comes first, and is returned where it stands. Proposals
    older than the newest are superseded. Raises Rejected when the version asked for does not wait.
    """
    ledger = Ledger(store, model.name)
    state = fold(ledger.entries())
    newest = newest_proposal(state)
    proposal = _waiting(state, version) if version else state.candidate or newest
    if proposal is None or newest is None:
        return None
    if version is None:
        while record(ledger, supersede_older(newest), actor) is not None:
            pass
    if (stage := state.standings[proposal.version].stage) != "proposed":
        return Moved(version=proposal.version, event=stage, why="a release before this one brought it there")
    verdict = judge_proposal(model, proposal, state, store, actor)
    decide = move(proposal.version, "staged" if verdict.passed else "rejected", verdict.why)
    return moved(proposal.version, record(ledger, decide, actor))


def promote(model: str, version: str, store: Store, actor: Actor) -> Moved | None:
    """Give a version to all users; None when it was decided on already."""
    passed = move(version, "promoted", "it passed all that was asked of it")
    return moved(version, record(Ledger(store, model), passed, actor))


def moved(version: str, entry: Entry | None) -> Moved | None:
    """What an entry says of a version; None of none."""
    return Moved(version=version, event=entry.event, why=entry.why) if entry else None


def judge_proposal(
    model: ModelSpec, proposal: Proposal, state: ModelState, store: Store, actor: Actor
) -> Verdict:
    """Whether a proposal may become champion, and why: age, smoke test, gates against the champion."""
    if (reason := stale(proposal, state.champion)) is not None:
        return Verdict(passed=False, why=reason)
    trained = read_receipt(proposal.run_key, store)
    if (reason := smoke_test(trained, store)) is not None:
        return Verdict(passed=False, why=reason)
    return judge(evaluation_of(model.name, proposal, state, store, actor), model.gates)


def evaluation_of(
    model: str, proposal: Proposal, state: ModelState, store: Store, actor: Actor
) -> Evaluation:
    """A proposal beside the champion of now; computed where no receipt has it yet."""
    trained = read_receipt(proposal.run_key, store)
    evaluated, _ = run_step(evaluate.plan(trained, state.champion, store), store)
    if evaluated.attempt is not None:
        bill(model, evaluated.call, [evaluated.attempt], store, actor)
    return Evaluation.model_validate(evaluated.results["evaluation"])


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
