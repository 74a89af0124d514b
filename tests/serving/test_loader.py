from __future__ import annotations

from pathlib import Path

import pytest

from include.lifecycle.errors import Transient
from include.lifecycle.release.document import Release, ReleaseDocument, release_path
from include.lifecycle.store.objects import Store, object_path
from include.serving.loader import Followed, Models
from include.serving.metrics import Metrics
from include.serving.packages import PackageCache
from tests.serving.released import MODEL, publish, release_of


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def models(tmp_path: Path, store: Store, metrics: Metrics) -> Models:
    return Models(store, PackageCache(tmp_path / "cache", store), metrics, retry_after=0.0)


def test_a_server_is_ready_when_it_follows_every_release(
    tmp_path: Path, store: Store, packages: dict[str, Path], metrics: Metrics
) -> None:
    class Watched(PackageCache):
        def fetch(self, model: str, release: Release) -> Path:
            said.append((models.ready, models.store_trouble))
            return super().fetch(model, release)

    said: list[tuple[bool, str | None]] = []
    models = Models(store, Watched(tmp_path / "cache", store), metrics)
    for model in ("early", MODEL):
        publish(store, release_of(packages["1"], "1", store), model=model)
    models.poll()
    assert said == [(False, "the store has not been read yet; ask again in a second")] * 2
    assert (models.ready, models.store_trouble) == (True, None)


def test_a_server_without_any_champion_is_not_ready(models: Models, store: Store) -> None:
    models.poll()
    assert not models.ready
    publish(store, None)
    models.poll()
    assert not models.ready


def test_a_later_model_that_does_not_load_keeps_nobody_from_the_others(
    models: Models, store: Store, packages: dict[str, Path]
) -> None:
    broken = release_of(packages["2"], "2", store)
    store.remove(object_path(broken.package["booster.ubj"].sha256))
    publish(store, broken, model="broken")
    publish(store, release_of(packages["1"], "1", store))
    models.poll()
    assert not models.ready, "it might do so on a server that is to be replaced"
    publish(store, release_of(packages["1"], "1", store), seq=2, model="broken")
    models.poll()
    assert models.ready
    publish(store, broken, model="another")
    models.poll()
    assert models.followed["another"].waits
    assert models.ready


def test_documents_come_from_where_they_are_said_to(
    tmp_path: Path, store: Store, packages: dict[str, Path], metrics: Metrics
) -> None:
    document = ReleaseDocument(model=MODEL, seq=3, champion=release_of(packages["1"], "1", store))
    told = {MODEL: document.model_dump_json().encode()}
    models = Models(store, PackageCache(tmp_path / "cache", store), metrics, documents=lambda: told)
    models.poll()
    assert (version_of(models.followed[MODEL]), models.followed[MODEL].seq) == ("1", 3)


def version_of(state: Followed) -> str | None:
    return state.served.release.version if state.served else None


def sample(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"perennial_{name}", labels)


def info(metrics: Metrics, version: str, arm: str) -> float | None:
    as_of = f"2013-03-0{version}T00:00:00+00:00"
    return sample(metrics, "model_info", model=MODEL, version=version, as_of=as_of, arm=arm)


def test_a_new_champion_takes_over(
    models: Models, store: Store, packages: dict[str, Path], metrics: Metrics
) -> None:
    for seq, version in enumerate("12", start=1):
        publish(store, release_of(packages[version], version, store), seq)
        models.poll()
        assert version_of(models.followed[MODEL]) == version
        assert models.followed[MODEL].seq == seq
    assert info(metrics, "2", "champion") == 1
    assert info(metrics, "1", "champion") is None


def test_an_unchanged_champion_is_not_loaded_again(
    models: Models, store: Store, packages: dict[str, Path]
) -> None:
    release = release_of(packages["1"], "1", store)
    publish(store, release, seq=1)
    models.poll()
    before = models.followed[MODEL].served
    publish(store, release, seq=2)
    models.poll()
    assert models.followed[MODEL].served is before
    assert models.followed[MODEL].seq == 2


@pytest.mark.parametrize("content", [None, b"changed"])
def test_a_missing_or_changed_file_leaves_the_old_version_serving_until_it_is_mended(
    models: Models, store: Store, packages: dict[str, Path], metrics: Metrics, content: bytes | None
) -> None:
    publish(store, release_of(packages["1"], "1", store), seq=1)
    models.poll()
    release = release_of(packages["2"], "2", store)
    path = object_path(release.package["booster.ubj"].sha256)
    good = store.get(path)
    assert good is not None
    Path(store.uri, path).unlink()
    if content:
        store.replace(path, content)
    publish(store, release, seq=2)
    models.poll()
    assert version_of(models.followed[MODEL]) == "1"
    assert "missing or changed in the store" in str(models.followed[MODEL].trouble)
    assert sample(metrics, "reload_failures_total", model=MODEL) == 1
    assert sample(metrics, "release_trouble", model=MODEL) == 1
    store.replace(path, good)
    models.poll()
    assert version_of(models.followed[MODEL]) == "2"
    assert models.followed[MODEL].trouble is None
    assert sample(metrics, "release_trouble", model=MODEL) == 0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "release of delay: not a release document"),
        (b'{"model": "delay", "seq": 1, "other": 1}', "not a release document"),
        (b'{"model": "churn", "seq": 1}', "release of delay: its document is about churn"),
    ],
)
def test_a_broken_document_leaves_the_old_version_serving(
    models: Models, store: Store, packages: dict[str, Path], content: bytes, words: str
) -> None:
    publish(store, release_of(packages["1"], "1", store))
    models.poll()
    store.replace(release_path(MODEL, 1), content)
    models.poll()
    assert version_of(models.followed[MODEL]) == "1"
    assert words in str(models.followed[MODEL].trouble)


def test_a_document_that_is_gone_leaves_the_version_serving(
    models: Models, store: Store, packages: dict[str, Path]
) -> None:
    publish(store, release_of(packages["1"], "1", store))
    models.poll()
    Path(store.uri, release_path(MODEL, 1)).unlink()
    models.poll()
    assert version_of(models.followed[MODEL]) == "1"
    assert "it is gone; reconcile" in str(models.followed[MODEL].trouble)


def test_a_document_without_champion_ends_the_serving(
    models: Models, store: Store, packages: dict[str, Path]
) -> None:
    publish(store, release_of(packages["1"], "1", store), seq=1)
    models.poll()
    publish(store, None, seq=2)
    models.poll()
    assert version_of(models.followed[MODEL]) is None
    assert models.followed[MODEL].trouble is None


class StoreThatGoesAway(Store):
    away = False

    def list(self, prefix: str) -> list[str]:
        if self.away:
            raise Transient("the store does not answer")
        return super().list(prefix)


def test_a_store_that_is_away_changes_nothing(
    tmp_path: Path, packages: dict[str, Path], metrics: Metrics
) -> None:
    store = StoreThatGoesAway(str(tmp_path / "store"))
    models = Models(store, PackageCache(tmp_path / "cache", store), metrics)
    publish(store, release_of(packages["1"], "1", store))
    models.poll()
    store.away = True
    models.poll()
    assert models.store_trouble == "the store does not answer"
    assert version_of(models.followed[MODEL]) == "1"
    assert sample(metrics, "poll_failures_total") == 1
    store.away = False
    models.poll()
    assert models.store_trouble is None


def test_a_document_of_an_older_decision_that_comes_late_changes_nothing(
    models: Models, store: Store, packages: dict[str, Path]
) -> None:
    for seq, version in ((2, "2"), (1, "1")):
        publish(store, release_of(packages[version], version, store), seq)
        models.poll()
        assert version_of(models.followed[MODEL]) == "2"
