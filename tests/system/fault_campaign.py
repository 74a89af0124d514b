"""Keeps a running system at work, harms it at random instants, and counts what became of the work."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock

import httpx
from mlflow import MlflowClient
from rich.console import Console
from rich.table import Table as RichTable

from include.demo import feed
from include.demo.airflow_api import ENDED
from include.demo.replay import DAGS, MODEL
from include.lifecycle.data.publishing import published_table
from include.lifecycle.errors import LifecycleError
from include.lifecycle.release.document import read_release
from include.lifecycle.release.fold import fold
from include.lifecycle.store.ledger import Ledger
from include.lifecycle.store.receipts import Receipt, read_receipt
from tests.docker.cluster import Cluster, Refused
from tests.system.faults import Chaos
from tests.system.tries import Tried, tried
from tests.system.world import FIRST_DAY, FIRST_LIVE_DAY, World

INGEST, TRAIN, RELEASE = "flights.ingest", f"{MODEL}.train", f"{MODEL}.release"
STEPS = {INGEST: ("extract", "validate", "publish"), TRAIN: ("train", "evaluate", "register")}
_AT_WORK = {INGEST: 4, TRAIN: 2}
"""Runs that are kept unfinished while there are faults."""
_SETTLES_WITHIN = 1800.0
"""Seconds after the last fault in which every run ends; retries wait for minutes."""
_PODS_END_WITHIN = 120.0
_RARE = {"node": 0.3, "store": 0.5, "kubelet": 0.5}
"""Faults that take long are drawn less often."""


@dataclass(frozen=True)
class Run:
    """A DAG run that was asked for, and with what."""

    dag_id: str
    run_id: str
    conf: dict[str, str]


@dataclass(frozen=True)
class Hit:
    """A fault that hit something."""

    after: float
    """Seconds since the campaign began."""
    fault: str
    what: str

    def __str__(self) -> str:
        return f"after {self.after:.0f} s {self.fault} ({self.what})"


@dataclass
class Outcome:
    """What became of the work; each list says which."""

    false_successes: list[str] = field(default_factory=list)
    duplicate_versions: list[str] = field(default_factory=list)
    orphan_pods: list[str] = field(default_factory=list)
    lost_runs: list[str] = field(default_factory=list)
    wrong_champions: list[str] = field(default_factory=list)
    wrong_rows: list[str] = field(default_factory=list)


@dataclass
class Campaign:
    """Faults until there were enough of them, then the count."""

    world: World
    cluster: Cluster
    faults: int
    seed: int
    runs: list[Run] = field(default_factory=list)
    hits: list[Hit] = field(default_factory=list)
    missed: Counter[str] = field(default_factory=Counter)
    champions: list[str | None] = field(default_factory=list)
    """Who the release document said was champion, at each look."""

    def run(self) -> Outcome:
        """Work and harm, wait until all runs have ended, and count."""
        self.draw = random.Random(self.seed)
        self.began = time.monotonic()
        chaos = Chaos(str(self.world.stack.settings.airflow), self.cluster, random.Random(self.seed + 1))
        faults = chaos.faults()
        weights = [_RARE.get(name, 1.0) for name in faults]
        if self.world.replay.state().champion is None:
            self.world.airflow.wait_for_dags(DAGS)
            self.world.replay.history(FIRST_DAY, FIRST_LIVE_DAY)
        self.next_day = self.world.replay.next_day()
        self._keep_at_work()
        while len(self.hits) < self.faults:
            time.sleep(self.draw.uniform(0, 4))
            self._keep_at_work()
            (name,) = self.draw.choices(list(faults), weights)
            what = faults[name]()
            if what is None:
                self.missed[name] += 1
            else:
                self.hits.append(Hit(time.monotonic() - self.began, name, what))
                print(f"{len(self.hits)}: {self.hits[-1]}", flush=True)
            self._look_at_champion()
        self._settle()
        return self._count()

    def show(self, outcome: Outcome) -> None:
        """Print the table of a campaign, and the seed with which it can be run again."""
        console, hits = Console(width=110), Counter(hit.fault for hit in self.hits)
        table = RichTable(
            "fault", "hit", "nothing to hit", title=f"seed {self.seed}, {len(self.hits)} faults"
        )
        for name in sorted({*hits, *self.missed}):
            table.add_row(name, str(hits[name]), str(self.missed[name]))
        console.print(table)
        runs = Counter(run.dag_id for run in self.runs)
        console.print(f"runs: {dict(runs)}, {time.monotonic() - self.began:.0f} s")
        for name, found in vars(outcome).items():
            console.print(f"{name.replace('_', ' ')}: {len(found)} {'; '.join(found)}", highlight=False)
        # Last: the counts are told even if Airflow does not answer any more.
        hardest = max((task for run in self.runs for task in self._tried(run)), key=lambda task: task.tries)
        console.print(f"most tried: {hardest.story()}", highlight=False, markup=False)

    def _keep_at_work(self) -> None:
        """Ask for runs until enough are unfinished; now and then for one of them twice."""
        for dag_id, wanted in _AT_WORK.items():
            unfinished = [run for run in self._runs_of(dag_id) if self._state(run) not in ENDED]
            for _ in range(wanted - len(unfinished)):
                conf = self._new_partition() if dag_id == INGEST else self._new_as_of()
                for _ in range(2 if dag_id == INGEST and self.draw.random() < 0.2 else 1):
                    self._trigger(dag_id, conf)

    def _new_partition(self) -> dict[str, str]:
        day, self.next_day = self.next_day, self.next_day + timedelta(days=1)
        feed.deliver_flights(self.world.replay.landing, day)
        return {"partition": day.isoformat()}

    def _new_as_of(self) -> dict[str, str]:
        """A moment that nothing was trained as of, between the first champion's and now."""
        newest = max(published_table("flights", self.world.store).partitions())
        end = datetime.combine(date.fromisoformat(newest), clock(), UTC)
        return {"as_of": (end - timedelta(minutes=self.draw.randrange(7 * 24 * 60))).isoformat()}

    def _trigger(self, dag_id: str, conf: dict[str, str]) -> None:
        body = {"logical_date": None, "conf": conf}
        run_id = self.world.airflow.send("POST", f"/dags/{dag_id}/dagRuns", body)["dag_run_id"]
        self.runs.append(Run(dag_id, run_id, conf))

    def _runs_of(self, dag_id: str) -> list[Run]:
        return [run for run in self.runs if run.dag_id == dag_id]

    def _state(self, run: Run) -> str:
        return str(self.world.airflow.get(f"/dags/{run.dag_id}/dagRuns/{run.run_id}", {})["state"])

    def _settle(self) -> None:
        """Wait until every run that was asked for, and every release that they wake, has ended."""

        def ended() -> bool:
            self._look_at_champion()
            if self.world.replay.state().undecided:
                return False  # its release may not have begun
            states = [self._state(run) for run in self.runs]
            states += [run["state"] for run in self.world.airflow.runs(RELEASE)]
            return all(state in ENDED for state in states)

        self.world.airflow.until(ended, "the end of all runs", _SETTLES_WITHIN)

    def _look_at_champion(self) -> None:
        try:
            document = read_release(MODEL, self.world.store)
        except LifecycleError:
            return
        champion = document.champion.version if document and document.champion else None
        if self.champions[-1:] != [champion]:
            self.champions.append(champion)

    def _count(self) -> Outcome:
        outcome = Outcome()
        for run in self.runs:
            state = self._state(run)
            if state != "success":
                story = "; ".join(task.story() for task in self._tried(run) if task.state == "failed")
                outcome.lost_runs.append(f"{run.dag_id} {run.run_id} {run.conf}: {state}; {story}")
            outcome.false_successes += self._false_successes(run)
        outcome.duplicate_versions = self._duplicates()
        outcome.orphan_pods = self._orphan_pods()
        outcome.wrong_champions = self._wrong_champions()
        outcome.wrong_rows = self._wrong_rows()
        return outcome

    def _tried(self, run: Run) -> list[Tried]:
        return tried(self.world.airflow, run.dag_id, run.run_id)

    def _false_successes(self, run: Run) -> list[str]:
        """Tasks that Airflow calls a success, and no valid receipt of their own call proves it."""
        false = []
        states = self.world.airflow.task_states(run.dag_id, run.run_id)
        for step in STEPS[run.dag_id]:
            if states[step] != "success":
                continue
            path = f"/dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances/{step}/xcomEntries/return_value"
            done = self.world.airflow.get(path, {})["value"]
            done = json.loads(done) if isinstance(done, str) else done
            try:
                receipt = read_receipt(done["run_key"], self.world.store)
            except LifecycleError as error:
                false.append(f"{run.run_id} {step}: {error}")
                continue
            if receipt.call.step != step or not self._is_about(run, receipt):
                false.append(f"{run.run_id} {step}: receipt {receipt.run_key[:12]} is another call's")
        return false

    def _is_about(self, run: Run, receipt: Receipt) -> bool:
        if run.dag_id == INGEST:
            return bool(receipt.call.inputs["partition"] == run.conf["partition"])
        return receipt.call.as_of == datetime.fromisoformat(run.conf["as_of"])

    def _duplicates(self) -> list[str]:
        """Effects that are there twice: versions of one training, publications of one content."""
        versions = self._mlflow.search_model_versions(f"name='{MODEL}'", max_results=1000)
        trained = Counter(version.tags["run_key"] for version in versions)
        table = published_table("flights", self.world.store)
        published = {run.conf["partition"]: 0 for run in self._runs_of(INGEST)}
        published = {name: int(table.publication(name) or 0) for name in published}
        twice = [f"{count} versions of {key[:12]}" for key, count in trained.items() if count > 1]
        return twice + [f"{name} published {count} times" for name, count in published.items() if count > 1]

    @property
    def _mlflow(self) -> MlflowClient:
        return MlflowClient(self.world.stack.mlflow_url)

    def _orphan_pods(self) -> list[str]:
        ends = time.monotonic() + _PODS_END_WITHIN
        while (left := self._active_pods()) and time.monotonic() < ends:
            time.sleep(1)
        return left

    def _active_pods(self) -> list[str]:
        try:
            found = json.loads(self.cluster.kubectl("get", "pods", "--output=json"))["items"]
        except Refused as refused:
            return [str(refused)]
        active = ("Pending", "Running", "Unknown")
        return [item["metadata"]["name"] for item in found if item["status"]["phase"] in active]

    def _wrong_champions(self) -> list[str]:
        """Where release document, server or MLflow, now or at any look, differ from the ledger."""
        self._look_at_champion()  # the last look was before the last release was seen to have ended
        entries = Ledger(self.world.store, MODEL).entries()
        said = [entry.data["version"] for entry in entries if entry.event == "promoted"]
        wrong = [
            f"{seen} was champion, and no release said so" for seen in self.champions if seen not in said
        ]
        champion = fold(entries).champion
        now = champion.version if champion else None
        metadata = httpx.get(f"{self.world.stack.server_url}/v2/models/{MODEL}").json()
        answers = {
            "release document": self.champions[-1],
            "server": metadata["versions"][0],
            "MLflow": self._mlflow.get_model_version_by_alias(MODEL, "champion").version,
        }
        others = {who: version for who, version in answers.items() if version != now}
        return wrong + [f"{who} says {version}, the ledger {now}" for who, version in others.items()]

    def _wrong_rows(self) -> list[str]:
        """Partitions whose published rows are not exactly those that were delivered."""
        dataset = published_table("flights", self.world.store).dataset()
        assert dataset is not None
        rows = dataset.to_table(columns=["flight_id", "_partition"]).to_pandas()
        wrong = []
        for conf in {run.conf["partition"] for run in self._runs_of(INGEST)}:
            there = rows.loc[rows["_partition"] == conf, "flight_id"]
            if sorted(there) != sorted(set(feed.flights()[conf]["flight_id"])):
                wrong.append(f"{conf}: {len(there)} rows")
        return wrong
