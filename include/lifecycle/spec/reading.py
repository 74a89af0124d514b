"""Reads a spec file and says, for people, what is wrong with it."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, Tag, ValidationError
from pydantic_core import ErrorDetails

from include.lifecycle.errors import SpecError
from include.lifecycle.spec.nearest import nearest
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
    keys, model = _followed(kind, detail["loc"])
    path = ".".join(keys)
    if detail["type"] == "extra_forbidden":
        known = sorted(model.model_fields.keys() - {"name"}) if model else []
        return f"{path}: unknown key{nearest(keys[-1], known)}"
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


def _followed(kind: type[BaseModel], loc: tuple[int | str, ...]) -> tuple[list[str], type[BaseModel] | None]:
    """The keys of a location as a person wrote them, and the model around the last of them.

    Pydantic's locations also name which member of a union was tried.
    """
    keys: list[str] = []
    around: type[BaseModel] | None = None
    at: Any = kind
    for part in loc:
        if (member := _members(at).get(str(part))) is not None:
            at = member
        elif part != "[key]":
            keys.append(str(part))
            around = _model_in(at) or around
            if around is not None and part in around.model_fields:
                at = around.model_fields[str(part)].rebuild_annotation()
    return keys, around


def _members(annotation: Any) -> dict[str, Any]:
    """The models of a union by the tag that tells them apart."""
    found: dict[str, Any] = {}
    for argument in get_args(annotation):
        found |= _members(argument)
        tags = [item.tag for item in getattr(argument, "__metadata__", ()) if isinstance(item, Tag)]
        if isinstance(argument, type) and issubclass(argument, BaseModel):
            tags += [tag for item in argument.model_fields.values() for tag in _literals(item.annotation)]
        found |= dict.fromkeys(tags, argument)
    return found


def _literals(annotation: Any) -> tuple[str, ...]:
    values = get_args(annotation) if get_origin(annotation) is Literal else ()
    return values if len(values) == 1 else ()


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The first pydantic model inside an annotation such as ``dict[str, Column] | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, types.UnionType, dict, tuple, list) or get_args(annotation):
        found = (_model_in(argument) for argument in get_args(annotation))
        return next((model for model in found if model), None)
    return None
