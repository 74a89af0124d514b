"""A version is trained again: in this process, in a checkout with other code, on data that changed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from include.lifecycle.__main__ import main
from include.lifecycle.data.publishing import published_table
from include.lifecycle.errors import Rejected, Transient
from include.lifecycle.steps import train
from include.lifecycle.steps.code import ROOT
from include.lifecycle.steps.provenance import read_provenance
from include.lifecycle.steps.reproduce import Reproduction, changed_code, plan
from include.lifecycle.steps.running import Termination, run_step
from include.lifecycle.store.checkpoints import StoredCheckpoints, checkpointed_run_keys
from include.lifecycle.store.receipts import Call, Receipt, amend_receipt, write_call, write_receipt
from tests.lifecycle import tiny
from tests.lifecycle.tiny import MODEL, Project, midnight


@pytest.fixture
def version(world: Project, trained: Receipt) -> str:
    """The version of the training, proposed."""
    return tiny.propose_version(world, trained, "3").version


def ask(
    world: Project, version: str | None = "3", *, threads: int | None = None, occasion: str = "test"
) -> Call:
    return plan(MODEL, version, world.store, occasion=occasion, threads=threads)


def reproduce(world: Project, call: Call) -> Reproduction:
    receipt, adopted = run_step(call, world.store)
    assert not adopted
    return Reproduction.model_validate(receipt.results["reproduction"])


def stored(world: Project) -> set[str]:
    """All that is in the store, without calls and receipts."""
    return {path for path in world.store.list("") if not path.startswith(("calls/", "receipts/"))}


@pytest.mark.usefixtures("version")
def test_a_version_is_reproduced_byte_for_byte_and_leaves_nothing_but_the_proof(
    world: Project, trained: Receipt
) -> None:
    before = stored(world)
    found = reproduce(world, ask(world))
    assert (found.identical, found.differences) == (True, ())
    assert found.files == len(trained.outputs) - 2, "all but the records of what it was trained with"
    assert str(found) == f"late version 3 is identical: all bytes of {found.files} files are the same"
    assert stored(world) == before


@pytest.mark.usefixtures("version")
def test_one_occasion_is_one_reproduction_and_another_one_trains_again(world: Project) -> None:
    reproduce(world, ask(world))
    assert run_step(ask(world), world.store)[1], "adopted"
    reproduce(world, ask(world, occasion="another"))


@pytest.mark.usefixtures("version")
def test_it_takes_as_many_threads_as_it_was_trained_on_unless_told_otherwise(
    world: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERENNIAL_THREADS", "4")
    assert reproduce(world, ask(world)).differences == ()
    found = reproduce(world, ask(world, threads=2))
    assert found.identical, "XGBoost adds up in an order that threads do not change"
    assert str(found).splitlines()[1:] == ["though this differs:", "  threads 1 then, 2 now"]
    with pytest.raises(Rejected, match="threads: found 0; write 1 or more"):
        ask(world, threads=0)


def test_what_several_workers_trained_is_trained_by_as_many_again(world: Project) -> None:
    world.edit("models/late.yaml", "training:", "compute: {train: {workers: 2}}\ntraining:")
    tiny.propose_version(world, tiny.train_as_of(world, midnight(22)), "3")
    call = ask(world)
    assert call.inputs["workers"] == 2
    assert str(reproduce(world, call)).startswith("late version 3 is identical")


def test_a_version_is_asked_for_by_its_number_or_as_the_champion(world: Project, trained: Receipt) -> None:
    with pytest.raises(Rejected, match="late has no champion: say which version"):
        ask(world, None)
    with pytest.raises(Rejected, match="late has no version 3; it has: none"):
        ask(world)
    tiny.crown(world, trained, "1")
    tiny.propose_version(world, tiny.train_as_of(world, midnight(23)), "2")
    with pytest.raises(Rejected, match="late has no version 3; it has: 1, 2"):
        ask(world)
    champion = ask(world, None)
    assert (champion.inputs["version"], champion.inputs["train"]) == ("1", trained.run_key)
    assert ask(world, "2").inputs["train"] != trained.run_key


class EndsAfter(Termination):
    """Tells to end once it was asked a number of times."""

    def __init__(self, rounds: int) -> None:
        self.rounds = rounds

    @property
    def told(self) -> bool:
        self.rounds -= 1
        return self.rounds < 0


@pytest.fixture
def long(world: Project) -> Receipt:
    """A training in many segments, which draws; its version is 3."""
    world.edit("models/late.yaml", "max_trees: 30", "max_trees: 60\n  segment: 10\n  checkpoint: 0s")
    world.edit("models/late.yaml", "min_trees: 5", "min_trees: 60")
    world.edit("models/late.yaml", "max_depth: 3", "max_depth: 3, subsample: 0.5")
    trained = tiny.train_as_of(world, midnight(22))
    tiny.propose_version(world, trained, "3")
    return trained


def test_a_reproduction_that_was_stopped_goes_on_from_its_own_checkpoints(
    world: Project, long: Receipt
) -> None:
    call = ask(world)
    with pytest.raises(Transient, match="will go on from tree 10 of the final fit"):
        run_step(call, world.store, termination=EndsAfter(95))
    assert checkpointed_run_keys(world.store) == [call.run_key]
    assert reproduce(world, call).identical
    assert checkpointed_run_keys(world.store) == []


def test_what_the_training_itself_left_half_done_is_not_adopted(world: Project, long: Receipt) -> None:
    other = tiny.train_as_of(world, midnight(20))
    left = StoredCheckpoints(long.run_key, world.store, timedelta(0))
    left.save("final", 5, world.store.read(other.outputs["booster.ubj"]))
    assert reproduce(world, ask(world)).identical
    assert checkpointed_run_keys(world.store) == [long.run_key]


def begin_table_anew(world: Project, *, other_rows_on: int | None = None, days: int = 24) -> None:
    shutil.rmtree(world.root / "store/tables/trips")
    for day in range(1, days + 1):
        rows = tiny.trips(day)
        if day == other_rows_on:
            rows["delay"] += 20
        tiny.put(world, "trips", f"{midnight(day):%Y-%m-%d}", rows)


@pytest.mark.usefixtures("version")
def test_data_that_were_published_again_as_they_were_give_the_same_bytes(world: Project) -> None:
    begin_table_anew(world)
    found = reproduce(world, ask(world))
    assert (found.identical, found.differences) == (True, ())


@pytest.mark.usefixtures("version")
def test_other_rows_at_the_pinned_version_are_named_with_their_partition(world: Project) -> None:
    begin_table_anew(world, other_rows_on=3)
    before = stored(world)
    found = reproduce(world, ask(world))
    assert stored(world) == before, "the bytes that differ are stored nowhere"
    assert {item.split(":")[0] for item in found.differing} >= {"booster.ubj", "gate"}
    assert found.differences == ("trips has other rows at the pinned version, in 2024-01-03",)
    assert "what differs between then and now:\n  trips has other rows" in str(found)


@pytest.mark.usefixtures("version")
def test_data_that_are_gone_are_named_and_nothing_is_trained(world: Project) -> None:
    pinned = published_table("trips", world.store).version()
    next((world.root / "store/tables/trips").glob("_partition=2024-01-05/*.parquet")).unlink()
    gone = f"late version 3 cannot be trained again: files of trips at version {pinned} are gone"
    with pytest.raises(Rejected, match=gone):
        run_step(ask(world), world.store)
    begin_table_anew(world, days=2)
    with pytest.raises(Rejected, match=f"cannot be trained again: trips has no version {pinned}"):
        run_step(ask(world), world.store)


def test_a_training_from_before_such_records_is_reproduced_too(world: Project, trained: Receipt) -> None:
    whole = trained.outputs
    old = {name: whole[name] for name in whole if name not in ("provenance", "requirements.txt")}
    amend_receipt(trained.model_copy(update={"outputs": old}), world.store)
    tiny.propose_version(world, trained, "3")
    found = reproduce(world, ask(world))
    assert (found.identical, found.files) == (True, len(old))
    assert found.differences == ("what it was trained with was not recorded then",)


def test_a_call_that_this_library_does_not_understand_says_which_one_does(
    world: Project, trained: Receipt
) -> None:
    spec = {**trained.call.spec, "model": {**trained.call.spec["model"], "colour": "red"}}
    old = trained.call.model_dump() | {"spec": spec, "code": "0" * 64}
    call = Call.model_validate(old)
    write_call(call, world.store)
    older = write_receipt(trained.model_copy(update={"call": call, "commit": "f" * 40}), world.store)
    tiny.propose_version(world, older, "3")
    said = (
        rf"not the one that trained late version 3: .*; check out {'f' * 40} .* cannot train from that call"
    )
    with pytest.raises(Rejected, match=rf"(?s){said}.*colour"):
        run_step(ask(world), world.store)


def test_a_training_records_what_it_ran_with_and_keeps_the_lock(world: Project, trained: Receipt) -> None:
    recorded = read_provenance(trained, world.store)
    assert recorded is not None
    assert recorded.files.keys() >= {
        "include/lifecycle/steps/train.py",
        "include/lifecycle/model/training.py",
    }
    assert {"xgboost", "scikit-learn", "pandas"} <= recorded.libraries.keys()
    assert (recorded.threads, recorded.device) == (1, "cpu")
    assert len(recorded.data["trips"]) == len(recorded.data["sky"]) == 24
    lock = world.store.read(trained.outputs["requirements.txt"])
    assert lock == (ROOT / "requirements.txt").read_bytes()


@pytest.mark.usefixtures("version")
def test_the_code_that_trained_it_is_no_other_code(world: Project) -> None:
    assert changed_code(ask(world), world.store) is None


def run_cli(root: Path, *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the command in a checkout."""
    done = subprocess.run(
        [sys.executable, "-m", "include.lifecycle", "reproduce", *arguments],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.usefixtures("version")
def test_the_command_says_identical_and_says_it_again_without_training(world: Project) -> None:
    code, said, complaint = run_cli(ROOT, MODEL, "3")
    assert (code, complaint) == (0, "")
    assert "late version 3 is identical" in said
    code, again, _ = run_cli(ROOT, MODEL, "3")
    assert code == 0
    assert again.startswith(said)
    assert "UTC, on this machine" in again


def test_a_version_that_is_not_there_is_an_error_for_people(
    world: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reproduce", MODEL, "7"]) == 1
    assert capsys.readouterr().err == "late has no version 7; it has: none\n"


@pytest.mark.usefixtures("version")
def test_a_changed_library_is_named_before_and_after_the_training(
    world: Project, trained: Receipt, tmp_path: Path
) -> None:
    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT / "include", checkout / "include", ignore=shutil.ignore_patterns("__pycache__"))
    lock = (ROOT / "requirements.txt").read_text()
    (checkout / "requirements.txt").write_text(f"{lock}# another lock\n")
    training = checkout / "include/lifecycle/model/training.py"
    training.write_text(
        training.read_text().replace('tree_method="hist"', 'tree_method="hist", max_leaves=2')
    )

    code, said, complaint = run_cli(checkout, MODEL, "3")
    assert code == 1
    assert complaint == (
        "this library is not the one that trained late version 3: include/lifecycle/model/training.py, "
        f"requirements.txt; check out {trained.commit} (code {trained.call.code[:12]}) to have it\n"
    )
    lines = said.splitlines()
    assert lines[0].startswith("late version 3 differs in ")
    assert any(line.startswith("  booster.ubj: ") for line in lines)
    assert lines[-3:] == [
        "what differs between then and now:",
        "  include/lifecycle/model/training.py is not the same",
        "  requirements.txt is not the same",
    ]


def test_training_again_by_its_own_call_still_adopts_the_receipt(world: Project, trained: Receipt) -> None:
    call = train.plan(world.catalog.model(MODEL), world.catalog, midnight(22), world.store)
    assert run_step(call, world.store) == (trained, True)
