"""What a user may write about who is told when something needs a person.

Addresses and secrets are in Airflow's connections.
"""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field

from include.lifecycle.spec.value import Value

News = Literal["aborted", "rolled_back", "circuit_opened", "partition_stopped"]
"""A candidate was taken out of live requests; users got an earlier version again; the governor gave up
retraining for drift; a partition was not published."""


class Receiver(Value):
    """What all receivers have in common."""

    connection: str = Field(min_length=1)
    """The Airflow Connection to send through."""
    events: tuple[News, ...] = Field(default=get_args(News), min_length=1)
    """What to tell of; all by default."""


class Slack(Receiver):
    """An incoming webhook of Slack; the connection, of type `slackwebhook`, has its token as password."""

    kind: Literal["slack"]


class Mail(Receiver):
    """Mail through a connection of type `smtp`, whose extra names the sender as `from_email`."""

    kind: Literal["mail"]
    to: tuple[str, ...] = Field(min_length=1)


class Webhook(Receiver):
    """JSON, posted through a connection of type `http`; what its extra has is sent as headers."""

    kind: Literal["webhook"]
    endpoint: str = ""
    """Path below the connection's host."""


AnyReceiver = Annotated[Slack | Mail | Webhook, Field(discriminator="kind")]
