"""Reads a spec file and says, for people, what is wrong with it."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from include.lifecycle.errors import SpecError
from include.lifecycle.spec.dataset import nearest
from include.lifecycle.spec.value import Value

Spec = TypeVar("Spec", bound=Value)


def read_spec(path: Path, kind: type[Spec]) -> Spec:
    """The spec in a YAML file, named after the file.

    Raises SpecError with one line per mistake: file, key path, what was found, what is allowed.
    """
    content = _read_yaml(path)
    if "name" in kind.model_fields:
        if "name" in content:
            raise SpecError(f"{path}: name: the file's name is the name; remove this key")
        content = {"name": path.stem, **content}
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        lines = [f"{path}: {_explain(detail, kind)}" for detail in error.errors()]
        raise SpecError("\n".join(lines)) from None


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506, a safe one
    except FileNotFoundError:
        raise SpecError(f"{path}: no such file; see include/datasets and include/models") from None
    except OSError as error:
        raise SpecError(f"{path}: cannot be read ({error.strerror}); make it a readable file") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: no UTF-8, or a date such as 2013-02-30
        raise SpecError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        found = "nothing" if content is None else type(content).__name__
        raise SpecError(f"{path}: found {found}; allowed: keys and values, such as `partition: day`")
    return content


class _Loader(yaml.CSafeLoader):
    """YAML in which no key is written twice: the second would win in silence."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """The mapping of a node."""
        written = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key in written:
            if written.count(key) > 1 and key != "<<":
                raise yaml.constructor.ConstructorError(
                    problem=f"the key {key!r} is written twice", problem_mark=node.start_mark
                )
        mapping: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return mapping


def _explain(detail: ErrorDetails, kind: type[BaseModel]) -> str:
    path = ".".join(str(part) for part in detail["loc"] if part != "[key]")
    if detail["type"] == "extra_forbidden":
        known = _known_keys(kind, detail["loc"][:-1])
        return f"{path}: unknown key{nearest(str(detail['loc'][-1]), known)}"
    if detail["type"] == "missing":
        return f"{path}: missing; this key is required"
    message = detail["msg"].removeprefix("Value error, ")
    if not path:
        return message
    return f"{path}: found {_short(detail['input'])}; allowed: {_allowed(message)}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _allowed(message: str) -> str:
    return message.removeprefix("Input should be ")


def _known_keys(kind: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """The keys that the model at a location of the tree knows."""
    at: Any = kind
    for part in loc:
        at = _inner(at, part)
    model = _model_in(at)
    return sorted(model.model_fields.keys() - {"name"}) if model else []


def _inner(at: Any, part: int | str) -> Any:
    model = _model_in(at)
    if model is not None and part in model.model_fields:
        return model.model_fields[str(part)].annotation
    return at


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The first pydantic model inside an annotation such as ``dict[str, Column] | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, types.UnionType, dict, tuple, list) or get_args(annotation):
        found = (_model_in(argument) for argument in get_args(annotation))
        return next((model for model in found if model), None)
    return None
