"""Are the table versions that a training pinned still there, whole, and what is in them?"""

from __future__ import annotations

from collections.abc import Mapping

from include.lifecycle.data.publishing import published_table
from include.lifecycle.store.forgetting import files_of
from include.lifecycle.store.objects import Store


def lost_data(versions: Mapping[str, int], store: Store) -> str | None:
    """Why a training on these versions of datasets cannot be repeated; None when all are whole."""
    for name, version in versions.items():
        table = published_table(name, store)
        if (newest := table.version()) is None or newest < version:
            return f"{name} has no version {version}: its table was removed or begun anew"
        with table.opened(version) as delta:
            if delta is None:
                return f"version {version} of {name} is not in its table's log any more"
        if files_of(table, version) - table.files().keys():
            return (
                f"files of {name} at version {version} are gone: somebody was erased, or old versions were "
                "vacuumed"
            )
    return None


def contents(versions: Mapping[str, int], store: Store) -> dict[str, dict[str, str]]:
    """Content label of every partition of each dataset at its version."""
    return {name: published_table(name, store).partitions(version) for name, version in versions.items()}
