"""Keeps releases at work, harms them at random instants, and counts what became of users and ledger."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

from include.lifecycle.errors import LifecycleError, Transient
from include.lifecycle.model.registry import Registry
from include.lifecycle.release.document import read_release
from include.lifecycle.release.ladder import rungs
from include.lifecycle.release.reconcile import aliases
from include.lifecycle.store.ledger import verify_anchor
from tests.lifecycle.tiny import MODEL, Project
from tests.system.release_faults import verdict
from tests.system.release_faults.callers import Callers
from tests.system.release_faults.candidates import Candidates
from tests.system.release_faults.faults import Faults, Hit
from tests.system.release_faults.looks import Looks
from tests.system.release_faults.processes import HOSTS, MLflow, model_at
from tests.system.release_faults.runs import Runs
from tests.system.release_faults.verdict import Outcome

_INSTANTS = 2.5
"""Seconds after the last fault at which the next one comes, at most."""
_SETTLES_WITHIN = 240.0


@dataclass
class Campaign:
    """Faults until there were enough of them, then the count."""

    world: Project
    looks: Looks
    callers: Callers
    mlflow: MLflow
    runs: Runs
    candidates: Candidates
    faults: Faults
    number: int
    seed: int
    hits: list[Hit] = field(default_factory=list)
    missed: Counter[str] = field(default_factory=Counter)

    def run(self) -> Outcome:
        """Release and harm, wait until all is quiet, and count."""
        self.draw, self.began = random.Random(self.seed), time.monotonic()
        kinds = self.faults.kinds()
        drawn = list(kinds)
        self.draw.shuffle(drawn)  # each kind once, then any
        while len(self.hits) < self.number:
            self._work_for(self.draw.uniform(0, _INSTANTS))
            self._until(lambda: self.runs.at_work, "a release is at work")
            name = drawn.pop() if drawn else self.draw.choice(list(kinds))
            if not self._harm(name, kinds[name]) and name not in {hit.fault for hit in self.hits}:
                drawn.insert(0, name)
        self._until(self._is_quiet, "all is quiet")
        return self._count()

    def _harm(self, name: str, fault: Callable[[], str | None]) -> bool:
        """Whether a fault hit something."""
        what = fault()
        if what is None:
            self.missed[name] += 1
            return False
        self.hits.append(Hit(time.monotonic() - self.began, name, what))
        print(f"{len(self.hits)}: {self.hits[-1]}", flush=True)
        return True

    def _work_for(self, seconds: float) -> None:
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            self._keep_at_work()
            time.sleep(0.05)

    def _until(self, happens: Callable[[], bool], what: str) -> None:
        ends = time.monotonic() + _SETTLES_WITHIN
        while not happens():
            assert time.monotonic() < ends, f"waited in vain until {what}; {self.runs.told()}"
            if len(self.hits) < self.number:
                self._keep_at_work()
            else:
                self.runs.look_after()
            time.sleep(0.05)

    def _keep_at_work(self) -> None:
        """Propose a version when none is on its way, and look after the runs."""
        self.looks.raise_failure()
        self.runs.look_after()
        if not self.runs.at_work:
            self.faults.propose(self.candidates.draw_kind())

    def _is_quiet(self) -> bool:
        """Whether no run is left, no version undecided, and both servers follow the newest entry."""
        try:
            state = self.world.state()
        except Transient:
            return False
        if state.undecided and not self.runs.at_work:
            self.runs.wake()
        if state.undecided or self.runs.at_work or not self.mlflow.answers:
            return False
        newest = {look.who: look.seq for look in self.looks.looks}
        return len(self.looks.ready) == len(HOSTS) and all(newest[host] == state.seq for host in HOSTS)

    def _count(self) -> Outcome:
        time.sleep(0.5)  # a last look, and last requests
        looks, answered = self.looks, self.callers.answered
        entries, heads = self.world.ledger.entries(), list(looks.heads)
        states = verdict.states_of(entries)
        times, floors = verdict.acknowledged(list(looks.looks), looks.lives)
        self.seconds = verdict.seconds_to_acknowledge(entries, heads, times, floors)
        ways = rungs(self.world.catalog.model(MODEL).release)
        return Outcome(
            unanswered=list(self.callers.unanswered),
            two_champions=verdict.champions_differ(states, list(looks.looks)),
            answers_after_an_acknowledged_abort=verdict.after_abort(entries, list(answered), times, floors),
            answers_of_rejected_versions=verdict.of_rejected(entries, list(answered)),
            answers_that_no_decision_allows=verdict.not_allowed(states, list(answered), heads, times, floors),
            rungs_passed_over=verdict.past_a_rung(entries, ways),
            rungs_cut_short=verdict.cut_short(entries, ways),
            ledger=self._wrong_in_ledger(),
            different_when_quiet=self._different(),
        )

    def _wrong_in_ledger(self) -> list[str]:
        """Whether the chain holds, ends no sooner than MLflow was told, and is the one that was read."""
        try:
            entries = self.world.ledger.entries()
            anchor = Registry(self.mlflow.url).anchor(MODEL)
            assert anchor is not None, "MLflow was never told of the ledger"
            verify_anchor(entries, *anchor)
            assert entries[: len(self.looks.entries)] == self.looks.entries, "entries are not what they were"
            assert anchor == (entries[-1].seq, entries[-1].hash), f"MLflow was told of entry {anchor[0]} only"
        except (LifecycleError, AssertionError) as error:
            return [str(error)]
        return []

    def _different(self) -> list[str]:
        """Where release document, servers or MLflow differ from the ledger, now that nothing happens."""
        state, document = self.world.state(), read_release(MODEL, self.world.store)
        wanted = {alias: version for alias, version in aliases(state).items() if version is not None}
        registered = self.mlflow.client.get_registered_model(MODEL).aliases
        has = {alias: str(version) for alias, version in registered.items()}
        said: dict[str, object] = {"document": document and document.champion and document.champion.version}
        for host in HOSTS:
            told = model_at(self.faults.http, self.looks.servers.url(host))
            said[host] = told and told["version"]
        different = [f"{who} says {it}" for who, it in said.items() if it != wanted["champion"]]
        return different + ([f"MLflow has {has}, the ledger {wanted}"] if has != wanted else [])

    def show(self, outcome: Outcome) -> None:
        """Print the table of a campaign, and the seed with which it can be run again."""
        console, hits = Console(width=110), Counter(hit.fault for hit in self.hits)
        title = f"seed {self.seed}, {len(self.hits)} faults, {time.monotonic() - self.began:.0f} s"
        table = Table("fault", "hit", "nothing to hit", title=title)
        for name in sorted({*hits, *self.missed}):
            table.add_row(name, str(hits[name]), str(self.missed[name]))
        console.print(table)
        events = Counter(entry.event for entry in self.looks.entries)
        by_version = Counter(self.candidates.kinds[item.version] for item in self.callers.answered)
        told: dict[str, object] = {
            "store": "S3" if "://" in self.world.store.uri else "a folder, never harmed",
            "proposed": dict(self.candidates.counted()),
            "decided": dict(events),
            "runs": self.runs.told(),
            "requests": f"{len(self.callers.answered)} answered, {self.callers.repeated} of them asked again",
            "answered by": dict(by_version),
            "looks": f"{len(self.looks.looks)} at servers, document; {len(self.looks.heads)} at the ledger",
            "until all servers knew what was taken away": _longest(self.seconds),
        }
        told |= {name.replace("_", " "): _few(found) for name, found in vars(outcome).items()}
        for name, text in told.items():
            console.print(f"{name}: {text}", highlight=False, markup=False)


def _longest(seconds: dict[str, float]) -> str:
    if not seconds:
        return "nothing was"
    longest = max(seconds, key=lambda name: seconds[name])
    return f"{len(seconds)} times, {seconds[longest]:.2f} s at most ({longest})"


def _few(found: list[str]) -> str:
    return f"{len(found)} {'; '.join(found[:5])}"
