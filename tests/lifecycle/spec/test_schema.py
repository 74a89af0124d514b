import json

import pytest

from include.lifecycle.spec.schema import KINDS, schema_path, schema_text, stale_schemas


def test_the_schemas_beside_the_specs_are_current() -> None:
    assert stale_schemas() == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_schema_asks_for_no_name_since_the_file_has_one(kind: str) -> None:
    schema = json.loads(schema_path(kind).read_text())
    assert "name" not in schema["properties"]
    assert "name" not in schema["required"]


@pytest.mark.parametrize("kind", KINDS)
def test_an_editor_shows_what_a_key_means(kind: str) -> None:
    described = json.dumps(json.loads(schema_text(KINDS[kind])))
    assert '"description"' in described
    assert '"additionalProperties": false' in described
