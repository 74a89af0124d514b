"""Keeps a training set k-anonymous: nobody is told from fewer than k people whose rows look alike.

k-anonymity: Samarati and Sweeney 1998. Every combination of the quasi-identifiers' values is shared by
at least k people; by k rows, where rows name nobody. Missing values count as a value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from include.lifecycle.data.point_in_time import GROUP
from include.lifecycle.data.privacy.treatment import treatments
from include.lifecycle.data.publishing import policy_hash
from include.lifecycle.errors import Rejected
from include.lifecycle.spec.dataset import DatasetSpec
from include.lifecycle.spec.privacy import Privacy


@dataclass(frozen=True)
class Anonymous:
    """A training set after small groups were left out."""

    rows: pd.DataFrame
    suppressed: int
    smallest: int | None
    """Size of the smallest group before, in people or rows; None without rows."""


def quasi_identifiers(datasets: Mapping[str, DatasetSpec]) -> list[tuple[str, str]]:
    """Pairs of dataset and column that together may tell who a person is."""
    return [(name, column) for name, policy in _policies(datasets) for column in policy.quasi_identifiers]


def anonymous(rows: pd.DataFrame, datasets: Mapping[str, DatasetSpec]) -> Anonymous:
    """The rows whose group, in column `_group`, has at least the size k; the column goes.

    Of several datasets with quasi-identifiers the largest k counts, over all their columns together.
    Raises Rejected where a policy forbids to leave rows out.
    """
    policies = [policy for _, policy in _policies(datasets) if policy.quasi_identifiers]
    k = max(policy.k for policy in policies)
    small = rows[GROUP] < k
    suppressed = int(small.sum())
    if suppressed and any(policy.small_groups == "stop" for policy in policies):
        raise Rejected(
            f"{suppressed} of {len(rows)} rows are in groups of quasi-identifiers smaller than {k}; "
            "generalise these columns more, name fewer of them, or set privacy.small_groups: suppress"
        )
    smallest = None if rows.empty else int(rows[GROUP].min())
    kept = rows[~small].drop(columns=GROUP).reset_index(drop=True)
    return Anonymous(kept, suppressed, smallest)


def privacy_of(datasets: Mapping[str, DatasetSpec], found: Anonymous | None) -> dict[str, Any]:
    """What a model carries of the policies that its data were under; empty where there is none."""
    outcome: dict[str, Any] = {
        "datasets": {
            name: {"treatments": treatments(spec), "policy": policy_hash(spec)}
            for name, spec in datasets.items()
            if policy_hash(spec) is not None
        }
    }
    if not outcome["datasets"]:
        return {}
    if found is not None:
        columns = [f"{name}.{column}" for name, column in quasi_identifiers(datasets)]
        k = max(policy.k for _, policy in _policies(datasets) if policy.quasi_identifiers)
        outcome |= {"quasi_identifiers": columns, "k": k}
        outcome |= {"smallest_group": found.smallest, "suppressed": found.suppressed}
    return outcome


def _policies(datasets: Mapping[str, DatasetSpec]) -> list[tuple[str, Privacy]]:
    return [(name, spec.privacy) for name, spec in datasets.items() if spec.privacy is not None]
