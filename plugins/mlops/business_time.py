"""Which business time a run is about: its slot, or what the person asked for in the form."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from include.lifecycle.errors import Rejected
from include.lifecycle.release.decisions import Actor
from include.lifecycle.spec.quantities import utc

Context = Mapping[str, Any]


def asked(context: Context, name: str) -> str | None:
    """What the trigger form's field says, or None when it was left empty."""
    return context["params"].get(name) or None


def slot(context: Context) -> datetime:
    """The run's place in time: the end of its data interval, else when it was to run.

    A run that is triggered by hand or by an asset may have neither logical date nor interval.
    """
    run = context["dag_run"]
    moment: datetime = context.get("data_interval_end") or run.logical_date or run.run_after
    return utc(moment)


def asked_or_slot(context: Context, name: str) -> datetime:
    """The moment in the form's field, else the run's slot; raises Rejected for a bad one."""
    return asked_moment(context, name) or slot(context)


def asked_moment(context: Context, name: str) -> datetime | None:
    """The moment in the form's field, or None when it was left empty; raises Rejected for a bad one."""
    text = asked(context, name)
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Rejected(f"{name}: found {text!r}; write a moment such as 2013-03-01T00:00:00Z") from None
    return utc(moment.replace(tzinfo=moment.tzinfo or UTC))


def asked_at(context: Context) -> datetime:
    """When, by the wall clock, this run was asked for."""
    moment: datetime = context["dag_run"].run_after
    return utc(moment)


def actor(context: Context) -> Actor:
    """Who decides in this run: the person who triggered it, else the DAG."""
    run = context["dag_run"]
    person = getattr(run, "triggering_user_name", None)
    return Actor(name=person or run.dag_id, run_id=f"{run.dag_id}/{run.run_id}")


def is_asked_for(context: Context) -> bool:
    """Whether a person asked for this very run: by hand or by a backfill."""
    return context["dag_run"].run_type in ("manual", "backfill")
