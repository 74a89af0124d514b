"""What an erasure is about to remove, written down first: a run that died half-way still counts."""

from __future__ import annotations

from collections import ChainMap

from include.lifecycle.data.privacy.erased import folder_of
from include.lifecycle.spec.value import Value, canonical_json
from include.lifecycle.steps.kept_outputs import Doomed
from include.lifecycle.store.objects import Store


class ErasurePlan(Value):
    """Data files, objects and receipts that hold a person."""

    holding: dict[str, dict[str, int]] = {}
    """Per table its data files, each with how many of the person's rows the newest version had in it."""
    objects: frozenset[str] = frozenset()
    receipts: frozenset[str] = frozenset()
    amended: frozenset[str] = frozenset()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to remove."""
        return not (any(self.holding.values()) or self.objects or self.receipts or self.amended)

    @property
    def doomed(self) -> Doomed:
        """What of it are kept outputs."""
        return Doomed(self.objects, self.receipts, self.amended)

    def files(self, table: str) -> list[str]:
        """The data files of a table."""
        return sorted(self.holding.get(table, {}))

    def merged(self, later: ErasurePlan) -> ErasurePlan:
        """Both; of a file that both have, what the first said of it."""
        names = [*self.holding, *(name for name in later.holding if name not in self.holding)]
        return ErasurePlan(
            holding={
                name: dict(ChainMap(self.holding.get(name, {}), later.holding.get(name, {})))
                for name in names
            },
            objects=self.objects | later.objects,
            receipts=self.receipts | later.receipts,
            amended=self.amended | later.amended,
        )


def plan_path(dataset: str, remembered: str) -> str:
    """Where the plan lies for somebody who is remembered at a path."""
    return f"{folder_of(dataset)}/plans/{remembered.rpartition('/')[2]}"


def read_plan(path: str, store: Store) -> ErasurePlan:
    """What a run before this one had planned and did not report; empty when there was none."""
    content = store.get(path)
    return ErasurePlan() if content is None else ErasurePlan.model_validate_json(content)


def write_plan(path: str, plan: ErasurePlan, store: Store) -> None:
    """Write the plan in the place of its older self."""
    body = plan.model_dump(mode="json")
    lists = {name: sorted(body[name]) for name in ("objects", "receipts", "amended")}
    store.replace(path, canonical_json(body | lists))
