"""Why was a request not answered? Each refusal is one HTTP status with words for the caller."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from types import TracebackType

import msgspec

from include.lifecycle.model.predictor import BadInput


class Refused(Exception):
    """A request that gets no prediction; `outcome` is its label in the metrics."""

    status = 400
    outcome = "bad_input"
    headers: Mapping[str, str] = {}
    """What the reply says beside its words."""


class TooLarge(Refused):
    """The body is over the limit."""

    status = 413


class Unsupported(Refused):
    """A content type or encoding that this server does not read."""

    status = 415


class Forbidden(Refused):
    """Only this machine may ask for that."""

    status = 403
    outcome = "forbidden"


class NotServed(Refused):
    """No such model, or no such version of it."""

    status = 404
    outcome = "not_found"


class NotAllowed(Refused):
    """The route answers another method."""

    status = 405
    headers = {"Allow": "POST"}


class NotReady(Refused):
    """The server cannot answer yet; the message says what to do."""

    status = 503
    outcome = "not_ready"


class Busy(Refused):
    """More is asked at once than the server has room for."""

    status = 503
    outcome = "busy"


class NotLogged(Refused):
    """The prediction could not be written down, so it is not given away."""

    status = 503
    outcome = "log_error"


class ModelFailed(Refused):
    """The model's own code failed on rows of the right types."""

    status = 500
    outcome = "model_error"


class _NamingTheField(AbstractContextManager[None]):
    """Whatever a body can do wrong, as a refusal; msgspec's messages end with the place."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            return
        if isinstance(error, RecursionError):
            raise Refused("body: nested too deeply") from None
        if isinstance(error, UnicodeDecodeError):
            raise Refused(f"body: not UTF-8 at byte {error.start}") from None
        if isinstance(error, (BadInput, msgspec.MsgspecError)):
            raise Refused(str(error)) from error


naming_the_field = _NamingTheField()
"""A class for what `contextlib.contextmanager` does in five times as many calls: each request passes here."""
