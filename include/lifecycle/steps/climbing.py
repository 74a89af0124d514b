"""Takes a version from rung to rung of live requests, or out of them."""

from __future__ import annotations

from datetime import datetime, timedelta

import pandas as pd

from include.lifecycle.data.point_in_time import read_labels, watermark
from include.lifecycle.data.publishing import published_table
from include.lifecycle.monitor.performance import read_answers
from include.lifecycle.release.counts import Tally
from include.lifecycle.release.decisions import Actor, record
from include.lifecycle.release.fold import fold
from include.lifecycle.release.judge import Judgement, judge_errors
from include.lifecycle.release.ladder import Rung, next_rung, rung_of
from include.lifecycle.release.moves import move
from include.lifecycle.release.reconcile import Announce, publish
from include.lifecycle.release.state import IN_TRAFFIC, Standing
from include.lifecycle.spec.catalog import label_known_after
from include.lifecycle.spec.dataset import DatasetSpec
from include.lifecycle.spec.model import ModelSpec
from include.lifecycle.spec.quantities import format_duration
from include.lifecycle.steps.releasing import Moved, moved
from include.lifecycle.store.ledger import Ledger
from include.lifecycle.store.objects import Store


def climb(
    model: ModelSpec,
    version: str,
    store: Store,
    actor: Actor,
    *,
    watched: Rung | None = None,
    announce: Announce | None = None,
) -> tuple[Rung, datetime] | None:
    """The rung that a version is on, or the next one when it is still on the one that was `watched`; and
    since when (wall clock).

    Of two who watched the same rung only one takes it further. Servers are told before it returns, also of
    what another try decided and died. None when there is nothing to climb: the policy asks for no shadow
    and no canary, there is no champion to compare it with, it stands at the top, or it was decided on.
    """
    ledger, found = Ledger(store, model.name), None
    while (standing := _compared(ledger, version)) is not None:
        rung = rung_of(model.release, standing)
        if rung is not None and (watched is None or not watched.is_of(standing)):
            found = rung, standing.since
            break
        if (rung := next_rung(model.release, standing)) is None:
            break
        why = f"for {format_duration(rung.duration)} at least, and {rung.enough} to look at"
        record(ledger, move(version, rung.stage, why, **rung.data(model.release)), actor)
        watched = None  # where it stands now, and since when, is the ledger's to say
    publish(model.name, store, announce)
    return found


def _compared(ledger: Ledger, version: str) -> Standing | None:
    """Where a version stands that is undecided, with a champion beside it."""
    state = fold(ledger.entries())
    return state.standings.get(version) if state.champion else None


def judge_by_labels(model: ModelSpec, rows: DatasetSpec, version: str, store: Store) -> Judgement:
    """Whether a version in traffic must be stopped for its errors, where labels become known in time.

    Both versions' answers since it came into traffic count, unless a version could have seen the label.
    """
    entries = Ledger(store, model.name).entries()
    climbed = [entry for entry in entries if entry.event in IN_TRAFFIC and entry.data["version"] == version]
    champion = fold(entries).champion
    if not climbed or champion is None:
        return judge_errors(Tally(), Tally(), model.release)
    answers = read_answers(model.name, store, since=climbed[0].at)
    honest = answers["version_as_of"] <= answers["event_time"] + label_known_after(model, rows)
    known = _with_labels(answers[honest], model, rows, store)
    errors = {name: (found["score"] - found["_label"]) ** 2 for name, found in known.groupby("version")}
    own, other = Tally.of(errors.get(version, ())), Tally.of(errors.get(champion.version, ()))
    return judge_errors(own, other, model.release)


def _with_labels(answers: pd.DataFrame, model: ModelSpec, rows: DatasetSpec, store: Store) -> pd.DataFrame:
    """Those answers of which the label is known by now, with it as `_label`."""
    published, reach = published_table(rows.name, store).version(), watermark(rows, store)
    if answers.empty or published is None or reach is None:
        return answers.assign(_label=0.0)[:0]
    later, hair = label_known_after(model, rows), timedelta(microseconds=1)
    first, last = answers["event_time"].min() + later - hair, answers["event_time"].max() + later
    labels = read_labels(model, rows, published, store, matured_after=first, matured_by=min(last, reach))
    return answers.merge(labels, left_on="key", right_on="_key")


def abort(
    model: str, version: str, why: str, store: Store, actor: Actor, announce: Announce | None = None
) -> Moved | None:
    """Take a version out of live requests, at once."""
    entry = record(Ledger(store, model), move(version, "aborted", why), actor)
    publish(model, store, announce)
    return moved(version, entry)
