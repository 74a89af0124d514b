"""What steps kept of rows whose time in quarantine is over: it goes, as the rows do."""

from __future__ import annotations

from datetime import datetime

from include.lifecycle.store.objects import Store, object_path
from include.lifecycle.store.receipts import Receipt, all_receipts, receipt_path


def remove_expired_outputs(dataset: str, before: datetime, store: Store) -> int:
    """Remove what was staged, the bad rows and the results of each audit that quarantined rows before a
    moment, and the receipts that name them: a rerun makes all of it again. Returns the number of objects.

    Good rows stay. So do rows that were staged, where a later audit of them quarantined none or is young.
    """
    receipts = list(all_receipts(store))
    audits = [item for item in receipts if _quarantined(item, dataset) and item.ended < before]
    expired = set[str]().union(*map(_holding_bad_rows, audits))
    run_keys = {audit.run_key for audit in audits}
    others = [item for item in receipts if item.run_key not in run_keys]
    gone = expired.difference(*map(_needed, others))
    for digest in sorted(gone):
        store.remove(object_path(digest))
    # Audits last: without them a retry would not know what else must go.
    for receipt in [*(item for item in others if gone & _outputs(item)), *audits]:
        store.remove(receipt_path(receipt.run_key))
    return len(gone)


def _quarantined(receipt: Receipt, dataset: str) -> bool:
    is_audit = receipt.call.step == "validate" and receipt.call.spec["name"] == dataset
    return is_audit and receipt.counts.get("quarantined", 0) > 0


def _holding_bad_rows(audit: Receipt) -> set[str]:
    """sha256 of the objects with bad rows, or values of them, in it."""
    return _staged(audit) | {output.sha256 for name, output in audit.outputs.items() if name != "good"}


def _needed(receipt: Receipt) -> set[str]:
    """sha256 of what a receipt must find in the store; of what was staged, the audit of it decides."""
    return set() if receipt.call.step == "extract" else _staged(receipt) | _outputs(receipt)


def _staged(receipt: Receipt) -> set[str]:
    staged = receipt.call.inputs.get("staged")
    return {staged["sha256"]} if staged else set()


def _outputs(receipt: Receipt) -> set[str]:
    return {output.sha256 for output in receipt.outputs.values()}
