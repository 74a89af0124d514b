"""With what was a version trained: code, lock, libraries, machine, data? And what differs from that now?"""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from pathlib import Path

from include.lifecycle.data.pinned import contents
from include.lifecycle.spec.profile import open_profile
from include.lifecycle.spec.value import Value, canonical_json, sha256
from include.lifecycle.steps.code import LOCK, code_files
from include.lifecycle.steps.running import Work
from include.lifecycle.store.objects import Store
from include.lifecycle.store.receipts import Receipt

RECORDS = frozenset({"provenance", LOCK.name})
"""Outputs of a training that say with what it was done; all others are what was done."""
_PACKAGE = re.compile(r"^([\w.-]+)==", re.MULTILINE)
_PROCESSOR = re.compile(r"^model name\s*: (.+)$", re.MULTILINE)


class Environment(Value):
    """The code, the libraries and the machine of a training."""

    files: dict[str, str]
    """sha256 of the library's files, by path."""
    lock: str
    """sha256 of requirements.txt."""
    libraries: dict[str, str]
    """Installed versions of the lock's packages; those that are not installed are left out."""
    python: str
    processor: str
    threads: int


class Provenance(Environment):
    """With what a version was trained."""

    device: str
    """`cpu`, or the GPU's name."""
    data: dict[str, dict[str, str]]
    """Per dataset, at the version that was pinned, the content label of each partition."""


def environment() -> Environment:
    """What a training would run with here and now."""
    lock = LOCK.read_bytes()
    return Environment(
        files=code_files("train"),
        lock=sha256(lock),
        libraries=_libraries(lock.decode()),
        python=platform.python_version(),
        processor=_processor(),
        threads=open_profile().threads,
    )


def this_machine() -> str:
    """A name for this machine as it is now: another once its code, its lock or a library changes."""
    return f"{platform.node()} {sha256(canonical_json(environment().model_dump(mode='json')))}"


def provenance_of(work: Work) -> Provenance:
    """With what a training was done that has come to its end here."""
    return Provenance(
        **environment().model_dump(),
        device=work.results.get("gpu", {}).get("device", "cpu"),
        data=contents(work.call.inputs["versions"], work.store),
    )


def keep_provenance(work: Work) -> None:
    """Outputs `provenance` and the lock itself, from which the same libraries can be installed."""
    work.keep("provenance", canonical_json(provenance_of(work).model_dump(mode="json")))
    work.keep(LOCK.name, LOCK)


def read_provenance(trained: Receipt, store: Store) -> Provenance | None:
    """With what a training was done; None when it is older than such records."""
    kept = trained.outputs.get("provenance")
    return None if kept is None else Provenance.model_validate_json(store.read(kept))


def changed_files(then: Environment, now: Environment) -> list[str]:
    """The library's files that differ, and the lock if it does."""
    lock = [] if then.lock == now.lock else [LOCK.name]
    return [*_changed(then.files, now.files), *lock]


def differences(then: Provenance, now: Provenance) -> list[str]:
    """All that differs between two trainings of one call, each in a few words.

    A library counts where both have it: a trainer image lacks many that the lock names.
    """
    both = then.libraries.keys() & now.libraries.keys()
    libraries = _values(then.libraries, now.libraries, sorted(both))
    machine = _values(then.model_dump(), now.model_dump(), ("python", "threads", "device", "processor"))
    return [
        *(f"{file} is not the same" for file in changed_files(then, now)),
        *_other_rows(then, now),
        *libraries,
        *machine,
    ]


def _other_rows(then: Provenance, now: Provenance) -> Iterator[str]:
    for dataset, partitions in then.data.items():
        if changed := _changed(partitions, now.data.get(dataset, {})):
            yield f"{dataset} has other rows at the pinned version, in {', '.join(changed)}"


def _values(then: Mapping[str, object], now: Mapping[str, object], names: Iterable[str]) -> list[str]:
    return [f"{name} {then[name]} then, {now[name]} now" for name in names if then[name] != now[name]]


def _changed(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    return [name for name in sorted(then.keys() | now.keys()) if then.get(name) != now.get(name)]


@cache
def _libraries(lock: str) -> dict[str, str]:
    found = {}
    for name in _PACKAGE.findall(lock):
        with suppress(PackageNotFoundError):
            found[name] = installed(name)
    return found


def _processor() -> str:
    """Architecture and, where Linux tells it, model: NumPy and XGBoost choose instructions by it."""
    said = Path("/proc/cpuinfo")
    found = _PROCESSOR.search(said.read_text()) if said.is_file() else None
    return f"{platform.machine()} {found[1] if found else ''}".strip()
