"""The four things that people are told of, by Slack, mail and webhook, with local servers that take them."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowNotFoundException, AirflowSkipException
from mlops.notices import Notice
from mlops.notifying import tell
from mlops.operators.canary import CanaryOperator
from mlops.operators.ingest import ExtractOperator, PublishOperator, ValidateOperator
from mlops.operators.monitor import GovernOperator
from mlops.operators.release import PromoteOperator, RollBackOperator

from include.lifecycle.release.decisions import propose, record
from include.lifecycle.release.moves import move
from include.lifecycle.store.receipts import Call, Receipt, write_receipt
from tests.lifecycle import tiny
from tests.lifecycle.steps.test_watching import measured_window
from tests.lifecycle.tiny import ACTOR, MODEL, Project, midnight
from tests.plugins.contexts import context_of, day_of
from tests.receivers import Receivers
from tests.serving.running import free_port

NOTIFY = """
notify:
  - {kind: slack, connection: team_slack}
  - {kind: mail, connection: team_mail, to: [anna@example.org, ben@example.org]}
  - {kind: webhook, connection: team_webhook, endpoint: notices}
"""
SECRETS = ("T0/B0/slack-token", "mail-password", "webhook-token")
NOTICE = Notice(event="aborted", about="m", what="m: version 2 is out", why="<!channel> {{ 6 * 7 }} & more")


def _connect(monkeypatch: pytest.MonkeyPatch, web_port: int, mail_port: int) -> None:
    """The connections as Airflow has them; secrets are nowhere else."""
    slack, password, bearer = SECRETS
    web = {"host": "127.0.0.1", "port": web_port}
    mail = {"from_email": "perennial@example.org", "disable_ssl": True, "disable_tls": True, "retry_limit": 0}
    for name, connection in {
        "slack": {
            "conn_type": "slackwebhook",
            "host": f"http://127.0.0.1:{web_port}/services",
            "password": slack,
        },
        "mail": {
            "conn_type": "smtp",
            "host": "127.0.0.1",
            "port": mail_port,
            "login": "perennial",
            "password": password,
            "extra": mail,
        },
        "webhook": {"conn_type": "http", **web, "extra": {"Authorization": f"Bearer {bearer}"}},
    }.items():
        monkeypatch.setenv(f"AIRFLOW_CONN_TEAM_{name.upper()}", json.dumps(connection))


@pytest.fixture
def receivers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receivers]:
    with Receivers() as receivers:
        _connect(monkeypatch, receivers.web_port, receivers.mail_port)
        yield receivers


def _texts(receivers: Receivers) -> list[str]:
    """What each receiver was told: Slack, mail, webhook."""
    slack, webhook = (
        [post.body["text"] for post in receivers.posts if post.path.startswith(path)]
        for path in ("/services/", "/notices")
    )
    mails = [mail.get_payload(0).get_content().strip() for mail in receivers.mails]  # type: ignore[union-attr]
    return [
        *(html.unescape(text) for text in slack),
        *(html.unescape(text.removeprefix("<pre>").removesuffix("</pre>")) for text in mails),
        *webhook,
    ]


def _all_three(receivers: Receivers) -> str:
    """The text that each of the three got, once."""
    (text, *others) = _texts(receivers)
    assert others == [text, text]
    return text


def _propose(project: Project, version: str, day: int) -> None:
    """A version as of a day, of a training that nobody needs to have done."""
    call = Call(step="train", spec={}, as_of=midnight(day), code="none")
    trained = write_receipt(Receipt(call=call, started=midnight(day)), project.store)
    record(project.ledger, propose(tiny.proposal_of(trained, version), "passed"), ACTOR)


def _in_shadow(project: Project) -> None:
    _propose(project, "2", day=20)
    for stage in ("staged", "approved", "shadow"):
        record(project.ledger, move("2", stage, "good"), ACTOR)


def test_people_are_told_of_an_abort_once(project: Project, receivers: Receivers) -> None:
    project.add("profiles/local.yaml", NOTIFY)
    _in_shadow(project)
    context = context_of(dag_id="late.release", run_id="asset of 2024-01-25")
    event = {"stop": True, "why": "failed requests 9% > 1%"}
    for _ in range(2):  # a retry finds it decided
        operator = CanaryOperator(task_id="canary", model=MODEL, staged=None)
        assert operator.resume(context, event=event, version="2", rung={})["event"] == "aborted"
    assert _all_three(receivers).splitlines() == [
        "late: version 2 was taken out of live requests",
        "why: failed requests 9% > 1%",
        "by: late.release",
        "run: http://localhost:8080/dags/late.release/runs/asset%20of%202024-01-25",
    ]


def test_a_version_that_is_too_old_when_it_would_be_promoted_is_an_abort_too(
    project: Project, receivers: Receivers
) -> None:
    project.add("profiles/local.yaml", NOTIFY)
    _in_shadow(project)
    _propose(project, "3", day=21)
    tiny.promote(project.ledger, "3")
    climbed = {"version": "2", "event": "climbed", "why": "no rung is left"}
    PromoteOperator(task_id="promote", model=MODEL, climbed=climbed).execute(context_of())
    assert "not newer than the champion, version 3" in _all_three(receivers)


def test_a_promotion_is_no_news(project: Project, receivers: Receivers) -> None:
    project.add("profiles/local.yaml", NOTIFY)
    _in_shadow(project)
    climbed = {"version": "2", "event": "climbed", "why": "no rung is left"}
    promoted = PromoteOperator(task_id="promote", model=MODEL, climbed=climbed).execute(context_of())
    assert promoted["event"] == "promoted"
    assert _texts(receivers) == []


def test_people_are_told_of_a_rollback_once_while_the_registry_cannot_be_reached(
    project: Project, receivers: Receivers
) -> None:
    project.add("profiles/local.yaml", NOTIFY)
    for version, day in (("1", 20), ("2", 21)):
        _propose(project, version, day)
        tiny.promote(project.ledger, version)
    asked = {"run_after": midnight(5000), "user": "anna", "reason": "too many"}
    for _ in range(2):
        with pytest.raises(AirflowNotFoundException, match="perennial_mlflow"):
            RollBackOperator(task_id="roll_back", model=MODEL).execute(context_of(**asked))
    text = _all_three(receivers)
    assert text.startswith("late: users got version 1 again instead of 2\nwhy: too many\nby: anna\nrun: ")


def test_people_are_told_once_that_the_governor_gave_drift_up(project: Project, receivers: Receivers) -> None:
    project.add("profiles/local.yaml", NOTIFY)
    project.edit("models/late.yaml", "governor: {", "governor: {give_up_after: 2, min_growth: 0, ")
    for number in (1, 2):
        data = {
            "run_key": f"key-{number}",
            "fingerprint": "f",
            "drift": True,
            "expires": midnight(9).isoformat(),
        }
        for event in ("training", "rejected"):
            entries = project.ledger.entries()
            about: dict[str, Any] = {"as_of": midnight(number), "why": "", "actor": "me", "run_id": "r"}
            project.ledger.append(event, after=entries, **about, **data)
    for day in (22, 23, 24, 24):
        receipt = write_receipt(measured_window(day), project.store)
        govern = GovernOperator(task_id="govern", model=MODEL, measured={"run_key": receipt.run_key})
        with pytest.raises(AirflowSkipException):
            govern.execute(day_of(day, dag_id="late.monitor"))
    text = _all_three(receivers)
    assert text.startswith(
        "late: drift retrains it no more\nwhy: 2 retrainings in a row brought no new champion\n"
    )
    opened = [entry for entry in project.ledger.entries() if entry.event == "circuit_opened"]
    assert [(entry.as_of, entry.data) for entry in opened] == [(midnight(23), {"training": "key-2"})]


def _ingest(context: dict[str, Any]) -> None:
    extracted = ExtractOperator(task_id="extract", dataset="trips").execute(context)
    validated = ValidateOperator(task_id="validate", extracted=extracted).execute(context)
    PublishOperator(task_id="publish", dataset="trips", validated=validated).execute(context)


def test_people_are_told_once_of_a_partition_with_too_many_bad_rows(
    project: Project, receivers: Receivers
) -> None:
    project.add("profiles/local.yaml", NOTIFY)
    for bad in ("XXX", "XXX", "YYY"):  # the second is a rerun of the same rows
        tiny.deliver(project, tiny.trips(3).assign(city=bad), "trips", "2024-01-03")
        with pytest.raises(AirflowFailException, match="break a rule"):
            _ingest(day_of(3, dag_id="trips.ingest"))
        if bad == "XXX":
            text = _all_three(receivers)
    assert text.startswith(
        "trips: partition 2024-01-03 is not published\nwhy: 60 of 60 rows (100.0%) break a rule"
    )
    assert len(_texts(receivers)) == 6


def test_what_people_wrote_is_text_and_nothing_else(project: Project, receivers: Receivers) -> None:
    project.add("profiles/local.yaml", NOTIFY)
    tell(NOTICE, context_of())
    assert NOTICE.why in _all_three(receivers)
    slack = next(post for post in receivers.posts if post.path == "/services/T0/B0/slack-token")
    assert "&lt;!channel&gt; {{ 6 * 7 }} &amp; more" in slack.body["text"]
    webhook = next(post for post in receivers.posts if post.path == "/notices")
    assert webhook.headers["Authorization"] == "Bearer webhook-token"
    assert {"event": "aborted", "about": "m", "why": NOTICE.why}.items() <= webhook.body.items()
    (mail,) = receivers.mails
    assert (mail["Subject"], mail["From"]) == ("m: version 2 is out", "perennial@example.org")
    assert mail["To"] == "anna@example.org, ben@example.org"


def test_a_receiver_is_told_of_the_events_that_it_names_and_nobody_of_nothing(
    project: Project, receivers: Receivers
) -> None:
    project.add(
        "profiles/local.yaml", "notify: [{kind: slack, connection: team_slack, events: [rolled_back]}]\n"
    )
    tell(None, context_of())
    tell(NOTICE, context_of())
    assert receivers.posts == []


@pytest.mark.parametrize("status", [None, 401, 500])
def test_receivers_that_are_away_or_refuse_are_named_in_the_log_without_a_secret(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    status: int | None,
) -> None:
    project.add("profiles/local.yaml", NOTIFY)
    with Receivers(status or 200) as receivers:
        _connect(monkeypatch, receivers.web_port if status else free_port(), free_port())
        tell(NOTICE, context_of())
    logged = "".join((*capfd.readouterr(), caplog.text))
    for kind, name in (("slack", "team_slack"), ("mail", "team_mail"), ("webhook", "team_webhook")):
        assert f"not told by {kind}, connection {name}" in logged
    assert not [secret for secret in SECRETS if secret in logged]


def test_a_connection_that_is_missing_stops_nothing(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    project.add("profiles/local.yaml", NOTIFY)
    tell(NOTICE, context_of())
    assert "not told by slack, connection team_slack: AirflowNotFoundException" in caplog.text
