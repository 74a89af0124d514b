"""What a DAG says of itself in Airflow's UI."""

from __future__ import annotations

from datetime import datetime, time
from zoneinfo import ZoneInfo

from include.lifecycle.data.partitions import calendar_of
from include.lifecycle.spec.dataset import DatasetSpec
from include.lifecycle.spec.model import Gate, ModelSpec
from include.lifecycle.spec.quantities import format_duration
from include.lifecycle.spec.rules import Expectation
from include.lifecycle.spec.search import Range, Search

MAINTENANCE = """### Maintain all tables
Weekly: small files of published tables, quarantine and prediction logs are put together, and files
that no kept version needs are removed. Each data version that a registered, not archived, model was
trained on stays readable. Rows whose time in quarantine is over go.
"""

CLEANING = """### Clean up
Hourly: what nobody needs any more is removed, each with its reason in the log.

- **cluster** (with the `kubernetes` profile): pods, Jobs and Services of steps whose task ended or is gone,
  whose receipt is there, or that run a call a second time; what ended stays for an hour.
- **store**: outputs that nothing in the store names, and checkpoints that nobody went on from, once they
  are older than the profile's `grace`; files that were half written; scratch folders, on the machine of
  this task, whose process is gone.

A call or a receipt whose bytes changed is named in the log, and never removed. In a bucket, parts of
uploads that were broken off cannot be seen: let its lifecycle abort incomplete multipart uploads.
"""

DEPLOYING = """### Deploy the model server
Makes Deployment, Services, HorizontalPodAutoscaler, PodDisruptionBudget and NetworkPolicy of the server in
the cluster equal to `kubernetes.server` of the profile, and writes the release documents that its pods
watch. The log has each line that differs, `-` before and `+` after; a dry run changes nothing.

A new image rolls out pod by pod, each ready before the next one goes. To go back, name the old image in
the profile and deploy again; which version of a model answers is not decided here but by its releases.
"""


def describe_dataset(spec: DatasetSpec) -> str:
    """Documentation of an ingest DAG, in Markdown."""
    rules = "\n".join(_rule(item) for item in spec.expectations)
    return f"""### {spec.name}
{spec.description}

Each run takes one {spec.partition} from its source (`{spec.source.type}`), audits it, and replaces it in
the table `{spec.name}` in one commit. Backfill any span of time: the same content again changes nothing.
{_backfilling(spec)}{_looking_back(spec)}
| column | type | known |
|---|---|---|
{_columns(spec)}

**Expectations** (rows that break one go to `quarantine/{spec.name}`; more than
{spec.quarantine.max_share:.0%} of them stop the partition)

{rules}
"""


def describe_requeue(spec: DatasetSpec) -> str:
    """Documentation of a requeue DAG, in Markdown."""
    return f"""### Requeue {spec.name}
Sends rows back from quarantine after a rule in `{spec.name}.yaml` was mended. All rows of a partition
are validated again, from what was staged when it was ingested, by the rules as they are now, and
published in its place: no row is lost, and none appears twice. Rows that still break a rule stay in
quarantine. Where the source was mended, trigger `{spec.name}.ingest` for the partition instead.
"""


def describe_erase(spec: DatasetSpec) -> str:
    """Documentation of an erase DAG, in Markdown."""
    return f"""### Erase a person from {spec.name}
Removes all rows of one person, for good: from the published table and its old versions, from
quarantine, from what steps kept and from prediction logs. A later ingestion of the same rows leaves them
out. Model versions that were trained on them are marked: they can no longer be reproduced. The report, in
the store and in the task's XCom, does not say whom.

Logs show asterisks in place of the person. Airflow itself keeps the form's values with the run: **delete
the run when it has ended.**
"""


def describe_train(model: ModelSpec) -> str:
    """Documentation of a train DAG, in Markdown."""
    governor = model.governor
    gates = "\n".join(f"- {_gate(gate)}" for gate in model.gates) or "- none"
    age = format_duration(governor.max_age) if governor.max_age else "never"
    return f"""### Train {model.name}
{model.description}

Runs nightly (`{model.training.schedule}`) and when drift asks. The governor lets it train when it is
the first time, when drift asked, when the last training is {age} old, or when spec, features or code
changed; at most {governor.budget} times in {format_duration(governor.budget_period)}. A run that you
trigger or backfill trains unless there is nothing new.

**Gates**

{gates}
"""


def describe_search(model: ModelSpec, search: Search) -> str:
    """Documentation of a search DAG, in Markdown."""
    space = "\n".join(f"- `{name}`: {_range(span)}" for name, span in search.space.items())
    return f"""### Search parameters of {model.name}
At most {search.trials} trials, {search.parallel} at a time; none begins after {search.minutes} minutes. Each
fits until the stop span and is measured there by {search.metric}; the gate span stays unseen. A trial that
fails stops no other. A run on the same data goes on where the last one stopped.

The winner's parameters take the place of those in `{model.name}.yaml`, once the governor lets the model be
trained, for as long as the space below is the YAML's.

**Space**

{space}
"""


def describe_release(model: ModelSpec) -> str:
    """Documentation of a release DAG, in Markdown."""
    return f"""### Release {model.name}
Woken by a candidate. What waits for a decision is read from the ledger, not from the event: the
newest proposal is staged or rejected, older ones are superseded, and what was staged becomes champion.
Staging asks it yesterday's requests in a server of its own ({_staging(model)}); the ledger says how it did.
Trigger it by hand at any time: with nothing to decide it makes registry, release document and server
equal to the ledger.
"""


def describe_rollback() -> str:
    """Documentation of the rollback DAG, in Markdown."""
    return """### Roll back
Gives the users of a model a version again that they had before. Traffic and registry go together: the
decision is written into the ledger with your reason, servers follow the release document within a second,
MLflow's aliases follow, and the run ends when the server answers with the version. With MLflow away traffic
goes back all the same, and the task is tried again until the aliases do.

The version that was rolled back is not proposed again by a retraining on the same data. What is trained
later takes its usual way; to keep it from users meanwhile, pause the model's release DAG.
"""


def describe_reproduce(model: ModelSpec) -> str:
    """Documentation of a reproduce DAG, in Markdown."""
    return f"""### Reproduce {model.name}
Trains a version again from what it was trained from: the table versions that it pinned, its spec and its
features file, on as many threads. Its bytes are compared with those of then, and nothing is registered or
released. The task fails when they differ, and names what differs: files of this library, the lock,
libraries, data, threads, device. `python -m include.lifecycle reproduce {model.name} VERSION` does the same
in a checkout of the code of then, whose commit it names when the code here is newer.
"""


def describe_score(model: ModelSpec) -> str:
    """Documentation of a scoring DAG, in Markdown."""
    schedule = model.scoring.schedule
    when = f"On schedule (`{schedule}`), when you trigger it" if schedule else "When you trigger it"
    return f"""### Score a table with {model.name}
Scores all rows of `{model.rows}` that are published in a span, labelled or not, into the table
`scores__{model.name}`: `key`, `event_time`, `score`, the `version` that gave it, `version_as_of` (up to when
that had learned: scores of older rows may know their labels), and the `run_key` of the receipt.

{when}, or in a backfill. The span's partitions, and no others, are replaced in one commit; of a partition
whose rows, joins and version are those of its scores nothing is done. A run of a data interval takes the
partitions that ended in it, and waits until they are published; a run by hand those of the form, or the
newest. However many rows there are, a bounded number is in memory.
"""


def describe_monitor(model: ModelSpec) -> str:
    """Documentation of a monitor DAG, in Markdown."""
    policy, governor = model.monitoring, model.governor
    return f"""### Monitor {model.name}
Each window looks at the {format_duration(policy.lookback)} before its end: drift of the served
features, and the metrics of predictions whose labels became known. Retraining needs
{governor.bad_windows} bad windows of the last {governor.of_last}, the newest included, and a cooldown
of {format_duration(governor.cooldown)}. A window older than the newest one is recorded and never acts.
"""


def _staging(model: ModelSpec) -> str:
    policy = model.release.staging
    bounds = [f"p99 within {policy.p99_ms:g} ms"] if policy.p99_ms is not None else []
    if policy.memory is not None:
        bounds.append(f"memory within {policy.memory.human_readable()}")
    return ", ".join(bounds) or "no budget in the YAML"


def _backfilling(spec: DatasetSpec) -> str:
    """Which run is which partition; a run is dated by when its partition begins."""
    grain, calendar = spec.partition, calendar_of(spec)
    begins = datetime.combine(spec.schedule.start, time(), ZoneInfo(spec.timezone))
    first = calendar.holding(begins)
    told = (
        f"A backfill's dates are moments in UTC, both included: it makes a run for each {grain} that begins "
        "between them.\n"
    )
    if grain == "hour" or spec.timezone == "UTC":
        return told
    return told + (
        f"A {grain} begins at midnight in {spec.timezone}, also when clocks change: the run dated "
        f"{first.start:%Y-%m-%d %H:%M} UTC is {first.name}. To backfill it alone, let both dates be that "
        "moment.\n"
    )


def _looking_back(spec: DatasetSpec) -> str:
    if not spec.lookback:
        return ""
    return (
        f"A scheduled run also reads the {spec.lookback} before its own again, for late rows; a backfill, "
        "or a run that you trigger, reads its own alone.\n"
    )


def _columns(spec: DatasetSpec) -> str:
    return "\n".join(
        f"| {name} | {column.type} | "
        f"{format_duration(column.known_after) + ' later' if column.known_after else 'at once'} |"
        for name, column in spec.columns.items()
    )


def _rule(rule: Expectation) -> str:
    arguments = ", ".join(f"{key} {value}" for key, value in rule.arguments.items())
    return f"- `{rule.name}` {arguments}" + (f" ({rule.severity})" if rule.severity else "")


def _range(span: Range) -> str:
    if span.categorical is not None:
        return ", ".join(map(str, span.categorical))
    low, high = span.bounds or ("", "")
    return f"{low} to {high}" + (", on a logarithmic scale" if span.log else "")


def _gate(gate: Gate) -> str:
    bounds = gate.model_dump(exclude={"metric"}, exclude_none=True)
    return f"{gate.metric}: " + ", ".join(
        f"{key.replace('_', ' ')} {value:g}" for key, value in bounds.items()
    )
