import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from include.lifecycle.spec.reading import read_spec
from include.lifecycle.spec.schema import KINDS, schema_path, schema_text, stale_schemas
from tests.lifecycle import tiny

INCLUDE = Path(__file__).parents[3] / "include"
FOLDERS = {"datasets": "dataset", "models": "model", "profiles": "profile"}
SHIPPED = [
    (FOLDERS[folder], path) for folder in FOLDERS for path in sorted((INCLUDE / folder).glob("*.yaml"))
]
BLOCKS = re.findall(r"^```yaml\n(.*?)^```", (INCLUDE / "datasets/README.md").read_text(), re.M | re.S)
SNIPPETS = [text for block in BLOCKS for text in re.split(r"^(?=source:)", block, flags=re.M) if text]

EVERYTHING = """
description: Visits, with every form that a key may be written in
tags: [tiny]
partition: day
timezone: Europe/Berlin
lookback: 2
schedule: {start: 2024-01-01, end: 2024-12-31}
source: {type: files, path: "visits/{partition:%Y-%m-%d}.csv", max_size: 512MiB}
columns:
  visit_id: string
  at: timestamp
  rooms: integer
  guest: {type: string, privacy: pseudonym}
  note: {type: string, privacy: keep}
  card: {type: string, privacy: drop}
  phone: {type: string, privacy: {kind: drop}}
  born: {type: timestamp, privacy: {generalise: {period: year}}}
  post_code: {type: string, privacy: {generalise: {prefix: 3}}}
  income: {type: number, privacy: {kind: generalise, width: 1000}}
  paid: {type: number, known_after: 1d 12h}
key: [visit_id]
event_time: at
expectations:
  - expect_column_values_to_not_be_null: {column: at, mostly: 0.99, severity: warn}
  - expect_table_row_count_to_be_between: {min_value: 1}
  - expect_column_values_to_be_unique: {column: visit_id}
  - {name: expect_column_to_exist, arguments: {column: paid}, severity: stop}
bands:
  - {measure: rows, of_last: 7, within: 0.5}
  - {measure: null_share, column: paid, within: 0.1, severity: warn}
references:
  - {columns: {post_code: code}, dataset: places}
validation: {compile_above: 10}
quarantine: {max_share: 0.5, keep: 90d}
schema_changes: {new: add, missing: fill, widened: rewrite}
privacy: {key: pseudonyms, subject: guest, quasi_identifiers: [born, post_code], k: 5, untreated: stop}
compute:
  extract: {cpu: 0.5, memory: 512Mi, deadline: 2h}
  validate: {memory: 536870912, tolerations: [{key: gpu}]}
"""


def complaints(kind: str, text: str) -> list[str]:
    """What an editor underlines: to it a date is text, as in JSON."""
    found = json.loads(json.dumps(yaml.safe_load(text), default=str))
    return [error.message for error in schema_of(kind).iter_errors(found)]


def schema_of(kind: str) -> Draft202012Validator:
    schema: dict[str, Any] = json.loads(schema_path(kind).read_text())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


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


@pytest.mark.parametrize(("kind", "path"), SHIPPED, ids=lambda item: getattr(item, "stem", item))
def test_an_editor_underlines_nothing_in_what_is_shipped(kind: str, path: Path) -> None:
    assert complaints(kind, path.read_text()) == []


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("dataset", tiny.TRIPS),
        ("dataset", tiny.SKY),
        ("dataset", EVERYTHING),
        ("model", tiny.LATE),
        ("model", tiny.LATE + "compute: {train: {gpu: 1, memory: 16Gi, patience: 2h}}\n"),
        ("profile", tiny.PROFILE),
        ("profile", "memory: 512Mi\nkubernetes: {startup: 5m}\n"),
    ],
)
def test_an_editor_takes_what_the_spec_takes(tmp_path: Path, kind: str, text: str) -> None:
    file = tmp_path / "visits.yaml"
    file.write_text(text)
    read_spec(file, KINDS[kind])
    assert complaints(kind, text) == []


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda text: text.split(":")[0])
def test_an_editor_takes_what_the_handbook_shows(snippet: str) -> None:
    whole = yaml.safe_load(tiny.TRIPS) | yaml.safe_load(snippet)
    assert complaints("dataset", yaml.safe_dump(whole)) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("lookback: 2", "lokback: 2"),
        ("rooms: integer", "rooms: interger"),
        ("rooms: integer", "Rooms: integer"),
        ("known_after: 1d", "known_afer: 1d"),
        ("known_after: 1d", "known_after: 1 day"),
        ("privacy: pseudonym", "privacy: pseudonim"),
        ("privacy: pseudonym", "privacy: generalise"),
        ("{generalise: {period", "{generalize: {period"),
        ("{period: year}", "{perod: year}"),
        ("{period: year}", "{period: decade}"),
        ("- expect_table", "- exspect_table"),
        ("severity: warn}\n  - expect_table", "severity: wran}\n  - expect_table"),
        ("{column: visit_id}", "{column: visit_id}\n    expect_column_to_exist: {column: at}"),
        ("{column: visit_id}", "[visit_id]"),
        ("arguments: {column: paid}", "argument: {column: paid}"),
        ("max_size:", "maxsize:"),
        ("of_last: 7", "of_lst: 7"),
        ("dataset: places", "datset: places"),
        ("subject: guest", "subjct: guest"),
        ("extract: {cpu", "extrct: {cpu"),
        ("memory: 512Mi", "memroy: 512Mi"),
    ],
)
def test_an_editor_underlines_a_slip(old: str, new: str) -> None:
    assert EVERYTHING.count(old) == 1
    assert complaints("dataset", EVERYTHING.replace(old, new))


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("model", tiny.LATE.replace("max_trees", "max_tres")),
        ("model", tiny.LATE.replace("lag: 1h", "lagg: 1h")),
        ("profile", "memroy: 512Mi\n"),
        ("profile", "kubernetes: {namspace: default}\n"),
    ],
)
def test_an_editor_underlines_a_slip_in_a_model_and_a_profile(kind: str, text: str) -> None:
    assert complaints(kind, text)


def test_an_editor_completes_types_treatments_and_severities() -> None:
    known = schema_text(KINDS["dataset"])
    for hints in (["string", "integer"], ["drop", "keep", "pseudonym"], ["stop", "quarantine", "warn"]):
        assert re.search(r'"enum": \[\s*' + r",\s*".join(map(json.dumps, hints)), known)
