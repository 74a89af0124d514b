"""Asks an API for one page, and asks again as long as that may help."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx
import msgspec
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from include.lifecycle.data.sources.secrets import first_line
from include.lifecycle.errors import Rejected, Transient
from include.lifecycle.store.connections import Connection

LARGEST = 32 << 20
"""Bytes of the largest page, unpacked."""
ATTEMPTS = 5
LONGEST_WAIT = 60.0
"""Seconds; who asks for more is left alone, and the task ends."""
_BACKOFF = wait_exponential(multiplier=0.5, max=LONGEST_WAIT)
_PASSING = (408, 425, 429)


class _AskAgain(Exception):
    """The API hiccuped; `wait` is how many seconds it asked for."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


def ask(
    client: httpx.Client, url: httpx.URL, connection: Connection, origin: str
) -> tuple[httpx.Response, bytes]:
    """An API's answer and its JSON. 429, 5xx and lost connections are asked again, `Retry-After` later.

    Raises Rejected when the API refuses or answers no JSON, Transient when it is down for long or asks to
    wait for long.
    """
    asking = Retrying(
        retry=retry_if_exception_type(_AskAgain), wait=_wait, stop=stop_after_attempt(ATTEMPTS), reraise=True
    )
    try:
        return asking(_ask_once, client, url, connection, origin)
    except _AskAgain as error:
        raise Transient(
            f"{origin}: no answer after {ATTEMPTS} attempts, nothing was taken from it ({error}); "
            "retry when it is back"
        ) from None


def _ask_once(
    client: httpx.Client, url: httpx.URL, connection: Connection, origin: str
) -> tuple[httpx.Response, bytes]:
    try:
        with client.stream("GET", url) as answer:
            body = bytearray()
            for chunk in answer.iter_bytes():
                body += chunk
                if len(body) > LARGEST:
                    raise Rejected(
                        f"{origin}: a page is larger than {LARGEST >> 20} MB; ask for smaller pages"
                    )
    except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
        raise Rejected(
            f"{origin}: no address ({first_line(error, connection)}); mend the connection's host and schema"
        ) from None
    except httpx.RequestError as error:
        raise _AskAgain(first_line(error, connection)) from None
    _check(answer, origin)
    return answer, _json(answer, bytes(body), origin)


def _check(answer: httpx.Response, origin: str) -> None:
    status = f"{answer.status_code} {answer.reason_phrase}".strip()
    if answer.status_code in _PASSING or answer.status_code >= 500:
        wait = _asked_wait(answer.headers.get("Retry-After", ""))
        if wait is not None and wait > LONGEST_WAIT:
            raise Transient(
                f"{origin}: {status}, asked to wait {wait:.0f} s, nothing was taken from it; retry after that"
            )
        raise _AskAgain(status, wait)
    if answer.status_code in (401, 403):
        raise Rejected(
            f"{origin}: no right to read ({status}); mend its login and password under Admin, Connections, "
            "then clear this task"
        )
    if not answer.is_success:
        raise Rejected(
            f"{origin}: answers {status}; mend source.path or its parameters, then clear this task"
        )


def _json(answer: httpx.Response, body: bytes, origin: str) -> bytes:
    """The body, when it is JSON."""
    try:
        body.decode()
        msgspec.json.decode(body, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        kind = answer.headers.get("Content-Type", "something").split(";")[0]
        raise Rejected(
            f"{origin}: answers {kind}, not JSON, nothing was taken from it; look at the page in a browser: "
            "a login or an error? Mend source.path or the connection, then clear this task"
        ) from None
    return body


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.wait if isinstance(error, _AskAgain) else None
    return min(_BACKOFF(state) if asked is None else asked, LONGEST_WAIT)


def _asked_wait(text: str) -> float | None:
    """Seconds that `Retry-After` asks for, as a number or as a date; None when it does not."""
    if text.strip().isdecimal():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
