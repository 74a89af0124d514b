"""What did all servers count together? Sums over processes that come, go and begin anew."""

from __future__ import annotations

from collections.abc import Iterable

from include.lifecycle.release.counts import Arm, Counts, ServerCounts, Tally
from include.lifecycle.spec.value import Value


class Servers(Value):
    """What each process is known to have counted of one champion and one candidate.

    It grows in one direction: in which order, and how often, counts are read makes no difference.
    """

    model: str
    champion: str
    """The champion's version."""
    candidate: str
    """The candidate's version."""
    processes: dict[str, Counts] = {}
    """The newest counts of each process, also of those that are gone."""

    def with_read(self, read: Iterable[ServerCounts]) -> Servers:
        """With counts that were read, unless they are of other versions or older than what is known.

        A process only adds to its counts: of two, those with more are the newer ones.
        """
        processes = dict(self.processes)
        ours = (self.model, self.champion, self.candidate)
        for item in read:
            if (item.model, item.champion, item.candidate) == ours:
                known = processes.get(item.process, Counts())
                processes[item.process] = max(known, item.counts, key=_size)
        return self.model_copy(update={"processes": dict(sorted(processes.items()))})


def sum_counts(servers: Servers) -> Counts:
    """What all processes counted together."""
    return sum(servers.processes.values(), Counts())


def _size(counts: Counts) -> int:
    """How many numbers were counted."""
    arms = (counts.champion, counts.candidate, counts.copies)
    tallies = [counts.difference, *counts.slices.values(), *(tally for arm in arms for tally in _of(arm))]
    return sum(tally.count for tally in tallies)


def _of(arm: Arm) -> tuple[Tally, ...]:
    return (arm.failed, arm.slow, arm.score)
