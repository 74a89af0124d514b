from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from include.lifecycle.errors import Rejected
from include.lifecycle.model.predictor import Predictor, load_estimator
from include.lifecycle.model.skops_file import write_estimator
from include.lifecycle.release.document import Release
from include.serving.packages import load
from tests.lifecycle import tiny
from tests.lifecycle.model.test_packaging import Packaged
from tests.lifecycle.tiny import Project

MATRIX = np.random.default_rng(1).normal(size=(80, 3))
LABEL = (MATRIX[:, 0] > 0).astype(float)


class Foreign:
    """A type that is no part of any classifier of scikit-learn's."""

    def predict_proba(self, matrix: Any) -> Any:
        """A certainty."""
        return np.ones((len(matrix), 2))


@pytest.mark.parametrize("classifier", [LogisticRegression(), RandomForestClassifier(5, random_state=1)])
def test_the_same_classifier_is_the_same_bytes_wherever_it_lies_in_memory(
    tmp_path: Path, classifier: Any
) -> None:
    classifier.fit(MATRIX, LABEL)
    write_estimator(classifier, tmp_path / "one")
    moved = skops.io.loads(skops.io.dumps(classifier), trusted=["sklearn.tree._tree.Tree"])
    write_estimator(moved, tmp_path / "other")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()
    answers = load_estimator(tmp_path / "one")(MATRIX)
    np.testing.assert_array_equal(answers, classifier.predict_proba(MATRIX)[:, 1])


def test_what_lies_between_the_fields_of_records_is_not_written(tmp_path: Path) -> None:
    """scikit-learn's trees are records with gaps, in which lies what was in memory before."""
    record = np.dtype({"names": ["child", "side"], "formats": ["i8", "u1"], "itemsize": 16})
    files = []
    for left_over in (b"\x00", b"\xff"):
        classifier = LogisticRegression().fit(MATRIX, LABEL)
        nodes = np.frombuffer(bytearray(left_over * 32), record)
        nodes["child"], nodes["side"] = [1, 2], [3, 4]
        classifier.nodes_ = nodes
        write_estimator(classifier, tmp_path / "file")
        files.append((tmp_path / "file").read_bytes())
    assert files[0] == files[1]
    assert b"\xff\xff\xff" not in files[1]


def test_a_classifier_of_types_that_are_not_trusted_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match=r"cannot be kept without pickle \(Untrusted types .*KDTree.*; change"):
        write_estimator(KNeighborsClassifier().fit(MATRIX, LABEL), tmp_path / "file")


def test_a_file_with_a_foreign_type_is_refused_before_anything_of_it_is_made(
    world: Project, tmp_path: Path
) -> None:
    folder = tmp_path / "package"
    Packaged(world, folder, tiny.FEATURES)
    (folder / "booster.ubj").unlink()
    skops.io.dump(LogisticRegression().fit(MATRIX, LABEL), folder / "estimator.skops")
    Predictor(folder)
    skops.io.dump(Foreign(), folder / "estimator.skops")
    with pytest.raises(TypeError, match=r"Untrusted types found .*Foreign"):
        Predictor(folder)
    release = Release(version="1", run_key="r", as_of=datetime.now(UTC), package={})
    with pytest.raises(Rejected, match=r"version 1 does not load: .*Foreign"):
        load(folder, release)
