"""What a ledger can say of a model: champion, undecided proposals, trainings, windows."""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal

from pydantic import Field

from include.lifecycle.release.costs import Totals
from include.lifecycle.spec.quantities import Instant
from include.lifecycle.spec.search import Parameters
from include.lifecycle.spec.value import Value


class Proposal(Value):
    """A registered version that asks to be released."""

    version: str = Field(pattern=r"^\d+$")
    run_key: str
    """Run key of its training."""
    as_of: Instant
    evaluation: str
    """Run key of its evaluation."""
    metrics: dict[str, float] = {}
    """What it showed on the gate rows."""


Stage = Literal["proposed", "staged", "approved", "shadow", "canary"]
"""How far an undecided version has come."""
Ending = Literal["promoted", "rejected", "superseded", "aborted"]
"""What becomes of it."""
MOVES: dict[Stage, frozenset[str]] = {
    "proposed": frozenset({"staged", "rejected", "superseded"}),
    "staged": frozenset({"approved", "rejected", "superseded"}),
    "approved": frozenset({"shadow", "canary", "promoted", "rejected", "superseded"}),
    "shadow": frozenset({"canary", "promoted", "aborted"}),
    "canary": frozenset({"canary", "promoted", "aborted"}),
}
"""Where a version may go from each stage."""
IN_TRAFFIC: frozenset[str] = frozenset({"shadow", "canary"})
"""Stages in which live requests reach a version."""


class Measured(Value):
    """What a version showed in a server of its own, apart from production, before it was staged."""

    seconds: float
    """From the start of its process until it could answer."""
    requests: int
    """Requests of one row that it was asked."""
    refused: int = 0
    """Of those, without an answer."""
    apart: float
    """Largest difference between its answers to requests and those to the same rows in one batch."""
    p99_ms: float
    memory: int
    """Peak resident set of its process, in bytes."""
    day: date | None = None
    """Whose logged requests were asked again; None: its example rows were."""
    compared_with: str | None = None
    """The champion's version, where the log has answers of that one to the same requests."""
    compared: int = 0
    """Requests that both answered."""
    change: float | None = None
    """How far their answers are apart, in the mean and without sign."""
    largest_change: float | None = None


class Standing(Value):
    """Where an undecided version stands."""

    stage: Stage = "proposed"
    since: Instant
    """Wall clock of the move that brought it there."""
    share: float = Field(default=0, ge=0, le=1)
    """Of live requests that it answers."""
    slow_seconds: float = 0.05
    """What counts as slow while it is compared."""
    slice_by: str | None = None
    consents: dict[str, str] = {}
    """Who agreed to its release: names by user id."""
    measured: Measured | None = None
    """What was measured before it was staged; kept while it is."""


class Lease(Value):
    """The one training in flight; it ends with its outcome or, if its task died, by expiry."""

    run_key: str
    holder: str
    """The run that holds it."""
    expires: Instant


class Training(Value):
    """A training that was begun, and what came of it."""

    run_key: str
    as_of: Instant
    fingerprint: str
    """Hash of the spec, features and code that it used."""
    drift: bool
    """Whether drift asked for it."""
    outcome: str | None = None
    """`failed`, `rolled_back` or its version's ending; None while undecided."""


class WindowVerdict(Value):
    """One monitoring period, judged."""

    end: Instant
    bad: bool
    why: str


class Searched(Value):
    """What a search for parameters found."""

    search: str
    """The search's key."""
    trial: str
    """Run key of the trial that won."""
    as_of: Instant
    space: str
    """Hash of the space that was searched."""
    parameters: Parameters


class ModelState(Value):
    """Everything that follows from a model's ledger."""

    seq: int = -1
    hash: str = ""
    champions: tuple[Proposal, ...] = ()
    """Each version that users were given, as one followed the other; the last is champion now."""
    champion_since: Instant | None = None
    """Wall clock of the decision that made the champion."""
    rolled_back: dict[str, str] = {}
    """Versions that were taken from users again, and the run that did it."""
    undecided: tuple[Proposal, ...] = ()
    standings: dict[str, Standing] = {}
    """Of each undecided version."""
    lease: Lease | None = None
    trainings: tuple[Training, ...] = ()
    windows: tuple[WindowVerdict, ...] = ()
    """In order of business time, one for each end."""
    searched: tuple[Searched, ...] = ()
    """In the order in which they ended, one for each search."""
    retrain: str | None = None
    """Why a retraining was asked for that has not begun yet."""
    circuit_opened_after: str | None = None
    """Run key of the training after which the governor gave drift up the last time."""
    usage: dict[str, Totals] = {}
    """By month, such as `2026-11`: of the wall clock in UTC, when the attempts were recorded."""

    @property
    def champion(self) -> Proposal | None:
        """The version that answers users."""
        return self.champions[-1] if self.champions else None

    @property
    def previous(self) -> Proposal | None:
        """The version to go back to: the newest that was champion before, and was not rolled back."""
        for item in reversed(self.champions):
            if item.version != self.champions[-1].version and item.version not in self.rolled_back:
                return item
        return None

    @property
    def candidate(self) -> Proposal | None:
        """The version in shadow or canary; there is never more than one."""
        for item in self.undecided:
            if self.standings[item.version].stage in IN_TRAFFIC:
                return item
        return None

    def in_flight(self, now: datetime) -> Lease | None:
        """The lease of the training in flight, unless it expired."""
        return self.lease if self.lease and self.lease.expires > now else None
