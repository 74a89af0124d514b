"""What a user may write about personal data: treatment by column, policy by dataset."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from include.lifecycle.spec.value import Value


class Drop(Value):
    """The column is never staged."""

    kind: Literal["drop"] = "drop"


class Keep(Value):
    """The column was looked at and may stay as it is."""

    kind: Literal["keep"] = "keep"


class Pseudonym(Value):
    """Each value becomes a keyed hash (HMAC-SHA256), so that rows of one person still belong together."""

    kind: Literal["pseudonym"] = "pseudonym"


class Generalise(Value):
    """Each value becomes the start of the range, period or prefix that it falls into."""

    kind: Literal["generalise"] = "generalise"
    width: float | None = Field(default=None, gt=0)
    """Numbers: the width of a range, such as 10 for 30 to 40."""
    period: Literal["hour", "day", "week", "month", "year"] | None = None
    """Timestamps."""
    prefix: int | None = Field(default=None, ge=1)
    """Text: how many characters stay, such as 3 of a post code."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if sum(item is not None for item in (self.width, self.period, self.prefix)) != 1:
            raise ValueError("generalise by one of width, period, prefix")
        return self


class Generalised(Value):
    """As a person writes it, such as `{generalise: {width: 10}}`."""

    generalise: Generalise


def _treatment(value: Any) -> Any:
    """`drop`, `keep`, `pseudonym` or `{generalise: {width: 10}}`, as a person writes it."""
    if isinstance(value, str):
        return {"kind": value}
    if isinstance(value, dict) and set(value) == {"generalise"} and isinstance(value["generalise"], dict):
        return {"kind": "generalise", **value["generalise"]}
    return value


_Kind = Annotated[Drop | Keep | Pseudonym | Generalise, Field(discriminator="kind")]
_Short = Literal["drop", "keep", "pseudonym"]
Treatment = Annotated[_Kind, BeforeValidator(_treatment, json_schema_input_type=_Short | Generalised | _Kind)]


class Privacy(Value):
    """A dataset's policy on personal data."""

    key: str | None = None
    """Airflow Connection whose password is the pseudonyms' current key and whose login is that key's
    name; `{"secret_keys": {name: key}}` in its extra holds retired ones."""
    untreated: Literal["stop", "flag", "ignore"] = "flag"
    """What happens when a column without a treatment looks like personal data."""
    subject: str | None = None
    """The column that says which person a row is about; `<dataset>.erase` removes rows by it."""
    quasi_identifiers: tuple[str, ...] = ()
    """Columns that together may tell who a person is."""
    k: int = Field(default=5, ge=2)
    """Each combination of quasi-identifiers must be shared by so many people of a training set, as the
    subject of its rows tells them apart; by so many rows where there is no subject."""
    small_groups: Literal["suppress", "stop"] = "suppress"
    """Rows of smaller groups are left out of the training, or it is refused."""
