from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from include.lifecycle.errors import Rejected, Tampered
from include.lifecycle.store.objects import Store, object_path
from include.serving.packages import PackageCache, load
from tests.serving.released import FEATURES, ROW, make_package, release_of, score


def test_a_fetched_package_answers_as_the_one_that_was_made(
    tmp_path: Path, any_store: Store, packages: dict[str, Path]
) -> None:
    release = release_of(packages["1"], "1", any_store)
    predictor = load(PackageCache(tmp_path / "cache", any_store).fetch("delay", release), release)
    row = {name: [value] for name, value in ROW.items()}
    assert predictor.predict(row).tolist() == [score(packages["1"])]


def test_a_copy_that_rotted_on_disk_is_fetched_again(
    tmp_path: Path, store: Store, packages: dict[str, Path]
) -> None:
    release = release_of(packages["1"], "1", store)
    cache = PackageCache(tmp_path / "cache", store)
    booster = cache.fetch("delay", release) / "booster.ubj"
    good = booster.read_bytes()
    booster.write_bytes(good[:-1])
    assert (cache.fetch("delay", release) / "booster.ubj").read_bytes() == good


def test_a_file_changed_in_the_store_is_never_kept(
    tmp_path: Path, store: Store, packages: dict[str, Path]
) -> None:
    release = release_of(packages["1"], "1", store)
    store.replace(object_path(release.package["features.py"].sha256), b"import os")
    with pytest.raises(Tampered):
        PackageCache(tmp_path / "cache", store).fetch("delay", release)
    assert not list((tmp_path / "cache").rglob("features.py"))


def test_a_file_name_cannot_leave_the_folder(tmp_path: Path, store: Store, packages: dict[str, Path]) -> None:
    release = release_of(packages["1"], "1", store)
    output = release.package["features.py"]
    escaping = release.model_copy(update={"package": {"../../features.py": output}})
    with pytest.raises(Rejected, match="is not a file name"):
        PackageCache(tmp_path / "cache", store).fetch("delay", escaping)


def test_only_the_served_packages_stay_on_disk(
    tmp_path: Path, store: Store, packages: dict[str, Path]
) -> None:
    cache = PackageCache(tmp_path / "cache", store)
    releases = [release_of(packages[version], version, store) for version in "12"]
    folders = [cache.fetch("delay", release) for release in releases]
    cache.keep_only("delay", releases)
    assert [folder.exists() for folder in folders] == [True, True]
    cache.keep_only("delay", releases[1:])
    assert [folder.exists() for folder in folders] == [False, True]


def test_a_version_that_answers_no_row_is_refused(
    tmp_path: Path, store: Store, packages: dict[str, Path]
) -> None:
    broken = shutil.copytree(packages["1"], tmp_path / "broken")
    layout = json.loads((broken / "predictor.json").read_text())
    del layout["features"]["stops"]
    (broken / "predictor.json").write_text(json.dumps(layout))
    with pytest.raises(Rejected, match="version 1 answers no row"):
        load(broken, release_of(broken, "1", store))


def test_features_may_refuse_neutral_values(tmp_path: Path, store: Store) -> None:
    picky = FEATURES.replace(b"    return", b"    assert '' not in rows['carrier']\n    return")
    package = make_package(tmp_path / "picky", seed=1, features=picky)
    assert load(package, release_of(package, "1", store)).inputs
