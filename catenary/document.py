"""A YAML document and its model: what is refused is named by file, line, key and fix."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from catenary import durations
from catenary.errors import InvalidValue

M = TypeVar("M", bound=BaseModel)
Key = tuple[str | int, ...]
"""Where something stands in a document: `("segments", "main", "before", 0)`."""
_KEYS = ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge")
SHOWN = 100
"""Characters of a value that a fault shows."""
REFUSED = "refused"
"""The type of the faults that models find beyond the shape of the document."""


@dataclass(frozen=True)
class Fault:
    """What is wrong at a key, and what to do about it."""

    key: Key
    text: str


def refuse(faults: Sequence[Fault]) -> None:
    """In a validator of a model: raise if there are any, each at its own key."""
    if faults:
        raise ValidationError.from_exception_data(
            "document",
            [
                InitErrorDetails(
                    type=PydanticCustomError(REFUSED, "{text}", {"text": fault.text}),
                    loc=fault.key,
                    input=None,
                )
                for fault in faults
            ],
        )


class Document:
    """YAML with its line numbers. Raises `InvalidValue` for what is none, or has a key twice."""

    def __init__(self, text: str, where: str) -> None:
        self._where = where
        try:
            self._root = yaml.compose(text, Loader=yaml.SafeLoader)
            self._check_keys(self._root, set())
            self.data: Any = yaml.safe_load(text)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = f":{mark.line + 1}" if mark else ""
            raise InvalidValue(f"{where}{line}: this is not YAML: {error.problem}") from error
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise InvalidValue(f"{where}: this is not YAML: {error}") from error

    def _check_keys(self, node: yaml.Node | None, done: set[int]) -> None:
        if id(node) in done:  # an alias
            return
        done.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            for item in node.value:
                self._check_keys(item, done)
        if isinstance(node, yaml.MappingNode):
            lines: dict[Hashable, int] = {}
            for key, value in node.value:
                line = key.start_mark.line + 1
                name = key.value if isinstance(key.value, str) else str(line)
                if key.tag not in _KEYS:
                    raise InvalidValue(f"{self._where}:{line}: key {name} is not a text: put it in quotes")
                if name in lines:
                    raise InvalidValue(
                        f"{self._where}:{line}: key {name!r} is there twice, first on line {lines[name]}: "
                        "leave one out"
                    )
                lines[name] = line
                self._check_keys(value, done)

    def place(self, key: Key) -> str:
        """`FILE:LINE` of a key, or of what it would be part of if it is not there."""
        node, line = self._root, 1
        for part in key:
            found = next((item for item in _items(node) if item[0] == str(part)), None)
            if found is None:
                break
            _, line, node = found
        return f"{self._where}:{line}"

    def refusal(self, faults: Sequence[Fault]) -> InvalidValue:
        """All faults, a line each."""
        lines = [f"{self.place(fault.key)}: {told(fault)}" for fault in faults]
        return InvalidValue("\n".join(lines))


def _items(node: yaml.Node | None) -> Iterator[tuple[str, int, yaml.Node]]:
    """What a node holds: key, line, value."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield str(key.value), key.start_mark.line + 1, value
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield str(index), item.start_mark.line + 1, item


def told(fault: Fault) -> str:
    """`KEY: FAULT`."""
    key = ".".join(str(part) for part in fault.key)
    return f"{key}: {fault.text}" if key else fault.text


def load(model: type[M], text: str, where: str) -> M:
    """Read a document into its model; raises `InvalidValue` with a line for each fault."""
    document = Document(text, where)
    return check(model, document)


def check(model: type[M], document: Document) -> M:
    """The model of a document; raises `InvalidValue` with a line for each fault."""
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        faults = [Fault(_key(item), _text(item, model)) for item in error.errors()]
        raise document.refusal(faults) from error


def _key(item: Any) -> Key:
    """Where pydantic found a fault; what it adds where a key itself is wrong is left out."""
    return tuple(part for part in item["loc"] if part != "[key]")


def _text(item: Any, model: type[BaseModel]) -> str:
    """The fault of one of pydantic's refusals in the words of somebody who writes a file."""
    *parents, last = item["loc"] or ("",)
    got, limits, kind = _shown(item["input"]), item.get("ctx", {}), str(item["type"])
    if kind == "extra_forbidden":
        known = list(_model_at(model, parents).model_fields)
        close = get_close_matches(str(last), known, 1)
        return f"unknown key: {f'did you mean {close[0]!r}?' if close else f'use {_list(known)}'}"
    if kind in ("value_error", REFUSED):
        return str(item["msg"]).removeprefix("Value error, ")
    if kind in _TEXTS:
        return _TEXTS[kind].format(got=got, bare=got.strip("'"), **limits)
    return f"{item['msg']} (got {got})"


_TEXTS = {
    "missing": "this key is missing: add it",
    "list_type": "a list belongs here, such as [{bare}], not {got}",
    "literal_error": "{got} is not known: use {expected}",
    "enum": "{got} is not known: use {expected}",
    "string_type": "{got} is not a text: put it in quotes",
    "too_short": "the list is too short: give {min_length} or more",
    "less_than_equal": "{got} is out of range: use at most {le:.10g}",
    "greater_than_equal": "{got} is out of range: use at least {ge:.10g}",
    "less_than": "{got} is out of range: use less than {lt}",
    "greater_than": "{got} is out of range: use more than {gt:.10g}",
    **dict.fromkeys(
        ("dict_type", "model_type", "model_attributes_type"), "keys and values belong here, not {got}"
    ),
    **dict.fromkeys(
        ("int_parsing", "int_type", "int_from_float"),
        "{got} is not a whole number: write one, without a unit",
    ),
    **dict.fromkeys(("float_parsing", "float_type"), f"{{got}} is not a duration: {durations.HINT}"),
    **dict.fromkeys(("bool_parsing", "bool_type"), "{got} is neither: write true or false"),
}


def _shown(value: Any) -> str:
    match value:
        case None:
            return "nothing"
        case dict():  # never in full: aliases may make it huge
            return "keys and values"
        case list():
            return "a list"
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _list(words: Sequence[str]) -> str:
    return ", ".join(words)


def _model_at(model: type[BaseModel], key: Sequence[str | int]) -> type[BaseModel]:
    """The model that stands at a key."""
    kind: Any = model
    for part in key:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            kind = kind.model_fields[str(part)].annotation
        else:
            kind = get_args(kind)[-1]
        kind = _bare(kind)
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else model


def _bare(kind: Any) -> Any:
    """Without what stands around it: `X | None`, `Annotated[X, ...]`."""
    if get_origin(kind) in (dict, list):
        return kind
    models = [part for part in get_args(kind) if isinstance(part, type) and issubclass(part, BaseModel)]
    return models[0] if models else kind
