"""How does a notice reach people? Through Airflow's notifiers, to whom the profile names."""

from __future__ import annotations

import logging
from html import escape
from urllib.parse import quote

from airflow.sdk import BaseNotifier
from airflow.sdk.configuration import conf

from include.lifecycle.spec.notify import AnyReceiver, Mail, Slack
from include.lifecycle.spec.profile import open_profile
from mlops.business_time import Context, actor
from mlops.notices import Notice, text_of

_log = logging.getLogger(__name__)
_TIMEOUT = 10
"""Seconds; of mail its connection says it."""


def tell(notice: Notice | None, context: Context) -> None:
    """Send it to each receiver that wants to know; who cannot be reached is named in the log, no more."""
    if notice is None:
        return
    text = text_of(notice, actor(context).name, run_address(context))
    for receiver in open_profile().notify:
        if notice.event in receiver.events:
            _send(receiver, notice, text, context)


def run_address(context: Context) -> str:
    """Where Airflow shows the run."""
    run, base = context["dag_run"], conf.get("api", "base_url", fallback="http://localhost:8080")
    return f"{base.rstrip('/')}/dags/{run.dag_id}/runs/{quote(run.run_id, safe='')}"


def _send(receiver: AnyReceiver, notice: Notice, text: str, context: Context) -> None:
    try:
        # Not by calling the notifier: that takes what people wrote for a template, and logs addresses.
        notifier_of(receiver, notice, text).notify(context)  # type: ignore[arg-type]
    except Exception as error:
        # An address may be a secret, and errors are full of addresses.
        _log.warning(
            "%s: not told by %s, connection %s: %s; test it under Admin, Connections",
            notice.what,
            receiver.kind,
            receiver.connection,
            type(error).__name__,
        )
    else:
        _log.info("%s: told by %s, connection %s", notice.what, receiver.kind, receiver.connection)


def notifier_of(receiver: AnyReceiver, notice: Notice, text: str) -> BaseNotifier:
    """The notifier that carries a text; a provider is imported by who uses it."""
    if isinstance(receiver, Slack):
        from airflow.providers.slack.notifications.slack_webhook import SlackWebhookNotifier

        return SlackWebhookNotifier(
            slack_webhook_conn_id=receiver.connection,
            text=escape(text, quote=False),
            timeout=_TIMEOUT,
            retry_handlers=[],  # they log the address, which is the secret
        )
    if isinstance(receiver, Mail):
        from airflow.providers.smtp.notifications.smtp import SmtpNotifier

        return SmtpNotifier(
            smtp_conn_id=receiver.connection,
            to=list(receiver.to),
            subject=notice.what,
            html_content=f"<pre>{escape(text)}</pre>",
        )
    from airflow.providers.http.notifications import HttpNotifier

    event = {"event": notice.event, "about": notice.about, "why": notice.why, "text": text}
    return HttpNotifier(
        http_conn_id=receiver.connection,
        endpoint=receiver.endpoint,
        json=event,
        extra_options={"timeout": _TIMEOUT},
    )
