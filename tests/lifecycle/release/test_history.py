import pytest

from include.lifecycle.errors import Tampered
from include.lifecycle.release.billing import use
from include.lifecycle.release.decisions import record
from include.lifecycle.release.history import json_lines, told
from include.lifecycle.store.ledger import Entry, verify
from include.lifecycle.store.receipts import Call, Receipt
from include.lifecycle.store.usage import Attempt, Usage
from tests.lifecycle import tiny
from tests.lifecycle.release.test_costs import PRICES
from tests.lifecycle.tiny import ACTOR, MODEL, Project, midnight


def test_whoever_has_the_exported_lines_can_verify_the_chain(world: Project, trained: Receipt) -> None:
    tiny.crown(world, trained, "1")
    lines = json_lines(world.ledger.entries()).splitlines()
    exported = [Entry.model_validate_json(line) for line in lines]
    assert exported == world.ledger.entries()
    assert verify(exported, MODEL) == exported
    for wrong in (exported[1:], exported[::-1], [exported[0], exported[2]]):
        with pytest.raises(Tampered):
            verify(wrong, MODEL)


def test_a_report_says_of_each_decision_what_when_why_and_by_whom(world: Project, trained: Receipt) -> None:
    tiny.crown(world, trained, "1")
    promoted = world.ledger.entries()[-1]
    head, *lines = told([promoted]).splitlines()
    assert head.strip() == f"4  {promoted.at:%Y-%m-%d %H:%M:%S} UTC  promoted, version 1"
    assert {"why: a test", "by: tester, in run late.train/one", f"hash: {promoted.hash}"} <= {
        line.strip() for line in lines
    }


def test_what_an_attempt_used_is_no_decision(project: Project) -> None:
    call = Call(step="train", spec={}, as_of=midnight(1), code="c")
    attempt = Attempt(id="one", where="process", usage=Usage(cpu_seconds=1))
    record(project.ledger, use(attempt, call, PRICES), ACTOR)
    assert told(project.ledger.entries()) == ""
    assert json_lines(project.ledger.entries()) != ""
