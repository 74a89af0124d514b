"""Whose consent does a version need before live requests reach it, and does it have that?"""

from __future__ import annotations

from include.lifecycle.errors import Rejected, Transient
from include.lifecycle.model.evaluation import Evaluation
from include.lifecycle.release.decisions import Decide, Draft
from include.lifecycle.release.state import ModelState
from include.lifecycle.spec.release import Approval


def why_unasked(policy: Approval, evaluation: Evaluation, profile: str) -> str | None:
    """Why nobody has to be asked, or None when somebody has to."""
    if policy.people == 0:
        return "the policy asks for nobody's approval"
    if policy.profiles and profile not in policy.profiles:
        return f"the policy asks for nobody's approval where the profile is {profile}"
    if evaluation.change is not None and evaluation.change < policy.change:
        return (
            f"its answers differ from the champion's by {evaluation.change:.3f} in the mean; people are "
            f"asked from {policy.change:g} on"
        )
    return None


def consent(version: str, user: str, name: str, people: int) -> Decide:
    """Note that a person agrees; nothing more when the version went on meanwhile.

    Raises Transient when this person agreed already and the policy asks for others: ask again.
    """

    def decide(state: ModelState) -> Draft | None:
        standing = state.standings.get(version)
        if standing is None or standing.stage != "staged":
            return None
        if user in standing.consents and people > len(standing.consents):
            raise Transient(
                f"{name} agreed to version {version} already, and the policy asks for {people} different "
                "people: another one has to answer"
            )
        if user in standing.consents:
            return None
        proposal = {item.version: item for item in state.undecided}[version]
        return Draft(
            event="consented",
            as_of=proposal.as_of,
            why=f"{name} approved it in Airflow",
            data={"version": version, "user": user},
        )

    return decide


def agreed(state: ModelState, version: str, people: int) -> str | None:
    """Why a staged version is approved, or None while people have to be asked; raises Rejected when it is
    not staged."""
    standing = state.standings.get(version)
    if standing is None or standing.stage != "staged":
        raise Rejected(f"version {version} waits for nobody's approval")
    names = sorted(standing.consents.values())
    return f"approved by {' and '.join(names)}" if len(names) >= people else None
