"""Reproduce: a version is trained again from what it was trained from, and its bytes are compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from include.lifecycle.data.pinned import lost_data
from include.lifecycle.errors import Rejected, Transient
from include.lifecycle.release.named import training_of
from include.lifecycle.spec.profile import on_threads, open_profile
from include.lifecycle.spec.value import Value
from include.lifecycle.steps import train
from include.lifecycle.steps.code import code_hash
from include.lifecycle.steps.provenance import (
    RECORDS,
    Provenance,
    changed_files,
    differences,
    environment,
    provenance_of,
    read_provenance,
)
from include.lifecycle.steps.running import Work
from include.lifecycle.steps.together import workers_of
from include.lifecycle.store.objects import Output, Store
from include.lifecycle.store.receipts import Call, Receipt, read_receipt


class Reproduction(Value):
    """Whether training again gave the same bytes; printed, it says what differs otherwise."""

    model: str
    version: str
    files: int
    """How many outputs of the training were compared."""
    differing: tuple[str, ...]
    """Which of them are not what they were."""
    differences: tuple[str, ...]
    """In what the two trainings differ: code, data, libraries, threads, device."""

    @property
    def identical(self) -> bool:
        """Whether every byte is the same."""
        return not self.differing

    def __str__(self) -> str:
        named = f"{self.model} version {self.version}"
        if self.identical:
            said = [f"{named} is identical: all bytes of {self.files} files are the same"]
            because = "though this differs:"
        else:
            said = [f"{named} differs in {len(self.differing)} of {self.files} files:"]
            because = "what differs between then and now:"
        said += [f"  {file}" for file in self.differing]
        if self.differences:
            said += [because, *(f"  {item}" for item in self.differences)]
        elif not self.identical:
            said.append(
                "nothing else that was recorded differs: does the features file draw, or ask the time?"
            )
        return "\n".join(said)


@dataclass
class _Again(Work):
    """A training done again."""

    reproduction: str = ""

    @property
    def run_key(self) -> str:
        """The reproduction's: what the training itself left half-done is not adopted."""
        return self.reproduction

    def keep(self, name: str, content: bytes | Path) -> Output:
        """What would be stored: it is hashed alone."""
        self.outputs[name] = Output.of(content)
        return self.outputs[name]


def plan(model: str, version: str | None, store: Store, *, occasion: str, threads: int | None = None) -> Call:
    """The call that trains a version again (None: the champion), on as many threads as it was trained on.

    Of one `occasion`, such as a DAG run, there is one reproduction: a rerun adopts its receipt. Raises
    Rejected for a version that the ledger does not know.
    """
    if threads is not None and threads < 1:
        raise Rejected(f"threads: found {threads}; write 1 or more")
    version, run_key = training_of(model, version, store, to="reproduce")
    trained = read_receipt(run_key, store)
    then = read_provenance(trained, store)
    return Call(
        step="reproduce",
        spec={},
        inputs={
            "train": run_key,
            "version": version,
            "threads": threads or (then.threads if then else open_profile().threads),
            "occasion": occasion,
            **({"workers": workers} if (workers := workers_of(trained.call)) > 1 else {}),
        },
        as_of=trained.call.as_of,
        code=code_hash("reproduce"),
        seed=trained.call.seed,
    )


def changed_code(call: Call, store: Store) -> str | None:
    """That the library is not the one that trained the version, and where that one is; None if it is."""
    trained = read_receipt(call.inputs["train"], store)
    if trained.call.code == code_hash("train"):
        return None
    then = read_provenance(trained, store)
    changed = ", ".join(changed_files(then, environment())) if then else "it was not recorded which files"
    cure = f"check out {trained.commit}" if trained.commit else "use the image or checkout that trained it"
    return (
        f"this library is not the one that trained {_named(trained, call)}: {changed}; {cure} "
        f"(code {trained.call.code[:12]}) to have it"
    )


def run(work: Work) -> None:
    """Result `reproduction`. Raises Rejected when data that were pinned are not there any more, or this
    library cannot train from such a call."""
    trained = read_receipt(work.call.inputs["train"], work.store)
    if lost := lost_data(trained.call.inputs["versions"], work.store):
        raise Rejected(f"{_named(trained, work.call)} cannot be trained again: {lost}")
    with on_threads(work.call.inputs["threads"]):
        again = _train_again(work, trained)
        now = provenance_of(again)
    work.checkpoints, work.leads = again.checkpoints, again.leads
    if not work.leads:
        return
    then = read_provenance(trained, work.store)
    found = compare(work.call, trained, again.outputs, then, now)
    work.results["reproduction"] = found.model_dump(mode="json")


def compare(
    call: Call,
    trained: Receipt,
    outputs: Mapping[str, Output],
    then: Provenance | None,
    now: Provenance,
) -> Reproduction:
    """What training again showed."""
    names = sorted((trained.outputs.keys() | outputs.keys()) - RECORDS)
    unrecorded = ["what it was trained with was not recorded then"]
    return Reproduction(
        model=trained.call.spec["model"]["name"],
        version=call.inputs["version"],
        files=len(names),
        differing=tuple(
            f"{name}: {_short(trained.outputs.get(name))} then, {_short(outputs.get(name))} now"
            for name in names
            if trained.outputs.get(name) != outputs.get(name)
        ),
        differences=tuple(unrecorded if then is None else differences(then, now)),
    )


def _train_again(work: Work, trained: Receipt) -> _Again:
    again = _Again(
        trained.call,
        work.store,
        work.folder,
        work.connections,
        work.termination,
        until_receipt=work.until_receipt,
        reproduction=work.run_key,
    )
    try:
        train.run(again)
    except Exception as error:
        changed = changed_code(work.call, work.store)
        if changed is None or isinstance(error, Transient):
            raise
        raise Rejected(f"{changed}; it cannot train from that call: {error}") from error
    return again


def _named(trained: Receipt, call: Call) -> str:
    return f"{trained.call.spec['model']['name']} version {call.inputs['version']}"


def _short(output: Output | None) -> str:
    return "not there" if output is None else output.sha256[:12]
