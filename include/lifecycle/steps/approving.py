"""Approves a staged version: nobody has to be asked, or enough people agreed."""

from __future__ import annotations

from include.lifecycle.errors import Rejected
from include.lifecycle.model.evaluation import Estimate, Evaluation
from include.lifecycle.release.approval import agreed, consent, why_unasked
from include.lifecycle.release.decisions import Actor, record
from include.lifecycle.release.fold import fold
from include.lifecycle.release.moves import move
from include.lifecycle.release.state import ModelState, Proposal
from include.lifecycle.spec.model import ModelSpec
from include.lifecycle.steps.releasing import Moved, evaluation_of, moved
from include.lifecycle.store.ledger import Ledger
from include.lifecycle.store.objects import Store


def approve_unasked(
    model: ModelSpec, version: str, profile: str, store: Store, actor: Actor
) -> Moved | Evaluation:
    """Approve a staged version that needs no consent any more; else the evaluation to ask people with.

    A version that is further already is returned where it stands. Raises Rejected when it was decided on.
    """
    ledger = Ledger(store, model.name)
    state = fold(ledger.entries())
    proposal = _undecided(state, version)
    if (stage := state.standings[version].stage) != "staged":
        return Moved(version=version, event=stage, why="it was approved before")
    evaluation = evaluation_of(model.name, proposal, state, store, actor)
    policy = model.release.approval
    why = why_unasked(policy, evaluation, profile) or agreed(state, version, policy.people)
    if why is None:
        return evaluation
    return moved(version, record(ledger, move(version, "approved", why), actor)) or evaluation


def take_answer(
    model: ModelSpec, version: str, user: str, agrees: bool, store: Store, actor: Actor
) -> Moved | None:
    """What a person's answer makes of a version: approved, still staged, or rejected by a no."""
    ledger, people = Ledger(store, model.name), model.release.approval.people
    if not agrees:
        return moved(version, record(ledger, move(version, "rejected", f"{actor.name} said no"), actor))
    record(ledger, consent(version, user, actor.name, people), actor)
    why = agreed(fold(ledger.entries()), version, people)
    if why is None:
        return Moved(version=version, event="staged", why=f"{actor.name} agrees; others have to")
    return moved(version, record(ledger, move(version, "approved", why), actor))


def table_of(evaluation: Evaluation) -> str:
    """Candidate and champion side by side, in Markdown."""
    lines = ["| | candidate | champion |", "|---|---|---|"]
    for metric, estimate in evaluation.candidate.items():
        lines.append(f"| {metric} | {_text(estimate)} | {_text(evaluation.champion.get(metric))} |")
    if evaluation.change is not None:
        lines.append(f"\nAnswers to the same rows differ by {evaluation.change:.3f} in the mean.")
    return "\n".join(lines)


def _text(estimate: Estimate | None) -> str:
    return f"{estimate.value:.4f} ({estimate.low:.4f} to {estimate.high:.4f})" if estimate else "none"


def _undecided(state: ModelState, version: str) -> Proposal:
    for item in state.undecided:
        if item.version == version:
            return item
    raise Rejected(f"version {version} was decided on already")
