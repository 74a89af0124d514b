"""Calls and receipts: what a step depends on, and the proof that it was done."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from pydantic import Field, ValidationError

from include.lifecycle.errors import Tampered
from include.lifecycle.spec.quantities import Instant
from include.lifecycle.spec.value import Value, canonical_json, sha256
from include.lifecycle.store.objects import Output, Store
from include.lifecycle.store.usage import Attempt


class Call(Value):
    """Everything a step depends on; its hash is the run key."""

    step: str
    spec: dict[str, Any]
    inputs: dict[str, Any] = {}
    """Dataset versions, run keys and sha256 of what the step reads."""
    as_of: Instant
    """Business time: what was known then."""
    code: str
    """Hash of the library code that the step uses, and of the lock file."""
    seed: int = 0

    @cached_property
    def run_key(self) -> str:
        """sha256 of the call's canonical JSON."""
        return sha256(self.canonical)

    @property
    def canonical(self) -> bytes:
        """The call as canonical JSON."""
        return canonical_json(self.model_dump(mode="json"))


class Receipt(Value):
    """The proof that a step was done: its call, what it wrote, what it counted."""

    call: Call
    outputs: dict[str, Output] = {}
    counts: dict[str, int] = {}
    """Rows in, published, quarantined, …"""
    results: dict[str, Any] = {}
    """Small results that later steps and people read."""
    started: Instant
    ended: Instant = Field(default_factory=lambda: datetime.now(UTC))
    commit: str | None = None
    """The git commit the code was at, for people; not part of the run key."""
    attempt: Attempt | None = None
    """The process that wrote it, and what that used."""

    @property
    def run_key(self) -> str:
        """The run key of the receipt's call."""
        return self.call.run_key


def call_path(run_key: str) -> str:
    """Where a call lies in the store."""
    return f"calls/{run_key}.json"


def receipt_path(run_key: str) -> str:
    """Where a receipt lies in the store."""
    return f"receipts/{run_key}.json"


def write_call(call: Call, store: Store) -> str:
    """Record a call, once; returns its path."""
    store.put_if_absent(call_path(call.run_key), call.canonical)
    return call_path(call.run_key)


def read_call(run_key: str, store: Store) -> Call:
    """The call of a run key; raises Tampered when its bytes do not hash to the key."""
    content = store.get(call_path(run_key))
    if content is None or sha256(content) != run_key:
        raise Tampered(f"call {run_key[:12]} is missing or changed in the store {store.uri}")
    return Call.model_validate_json(content)


def write_receipt(receipt: Receipt, store: Store) -> Receipt:
    """Record a receipt, last of all; of two runners of one call the second gets the first's."""
    content = _sealed(receipt)
    if store.put_if_absent(receipt_path(receipt.run_key), content):
        return receipt
    return read_receipt(receipt.run_key, store)


def amend_receipt(receipt: Receipt, store: Store) -> None:
    """Write a receipt in the place of its older self: only where rows in its outputs must be forgotten."""
    store.replace(receipt_path(receipt.run_key), _sealed(receipt))


def all_receipts(store: Store) -> Iterator[Receipt]:
    """Every receipt in the store, its outputs unchecked; those that were changed are left out."""
    for path in store.list("receipts"):
        try:
            yield _unsealed(store.get(path), path.removeprefix("receipts/").removesuffix(".json"))
        except Tampered:
            continue


def is_damaged(path: str, content: bytes) -> bool:
    """Whether the bytes of a call or a receipt are not those that were written; False for anything else."""
    folder, _, name = path.partition("/")
    run_key = name.removesuffix(".json")
    if folder == "calls":
        return sha256(content) != run_key
    if folder != "receipts":
        return False
    try:
        _unsealed(content, run_key)
    except Tampered:
        return True
    return False


def find_receipt(run_key: str, store: Store) -> Receipt | None:
    """The receipt of a run key, its outputs present; None when the step was not done.

    Raises Tampered when a byte of the receipt or of an output was changed.
    """
    content = store.get(receipt_path(run_key))
    return None if content is None else _checked(content, run_key, store)


def read_receipt(run_key: str, store: Store) -> Receipt:
    """The receipt of a run key, checked with all its outputs; raises Tampered otherwise."""
    return _checked(store.get(receipt_path(run_key)), run_key, store)


def _checked(content: bytes | None, run_key: str, store: Store) -> Receipt:
    receipt = _unsealed(content, run_key)
    for name, output in receipt.outputs.items():
        if not store.is_intact(output):
            raise Tampered(
                f"receipt {run_key[:12]}: output {name} is missing or changed; "
                f"remove {receipt_path(run_key)} and run the step again"
            )
    return receipt


def _sealed(receipt: Receipt) -> bytes:
    body = receipt.model_dump(mode="json")
    return canonical_json({"receipt": body, "sha256": sha256(canonical_json(body))})


def _unsealed(content: bytes | None, run_key: str) -> Receipt:
    import json

    try:
        document = json.loads(content or b"")
        body = document["receipt"]
        receipt = Receipt.model_validate(body)
        intact = content == canonical_json(document) and document == {
            "receipt": body,
            "sha256": sha256(canonical_json(body)),
        }
    except (ValueError, KeyError, TypeError, ValidationError):
        intact = False
    if not intact or receipt.run_key != run_key:
        raise Tampered(
            f"receipt {run_key[:12]} is missing or was changed; "
            f"remove {receipt_path(run_key)} and run the step again"
        )
    return receipt
