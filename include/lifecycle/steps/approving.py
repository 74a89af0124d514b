"""Approves a staged version: nobody has to be asked, or enough people agreed."""

from __future__ import annotations

from include.lifecycle.errors import Rejected
from include.lifecycle.model.evaluation import Estimate, Evaluation
from include.lifecycle.release.approval import agreed, consent, why_unasked
from include.lifecycle.release.decisions import Actor, record
from include.lifecycle.release.fold import fold
from include.lifecycle.release.moves import move
from include.lifecycle.release.staging import told
from include.lifecycle.release.state import Measured, ModelState, Proposal
from include.lifecycle.spec.model import ModelSpec
from include.lifecycle.spec.value import Value
from include.lifecycle.steps.releasing import Moved, evaluation_of, moved
from include.lifecycle.store.ledger import Ledger
from include.lifecycle.store.objects import Store


class Question(Value):
    """What people are shown before they answer."""

    evaluation: Evaluation
    measured: Measured | None
    """In staging; None of a version that was staged before this was kept."""


def approve_unasked(
    model: ModelSpec, version: str, profile: str, store: Store, actor: Actor, place: int = 1
) -> Moved | Question:
    """Approve a staged version that needs no consent any more; else what to ask people with.

    Of several people the one in this place, from 1, is asked unless so many agreed before. A version that
    is further already is returned where it stands. Raises Rejected when it was decided on.
    """
    ledger = Ledger(store, model.name)
    state = fold(ledger.entries())
    proposal = _undecided(state, version)
    standing = state.standings[version]
    if standing.stage != "staged":
        return Moved(version=version, event=standing.stage, why="it was approved before")
    evaluation = evaluation_of(model.name, proposal, state, store, actor)
    policy = model.release.approval
    why = why_unasked(policy, evaluation, profile) or agreed(state, version, policy.people)
    question = Question(evaluation=evaluation, measured=standing.measured)
    if why is None and len(standing.consents) >= place:
        names = " and ".join(sorted(standing.consents.values()))
        return Moved(version=version, event="staged", why=f"{names} agreed before; others have to")
    if why is None:
        return question
    return moved(version, record(ledger, move(version, "approved", why), actor)) or question


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


def table_of(question: Question) -> str:
    """Candidate and champion side by side, and what staging measured, in Markdown."""
    evaluation = question.evaluation
    lines = ["| | candidate | champion |", "|---|---|---|"]
    for metric, estimate in evaluation.candidate.items():
        lines.append(f"| {metric} | {_text(estimate)} | {_text(evaluation.champion.get(metric))} |")
    if evaluation.change is not None:
        lines.append(f"\nAnswers to the same rows differ by {evaluation.change:.3f} in the mean.")
    if question.measured is not None:
        lines.append(f"\nStaging: {told(question.measured)}.")
    return "\n".join(lines)


def _text(estimate: Estimate | None) -> str:
    return f"{estimate.value:.4f} ({estimate.low:.4f} to {estimate.high:.4f})" if estimate else "none"


def _undecided(state: ModelState, version: str) -> Proposal:
    for item in state.undecided:
        if item.version == version:
            return item
    raise Rejected(f"version {version} was decided on already")
