import copy
from collections.abc import Callable
from typing import Any, cast

import pytest
from mlops.hooks.cluster import ClusterHook
from mlops.release_map import ReleaseMap, announcer

from include.lifecycle.errors import Conflict
from include.lifecycle.release.document import ReleaseDocument
from include.lifecycle.spec.profile import Kubernetes
from tests.lifecycle.tiny import Project


class FakeCluster:
    """One object, which is written only by who has read its newest version, as a cluster does it."""

    def __init__(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        self.item: dict[str, Any] | None = None
        self.version, self._meanwhile = 0, meanwhile

    def read(self, item: dict[str, Any]) -> dict[str, Any] | None:
        """A copy of the object, or None."""
        return copy.deepcopy(self.item)

    def create(self, item: dict[str, Any]) -> dict[str, Any]:
        """The object, made if it is not there."""
        return self._written(item) if self.item is None else copy.deepcopy(self.item)

    def apply(self, item: dict[str, Any]) -> dict[str, Any]:
        """The object as it was given; raises Conflict when it is not that version any more."""
        self._meanwhile, meanwhile = (lambda: None), self._meanwhile
        meanwhile()
        if item["metadata"]["resourceVersion"] != str(self.version):
            raise Conflict("another version")
        return self._written(item)

    def seqs(self) -> dict[str, int]:
        """The ledger entry of each model's document."""
        data = (self.item or {}).get("data") or {}
        return {model: ReleaseDocument.model_validate_json(text).seq for model, text in data.items()}

    def _written(self, item: dict[str, Any]) -> dict[str, Any]:
        self.version += 1
        metadata = {**item["metadata"], "resourceVersion": str(self.version)}
        self.item = copy.deepcopy({**item, "metadata": metadata})
        return copy.deepcopy(self.item)


def _put(cluster: FakeCluster, model: str, seq: int) -> bool:
    return ReleaseMap(cast(ClusterHook, cluster), Kubernetes()).put(ReleaseDocument(model=model, seq=seq))


def test_documents_of_several_models_lie_side_by_side() -> None:
    cluster = FakeCluster()
    assert _put(cluster, "late", 1)
    assert _put(cluster, "early", 4)
    assert _put(cluster, "late", 2)
    assert cluster.seqs() == {"late": 2, "early": 4}


def test_an_older_document_and_one_that_is_there_are_not_written() -> None:
    cluster = FakeCluster()
    _put(cluster, "late", 2)
    assert not _put(cluster, "late", 1)
    assert not _put(cluster, "late", 2)
    assert (cluster.seqs(), cluster.version) == ({"late": 2}, 2)


def test_of_two_at_once_the_newest_stays_and_other_models_too() -> None:
    others: list[Any] = []
    cluster = FakeCluster(meanwhile=lambda: [others.append(_put(cluster, *told)) for told in newer])
    newer = [("late", 7), ("early", 1)]
    assert not _put(cluster, "late", 6)
    assert others == [True, True]
    assert cluster.seqs() == {"late": 7, "early": 1}


def test_where_the_profile_has_no_server_nobody_is_told(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert announcer() is None
    (project.specs / "profiles").mkdir(exist_ok=True)
    (project.specs / "profiles/cluster.yaml").write_text("kubernetes: {server: {}}")
    monkeypatch.setenv("PERENNIAL_PROFILE", "cluster")
    assert announcer() is not None
