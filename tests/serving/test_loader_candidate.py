from __future__ import annotations

from pathlib import Path

import pytest

from include.lifecycle.release.document import Release
from include.lifecycle.store.objects import Store, object_path
from include.serving.loader import Models
from include.serving.metrics import Metrics
from include.serving.packages import PackageCache
from include.serving.served import Candidate, Followed
from tests.serving.released import MODEL, publish, release_of
from tests.serving.test_loader import info, sample


class CountingCache(PackageCache):
    """Knows which versions were asked for, and what was followed then."""

    def __init__(self, folder: Path, store: Store) -> None:
        super().__init__(folder, store)
        self.fetched: list[str] = []
        self.models: Models | None = None
        self.champions: list[str | None] = []

    def fetch(self, model: str, release: Release) -> Path:
        self.fetched.append(release.version)
        if self.models is not None:
            followed = self.models.followed.get(model, Followed(model))
            self.champions.append(followed.served.release.version if followed.served else None)
        return super().fetch(model, release)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def cache(tmp_path: Path, store: Store) -> CountingCache:
    return CountingCache(tmp_path / "cache", store)


@pytest.fixture
def models(store: Store, cache: CountingCache, metrics: Metrics) -> Models:
    return Models(store, cache, metrics, retry_after=0.0)


def served(models: Models) -> list[str]:
    return [served.release.version for served in models.followed[MODEL].versions]


def candidate(models: Models) -> Candidate:
    found = models.followed[MODEL].candidate
    assert found is not None
    return found


def test_a_candidate_is_served_beside_the_champion(
    models: Models, store: Store, releases: dict[str, Release], metrics: Metrics
) -> None:
    publish(store, releases["1"], candidate=releases["2"], share=0.1, slow_seconds=0.2, slice_by="carrier")
    models.poll()
    assert served(models) == ["1", "2"]
    found = candidate(models)
    assert (found.share, found.slow_seconds, found.slice_by) == (0.1, 0.2, "carrier")
    assert (info(metrics, "1", "champion"), info(metrics, "2", "canary")) == (1, 1)


def test_a_champion_answers_before_its_candidate_is_looked_at(
    models: Models, store: Store, releases: dict[str, Release], cache: CountingCache
) -> None:
    cache.models = models
    publish(store, releases["1"], candidate=releases["2"])
    models.poll()
    assert (cache.fetched, cache.champions) == (["1", "2"], [None, "1"])


def test_another_share_loads_nothing_and_the_counts_go_on(
    models: Models, store: Store, releases: dict[str, Release], cache: CountingCache, metrics: Metrics
) -> None:
    publish(store, releases["1"], seq=1, candidate=releases["2"])
    models.poll()
    before = candidate(models)
    assert info(metrics, "2", "shadow") == 1
    publish(store, releases["1"], seq=2, candidate=releases["2"], share=0.5)
    models.poll()
    now = candidate(models)
    assert (now.share, now.served, now.counting) == (0.5, before.served, before.counting)
    assert cache.fetched == ["1", "2"]
    assert (info(metrics, "2", "shadow"), info(metrics, "2", "canary")) == (None, 1)


def test_a_promoted_candidate_is_not_loaded_again(
    models: Models, store: Store, releases: dict[str, Release], cache: CountingCache, metrics: Metrics
) -> None:
    publish(store, releases["1"], seq=1, candidate=releases["2"], share=0.5)
    models.poll()
    promoted = candidate(models).served
    publish(store, releases["2"], seq=2)
    models.poll()
    assert models.followed[MODEL].served is promoted
    assert models.followed[MODEL].candidate is None
    assert cache.fetched == ["1", "2"]
    assert (info(metrics, "2", "champion"), info(metrics, "2", "canary")) == (1, None)
    assert info(metrics, "1", "champion") is None


def test_a_candidate_that_is_given_up_leaves_the_champion(
    models: Models, store: Store, releases: dict[str, Release], cache: CountingCache, metrics: Metrics
) -> None:
    publish(store, releases["1"], seq=1, candidate=releases["2"])
    models.poll()
    publish(store, releases["1"], seq=2)
    models.poll()
    assert (served(models), cache.fetched) == (["1"], ["1", "2"])
    assert info(metrics, "2", "shadow") is None


def test_counts_begin_anew_when_either_version_is_another(
    models: Models, store: Store, releases: dict[str, Release], packages: dict[str, Path]
) -> None:
    third = release_of(packages["1"], "3", store)
    pairs = [("1", releases["2"]), ("1", third), ("2", third)]
    countings = []
    for seq, (champion, beside) in enumerate(pairs, start=1):
        publish(store, releases[champion], seq, candidate=beside)
        models.poll()
        countings.append(candidate(models).counting)
    assert len({id(counting) for counting in countings}) == 3


def test_the_files_of_both_stay_on_this_machine(
    tmp_path: Path, models: Models, store: Store, releases: dict[str, Release]
) -> None:
    publish(store, releases["1"], candidate=releases["2"])
    models.poll()
    assert len(list((tmp_path / "cache" / MODEL).iterdir())) == 2


def test_a_candidate_that_does_not_load_harms_no_champion_and_is_tried_again(
    models: Models, store: Store, releases: dict[str, Release], metrics: Metrics
) -> None:
    path = object_path(releases["2"].package["booster.ubj"].sha256)
    good = store.get(path)
    assert good is not None
    store.replace(path, b"changed")
    publish(store, releases["1"], candidate=releases["2"], share=0.5)
    models.poll()
    assert served(models) == ["1"]
    assert "candidate: " in str(models.followed[MODEL].trouble)
    assert "missing or changed in the store" in str(models.followed[MODEL].trouble)
    assert sample(metrics, "release_trouble", model=MODEL) == 1
    assert sample(metrics, "reload_failures_total", model=MODEL) == 1
    store.replace(path, good)
    models.poll()
    assert served(models) == ["1", "2"]
    assert models.followed[MODEL].trouble is None
    assert sample(metrics, "release_trouble", model=MODEL) == 0


def test_a_candidate_that_does_not_load_waits_before_the_next_try(
    tmp_path: Path, store: Store, releases: dict[str, Release]
) -> None:
    cache = CountingCache(tmp_path / "cache", store)
    models = Models(store, cache, Metrics(), retry_after=60)
    Path(store.uri, object_path(releases["2"].package["booster.ubj"].sha256)).unlink()
    publish(store, releases["1"], candidate=releases["2"])
    models.poll()
    models.poll()
    assert cache.fetched == ["1", "2"]


def test_the_next_document_ends_the_waiting_for_a_candidate(
    models: Models, store: Store, releases: dict[str, Release], cache: CountingCache
) -> None:
    Path(store.uri, object_path(releases["2"].package["booster.ubj"].sha256)).unlink()
    publish(store, releases["1"], seq=1, candidate=releases["2"])
    models.poll()
    publish(store, releases["1"], seq=2)
    models.poll()
    assert models.followed[MODEL].trouble is None
    models.poll()
    assert cache.fetched == ["1", "2"]


def test_a_champion_that_does_not_load_leaves_both_versions_as_they_were(
    models: Models, store: Store, releases: dict[str, Release], packages: dict[str, Path]
) -> None:
    publish(store, releases["1"], seq=1, candidate=releases["2"], share=0.5)
    models.poll()
    before = candidate(models)
    broken = release_of(packages["1"], "3", store).model_copy(update={"package": {}})
    publish(store, broken, seq=2)
    models.poll()
    assert served(models) == ["1", "2"]
    assert candidate(models) is before
    assert models.followed[MODEL].trouble is not None
