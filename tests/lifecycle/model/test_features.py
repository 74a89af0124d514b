import numpy as np
import pandas as pd
import pytest

from include.lifecycle.data.point_in_time import pin_versions, read_rows
from include.lifecycle.errors import Rejected
from include.lifecycle.model.features import compute_features, input_types, load_feature_code
from include.lifecycle.spec.catalog import Catalog
from include.lifecycle.steps.train import datasets_of
from tests.lifecycle import tiny
from tests.lifecycle.spec.test_catalog import PROJECT_SPECS
from tests.lifecycle.tiny import MODEL, Project, midnight


def test_a_batch_and_its_single_rows_give_equal_features(world: Project) -> None:
    model = world.catalog.model(MODEL)
    datasets = datasets_of(model, world.catalog)
    rows = read_rows(model, datasets, pin_versions(model, world.store), world.store, as_of=midnight(3))
    code, inputs = load_feature_code(tiny.FEATURES), input_types(model, datasets)
    batch = compute_features(code, rows, inputs)
    singles = pd.concat([compute_features(code, rows.iloc[[place]], inputs) for place in range(len(rows))])
    pd.testing.assert_frame_equal(batch, singles)


@pytest.mark.parametrize("name", Catalog(PROJECT_SPECS).model_names())
def test_the_projects_own_features_are_equal_in_a_batch_and_one_by_one(name: str) -> None:
    catalog = Catalog(PROJECT_SPECS)
    model = catalog.model(name)
    inputs = input_types(model, datasets_of(model, catalog))
    draw = np.random.default_rng(1)
    made_up = {
        "string": ["a", None, "b", "a"],
        "number": draw.uniform(0, 100, 4),
        "integer": [0.0, 5.0, 1259.0, 2400.0],
        "boolean": [1.0, 0.0, np.nan, 1.0],
        "timestamp": pd.to_datetime(
            ["2013-01-01 04:00", "2013-12-31 23:00", None, "2013-03-10 07:00"], utc=True
        ),
    }
    rows = pd.DataFrame({column: made_up[kind] for column, kind in inputs.items()})
    code = load_feature_code(catalog.features_path(model).read_bytes())
    batch = compute_features(code, rows, inputs)
    singles = pd.concat([compute_features(code, rows.iloc[[place]], inputs) for place in range(len(rows))])
    pd.testing.assert_frame_equal(batch, singles, check_dtype=False)


def test_inputs_get_the_type_of_the_dataset_they_come_from(world: Project) -> None:
    model = world.catalog.model(MODEL)
    assert input_types(model, datasets_of(model, world.catalog)) == {
        "city": "string",
        "distance": "number",
        "stops": "integer",
        "express": "boolean",
        "at": "timestamp",
        "rain": "number",
    }


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (b"def feature(rows): return {}", "define `features"),
        (b"def features(rows:", "SyntaxError"),
        (b"import nowhere\ndef features(rows): return rows", "nowhere"),
        (b"def features(rows): return {'x': rows['none']}", "KeyError: 'none'"),
        (b"def features(rows): return {'x': rows['a'][:1]}", "1 values for 3 rows"),
        (b"def features(rows): return {}", "return a dict"),
        (b"def features(rows): return {'x': rows['a'] / 0}", "infinite"),
    ],
)
def test_feature_code_that_is_wrong_is_rejected_with_the_reason(code: bytes, why: str) -> None:
    rows = pd.DataFrame({"a": [1.0, 2.0, 3.0]})
    with pytest.raises(Rejected, match=why), np.errstate(all="ignore"):
        compute_features(load_feature_code(code), rows, {"a": "number"})
