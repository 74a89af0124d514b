"""Takes a proposal to all users: staging, comparison with the champion of now, verdicts in the ledger."""

from __future__ import annotations

from include.lifecycle.errors import Rejected
from include.lifecycle.model.evaluation import Evaluation
from include.lifecycle.model.gates import Verdict, judge
from include.lifecycle.release.billing import bill
from include.lifecycle.release.decisions import Actor, record
from include.lifecycle.release.fold import fold
from include.lifecycle.release.moves import move, newest_proposal, stale, supersede_older
from include.lifecycle.release.staging import verdict
from include.lifecycle.release.state import Measured, ModelState, Proposal
from include.lifecycle.spec.model import ModelSpec
from include.lifecycle.spec.value import Value
from include.lifecycle.steps import evaluate
from include.lifecycle.steps.apart import Serve, served_apart
from include.lifecycle.steps.running import run_step
from include.lifecycle.steps.staging import measure_apart
from include.lifecycle.store.ledger import Entry, Ledger
from include.lifecycle.store.objects import Store
from include.lifecycle.store.receipts import read_receipt


class Moved(Value):
    """What became of a version, and why."""

    version: str
    event: str
    why: str


class Judged(Value):
    """Whether a version may be staged, and what was measured of it before."""

    verdict: Verdict
    measured: Measured | None = None


def stage_newest(
    model: ModelSpec, store: Store, actor: Actor, version: str | None, serve: Serve = served_apart
) -> Moved | None:
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
    judged = judge_proposal(model, proposal, state, store, actor, serve)
    to = "staged" if judged.verdict.passed else "rejected"
    data = judged.model_dump(mode="json", include={"measured"}, exclude_none=True)
    decide = move(proposal.version, to, judged.verdict.why, **data)
    return moved(proposal.version, record(ledger, decide, actor))


def promote(model: str, version: str, store: Store, actor: Actor) -> Moved | None:
    """Give a version to all users; None when it was decided on already."""
    passed = move(version, "promoted", "it passed all that was asked of it")
    return moved(version, record(Ledger(store, model), passed, actor))


def moved(version: str, entry: Entry | None) -> Moved | None:
    """What an entry says of a version; None of none."""
    return Moved(version=version, event=entry.event, why=entry.why) if entry else None


def judge_proposal(
    model: ModelSpec,
    proposal: Proposal,
    state: ModelState,
    store: Store,
    actor: Actor,
    serve: Serve = served_apart,
) -> Judged:
    """Whether a proposal may be staged, and why: age, staging, gates against the champion."""
    if (reason := stale(proposal, state.champion)) is not None:
        return _judged(passed=False, why=reason)
    trained = read_receipt(proposal.run_key, store)
    requests = model.release.staging.requests
    measured = measure_apart(trained, proposal, state.champion, store, requests, serve)
    if isinstance(measured, str):
        return _judged(passed=False, why=measured)
    staging = verdict(measured, model.release)
    if not staging.passed:
        return Judged(verdict=staging, measured=measured)
    gates = judge(evaluation_of(model.name, proposal, state, store, actor), model.gates)
    return _judged(passed=gates.passed, why=f"{gates.why}; {staging.why}", measured=measured)


def _judged(*, passed: bool, why: str, measured: Measured | None = None) -> Judged:
    return Judged(verdict=Verdict(passed=passed, why=why), measured=measured)


def evaluation_of(
    model: str, proposal: Proposal, state: ModelState, store: Store, actor: Actor
) -> Evaluation:
    """A proposal beside the champion of now; computed where no receipt has it yet."""
    trained = read_receipt(proposal.run_key, store)
    evaluated, _ = run_step(evaluate.plan(trained, state.champion, store), store)
    if evaluated.attempt is not None:
        bill(model, evaluated.call, [evaluated.attempt], store, actor)
    return Evaluation.model_validate(evaluated.results["evaluation"])


def _waiting(state: ModelState, version: str) -> Proposal:
    for item in state.undecided:
        if item.version == version:
            return item
    waiting = ", ".join(item.version for item in state.undecided) or "none"
    raise Rejected(f"version {version} does not wait for a decision; waiting: {waiting}")
