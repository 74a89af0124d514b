"""Where may a version go next? The moves of a release, from a proposal to all users and back."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from include.lifecycle.errors import Rejected
from include.lifecycle.release.decisions import Actor, Decide, Draft
from include.lifecycle.release.state import IN_TRAFFIC, MOVES, ModelState, Proposal


def supersede_older(newest: Proposal) -> Decide:
    """Set aside one undecided proposal beside the newest one, unless live requests reach it already."""

    def decide(state: ModelState) -> Draft | None:
        for item in state.undecided:
            if item.version != newest.version and item != state.candidate:
                why = f"version {newest.version} of {newest.as_of:%Y-%m-%d} is newer"
                return Draft(event="superseded", as_of=item.as_of, why=why, data={"version": item.version})
        return None

    return decide


def newest_proposal(state: ModelState) -> Proposal | None:
    """The undecided proposal that knows most: newest `as_of`, then highest version."""
    return max(state.undecided, key=lambda item: (item.as_of, int(item.version)), default=None)


def stale(proposal: Proposal, champion: Proposal | None) -> str | None:
    """Why a proposal must not replace the champion by its age, or None when it may."""
    if champion is None or proposal.as_of > champion.as_of:
        return None
    return (
        f"as of {proposal.as_of:%Y-%m-%d} is not newer than the champion, version "
        f"{champion.version} as of {champion.as_of:%Y-%m-%d}"
    )


def move(version: str, to: str, why: str, **data: Any) -> Decide:
    """Take an undecided version to a stage, or to its ending; nothing when it is there, or was decided on.

    A champion that is newer by now turns a promotion into the version's end. Raises Rejected when the
    version may not go there.
    """

    def decide(state: ModelState) -> Draft | None:
        proposal = {item.version: item for item in state.undecided}.get(version)
        if proposal is None:
            return None
        standing = state.standings[version]
        if (standing.stage, standing.share) == (to, data.get("share", 0)):
            return None
        if (refusal := refused(state, proposal, to)) is not None:
            raise Rejected(refusal)
        event, reason = to, why
        if to == "promoted" and (old := stale(proposal, state.champion)) is not None:
            event, reason = ("aborted" if proposal == state.candidate else "rejected"), old
        return Draft(event=event, as_of=proposal.as_of, why=reason, data={"version": version, **data})

    return decide


def refused(state: ModelState, proposal: Proposal, to: str) -> str | None:
    """Why a version may not make a move, or None when it may."""
    stage = state.standings[proposal.version].stage
    if to not in MOVES[stage]:
        known = ", ".join(sorted(MOVES[stage]))
        return f"version {proposal.version} is {stage} and cannot become {to}; it can become {known}"
    if to in IN_TRAFFIC and state.candidate not in (None, proposal):
        assert state.candidate is not None
        return (
            f"version {state.candidate.version} is compared with the champion on live requests now; "
            f"version {proposal.version} has to wait until that is decided"
        )
    return None


def roll_back(to: str | None, why: str, actor: Actor, asked_at: datetime) -> Decide:
    """Give users a version again that they had: the one named, or the one before the champion.

    A run that did it already, and is retried, does nothing. Raises Rejected when there is no such
    version, and when none is named and the champion changed after `asked_at` (wall clock): of two
    who ask at once, the second does not take the version away that the first went back to.
    """

    def decide(state: ModelState) -> Draft | None:
        if actor.run_id in state.rolled_back.values():
            return None
        champion, had = state.champion, {item.version: item for item in state.champions}
        if champion is None:
            raise Rejected("no version is champion yet: there is nothing to roll back")
        if to is None and state.champion_since is not None and state.champion_since > asked_at:
            raise Rejected(
                f"version {champion.version} became champion after this was asked for: look again, and "
                "name the version to go back to"
            )
        target = state.previous if to is None else had.get(to)
        if target is None:
            others = ", ".join(sorted(had.keys() - {champion.version}, key=int)) or "none"
            asked = "no version to go back to is left" if to is None else f"version {to} was never champion"
            raise Rejected(f"{asked}; champions before version {champion.version}: {others}")
        if target == champion:
            raise Rejected(f"version {champion.version} is champion already")
        data = {"version": champion.version, "to": target.version}
        return Draft(event="rolled_back", as_of=champion.as_of, why=why, data=data)

    return decide
