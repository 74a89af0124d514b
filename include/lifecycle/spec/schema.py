"""JSON Schemas for editors, generated from the specs and kept beside them."""

from __future__ import annotations

import ast
import inspect
import json
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from textwrap import dedent
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from include.lifecycle.spec.dataset import DatasetSpec
from include.lifecycle.spec.model import ModelSpec
from include.lifecycle.spec.profile import Profile
from include.lifecycle.spec.quantities import format_duration
from include.lifecycle.spec.value import Value

FOLDER = Path(__file__).parent
KINDS: dict[str, type[Value]] = {"dataset": DatasetSpec, "model": ModelSpec, "profile": Profile}


class _AsWritten(GenerateJsonSchema):
    """Shows the default of a duration as a person writes it, and says of each key what its class does.

    `use_attribute_docstrings` would read the source of every class in every process that imports one.
    """

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        """The schema of a class, its keys described."""
        described = super().model_schema(schema)
        texts = _attribute_docstrings(schema["cls"])
        for key, value in described.get("properties", {}).items():
            if key in texts:
                value.setdefault("description", texts[key])
        return described

    def encode_default(self, dft: Any) -> Any:
        """The default as JSON."""
        return format_duration(dft) if isinstance(dft, timedelta) else super().encode_default(dft)


def _attribute_docstrings(kind: type) -> dict[str, str]:
    """The text below each attribute of a class of the specs, and of those it derives from."""
    texts: dict[str, str] = {}
    for each in reversed([each for each in kind.__mro__ if issubclass(each, Value)]):
        (tree,) = ast.parse(dedent(inspect.getsource(each))).body
        assert isinstance(tree, ast.ClassDef)
        for attribute, below in pairwise(tree.body):
            match attribute, below:
                case (ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text)))):
                    texts[name] = inspect.cleandoc(text)
    return texts


def schema_text(kind: type[Value]) -> str:
    """The JSON Schema of a spec as it stands in its file; the name comes from the file's name."""
    schema: dict[str, Any] = kind.model_json_schema(schema_generator=_AsWritten)
    schema["properties"].pop("name", None)
    schema["required"] = [key for key in schema.get("required", []) if key != "name"]
    return json.dumps(schema, indent=2, sort_keys=True) + "\n"


def schema_path(name: str) -> Path:
    """Where the schema of a kind of spec lies."""
    return FOLDER / f"{name}.schema.json"


def write_schemas() -> None:
    """Write every schema to its file."""
    for name, kind in KINDS.items():
        schema_path(name).write_text(schema_text(kind), encoding="utf-8")


def stale_schemas() -> list[Path]:
    """The schema files that differ from what the specs say now."""
    return [
        path
        for name, kind in KINDS.items()
        if not (path := schema_path(name)).is_file() or path.read_text() != schema_text(kind)
    ]
